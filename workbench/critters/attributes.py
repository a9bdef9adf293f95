"""What a critter can be: the attributes, their words, and how often each occurs.

Body colours and background colours share no word on purpose. In an earlier trial both used the
same words and the trained model swapped them (`red body, ..., blue background` came out as a blue
critter on red); with words of their own a colour word says where it belongs.
"""

import random
from dataclasses import dataclass, fields

BODY_COLOURS = {
    "red": (219, 58, 52),
    "orange": (243, 143, 40),
    "yellow": (250, 212, 57),
    "green": (76, 170, 72),
    "teal": (40, 172, 170),
    "blue": (58, 104, 222),
    "purple": (140, 76, 196),
    "pink": (244, 128, 184),
    "brown": (136, 88, 54),
    "white": (244, 242, 236),
    "gray": (142, 144, 150),
    "black": (58, 56, 68),
}
# Middling brightness throughout: very dark and very bright scenes are a concept left to teach.
BACKGROUND_COLOURS = {
    "mint": (152, 216, 178),
    "sand": (206, 196, 116),
    "rose": (222, 140, 152),
    "navy": (66, 82, 138),
    "lilac": (188, 162, 222),
    "sky": (138, 192, 232),
    "peach": (250, 172, 130),
    "slate": (118, 128, 142),
    "moss": (130, 148, 86),
    "plum": (122, 76, 118),
}
SHAPES = ("round", "square", "triangle", "star", "tall", "wide")
EARS = {
    "none": "no ears",
    "cat": "cat ears",
    "bunny": "bunny ears",
    "horns": "horns",
    "antennae": "antennae",
}
EYES = {1: "one eye", 2: "two eyes", 3: "three eyes"}
MOUTHS = {"smile": "smile", "frown": "frown", "open": "open mouth", "teeth": "teeth"}
PATTERNS = {"none": "no pattern", "spots": "spots", "stripes": "stripes", "belly": "belly"}
SCENES = {
    "simple": "simple background",
    "hills": "hills",
    "sunset": "sunset",
    "checkered": "checkered floor",
    "dots": "dots",
}
HATS = {"none": "no hat", "top hat": "top hat", "bow": "bow", "crown": "crown"}
SIZES = {"small": "small", "medium": "", "big": "big"}
POSITIONS = {"left": "left", "centre": "", "right": "right"}


@dataclass(frozen=True)
class Attributes:
    """Everything that a picture shows; the same attributes draw the same picture.

    `detail_seed` decides what has no word: where spots lie, a pixel or two of placement, the sun.
    """

    colour: str
    shape: str
    ears: str
    eyes: int
    mouth: str
    pattern: str
    scene: str
    background: str
    hat: str
    size: str = "medium"
    position: str = "centre"
    detail_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no drawing code knows."""
        for name, allowed in VALUES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"critter attribute {name} must be one of {', '.join(map(str, allowed))}; "
                    f"got {getattr(self, name)!r}"
                )


VALUES: dict[str, tuple] = {
    "colour": tuple(BODY_COLOURS),
    "shape": SHAPES,
    "ears": tuple(EARS),
    "eyes": tuple(EYES),
    "mouth": tuple(MOUTHS),
    "pattern": tuple(PATTERNS),
    "scene": tuple(SCENES),
    "background": tuple(BACKGROUND_COLOURS),
    "hat": tuple(HATS),
    "size": tuple(SIZES),
    "position": tuple(POSITIONS),
}
assert (*tuple(VALUES), "detail_seed") == tuple(field.name for field in fields(Attributes))


def sample_attributes(rng: random.Random) -> Attributes:
    """Draw one critter's attributes, each independent of the others.

    Args:
        rng: source of randomness; the same state gives the same attributes.
    Returns:
        Attributes; a big critter always stands in the centre, it would not fit at a side.
    """
    chosen = {name: rng.choice(VALUES[name]) for name in list(VALUES)[:-2]}
    size = rng.choices(VALUES["size"], weights=(1, 2, 1))[0]
    position = rng.choices(VALUES["position"], weights=(1, 3, 1))[0]
    if size == "big":
        position = "centre"
    return Attributes(**chosen, size=size, position=position, detail_seed=rng.getrandbits(32))


def words_of(attributes: Attributes) -> dict[str, str]:
    """Say each attribute in the words of its tag.

    Args:
        attributes: what a picture shows.
    Returns:
        Attribute name to tag, in the order of `VALUES`; "" where there is none: a medium size and
        a central position.
    """
    return {
        "colour": f"{attributes.colour} body",
        "shape": f"{attributes.shape} body",
        "ears": EARS[attributes.ears],
        "eyes": EYES[attributes.eyes],
        "mouth": MOUTHS[attributes.mouth],
        "pattern": PATTERNS[attributes.pattern],
        "scene": SCENES[attributes.scene],
        "background": f"{attributes.background} background",
        "hat": HATS[attributes.hat],
        "size": SIZES[attributes.size],
        "position": POSITIONS[attributes.position],
    }


def tags(attributes: Attributes) -> tuple[str, ...]:
    """Describe a critter as a booru would: one tag for each thing that can be seen.

    Args:
        attributes: what the picture shows.
    Returns:
        Tags, `critter` first; a medium size and a central position have no tag.
    """
    return ("critter", *filter(None, words_of(attributes).values()))


def caption(attributes: Attributes) -> str:
    """Join a critter's tags into the caption that stands beside its picture.

    Args:
        attributes: what the picture shows.
    Returns:
        Tags separated by a comma and a space.
    """
    return ", ".join(tags(attributes))


def all_tags() -> tuple[str, ...]:
    """List every tag that a caption can hold, in a fixed order.

    Returns:
        Tags without repeats; the tokenizer's words and the tagger's labels come from here.
    """
    colours = [f"{name} body" for name in (*BODY_COLOURS, *SHAPES)]
    backgrounds = [f"{name} background" for name in BACKGROUND_COLOURS]
    tables = (EARS, EYES, MOUTHS, PATTERNS, SCENES, HATS, SIZES, POSITIONS)
    others = [word for table in tables for word in table.values() if word]
    return ("critter", *colours, *backgrounds, *others)
