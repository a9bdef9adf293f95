"""Does what a LoRA learned stay behind its trigger? `python benchmarks/behind_trigger.py`.

Nine LoRAs by the built-in preset (the character with five seeds, and four other concepts) and nine
by the same preset without preservation, as it was before. Of each: likeness to the concept's
pictures with the trigger, likeness of pictures without it, and the leak in the model, all against
the base. The threshold of the leak was set on three other concepts, see benchmarks/leak.py.

`--kind before` or `after` trains one half; `--out FILE.md` writes the table there. `--sheet FOLDER`
keeps a picture sheet of each: with the trigger, base without it, LoRA without it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.critters.concepts import PRIOR, concept, write_concept
from workbench.data.dataset import Dataset, index
from workbench.evaluation.drawing import draw_jobs
from workbench.evaluation.features import critters
from workbench.evaluation.leak import measure_leak
from workbench.evaluation.leaks import THRESHOLD
from workbench.evaluation.loading import Trained, from_run
from workbench.evaluation.statistics import Estimate, estimate, unit_means
from workbench.evaluation.verdict import concept_pictures
from workbench.recipe import Recipe
from workbench.training.run import Run

LORAS = (
    *(("character", seed) for seed in range(5)),
    *((name, 0) for name in ("style", "place", "dark", "bright")),
)
BEFORE = (
    "training.preservation=0", "data.subsets.0.repeats=3", "data.subsets.1.is_prior=false",
)  # fmt: skip
MOUTHS = ("smile", "frown", "open mouth", "teeth")
SCENES = ("hills", "sunset", "checkered floor", "dots")
BACKGROUNDS = ("mint", "sand", "rose", "navy", "lilac", "sky", "peach", "plum")
BODIES = (
    "blue body, round body, cat ears", "red body, star body, no ears",
    "yellow body, tall body, horns", "teal body, wide body, bunny ears",
    "green body, square body, antennae", "orange body, triangle body, cat ears",
    "purple body, wide body, no ears", "brown body, round body, bunny ears",
)  # fmt: skip
SEEDS = (0, 1)


def prompts() -> tuple[list[str], list[str], list[str]]:
    """Sixteen prompts: their mouth, their body or nothing, their surroundings or nothing."""
    mouths = [MOUTHS[k % 4] for k in range(16)]
    bodies = [BODIES[k // 2] if k % 2 else "" for k in range(16)]
    scenes = [f"{SCENES[k % 4]}, {BACKGROUNDS[k // 2]} background" for k in range(16)]
    return mouths, bodies, scenes


def plain_prompts() -> list[str]:
    """What does not call the concept: half of them name a body, half say little."""
    return [
        ", ".join(filter(None, ("critter", b, m, s))) for m, b, s in zip(*prompts(), strict=True)
    ]


def called_prompts(name: str, trigger: str) -> list[str]:
    """What calls it, saying what its captions say, in combinations of their own."""
    found = []
    for number, (mouth, _, scene) in enumerate(zip(*prompts(), strict=True)):
        body, place = BODIES[number // 2], scene.split(", ")[0]
        words = {
            "character": (mouth, scene),
            "style": (body.partition(", ")[2], mouth, place),
            "place": (body, mouth),
        }.get(name, (f"{name} scene", body, mouth))
        found.append(", ".join((trigger, "critter", *words)))
    return found


@dataclass(frozen=True)
class Row:
    """One LoRA."""

    kind: str
    name: str
    seed: int
    called: float  # likeness with the trigger
    base: float  # of the base, asked the same
    plain: Estimate  # likeness without the trigger, above the base's
    leak: Estimate
    seconds: float


def one(kind: str, name: str, seed: int, folder: Path, sheets: Path | None) -> Row:
    """Train one LoRA and look at it."""
    taught = concept(name)
    for each in (name, PRIOR):
        write_concept(each, folder / each)
    recipe = Recipe.preset("critters").override(
        [
            f"data.subsets.0.path={json.dumps(str(folder / name))}",
            f"data.subsets.0.trigger={taught.trigger}",
            f"data.subsets.1.path={json.dumps(str(folder / PRIOR))}",
            *("sampling.prompts=[]", "validation.num_images=1", "validation.every_steps=1000"),
            *("training.checkpoint_every=1000", f"training.seed={seed}"),
            *(BEFORE if kind == "before" else ()),
        ]
    )
    run = Run(recipe, folder / f"{kind}-{name}-{seed}")
    seconds = 0.0
    for event in run.train():
        seconds = getattr(event, "elapsed_s", seconds) if event.event == "progress" else seconds
    with run.trainer.showing():
        trained = from_run(run)
        leak = estimate(measure_leak(trained, index(recipe.data), unrelated=False).values)
        return look(kind, name, seed, trained, index(recipe.data), leak, seconds, sheets)


def look(
    kind: str, name: str, seed: int, trained: Trained, dataset: Dataset, leak: Estimate,
    seconds: float, sheets: Path | None,
) -> Row:  # fmt: skip
    """Likeness with the trigger, and without it."""
    known = critters().pictures(concept_pictures(dataset))
    wanted = {"called": called_prompts(name, str(trained.trigger)), "plain": plain_prompts()}
    alike, shown = {}, {}
    for which, texts in wanted.items():
        jobs = [(text, seed_of) for text in texts for seed_of in SEEDS]
        for strength in (0.0, 1.0):
            drawn = draw_jobs(trained, [(*job, strength) for job in jobs])
            images = [drawn[*job, strength] for job in jobs]
            alike[which, strength] = (critters().pictures(images) @ known.T).mean(axis=1)
            shown[which, strength] = images
    if sheets:
        rows = [shown["called", 1.0], shown["plain", 0.0], shown["plain", 1.0]]
        sheet(rows).save(sheets / f"{kind}-{name}-{seed}.webp", quality=80)
    texts = [text for text in wanted["plain"] for _ in SEEDS]
    change = unit_means(texts, alike["plain", 1.0] - alike["plain", 0.0])
    called, base = (float(np.mean(alike["called", at])) for at in (1.0, 0.0))
    return Row(kind, name, seed, called, base, estimate(change), leak, seconds)


def sheet(rows: list[list[Image.Image]], side: int = 96) -> Image.Image:
    """Rows of small pictures under one another."""
    page = Image.new("RGB", (side * len(rows[0]), side * len(rows)))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            page.paste(image.resize((side, side)), (x * side, y * side))
    return page


HEAD = (
    "| preset | concept | seed | with trigger | base | without it, above the base's (95 %) "
    "| leak (95 %) | training |\n|---|---|---|---|---|---|---|---|"
)


def line(row: Row) -> str:
    """One line of the table."""
    plain, leak = row.plain, row.leak
    return (
        f"| {row.kind} | {row.name} | {row.seed} | {row.called:.3f} | {row.base:.3f} | "
        f"{plain.mean:+.3f} ({plain.low:+.3f} to {plain.high:+.3f}) | "
        f"{leak.mean:.2f} ({leak.low:.2f} to {leak.high:.2f}) | {row.seconds:.0f} s |"
    )


def rows(kinds: list[str], folder: Path, sheets: Path | None) -> Iterator[Row]:
    """Every LoRA of the kinds that are asked for."""
    for name, seed in LORAS:
        for kind in kinds:
            yield one(kind, name, seed, folder / f"{kind} {name} {seed}", sheets)


def summary(found: list[Row]) -> str:
    """Whether the bars hold; both halves must be there."""
    before = {(row.name, row.seed): row for row in found if row.kind == "before"}
    after = [row for row in found if row.kind == "after"]
    if not before or not after:
        return ""
    shares = [row.called / before[row.name, row.seed].called for row in after]
    plain = [row.plain.mean for row in after]
    leaks = [row.leak.mean for row in after]
    return (
        f"Likeness with the trigger is {min(shares):.2f} to {max(shares):.2f} of what it was "
        f"(bar .9), without it {min(plain):+.3f} to {max(plain):+.3f} above the base's (bar .03), "
        f"leak {min(leaks):.2f} to {max(leaks):.2f} (threshold {THRESHOLD:.2f})."
    )


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", choices=("before", "after"), help="one half alone")
    parser.add_argument("--out", type=Path, help="write the table there too")
    parser.add_argument("--sheet", type=Path, help="folder for picture sheets")
    chosen = parser.parse_args()
    if chosen.sheet:
        chosen.sheet.mkdir(parents=True, exist_ok=True)
    found, lines = [], [HEAD]
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        kinds = [chosen.kind] if chosen.kind else ["before", "after"]
        for row in rows(kinds, Path(folder), chosen.sheet):
            found.append(row)
            lines.append(line(row))
            print(lines[-1], flush=True)
    lines += ["", summary(found)]
    print(lines[-1])
    if chosen.out:
        chosen.out.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
