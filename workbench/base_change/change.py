"""What follows when the base changes: the new one's settings take the place of the old one's.

Followed on edits alone: a preset, `key=value`, a base chosen in the app or in a notebook. A recipe
that is read from a file, or resumed, stays what it was.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from workbench import intents
from workbench.base_change import leftovers
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.defaults import USUAL, Machine, advice, completed
from workbench.models.source import is_critters
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.settings.advice import Advice, exists, follow, kept, value
from workbench.store import FileRefused

__all__ = ["follows", "free", "override", "preset", "with_base"]

Followed = tuple[Recipe, tuple[Advice, ...]]
# What a preset of a real base is written for.
_PRESETS_MACHINE = Machine(cuda=True, native_bfloat16=True)
# What decides about advice; other assignments may fit the new base alone.
_DECIDES = ("base.", "data.subsets", "length.")
_LION_PART = 5  # of AdamW's rate: a third to a tenth, arXiv 2302.06675
_FULL_PART = 10  # of a LoRA's, for a full fine-tune: 1e-5 in diffusers' training examples
_ADAM_LIKE = ("adamw", "adamw8bit", "paged_adamw8bit", "adafactor", "came", "muon", "schedule_free")


def preset(name: str, *, machine: Machine | None = None) -> Followed:
    """Take a preset as this machine can train it: a T4 gets float16 in place of bfloat16.

    Args:
        name: one of `presets()`.
        machine: this one by default.
    Returns:
        The recipe, and what differs from the preset's file, each with its reason.
    Raises:
        SettingsError: no preset of that name.
    """
    recipe = Recipe.preset(name)
    old = _suited(recipe.base, recipe, _PRESETS_MACHINE)
    new = _suited(recipe.base, recipe, machine or Machine.here())
    changes = tuple(_differences(old, new, recipe))
    return follow(changes, recipe), changes


def with_base(recipe: Recipe, path: str, *, machine: Machine | None = None) -> Followed:
    """Choose another base.

    Args:
        recipe: what is being made.
        path: the new `base.path`.
        machine: this one by default.
    Returns:
        The recipe, and what changed in it, each with its reason.
    Raises:
        SettingsError: the path is empty.
    """
    return override(recipe, [f"base.path={json.dumps(path, ensure_ascii=False)}"], machine=machine)


def override(
    recipe: Recipe, assignments: Sequence[str], *, machine: Machine | None = None
) -> Followed:
    """Change settings by `key=value`, and with the base what follows from it.

    Only what the two bases differ in changes: what was chosen by hand stays where both suit the
    same. What is given here wins. Of a base that cannot be read nothing follows until it can.

    Args:
        recipe: what to start from.
        assignments: as `Recipe.override` takes them.
        machine: that will train it; this one by default.
    Returns:
        The recipe, and what followed from its new base, each with its reason.
    Raises:
        SettingsError: a key is unknown or a value out of bounds.
    """
    given = tuple(map(_path_of, assignments))
    if not any(path.startswith("base") for path in given):
        return recipe.override(assignments), ()
    moved = recipe.override([one for one in assignments if _path_of(one) == "base.path"])
    of_old = free(leftovers.of_base(recipe.base, moved.base), given)
    decides = [one for one in assignments if _decides(_path_of(one))]
    probe = recipe.override([*(one.assignment for one in of_old), *decides])
    if probe.base == recipe.base:
        return recipe.override(assignments), ()
    machine = machine or Machine.here()
    changes = (*of_old, *free(_changes(recipe, probe, machine), given))
    changes = tuple(one for one in changes if value(recipe, one.setting) != one.value)
    return recipe.override([*(one.assignment for one in changes), *assignments]), changes


def follows(recipe: Recipe, *, machine: Machine | None = None) -> tuple[Advice, ...]:
    """What follows from a recipe's base, as far as the recipe has it so.

    Args:
        recipe: of any base.
        machine: this one by default.
    Returns:
        Settings with their reasons, without those that are absent, and those that this base takes
        one value of alone; none where the base cannot be read or is not known.
    """
    suited = _suited(recipe.base, recipe, machine or Machine.here()) or ()
    held = (one for one in kept(suited, recipe) if one.value not in (None, []))
    return tuple(one for one in held if len(one.accepted) != 1)


def _path_of(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


def _decides(path: str) -> bool:
    return path == "base" or path.startswith(_DECIDES) or path.endswith(".kind")


def free(advice: Iterable[Advice], given: Sequence[str]) -> tuple[Advice, ...]:
    """Leave out advice about what was given by hand, as a whole or in part.

    Args:
        advice: of a base or an intent.
        given: paths of settings, or whole assignments.
    Returns:
        The rest.
    """
    given = [_path_of(one) for one in given]
    return tuple(one for one in advice if not any(_overlap(one.setting, path) for path in given))


def _overlap(setting: str, given: str) -> bool:
    """Whether a setting was given: itself, a part of it, or the group that it is in."""
    if setting == "data.subsets" and given.startswith("data.subsets.0."):
        return False  # the first one stays, and what was given for it is set again
    if setting == "length.steps" or setting.endswith(".kind"):
        setting = setting.rpartition(".")[0]  # any other end of the run; any part of that kind
    return f"{given}.".startswith(f"{setting}.") or f"{setting}.".startswith(f"{given}.")


def _changes(before: Recipe, after: Recipe, machine: Machine) -> tuple[Advice, ...]:
    """What follows from the new base and not from the old one."""
    new = _suited(after.base, after, machine)
    if new is None:
        return ()
    old = _suited(before.base, after, machine)
    if not new:  # on the Hub, under a name that says nothing
        if not is_critters(before.base.path):
            return ()
        new = _fitted(completed(advice(after.base.path, 512, USUAL, machine=machine)), after)
    if old == new:
        return ()
    if not old:
        old = None
    intent = intents.recognise(before)
    meant = () if intent is None else _meant(intent, before, after)
    changes = completed(_differences(old, new, after), meant)
    return completed(changes, leftovers.of_settings(before, after, changes))


def _suited(base: BaseSettings, recipe: Recipe, machine: Machine) -> tuple[Advice, ...] | None:
    """What follows from a base for a recipe's optimizer and adapter; None: it cannot be read."""
    try:
        return _fitted(loading.defaults(base, machine), recipe)
    except (SettingsError, FileRefused, OSError):
        return None


def _fitted(suited: Iterable[Advice], recipe: Recipe) -> tuple[Advice, ...]:
    """Advice that has a meaning for a recipe."""
    fitted = []
    for one in suited:
        if one.setting == "optimizer.learning_rate":
            one = _rate(one, recipe)
        elif one.setting == "length.steps" and recipe.length.steps is None:
            continue  # it ends by epochs or minutes
        elif not one.accepted and recipe.base.from_scratch is not None and not _technical(one):
            continue  # who trains from nothing chooses size and length
        if one is not None and exists(recipe, one.setting):
            fitted.append(one)
    return tuple(fitted)


def _technical(one: Advice) -> bool:
    named = ("data.buckets.step", "training.precision", "data.captions.variants")
    return one.setting.startswith("base.") or one.setting in named


def _rate(one: Advice, recipe: Recipe) -> Advice | None:
    """A rate for AdamW and a LoRA, as the recipe's optimizer and adapter need it."""
    optimizer, full = recipe.optimizer, recipe.adapter.kind == "full"
    if recipe.base.from_scratch is not None or optimizer.one_rate:
        return None
    rate, why = one.value, one.reason
    if full:
        rate, why = rate / _FULL_PART, f"a full fine-tune: a tenth of what is {why}"
    if optimizer.kind in ("lion", "lion8bit"):
        rate, why = rate / _LION_PART, f"{why}, a fifth of it for lion"
    elif optimizer.kind not in _ADAM_LIKE:
        return None  # rates of another scale
    return Advice(one.setting, rate, why)


def _differences(
    old: Sequence[Advice] | None, new: Sequence[Advice] | None, recipe: Recipe
) -> Iterator[Advice]:
    """What the new base suits and the old one did not; all of it where the old is not known."""
    known = {one.setting: one.value for one in old or ()}
    for one in new or ():
        now = value(recipe, one.setting)
        if one.accepted and now not in one.accepted:
            yield one
        elif now != one.value:
            moved = known[one.setting] != one.value if one.setting in known else not one.accepted
            if old is None or moved:
                yield one


def _meant(intent: str, before: Recipe, after: Recipe) -> tuple[Advice, ...]:
    """What the intent of a recipe asks for on its new base, where the recipe followed it."""
    followed = {one.setting for one in kept(intents.advise(intent, before), before)}
    return tuple(
        one
        for one in intents.advise(intent, after)
        if one.setting in (*followed, "length.steps") and exists(after, one.setting)
        if value(after, one.setting) != one.value
    )
