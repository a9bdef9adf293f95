"""How much slower or faster is a training step than at another commit?

    python benchmarks/slowdown.py COMMIT [--pairs N]

Claim: against the commit before a change, the upper end of the 95 % interval of the slowdown is
at most 3 %. Two processes, one with the code of COMMIT and one with this checkout's, train the
critters preset; while one takes a block of steps the other waits, in the order A B B A, so that a
machine whose speed drifts is no advantage to either. The interval is Student's t over the log
ratios of the pairs.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from same_as import HERE, worktree
from scipy import stats

STEPS = 8  # of a block
MAX_SLOWDOWN = 0.03
CHILD = f"""
import sys, time
from pathlib import Path
import workbench as wb
from workbench.recipe import Recipe

quiet = ("length.steps=100000", "schedule.kind=constant", "training.checkpoint_every=100000",
         "validation.every_steps=100000", "sampling.prompts=[]", "output.report=false",
         "validation.num_images=1")
run = wb.start(Recipe.preset("critters").override(quiet), folder=Path(sys.argv[1]))
steps = (event for event in run.train() if event.event == "progress")
next(steps)
print("ready", flush=True)
for _ in sys.stdin:
    before = time.perf_counter()
    for _ in range({STEPS}):
        next(steps)
    print(time.perf_counter() - before, flush=True)
"""


def child(checkout: Path, folder: Path) -> subprocess.Popen[str]:
    """Start a process that trains with a checkout's code when it is told to.

    Args:
        checkout: root of the code.
        folder: for its run and caches.
    Returns:
        The process, ready for its first block.
    """
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "WORKBENCH_HOME": str(folder / "home"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder / "run")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", f"the child with {checkout} said {line!r}"
    return process


def block_s(process: subprocess.Popen[str]) -> float:
    """Let a child take one block of steps.

    Args:
        process: of `child`.
    Returns:
        Seconds that it took.
    """
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def log_ratios(commit: Path, num_pairs: int) -> list[float]:
    """Log of (this checkout's seconds / the commit's), once a pair of blocks.

    Args:
        commit: a checkout of the other commit.
        num_pairs: how many.
    Returns:
        One number a pair.
    """
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / "before", Path(name) / "now"]
        for folder in folders:
            folder.mkdir()
        before, now = child(commit, folders[0]), child(HERE, folders[1])
        try:
            for process in (before, now):
                block_s(process)  # warms up
            found = []
            for pair in range(num_pairs):
                first, second = (before, now) if pair % 2 else (now, before)
                took = {id(process): block_s(process) for process in (first, second)}
                found.append(math.log(took[id(now)] / took[id(before)]))
            return found
        finally:
            for process in (before, now):
                process.kill()
                process.wait()


def main() -> int:
    """Compare, print, and say whether the claim holds.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=40)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        worktree(asked.commit, checkout=HERE, folder=Path(name) / "commit") as commit,
    ):
        ratios = log_ratios(commit, asked.pairs)
    mean, error = statistics.fmean(ratios), statistics.stdev(ratios) / math.sqrt(len(ratios))
    reach = stats.t.ppf(0.975, len(ratios) - 1) * error
    low, middle, high = (math.expm1(x) for x in (mean - reach, mean, mean + reach))
    print(
        f"{len(ratios)} pairs of {STEPS} steps: {middle:+.1%} a step, 95 % interval "
        f"{low:+.1%} to {high:+.1%}; at most {MAX_SLOWDOWN:+.0%} is claimed"
    )
    return int(high > MAX_SLOWDOWN)


if __name__ == "__main__":
    sys.exit(main())
