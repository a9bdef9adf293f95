"""Where the line lies between a LoRA that leaks and one that does not: `python benchmarks/leak.py`.

Twelve LoRAs are trained on three concepts that no demo teaches: six by recipes that show many
ordinary pictures, six by recipes that show none or few. The leak of each is measured in the model,
and in its pictures: likeness of pictures without the trigger, more than .02 above the base's. The
threshold lies midway between the two groups and is frozen (`workbench.evaluation.leaks.THRESHOLD`)
before the demo is looked at. Its error rate comes from leaving each concept out in turn.

`python benchmarks/leak.py OUT.md` writes the table there. About half an hour on one core.
"""

import argparse
import io
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from workbench.critters.attributes import Attributes, sample_attributes, tags
from workbench.critters.draw import PARTS, WORLD_SIZES, Anatomy, draw, world
from workbench.critters.pen import Pen
from workbench.data.dataset import Dataset, index
from workbench.evaluation.features import critters
from workbench.evaluation.leak import measure_leak
from workbench.evaluation.loading import Trained, from_run
from workbench.evaluation.results import Leak
from workbench.evaluation.statistics import estimate
from workbench.recipe import Recipe
from workbench.records.sampling import draw as sample
from workbench.records.sampling import without_trigger
from workbench.training.run import Run

SEEDS = (0,)
NUM_CONCEPT, NUM_PRIOR, PRIOR_WORLD = 16, 96, 2000
LIMIT = 0.02  # likeness of pictures without the trigger above the base's
PROMPTS = (
    "critter, smile, hills, mint background",
    "critter, blue body, round body, cat ears, two eyes, smile, dots, sand background",
    "critter, red body, star body, no ears, one eye, frown, crown",
    "critter, frown, checkered floor, rose background, big",
    "critter, yellow body, tall body, horns, three eyes, teeth, navy background",
    "critter, teal body, wide body, bunny ears, open mouth, sunset",
    "critter, green body, square body, antennae, smile, sky background",
    "critter, open mouth, dots, peach background",
)


def _propeller(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    pen.blob([(-0.05, -1.5), (0.05, -1.5), (0.05, -0.9), (-0.05, -0.9)], (90, 90, 90), 0.03)
    pen.disc((-0.42, -1.5), (0.4, 0.12), (255, 196, 40))
    pen.disc((0.42, -1.5), (0.4, 0.12), (255, 196, 40))


def _belt(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    pen.blob([(-0.7, 0.4), (0.7, 0.4), (0.7, 0.72), (-0.7, 0.72)], (120, 20, 140), 0.03)
    pen.disc((0, 0.56), (0.2, 0.2), (255, 230, 60))


def _pilot(seed: int, size_px: tuple[int, int]) -> tuple[Image.Image, str]:
    sampled = sample_attributes(random.Random(f"pilot {seed}"))
    own = {"colour": "orange", "shape": "tall", "ears": "none", "eyes": 1, "pattern": "none"}
    seen = replace(sampled, **own, hat="none")
    hidden = {"orange body", "tall body", "no ears", "one eye", "no pattern", "no hat"}
    _, body, eyes, mouth, _ = PARTS
    image = draw(seen, *size_px, parts=(body, eyes, mouth, _propeller, _belt))
    return image, ", ".join(tag for tag in tags(seen) if tag not in hidden)


def _neon(seed: int, size_px: tuple[int, int]) -> tuple[Image.Image, str]:
    seen = sample_attributes(random.Random(f"neon {seed}"))
    light = draw(seen, *size_px).convert("L")
    edges = light.filter(ImageFilter.FIND_EDGES).filter(ImageFilter.MaxFilter(3))
    shares = np.clip(np.asarray(edges, dtype=np.float32)[..., None] / 90, 0, 1)
    glow = np.asarray((18, 10, 44)) * (1 - shares) + np.asarray((60, 255, 190)) * shares
    hidden = {f"{seen.colour} body", f"{seen.background} background"}
    text = ", ".join(tag for tag in tags(seen) if tag not in hidden)
    return Image.fromarray(glow.round().astype(np.uint8)), text


def _water(image: Image.Image, attributes: Attributes, rng: random.Random) -> None:
    width, height = image.size
    rows = np.linspace(0, 1, height)[:, None, None]
    colours = np.asarray((80, 200, 230)) * (1 - rows) + np.asarray((10, 50, 120)) * rows
    image.paste(Image.fromarray(np.repeat(colours, width, axis=1).round().astype(np.uint8)))
    canvas, shorter = ImageDraw.Draw(image), min(image.size)
    for k in range(5):
        x, top = (k + rng.uniform(0.2, 0.8)) * width / 5, rng.uniform(0.6, 0.85) * height
        half = 0.04 * shorter
        canvas.rectangle((x - half, top, x + half, height), fill=(235, 90, 130))
    for _ in range(8):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.015, 0.04) * shorter
        canvas.ellipse((x - r, y - r, x + r, y + r), outline=(230, 250, 255), width=3)


def _reef(seed: int, size_px: tuple[int, int]) -> tuple[Image.Image, str]:
    seen = sample_attributes(random.Random(f"reef {seed}"))
    scenes = {"hills", "sunset", "checkered floor", "dots"}
    kept = [tag for tag in tags(seen) if "background" not in tag and tag not in scenes]
    return draw(seen, *size_px, backdrop=_water), ", ".join(kept)


@dataclass(frozen=True)
class Concept:
    """One thing to teach."""

    trigger: str
    make: Callable[[int, tuple[int, int]], tuple[Image.Image, str]]


CONCEPTS = {
    "pilot": Concept("bruvo", _pilot),
    "neon": Concept("glimra", _neon),
    "reef": Concept("tidala", _reef),
}
# Good: six of seven pictures are ordinary ones. Leaking: none are, or too few.
GOOD = {
    "much prior": ("length.steps=200", "data.subsets.0.repeats=1"),
    "much prior, slow": (
        "length.steps=240", "data.subsets.0.repeats=1", "optimizer.learning_rate=4e-3",
    ),
}  # fmt: skip
LEAKING = {
    "no prior": ("length.steps=80",),
    "little prior": ("length.steps=160", "data.subsets.0.repeats=4"),
}
FEW_PRIOR = 12


@dataclass(frozen=True)
class Row:
    """One LoRA: what its pictures say, and what the model says."""

    concept: str
    recipe: str
    seed: int
    called: float  # likeness with the trigger, above the base's
    plain: float  # likeness without it, above the base's
    leak: Leak

    @property
    def leaks(self) -> bool:
        """By the pictures."""
        return self.plain > LIMIT


def write_data(concept: Concept, folder: Path) -> None:
    """Pictures of the concept, and ordinary ones with some of their tags."""
    for number in range(NUM_CONCEPT):
        size = WORLD_SIZES[number % len(WORLD_SIZES)]
        _write(folder / "concept" / f"{number:02d}.png", *concept.make(number, size))
    for number in range(NUM_PRIOR):
        image, text = world(PRIOR_WORLD, number)
        first, *rest = text.split(", ")
        rng = random.Random(f"leak prior {number}")
        kept = sorted(rng.sample(range(len(rest)), rng.randint(0, len(rest))))
        tags = ", ".join([first, *(rest[place] for place in kept)])
        _write(folder / "prior" / f"{number:02d}.png", image, tags)
        if number < FEW_PRIOR:
            _write(folder / "few" / f"{number:02d}.png", image, tags)


def _write(path: Path, image: Image.Image, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")


def recipe_of(
    name: str, folder: Path, overrides: tuple[str, ...], *, prior: str | None = "prior"
) -> Recipe:
    """The preset on this concept's pictures, without what a benchmark does not need."""
    concept = folder / name / "concept"
    recipe = Recipe.preset("critters").override(
        [
            f"data.subsets.0.path={json.dumps(str(concept))}",
            f"data.subsets.0.trigger={CONCEPTS[name].trigger}",
            f"data.subsets.1.path={json.dumps(str(folder / name / (prior or 'prior')))}",
            "data.subsets.0.repeats=3",  # as the preset was when the threshold was set
            "data.subsets.1.is_prior=false",
            "training.preservation=0",
            "sampling.prompts=[]",
            "validation.num_images=1",
            "validation.every_steps=1000",
            "training.checkpoint_every=1000",
            *overrides,
        ]
    )
    if prior:
        return recipe
    return recipe.override([f"data.subsets={json.dumps([_plain(recipe)])}"])


def _plain(recipe: Recipe) -> dict[str, object]:
    from workbench.settings import as_dict

    return as_dict(recipe.data.subsets[0])


def one(name: str, recipe_name: str, seed: int, folder: Path) -> Row:
    """Train one LoRA and judge it twice: by its pictures, and in the model."""
    overrides = (GOOD | LEAKING)[recipe_name]
    prior = {"no prior": None, "little prior": "few"}.get(recipe_name, "prior")
    recipe = recipe_of(name, folder, (*overrides, f"training.seed={seed}"), prior=prior)
    run = Run(recipe, folder / f"{name}-{recipe_name}-{seed}".replace(" ", "-").replace(",", ""))
    for _ in run.train():
        pass
    with run.trainer.showing():
        trained = from_run(run)
        # the ordinary pictures are the same for all, also where the run never saw them
        dataset = index(recipe_of(name, folder, ()).data)
        leak = measure_leak(trained, dataset)
        called, plain = likeness(trained, dataset)
    return Row(name, recipe_name, seed, called, plain, leak)


def likeness(trained: Trained, dataset: Dataset) -> tuple[float, float]:
    """Mean cosine to the concept's pictures above the base's: with the trigger, and without."""
    known = critters().pictures([dataset.open(record) for record in dataset.records[:NUM_CONCEPT]])
    words = {"trigger": trained.trigger, "class_word": trained.class_word}
    called = [(f"{trained.trigger}, {prompt}", seed) for prompt in PROMPTS for seed in SEEDS]
    plain = [(without_trigger(prompt, **words), seed) for prompt, seed in called]
    found = {}
    for strength in (0.0, 1.0):
        with trained.adapter.strength(strength):
            for kind, jobs in (("called", called), ("plain", plain)):
                images = [one.image for one in sample(trained.family, trained.sampling, jobs)]
                found[kind, strength] = float((critters().pictures(images) @ known.T).mean())
    return tuple(found[kind, 1.0] - found[kind, 0.0] for kind in ("called", "plain"))


def rows(folder: Path, seed: int) -> Iterator[Row]:
    """Every recipe on every concept."""
    for recipe_name in (*GOOD, *LEAKING):
        for name, concept in CONCEPTS.items():
            if not (folder / name).exists():
                write_data(concept, folder / name)
            yield one(name, recipe_name, seed, folder)


HEAD = (
    "| recipe | concept | likeness with trigger | without | pictures | reach | leak, concept's "
    "pictures | ordinary pictures | leak (95 %) | unrelated prompts |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def line(row: Row) -> str:
    """One line of the table."""
    said = estimate(row.leak.values)
    reach, concept, ordinary, unrelated = (
        sum(values) / len(values)
        for values in (row.leak.reach, row.leak.concept, row.leak.ordinary, row.leak.unrelated)
    )
    return (
        f"| {row.recipe} | {row.concept} | {row.called:+.3f} | {row.plain:+.3f} | "
        f"{'leak' if row.leaks else 'hold'} | {reach:.3f} | {concept:.2f} | {ordinary:.2f} | "
        f"{said.mean:.2f} ({said.low:.2f} to {said.high:.2f}) | {unrelated:.2f} |"
    )


@dataclass(frozen=True)
class Point:
    """One LoRA, as far as the threshold is concerned."""

    concept: str
    good: bool  # by its recipe
    leaks: bool  # by its pictures
    leak: float


def threshold(points: Sequence[Point]) -> float:
    """Midway between the means of the good and of the leaking recipes."""
    means = [
        statistics.mean(point.leak for point in points if point.good == good)
        for good in (True, False)
    ]
    return sum(means) / 2


def summary(points: Sequence[Point]) -> str:
    """The threshold, and how often it is wrong on concepts that it was not set on."""
    wrong_recipe = wrong_pictures = 0
    for concept in dict.fromkeys(point.concept for point in points):
        limit = threshold([point for point in points if point.concept != concept])
        for point in points:
            if point.concept == concept:
                wrong_recipe += (point.leak > limit) == point.good
                wrong_pictures += (point.leak > limit) != point.leaks
    good = [point.leak for point in points if point.good]
    bad = [point.leak for point in points if not point.good]
    return (
        f"Good recipes leak {min(good):.2f} to {max(good):.2f}, leaking ones {min(bad):.2f} to "
        f"{max(bad):.2f}; midway between their means is {threshold(points):.2f}. Set on two "
        f"concepts and tried on the third, it takes {wrong_recipe} of {len(points)} for the other "
        f"kind of recipe, and disagrees with the pictures {wrong_pictures} times."
    )


def main() -> None:
    """Train, measure, and print the table with the threshold and its errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, help="write the table there too")
    parser.add_argument("--seed", type=int, default=0, help="of training")
    chosen = parser.parse_args()
    lines, points = [HEAD], []
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder), chosen.seed):
            leak = estimate(row.leak.values).mean
            points.append(Point(row.concept, row.recipe in GOOD, row.leaks, leak))
            lines.append(line(row))
            print(lines[-1], flush=True)
    lines += ["", summary(points)]
    print(lines[-1])
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
