"""What a LoRA is to be, and the settings that follow from it, each with its reason.

A character, a style, an object and a scene want captions, mirroring, capacity and length of their
own. `workbench new --for` writes the reasons into the recipe; the app asks the same as its first
question.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from workbench.models.source import is_critters
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.settings.advice import Advice

Intent = Literal["character", "style", "object", "scene"]
INTENTS: tuple[Intent, ...] = get_args(Intent)
BUILT_IN_FLIP = (0.0, "not mirrored: the critters' captions say who stands left and who right")
WITHOUT = "The last one lacks the trigger: it should look as the base draws it."


@dataclass(frozen=True, slots=True)
class _Wish:
    """What one intent asks for, on the small critters and on a base of real size."""

    dropout: tuple[float, str]
    flip: tuple[float, str]
    rank: tuple[int, int, str]  # critters, others
    steps: tuple[int, int, str]
    prompts: tuple[str, ...]
    critters_prompts: tuple[str, ...]
    shown: str


_WISHES: dict[Intent, _Wish] = {
    "character": _Wish(
        dropout=(
            0.0,
            "no tag is left out: tags name what changes (clothes, pose, place), and what no tag "
            "names goes into the trigger",
        ),
        flip=(0.0, "not mirrored: partings, ornaments and badges have a left and a right"),
        rank=(32, 32, "a face, an outfit and their details; a few dozen pictures fill no more"),
        steps=(170, 1200, "about a hundred showings of each of some forty pictures, four a step"),
        prompts=(
            "{trigger}, {class}, portrait, looking at the viewer",
            "{trigger}, {class}, full body, standing in a street at night",
            "{trigger}, {class}, seen from behind, in the snow",
            "{class}, portrait, looking at the viewer",
        ),
        critters_prompts=(
            "{trigger}, critter, smile, hills",
            "{trigger}, critter, frown, sunset, crown",
            "critter, white body, round body, two eyes, smile, dots",
        ),
        shown="the character in poses and places that it was not trained in",
    ),
    "style": _Wish(
        dropout=(
            0.3,
            "three tags in ten are left out at random, so that the style comes through whatever is "
            "said; .2 to .5 suits a style",
        ),
        flip=(0.5, "mirrored half of the time: a style has no left and right, and sees more so"),
        rank=(32, 32, "brush, palette and line of everything that can be drawn"),
        steps=(200, 2500, "a style must hold for many subjects, so it takes longer than a face"),
        prompts=(
            "{trigger}, a portrait of an old man",
            "{trigger}, a city street in the rain",
            "{trigger}, a bowl of fruit on a table",
            "a portrait of an old man",
        ),
        critters_prompts=(
            "{trigger}, critter, star body, cat ears, two eyes, smile, hills",
            "{trigger}, critter, tall body, horns, three eyes, teeth, dots, crown",
            "critter, green body, square body, two eyes, frown, dots",
        ),
        shown="subjects that are not in the training pictures",
    ),
    "object": _Wish(
        dropout=(0.1, "a tag in ten is left out: enough that no place or light belongs to it"),
        flip=(0.0, "not mirrored: lettering and handles have a side; 0.5 if yours has none"),
        rank=(16, 16, "one rigid thing: more room would only remember backgrounds"),
        steps=(120, 800, "one thing without expressions is learned sooner than a face"),
        prompts=(
            "{trigger}, {class}, on a wooden table",
            "{trigger}, {class}, on a beach, far away",
            "a woman holding {trigger}, {class}",
            "{class}, on a wooden table",
        ),
        critters_prompts=(
            "{trigger}, critter, smile, hills",
            "{trigger}, critter, blue body, dots",
            "critter, blue body, round body, two eyes, dots",
        ),
        shown="the thing at other distances and in other hands",
    ),
    "scene": _Wish(
        dropout=(0.2, "two tags in ten are left out: a place is recognised by few of its parts"),
        flip=(0.5, "mirrored half of the time: light may come from either side"),
        rank=(32, 32, "light and layout of the whole picture"),
        steps=(200, 2000, "wide pictures vary more than one subject does"),
        prompts=(
            "{trigger}, wide shot, in the morning",
            "{trigger}, wide shot, at night, lamps",
            "{trigger}, a person walking away",
            "wide shot of a forest, in the morning",
        ),
        critters_prompts=(
            "{trigger}, critter, blue body, round body, two eyes, smile",
            "{trigger}, critter, red body, star body, one eye, frown, crown",
            "critter, teal body, wide body, two eyes, smile, hills",
        ),
        shown="the place at other hours and with somebody in it",
    ),
}


def advise(intent: str, recipe: Recipe) -> tuple[Advice, ...]:
    """Say what an intent asks of a recipe.

    Args:
        intent: "character", "style", "object" or "scene".
        recipe: for its base and pictures.
    Returns:
        Settings with their reasons.
    Raises:
        SettingsError: there is no such intent.
    """
    if intent not in _WISHES:
        raise SettingsError(f"--for must be one of {', '.join(INTENTS)}, got {intent!r}")
    wish, small = _WISHES[intent], is_critters(recipe.base.path)
    built_in = any(one.path.startswith("critters:") for one in recipe.data.subsets[:1])
    rank, steps = (side[0 if small else 1] for side in (wish.rank, wish.steps))
    prompts = wish.critters_prompts if small else wish.prompts
    return (
        Advice("data.captions.tag_dropout", *wish.dropout),
        Advice("data.augment.flip", *(BUILT_IN_FLIP if built_in else wish.flip)),
        Advice("adapter.rank", rank, wish.rank[2]),
        Advice("adapter.alpha", rank, "as the rank: the LoRA then acts at its own scale of 1"),
        Advice("length.steps", steps, wish.steps[2]),
        Advice("sampling.prompts", list(prompts), f"{wish.shown}. {WITHOUT}"),
    )


def recognise(recipe: Recipe) -> Intent | None:
    """Tell the intent that a recipe follows, by its prompts.

    Args:
        recipe: of any base.
    Returns:
        The intent; None where the prompts are nobody's or the user's own.
    """
    prompts = recipe.sampling.prompts
    for intent in INTENTS:
        if prompts in (_WISHES[intent].prompts, _WISHES[intent].critters_prompts):
            return intent
    return None
