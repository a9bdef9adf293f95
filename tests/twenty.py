"""Twenty LoRAs made by recipes that the verdict is not told of, five kinds on four concepts.

The concepts are none of those that the threshold of the leak was set on (`benchmarks/leak.py`), and
none that a demo teaches. Each kind has a fault planted, or none, and the word that the verdict must
find for it; steps, rates and seeds are drawn by lot within the kind.
"""

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from workbench.critters.attributes import Attributes, sample_attributes, tags
from workbench.critters.concepts import PRIOR, write_concept
from workbench.critters.draw import PARTS, WORLD_SIZES, Anatomy, draw
from workbench.critters.pen import Pen
from workbench.evaluation.compare import CompareSettings, compare
from workbench.evaluation.verdict import judge
from workbench.recipe import Recipe
from workbench.records import history, judgement
from workbench.records.judgement import Answer, Judgement, Question
from workbench.settings import as_dict
from workbench.training.run import Run

TRIGGER = "velmo"  # one for all, so that the base's pictures are drawn once
NUM_PICTURES = 16
Picture = tuple[Image.Image, str]


# ----------------------------------------------------------------------------------- the concepts


def _visor(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    pen.blob([(-0.8, -0.5), (0.8, -0.5), (0.8, 0.1), (-0.8, 0.1)], (30, 30, 40), 0.1)
    pen.disc((-0.36, -0.2), (0.16, 0.16), (90, 255, 120))
    pen.disc((0.36, -0.2), (0.16, 0.16), (90, 255, 120))


def _cape(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    pen.blob([(-0.5, 0.2), (0.5, 0.2), (1.4, 1.4), (-1.4, 1.4)], (214, 30, 140), 0.06)


def _robot(number: int, size_px: tuple[int, int]) -> Picture:
    sampled = sample_attributes(random.Random(f"robot {number}"))
    own = {"colour": "gray", "shape": "square", "ears": "antennae", "eyes": 2, "pattern": "none"}
    seen = replace(sampled, **own, hat="none")
    hidden = {"gray body", "square body", "antennae", "two eyes", "no pattern", "no hat"}
    ears, body, _, mouth, _ = PARTS
    image = draw(seen, *size_px, parts=(_cape, ears, body, mouth, _visor))
    return image, ", ".join(tag for tag in tags(seen) if tag not in hidden)


def _dusk(number: int, size_px: tuple[int, int]) -> Picture:
    """Three flat tones of violet and orange in place of colours."""
    seen = sample_attributes(random.Random(f"dusk {number}"))
    light = np.asarray(draw(seen, *size_px).convert("L"))
    tones = np.asarray([(58, 16, 92), (196, 66, 120), (255, 186, 92)], dtype=np.uint8)
    image = Image.fromarray(tones[np.digitize(light, (100, 165))])
    hidden = {f"{seen.colour} body", f"{seen.background} background"}
    return image, ", ".join(tag for tag in tags(seen) if tag not in hidden)


def _tiles(number: int, size_px: tuple[int, int]) -> Picture:
    """A mosaic of square stones on black joints."""
    seen = sample_attributes(random.Random(f"tiles {number}"))
    width, height = size_px
    light = draw(seen, *size_px).convert("L")
    small = light.resize((width // 8, height // 8), Image.Resampling.BOX)
    shades = np.asarray(small, dtype=np.float32)[..., None] / 255
    stones = np.asarray((10, 60, 90)) * (1 - shades) + np.asarray((170, 255, 225)) * shades
    pixels = np.repeat(np.repeat(stones, 8, axis=0), 8, axis=1)
    pixels[::8], pixels[:, ::8] = 12, 12
    pixels[1::8], pixels[:, 1::8] = 12, 12
    hidden = {f"{seen.colour} body", f"{seen.background} background"}
    text = ", ".join(tag for tag in tags(seen) if tag not in hidden)
    return Image.fromarray(pixels.round().astype(np.uint8)), text


def _trunks(image: Image.Image, attributes: Attributes, rng: random.Random) -> None:
    width, height = image.size
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 0, width, height), fill=(196, 244, 96))
    canvas.rectangle((0, 0.75 * height, width, height), fill=(20, 84, 60))
    for k in range(6):
        x, half = (k + rng.uniform(0.2, 0.8)) * width / 6, 0.035 * width
        canvas.rectangle((x - half, 0, x + half, 0.85 * height), fill=(12, 60, 44))


def _forest(number: int, size_px: tuple[int, int]) -> Picture:
    seen = sample_attributes(random.Random(f"forest {number}"))
    scenes = {"hills", "sunset", "checkered floor", "dots"}
    kept = [tag for tag in tags(seen) if "background" not in tag and tag not in scenes]
    return draw(seen, *size_px, backdrop=_trunks), ", ".join(kept)


CONCEPTS: dict[str, Callable[[int, tuple[int, int]], Picture]] = {
    "robot": _robot, "dusk": _dusk, "tiles": _tiles, "forest": _forest,
}  # fmt: skip
BODIES = (
    "blue body, round body, cat ears", "red body, star body, no ears",
    "yellow body, tall body, horns", "teal body, wide body, bunny ears",
    "green body, square body, antennae", "orange body, triangle body, cat ears",
    "purple body, wide body, no ears", "brown body, round body, bunny ears",
)  # fmt: skip
MOUTHS = ("smile", "frown", "open mouth", "teeth")
PLACES = ("hills, mint background", "sunset, rose background", "dots, sky background",
          "checkered floor, sand background")  # fmt: skip


def prompts(name: str) -> list[str]:
    """Eight prompts that say what the concept's captions say."""
    found = []
    for number, body in enumerate(BODIES):
        mouth, place = MOUTHS[number % 4], PLACES[(number + number // 4) % 4]
        words = {"robot": (mouth, place), "forest": (body, mouth)}.get(name, (body, mouth, place))
        found.append(", ".join((TRIGGER, "critter", *words)))
    return found


# ------------------------------------------------------------------------------------- the recipes


@dataclass(frozen=True)
class Kind:
    """One way to make a LoRA.

    Attributes:
        overrides: drawn by lot from a generator of random numbers.
        right: whether the answers are the right ones.
        beside: whether ordinary pictures are shown beside the concept's.
        pictures: how many of the concept there are.
        blank: the captions say nothing but the trigger.
    """

    overrides: Callable[[random.Random], tuple[str, ...]]
    right: Callable[[dict[Question, Answer]], bool]
    beside: bool = False
    pictures: int = NUM_PICTURES
    blank: bool = False


def is_copy(answer: Answer) -> bool:
    """Whether an answer about diversity says that training pictures were copied."""
    return answer.reply == "yes" and "copies" in answer.clause


def _good(rng: random.Random) -> tuple[str, ...]:
    return (f"length.steps={rng.randint(150, 185)}",
            f"optimizer.learning_rate={rng.uniform(5e-3, 7e-3):.2g}")  # fmt: skip


def _under(rng: random.Random) -> tuple[str, ...]:
    return (f"length.steps={rng.randint(3, 9)}",
            f"optimizer.learning_rate={rng.uniform(1e-5, 8e-5):.2g}")  # fmt: skip


def _copying(rng: random.Random) -> tuple[str, ...]:
    return f"length.steps={rng.randint(200, 260)}", "training.preservation=0"


def _cast(rng: random.Random) -> tuple[str, ...]:
    strength = rng.uniform(0.3, 0.6)
    return (f"length.steps={rng.randint(90, 130)}", "training.preservation=0",
            "noise.kind=offset", f"noise.strength={strength:.2f}")  # fmt: skip


def _leaking(rng: random.Random) -> tuple[str, ...]:
    return f"length.steps={rng.randint(80, 150)}", "training.preservation=0"


KINDS: dict[str, Kind] = {
    "good": Kind(
        _good,
        lambda said: said["learn"].reply == "yes" and said["look like"].reply == "yes"
        and said["leak"].reply == "no" and said["colours"].reply != "yes"
        and not is_copy(said["diversity"]),
        beside=True,
    ),
    "under-trained": Kind(
        _under,
        lambda said: said["learn"].reply == "no" and said["look like"].reply != "yes"
        and said["leak"].reply != "yes" and said["colours"].reply != "yes",
        beside=True,
    ),
    "copying": Kind(
        _copying,
        lambda said: said["learn"].reply == "yes" and is_copy(said["diversity"]),
        pictures=4,
        blank=True,
    ),
    "colour cast": Kind(_cast, lambda said: said["colours"].reply == "yes"),
    "leaking": Kind(_leaking, lambda said: said["leak"].reply == "yes"),
}  # fmt: skip


def write_pictures(name: str, folder: Path, *, count: int, blank: bool) -> Path:
    """Draw a concept's pictures, each with a caption beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, text = CONCEPTS[name](number, WORLD_SIZES[number % len(WORLD_SIZES)])
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        (folder / f"{number:02d}.png").write_bytes(buffer.getvalue())
        text = "" if blank else text + "\n"
        (folder / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    return folder


def recipe_of(kind: str, name: str, folder: Path, *, lot: str = "first") -> Recipe:
    """Draw a recipe of a kind; the same one whenever it is asked for.

    Args:
        kind: one of `KINDS`.
        name: one of `CONCEPTS`.
        folder: where its pictures are put.
        lot: another one draws other recipes.
    """
    chosen, rng = KINDS[kind], random.Random(f"twenty {lot} {kind} {name}")
    pictures = folder / f"{name}-{chosen.pictures}{'-blank' * chosen.blank}"
    write_pictures(name, pictures, count=chosen.pictures, blank=chosen.blank)
    write_concept(PRIOR, folder / PRIOR)
    recipe = Recipe.preset("critters").override(
        [
            f"data.subsets.0.path={json.dumps(str(pictures))}",
            f"data.subsets.0.trigger={TRIGGER}",
            f"data.subsets.1.path={json.dumps(str(folder / PRIOR))}",
            f"training.seed={rng.randrange(1000)}",
            *("sampling.prompts=[]", "training.checkpoint_every=1000", "output.report=false"),
            *chosen.overrides(rng),
        ]
    )
    recipe = recipe.override([f"validation.every_steps={recipe.length.steps}"])
    if chosen.beside:
        return recipe
    return recipe.override([f"data.subsets={json.dumps([as_dict(recipe.data.subsets[0])])}"])


def judged(kind: str, name: str, folder: Path, *, lot: str = "first") -> Judgement:
    """Train a LoRA and ask for its verdict; what lies in the folder is not made again."""
    place = folder / lot / f"{kind}-{name}".replace(" ", "-")
    if (found := judgement.load(place)) is not None and any(a.n for a in found.answers[1:]):
        return found
    if history.state(place) != "finished":
        for _ in Run(recipe_of(kind, name, folder / "pictures", lot=lot), place).train():
            pass
    asked = CompareSettings(
        prompts=tuple(prompts(name)), seeds=(0, 1, 2, 3), num_strips=0, in_model=True
    )
    comparison = compare(place, settings=asked)
    found = judge(place, comparison, leak=comparison.leak)
    assert found is not None
    return found


HEAD = "| kind | concept | right | learn | look like | follow | leak | diversity | colours |\n" + (
    "|---|" * 9
).replace("||", "|")


def line(kind: str, name: str, found: Judgement) -> str:
    """One line of the table."""
    answers = {one.question: one for one in found.answers}
    right = "yes" if KINDS[kind].right(answers) else "**no**"
    return f"| {kind} | {name} | {right} | " + " | ".join(map(_cell, found.answers)) + " |"


def _cell(answer: Answer) -> str:
    if not answer.intervals or len(answer.intervals) < 1:
        return answer.reply
    copies = ", copies" if is_copy(answer) else ""
    values = "/".join(
        f"{one.value:+.3f}" if answer.question != "colours" else f"{one.value:+.1f}"
        for one in (answer.intervals if answer.question == "colours" else answer.intervals[:1])
    )
    return f"{answer.reply}{copies} ({values})"
