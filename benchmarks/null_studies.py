"""How often a study of nothing says *moved*: `python benchmarks/null_studies.py [OUT.md]`.

The base draws every prompt from many seeds. A study then takes eight prompts and compares four
pictures of each with four others, all of them the base's: whatever it calls better, worse or moved
is a false alarm. Claim: that happens anywhere in a study in at most 5 % of 200 studies, within what
200 draws leave open. "Unchanged" is no alarm: here it is the truth.

Pictures are kept in the cache folder, so that a second run draws nothing. About ten minutes on one
core, most of it drawing.
"""

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from workbench import store
from workbench.critters.concepts import concept_pictures
from workbench.critters.draw import world
from workbench.evaluation.features import critters, remembering
from workbench.evaluation.results import Comparison, Pair
from workbench.evaluation.statistics import LEVEL
from workbench.evaluation.verdict import answer_all
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.records.judgement import Answer
from workbench.records.pictures import picture_path, save_pictures
from workbench.records.sampling import SampleSettings, draw

NUM_STUDIES, NUM_PROMPTS, NUM_SEEDS = 200, 8, 4
POOL_PROMPTS, POOL_SEEDS = 24, 8
ALARMS = ("better", "worse", "moved")
SAMPLING = SampleSettings(steps=12, guidance=3.0, width=128, height=128, batch_size=16)


def prompts() -> list[str]:
    """Everyday critters that the base knows."""
    return [world(7, k)[1] for k in range(POOL_PROMPTS)]


def pictures(folder: Path) -> dict[tuple[str, int], Image.Image]:
    """The base's pictures, drawn once."""
    every = [(prompt, seed) for prompt in prompts() for seed in range(POOL_SEEDS)]
    numbers = {prompt: k for k, prompt in enumerate(prompts(), 1)}

    def place(prompt: str, seed: int) -> Path:
        return picture_path(folder, number=numbers[prompt], prompt=prompt, seed=seed)

    by_prompt = [[job for job in every if job[0] == prompt] for prompt in prompts()]
    missing = [job for jobs in by_prompt for job in jobs if not place(*job).exists()]
    if missing:
        family = loading.load(BaseSettings(path="critters"))
        before = time.monotonic()
        for start in range(0, len(missing), 48):
            some = list(draw(family, SAMPLING, missing[start : start + 48]))
            for one in some:
                target = place(one.prompt, one.seed)
                save_pictures([one], folder / "one")[0].replace(target)
            done = start + len(some)
            rate = (time.monotonic() - before) / done
            print(f"  {done} of {len(missing)} pictures, {rate:.2f} s each", flush=True)
    found = {}
    for job in every:
        with store.open_image(place(*job)) as image:
            found[job] = image.convert("RGB")
    return found


def study(
    drawn: dict[tuple[str, int], Image.Image], number: int, known: Sequence[Image.Image], judge
) -> list[Answer]:
    """One comparison of the base with itself at other seeds."""
    rng = random.Random(f"null study {number}")
    chosen = rng.sample(prompts(), NUM_PROMPTS)
    pairs = []
    for prompt in chosen:
        seeds = rng.sample(range(POOL_SEEDS), 2 * NUM_SEEDS)
        for first, second in zip(seeds[:NUM_SEEDS], seeds[NUM_SEEDS:], strict=True):
            pairs.append(Pair(prompt, first, drawn[prompt, first], drawn[prompt, second]))
    found = answer_all(Comparison(tuple(pairs)), (), features=judge, known=known)
    return [one for one in found if one.p is not None]


def table(studies: Sequence[Sequence[Answer]]) -> list[str]:
    """What the studies said, a row a question."""
    lines = [
        "| question | better, worse or moved | unchanged | undecided | corrected p below .05 |",
        "|---|---|---|---|---|",
    ]
    for place, one in enumerate(studies[0]):
        words = Counter(answers[place].word for answers in studies)
        alarms = sum(words[word] for word in ALARMS)
        tested = sum((answers[place].p or 1.0) < LEVEL for answers in studies)
        shares = [alarms, words["unchanged"], words["undecided"], tested]
        told = " | ".join(f"{share / len(studies):.1%}" for share in shares)
        lines.append(f"| {one.question} | {told} |")
    return lines


def main() -> int:
    """Draw, compare, and hold the share of false alarms against the claim."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, help="write the table there too")
    chosen = parser.parse_args()
    drawn = pictures(store.cache_home() / "null-studies")
    judge = remembering(critters())
    known = [image for image, _ in concept_pictures("style", seed=5)]
    studies = [study(drawn, number, known, judge) for number in range(NUM_STUDIES)]
    alarms = sum(any(one.word in ALARMS for one in answers) for answers in studies)
    share = alarms / NUM_STUDIES
    # 5 % of 200 is 10; chance leaves it at up to 16 in 97.5 of 100 such benchmarks
    most = 0.05 + 1.96 * math.sqrt(0.05 * 0.95 / NUM_STUDIES)
    p = np.array([[one.p for one in answers] for answers in studies])
    by_test = int((p.min(axis=1) < LEVEL).sum())
    lines = [
        *table(studies),
        "",
        f"Anywhere in a study: {alarms} of {NUM_STUDIES} ({share:.1%}). {NUM_PROMPTS} prompts x "
        f"{NUM_SEEDS} seeds out of {POOL_PROMPTS} x {POOL_SEEDS} pictures of the base, "
        f"{SAMPLING.steps} steps. By the tests alone, before a change inside the margin is called "
        f"unchanged: {by_test} of {NUM_STUDIES} ({by_test / NUM_STUDIES:.1%}).",
    ]
    print("\n".join(lines))
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if max(share, by_test / NUM_STUDIES) <= most else 1


if __name__ == "__main__":
    sys.exit(main())
