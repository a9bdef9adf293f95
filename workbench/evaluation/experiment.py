"""One recipe in several variants: what each came to, beside the base and the training pictures."""

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.evaluation.compare import drawn_pictures
from workbench.evaluation.drawing import Job
from workbench.evaluation.drift import AXES, drift, to_lab
from workbench.evaluation.experiment_ready import NOISES as NOISES
from workbench.evaluation.experiment_ready import READY as READY
from workbench.evaluation.experiment_ready import ready as ready
from workbench.evaluation.likeness import Likeness
from workbench.evaluation.report import stage_seconds
from workbench.evaluation.results import DriftRow, Pair
from workbench.evaluation.statistics import LEVEL, hotelling
from workbench.recipe import Recipe
from workbench.records import history
from workbench.records.events import Progress, Validated
from workbench.records.log import read
from workbench.records.sampling import without_trigger
from workbench.settings import SettingsError, as_dict
from workbench.training.saving import changes

# Short enough for a terminal of 80 columns; the page says them at length.
COLUMNS = ("gap", "held out", "drift", "dark", "light", "alike", "time")
_BASE = "base"  # no variant may be called so: the base's pictures stand beside theirs


@dataclass(frozen=True, slots=True)
class Variant:
    """One recipe of an experiment, under a name that no other has."""

    name: str
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a variant came to; what cannot be said is None.

    Attributes:
        name: of the variant, or of what it is compared with.
        state: "finished", or what else became of it, with the cause.
        differs: settings that differ from the first variant's, "key: there -> here".
        step: optimizer steps done.
        seconds: time spent training.
        train_gap: relative change of the stable loss against the base; below 0 is better.
        held_out_gap: the same on pictures never trained on.
        drift: colours against the base, over prompts without the trigger where there are any.
        lightness: percentiles 1 and 99 of L* over the pixels of its pictures with the trigger.
        likeness: mean cosine between its pictures and the training pictures, in [-1, 1].
        pictures: drawn with it, by prompt, seed and strength.
    """

    name: str
    state: str = "finished"
    differs: tuple[str, ...] = ()
    step: int = 0
    seconds: float | None = None
    train_gap: float | None = None
    held_out_gap: float | None = None
    drift: tuple[DriftRow, ...] = ()
    lightness: tuple[float, float] | None = None
    likeness: float | None = None
    pictures: Mapping[Job, Image.Image] = field(default_factory=dict)

    @property
    def colour_drift(self) -> float | None:
        """Distance in L*a*b* that the mean colour moved."""
        moves = [row.change for row in self.drift if row.name in AXES]
        return float(np.linalg.norm(moves)) if moves else None

    @property
    def moved(self) -> bool:
        """Whether the mean colour moved: one test over the three axes, from enough prompts."""
        rows = [row for row in self.drift if row.name in AXES]
        if not rows or any(row.few for row in rows):
            return False
        return hotelling(np.array([row.values for row in rows]).T) < LEVEL

    @property
    def drift_cell(self) -> str:
        """The drift in a table: a star where it moved, a question mark where prompts are few."""
        if self.colour_drift is None:
            return ""
        few = any(row.few for row in self.drift)
        return f"{self.colour_drift:.1f}" + ("*" if self.moved else "?" if few else "")


def vary(axes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read variants from lists of values.

    Args:
        axes: strings such as "noise.kind=gaussian,offset"; several are combined each with each.
    Returns:
        Variant name to what it changes.
    Raises:
        SettingsError: no list of values, or two variants of one name.
    """
    choices = [_values(axis) for axis in axes]
    found: dict[str, tuple[str, ...]] = {}
    for combination in itertools.product(*choices):
        words = (re.sub(r"[^A-Za-z0-9._]+", "-", value).strip("-.") for _, value in combination)
        name = "-".join(words)
        if not name or name in found:
            raise SettingsError(f"--vary {' '.join(axes)}: two variants are called {name!r}")
        found[name] = tuple(f"{key}={value}" for key, value in combination)
    return found


def _values(axis: str) -> list[tuple[str, str]]:
    """Key and value of each choice; commas inside brackets and quotes separate nothing."""
    key, equals, text = axis.partition("=")
    values = re.findall(r"""(?:[^,\[\]{}"']|\[[^\]]*\]|\{[^}]*\}|"[^"]*"|'[^']*')+""", text)
    if not equals or len(values) < 2:
        raise SettingsError(
            f"--vary must be a setting and two values or more, got {axis!r}; for example "
            "noise.kind=gaussian,offset"
        )
    return [(key.strip(), value.strip()) for value in values]


def variants(
    recipe: Recipe,
    varied: Mapping[str, Sequence[str]],
    *,
    overrides: Sequence[str] = (),
    out: str | Path,
    override: Callable[[Recipe, Sequence[str]], Recipe] = Recipe.override,
) -> list[Variant]:
    """Make the recipes of an experiment.

    Args:
        recipe: what all share.
        varied: variant name to `key=value` strings.
        overrides: further changes of all of them.
        out: the folder in which each gets its run folder.
        override: changes a recipe; another one may let more follow from a change.
    Returns:
        The variants, in order.
    Raises:
        SettingsError: a setting is unknown or out of bounds, or a name is taken.
    """
    if _BASE in varied:
        raise SettingsError(f"a variant cannot be called {_BASE!r}; spell its value otherwise")
    made = []
    for name, own in varied.items():
        placed = [f"name={name}", f"output.folder={json.dumps(str(out))}"]
        made.append(Variant(name, override(recipe, [*overrides, *own]).override(placed)))
    return made


def differences(old: Recipe, new: Recipe) -> list[str]:
    """What makes pictures and numbers of two recipes differ.

    Args:
        old: a recipe, its sample prompts filled in.
        new: another one.
    Returns:
        Lines "key: old -> new".
    """
    lines = changes(old, new)
    if old.length != new.length:
        lines.append(f"length: {as_dict(old.length)} -> {as_dict(new.length)}")
    before, after = as_dict(old.sampling), as_dict(new.sampling)
    for one in (before, after):  # a run names the copies in its own folder
        one.pop("fill", None)
    if new.sampling.prompts is None:
        before.pop("prompts", None)
    return lines + [
        f"sampling.{key}: {before.get(key, 'none')!r} -> {after.get(key, 'none')!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def measure(
    folder: Path, *, likeness: Likeness | None = None, differs: Sequence[str] = ()
) -> Outcome:
    """Read off a run folder what its variant came to.

    Args:
        folder: the run folder.
        likeness: knows the training pictures.
        differs: how its recipe differs from the first variant's.
    Returns:
        The outcome.
    """
    seen, recipe = read(folder), Recipe.load(folder / "recipe.toml")
    summary = history.summary(folder)
    pictures = drawn_pictures(folder)
    concept, others = _prompts(recipe, pictures)
    shown = [pictures[job] for job in pictures if job[0] in concept and job[2] == 1.0]
    pairs = [
        Pair(prompt, seed, pictures[prompt, seed, 0.0], pictures[prompt, seed, 1.0])
        for prompt, seed, strength in pictures
        if strength == 1.0 and prompt in (others or concept) and (prompt, seed, 0.0) in pictures
    ]
    steps = [event.step for event in seen if isinstance(event, Progress)]
    return Outcome(
        name=folder.name,
        state=": ".join(filter(None, (summary.state, summary.cause))),
        differs=tuple(differs),
        step=max(steps, default=0),
        seconds=stage_seconds(seen).get("training"),
        train_gap=_gap([e for e in seen if isinstance(e, Validated) and e.split == "train"]),
        held_out_gap=_gap([e for e in seen if isinstance(e, Validated) and e.split == "held_out"]),
        drift=drift(pairs),
        lightness=_lightness(shown),
        likeness=likeness.of(shown) if likeness and shown else None,
        pictures=pictures,
    )


def references(first: Outcome, *, recipe: Recipe, likeness: Likeness | None) -> list[Outcome]:
    """What variants are compared with: the base, and the pictures that they learn from.

    Args:
        first: any variant that has pictures of the base.
        recipe: its recipe.
        likeness: knows the training pictures.
    Returns:
        "base", and "training pictures" where they are known.
    """
    concept, _ = _prompts(recipe, first.pictures)
    shown = [x for job, x in first.pictures.items() if job[0] in concept and job[2] == 0.0]
    base = Outcome(
        _BASE,
        train_gap=0.0,
        held_out_gap=None if first.held_out_gap is None else 0.0,
        lightness=_lightness(shown),
        likeness=likeness.of(shown) if likeness and shown else None,
    )
    if likeness is None:
        return [base]
    goal = Outcome(
        "training pictures", lightness=_lightness(likeness.pictures), likeness=likeness.among()
    )
    return [base, goal]


def cells(outcome: Outcome) -> list[str]:
    """An outcome as a line of a table.

    Args:
        outcome: of a variant or a reference.
    Returns:
        One cell for each of `COLUMNS`; "" for what cannot be said.
    """

    def said(value: float | None, form: str) -> str:
        return "" if value is None else form.format(value)

    low, high = outcome.lightness or (None, None)
    return [
        said(outcome.train_gap, "{:+.1%}"),
        said(outcome.held_out_gap, "{:+.1%}"),
        outcome.drift_cell,
        said(low, "{:.0f}"),
        said(high, "{:.0f}"),
        said(outcome.likeness, "{:.3f}"),
        said(outcome.seconds, "{:.0f} s"),
    ]


def _gap(measured: Sequence[Validated]) -> float | None:
    """The last measurement against the base."""
    known = [event for event in measured if event.step > 0 and event.base_loss]
    if not known:
        return None
    last = known[-1]
    assert last.base_loss is not None
    return last.loss / last.base_loss - 1


def _lightness(pictures: Sequence[Image.Image]) -> tuple[float, float] | None:
    """Percentiles 1 and 99 of L* over all pixels."""
    if not pictures:
        return None
    values = np.concatenate([to_lab(picture)[..., 0].ravel() for picture in pictures])
    low, high = np.percentile(values, [1, 99])
    return float(low), float(high)


def _prompts(recipe: Recipe, pictures: Mapping[Job, Image.Image]) -> tuple[list[str], list[str]]:
    """Prompts with the trigger, and those without; all count as the former where none has it."""
    subset = recipe.data.subsets[0]
    words = {"trigger": subset.trigger, "class_word": subset.class_word}
    prompts = list(dict.fromkeys(prompt for prompt, _, _ in pictures))
    having = [prompt for prompt in prompts if without_trigger(prompt, **words) != prompt]
    if not having:
        return prompts, []
    return having, [prompt for prompt in prompts if prompt not in having]
