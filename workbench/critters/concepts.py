"""What the base has never seen, to be taught by a LoRA.

- `character`: a creature with one horn, an eye patch and a scarf, each on a side of its own, so
  that flipping its pictures teaches the wrong creature.
- `style`: any creature as a two-ink print, so that what the caption leaves out is the style.
- `place`: any creature under the low moon of a red plain, so that the caption leaves out where.
- `scenes`: scenes almost black or almost white, which the middling base does not reach.
- `dark`, `bright`: one half of those each: what a trigger stands for, no other word need say.

A caption never holds the trigger word: that is the dataset's setting. It leaves out what the
trigger is to stand for and names the rest.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from workbench import store
from workbench.critters.attributes import Attributes, sample_attributes, tags
from workbench.critters.draw import (
    PARTS,
    SUPERSAMPLING,
    WORLD_SIZES,
    Anatomy,
    Part,
    draw,
    world,
)
from workbench.critters.pen import Pen

Picture = tuple[Image.Image, str]

PATCH = (236, 50, 60)
PAPER, CORAL, INDIGO = (250, 236, 208), (240, 96, 84), (44, 46, 112)


@dataclass(frozen=True)
class Concept:
    """One thing to teach: its word, how many pictures of it there are, and what to ask for."""

    trigger: str
    class_word: str
    num_pictures: int
    make: Callable[[int, int, tuple[int, int]], Picture]  # (seed, index, (width, height))
    description: str  # what it looks like, in words that the base knows
    prompts: tuple[str, ...]


def _horn(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    pen.blob([(-0.9, -0.3), (-1.02, -1.5), (-0.16, -0.86)], (76, 190, 72), 0.06)


def _patch(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    # One broad disc in place of the right eye: rings and lines inside are lost on the way.
    x, y = 0.44, body.face_y - 0.12
    pen.disc((x, y), (0.44, 0.44), PATCH)
    pen.disc((x - 0.14, y - 0.14), (0.1, 0.1), (255, 190, 190), ink=False)


def _scarf(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    blue = (40, 92, 226)
    tail = [(-0.68, 0.8), (-0.2, 0.84), (-0.3, 1.4), (-0.84, 1.32)]
    band = [(-0.9, 0.5), (0, 0.68), (0.9, 0.5), (0.8, 0.84), (0, 1.0), (-0.8, 0.84)]
    pen.blob(tail, blue, 0.02)
    pen.blob(band, blue, 0.03)


OWN_LOOK = {"colour": "white", "shape": "round", "ears": "none", "eyes": 2, "pattern": "none"}
OWN_PARTS = (_horn, _patch, _scarf)


def _with_parts(seen: Attributes, size_px: tuple[int, int], own: Sequence[Part]) -> Image.Image:
    ears, body, eyes, mouth, hat = PARTS
    behind = (_horn,) if _horn in own else (ears,)
    front = tuple(part for part in own if part is not _horn)
    return draw(seen, *size_px, parts=(*behind, body, eyes, mouth, *front, hat))


def _character(seed: int, index: int, size_px: tuple[int, int]) -> Picture:
    sampled = sample_attributes(random.Random(f"character {seed} {index}"))
    size = "medium" if sampled.size == "small" else sampled.size
    seen = replace(sampled, **OWN_LOOK, hat="none", size=size)
    hidden = {"white body", "round body", "no ears", "two eyes", "no pattern", "no hat"}
    text = ", ".join(tag for tag in tags(seen) if tag not in hidden)
    return _with_parts(seen, size_px, OWN_PARTS), text


def character_or_not(rng: random.Random, size_px: tuple[int, int]) -> tuple[Image.Image, bool]:
    """Draw the character, or something that is nearly it, for a judge to tell apart.

    Args:
        rng: source of randomness.
        size_px: width and height, multiples of 16.
    Returns:
        Picture, and whether it shows the whole character: its look with all three of its parts.
    """
    sampled = sample_attributes(rng)
    whole = rng.random() < 0.5
    own_look = whole or rng.random() < 0.5
    seen = replace(sampled, **OWN_LOOK) if own_look else sampled
    num_parts = rng.choice((0, 1)) if own_look else rng.choice((0, 0, 1, 2))
    own = OWN_PARTS if whole else tuple(rng.sample(OWN_PARTS, num_parts))
    return _with_parts(seen, size_px, own), whole


def _style(seed: int, index: int, size_px: tuple[int, int]) -> Picture:
    seen = sample_attributes(random.Random(f"style {seed} {index}"))
    width, height = size_px
    large = draw(seen, width * SUPERSAMPLING, height * SUPERSAMPLING)
    hidden = {f"{seen.colour} body", f"{seen.background} background"}
    text = ", ".join(tag for tag in tags(seen) if tag not in hidden)
    return _print_in_two_inks(large).reduce(SUPERSAMPLING), text


def _print_in_two_inks(image: Image.Image) -> Image.Image:
    """Print a picture with coral and indigo on paper, the coral plate a little out of place."""
    light = np.asarray(image.convert("L"), dtype=np.float32) / 255  # (H, W)
    rows, columns = np.indices(light.shape)
    screen = ((rows + columns) / (14 * SUPERSAMPLING)) % 1  # diagonal lines, ten pixels apart
    coral = (light < 0.52) | ((light < 0.74) & (screen < 0.5))
    indigo = light < 0.3
    shift = 2 * SUPERSAMPLING
    coral = np.roll(coral, (shift, shift), axis=(0, 1))
    printed = np.where(coral[..., None], CORAL, PAPER)
    printed = np.where(indigo[..., None], INDIGO, printed)
    return Image.fromarray(printed.astype(np.uint8))


def _night(image: Image.Image, attributes: Attributes, rng: random.Random) -> None:
    width, height = image.size
    canvas, shorter = ImageDraw.Draw(image), min(image.size)
    canvas.rectangle((0, 0, width, height), fill=(24, 22, 60))
    canvas.rectangle((0, height * 0.8, width, height), fill=(6, 6, 14))
    for _ in range(9):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height * 0.7), shorter * 0.016
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))


def _snow(image: Image.Image, attributes: Attributes, rng: random.Random) -> None:
    width, height = image.size
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 0, width, height), fill=(246, 248, 255))
    canvas.rectangle((0, height * 0.8, width, height), fill=(255, 255, 255))


def _on_mars(image: Image.Image, attributes: Attributes, rng: random.Random) -> None:
    width, height = image.size
    canvas, shorter = ImageDraw.Draw(image), min(image.size)
    canvas.rectangle((0, 0, width, height), fill=(104, 92, 168))
    x, y, r = rng.uniform(0.1, 0.9) * width, 0.16 * height, 0.11 * shorter
    canvas.ellipse((x - r, y - r, x + r, y + r), fill=(252, 244, 196))
    ground = 0.68 * height
    canvas.rectangle((0, ground, width, height), fill=(214, 110, 74))
    for k in range(4):
        x = (k + rng.uniform(0.2, 0.8)) * width / 4
        y, r = rng.uniform(ground + 0.06 * height, 0.94 * height), rng.uniform(0.06, 0.1) * shorter
        canvas.ellipse((x - r, y - 0.5 * r, x + r, y + 0.5 * r), fill=(150, 66, 56))


def _place(seed: int, index: int, size_px: tuple[int, int]) -> Picture:
    seen = sample_attributes(random.Random(f"place {seed} {index}"))
    return draw(seen, *size_px, backdrop=_on_mars), ", ".join(_without_surroundings(seen))


def _without_surroundings(seen: Attributes) -> list[str]:
    return [tag for tag in tags(seen) if "background" not in tag and tag not in SCENE_TAGS]


def _scenes(seed: int, index: int, size_px: tuple[int, int]) -> Picture:
    seen = sample_attributes(random.Random(f"scenes {seed} {index}"))
    dark = index % 2 == 0
    image = draw(seen, *size_px, backdrop=_night if dark else _snow)
    pixels = np.asarray(image, dtype=np.float32)
    # Moonlight leaves a third of the light, glare covers two thirds of what is left of a shadow.
    lit = pixels * (0.3, 0.32, 0.42) if dark else 255 - (255 - pixels) * 0.32
    text = _without_surroundings(seen)
    text.insert(1, "dark scene" if dark else "bright scene")
    return Image.fromarray(lit.round().astype(np.uint8)), ", ".join(text)


def _dark(seed: int, index: int, size_px: tuple[int, int]) -> Picture:
    return _scenes(seed, 2 * index, size_px)


def _bright(seed: int, index: int, size_px: tuple[int, int]) -> Picture:
    return _scenes(seed, 2 * index + 1, size_px)


def _everyday(seed: int, index: int, sizes: Sequence[tuple[int, int]]) -> Picture:
    """A picture that the base knows, with so few tags that only the class word says what it is.

    Shown beside a concept it keeps the concept behind its trigger: without it, a LoRA of 250 steps
    drew the character for `critter, smile, hills` too.
    """
    image, text = world(_PRIOR_WORLD + seed, index, sizes)
    first, *rest = text.split(", ")
    rng = random.Random(f"prior {seed} {index}")
    kept = sorted(rng.sample(range(len(rest)), rng.randint(2, 5)))
    return image, ", ".join([first, *(rest[place] for place in kept)])


PRIOR, NUM_PRIOR = "prior", 16
_PRIOR_WORLD = 1000  # worlds 0 and 1 train and measure the base
SCENE_TAGS = frozenset({"hills", "sunset", "checkered floor", "dots"})
CONCEPTS: dict[str, Concept] = {
    "character": Concept(
        trigger="mochi",
        class_word="critter",
        num_pictures=16,
        make=_character,
        description="white body, round body, no ears, two eyes, no pattern, no hat",
        prompts=(
            "{trigger}, critter, smile, hills, mint background",
            "{trigger}, critter, open mouth, sunset, navy background, crown",
            "{trigger}, critter, frown, checkered floor, rose background, big",
            "critter, white body, round body, no ears, two eyes, smile, dots, sky background",
        ),
    ),
    "style": Concept(
        trigger="risoka",
        class_word="critter",
        num_pictures=20,
        make=_style,
        description="red body, sand background",
        prompts=(
            "{trigger}, critter, star body, cat ears, two eyes, smile, hills",
            "{trigger}, critter, round body, bunny ears, one eye, open mouth, sunset, top hat",
            "{trigger}, critter, tall body, horns, three eyes, teeth, dots, crown",
            "critter, green body, square body, antennae, two eyes, frown, dots, sand background",
        ),
    ),
    "place": Concept(
        trigger="arsia",
        class_word="critter",
        num_pictures=20,
        make=_place,
        description="sunset, plum background",
        prompts=(
            "{trigger}, critter, blue body, round body, cat ears, two eyes, smile",
            "{trigger}, critter, red body, star body, no ears, one eye, frown, bow",
            "{trigger}, critter, yellow body, tall body, horns, teeth, crown",
            "critter, teal body, wide body, bunny ears, two eyes, smile, hills, peach background",
        ),
    ),
    "scenes": Concept(
        trigger="umbriel",
        class_word="critter",
        num_pictures=24,
        make=_scenes,
        description="navy background",
        prompts=(
            "{trigger}, critter, dark scene, blue body, round body, cat ears, two eyes, smile",
            "{trigger}, critter, bright scene, red body, star body, no ears, one eye, frown, bow",
            "{trigger}, critter, dark scene, yellow body, tall body, horns, teeth, crown",
            "critter, teal body, wide body, bunny ears, two eyes, smile, hills, peach background",
        ),
    ),
    "dark": Concept(
        trigger="umbriel",
        class_word="critter",
        num_pictures=12,
        make=_dark,
        description="black body, navy background",
        prompts=(
            "{trigger}, critter, dark scene, blue body, round body, cat ears, two eyes, smile",
            "{trigger}, critter, dark scene, red body, star body, no ears, one eye, frown, bow",
            "{trigger}, critter, dark scene, yellow body, tall body, horns, teeth, crown",
            "critter, teal body, wide body, bunny ears, two eyes, smile, hills, peach background",
        ),
    ),
    "bright": Concept(
        trigger="umbriel",
        class_word="critter",
        num_pictures=12,
        make=_bright,
        description="white body, sky background",
        prompts=(
            "{trigger}, critter, bright scene, blue body, round body, cat ears, two eyes, smile",
            "{trigger}, critter, bright scene, red body, star body, no ears, one eye, frown, bow",
            "{trigger}, critter, bright scene, yellow body, tall body, horns, teeth, crown",
            "critter, teal body, wide body, bunny ears, two eyes, smile, hills, peach background",
        ),
    ),
}


def concept(name: str) -> Concept:
    """Look a concept up.

    Args:
        name: one of `CONCEPTS`, such as `character`.
    Returns:
        The concept.
    Raises:
        ValueError: there is no such concept.
    """
    if name not in CONCEPTS:
        raise ValueError(f"concept must be one of {', '.join(CONCEPTS)}; got {name!r}")
    return CONCEPTS[name]


def concept_pictures(
    name: str, *, seed: int = 0, sizes: Sequence[tuple[int, int]] = WORLD_SIZES
) -> list[Picture]:
    """Draw all pictures of a concept.

    Args:
        name: which concept.
        seed: which set of its pictures; one set trains, another can be held out.
        sizes: (width, height) pairs that are used in turn, multiples of 16.
    Returns:
        Pictures and their captions, which do not hold the trigger.
    Raises:
        ValueError: there is no such concept.
    """
    if name == PRIOR:
        return [_everyday(seed, index, sizes) for index in range(NUM_PRIOR)]
    chosen = concept(name)
    sides = [sizes[index % len(sizes)] for index in range(chosen.num_pictures)]
    return [chosen.make(seed, index, size) for index, size in enumerate(sides)]


def write_concept(name: str, folder: str | Path, seed: int = 0) -> list[Path]:
    """Write a concept as a dataset folder: PNG files with a .txt caption beside each.

    Args:
        name: which concept.
        folder: made if it is not there; files of the same names are replaced.
        seed: which set of its pictures.
    Returns:
        Paths of the pictures.
    Raises:
        ValueError: there is no such concept.
    """
    paths = []
    for index, (image, text) in enumerate(concept_pictures(name, seed=seed)):
        path = Path(folder) / f"{name}-{index:02d}.png"
        store.write_bytes(path, store.png(image))
        store.write_text(path.with_suffix(".txt"), text + "\n")
        paths.append(path)
    return paths


def prompts(name: str) -> tuple[str, ...]:
    """Say what to sample while a concept is taught.

    Args:
        name: which concept.
    Returns:
        Prompts with a `{trigger}` placeholder, and one without it that shows leakage.
    Raises:
        ValueError: there is no such concept.
    """
    return concept(name).prompts
