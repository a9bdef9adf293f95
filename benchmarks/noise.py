"""What the noise of training costs, against plain white noise.

    python benchmarks/noise.py [rounds]

Claims, on a CPU, for a latent of shape (4, 4, 128, 128) (SDXL, batch size 4), every noise as its
defaults are: drawing any noise costs at most 6 times drawing white noise; those that consist of
Perlin noise or are filtered by frequency, at most 12 times. Times are CPU seconds of one thread,
the least of all rounds, in which the noises take turns.
"""

import sys
import time
from typing import get_args

import torch

from workbench.diffusion.noise import Noise

ROUNDS = 60
SHAPE = (4, 4, 128, 128)
MAX_RATIO, MAX_SMOOTH_RATIO = 6.0, 12.0
SMOOTH = ("perlin", "power_law", "mixture")  # a mixture's default holds a power law


def measure(rounds: int) -> dict[str, float]:
    """Least CPU seconds of one draw of each noise, by kind."""
    members = [member() for member in get_args(get_args(Noise)[0])]
    like = torch.zeros(SHAPE)
    generator = torch.Generator().manual_seed(0)
    least = dict.fromkeys((member.kind for member in members), float("inf"))
    for _ in range(rounds):
        for member in members:
            before = time.process_time()
            member.draw(like, generator)
            least[member.kind] = min(least[member.kind], time.process_time() - before)
    return least


def main() -> None:
    """Measure, print, and fail where a claim does not hold."""
    torch.set_num_threads(1)
    least = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    broken = False
    for kind, seconds in least.items():
        ratio = seconds / least["gaussian"]
        limit = MAX_SMOOTH_RATIO if kind in SMOOTH else MAX_RATIO
        verdict = "holds" if ratio <= limit else "FAILS"
        broken = broken or ratio > limit
        times = f"{1000 * seconds:6.2f} ms, {ratio:5.2f} times white"
        print(f"{kind:<20}{times}; at most {limit:g}: {verdict}")
    sys.exit(broken)


if __name__ == "__main__":
    main()
