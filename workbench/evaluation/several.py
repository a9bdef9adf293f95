"""Two or more runs side by side: equal prompts and seeds, what their recipes differ in, curves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from workbench import store
from workbench.evaluation.compare import drawn_pictures
from workbench.evaluation.loading import final_file, wanted
from workbench.evaluation.painter import Painter, Spot
from workbench.evaluation.results import Pair, Strip
from workbench.recipe import Recipe
from workbench.records import judgement
from workbench.records.events import Event, Progress, Validated
from workbench.records.log import read
from workbench.records.sampling import SampleSettings, fill_prompt, without_trigger
from workbench.settings import SettingsError, as_dict, differences
from workbench.store import FileRefused

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Told = Callable[[int, int], None]
Shot = tuple[str, int]  # prompt and seed
_SAME_PICTURES = {"prompts", "seeds", "every_steps", "batch_size"}  # change no picture


@dataclass(frozen=True, slots=True)
class Several:
    """Runs beside each other.

    Attributes:
        names: of the runs, in their order.
        strips: for each prompt and seed the base and every run.
        plain: the same without the trigger.
        differs: setting to its value in each run; what all have alike is left out.
        verdicts: what each run was judged to be; "" where it was not judged.
        figures: name to overlaid curves.
    """

    names: tuple[str, ...]
    strips: tuple[Strip, ...]
    plain: tuple[Strip, ...] = ()
    differs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    verdicts: tuple[str, ...] = ()
    figures: Mapping[str, "Figure"] = field(default_factory=dict)

    def pairs(self, one: str, other: str) -> tuple[Pair, ...]:
        """Pictures of two runs at the same prompts and seeds.

        Args:
            one: name of a run.
            other: name of another.
        Returns:
            Pairs, `one` as their first side.
        """
        found = []
        for strip in self.strips:
            cells = dict(strip.cells)
            found.append(Pair(strip.prompt, strip.seed, base=cells[one], trained=cells[other]))
        return tuple(found)

    def _repr_html_(self) -> str:
        from workbench.evaluation.several_page import fragment

        return fragment(self)


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    folder: Path
    recipe: Recipe
    file: Path

    def prompt(self, template: str, *, plain: bool) -> str:
        subset = self.recipe.data.subsets[0]
        words = {"trigger": subset.trigger, "class_word": subset.class_word}
        return (without_trigger if plain else fill_prompt)(template, **words)


def compare_runs(
    folders: Sequence[str | Path],
    *,
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
    base: str | None = None,
    told: Told | None = None,
) -> Several:
    """Draw what several runs make of the same prompts and seeds, and say how they differ.

    The first run's sampling draws for all; what a run has drawn so already is taken.

    Args:
        folders: run folders, two or more; their names must differ.
        prompts: what to draw, `{trigger}` standing for each run's own; the first run's by default.
        seeds: of each prompt; the first run's by default.
        base: where the base lies, if not where the runs say.
        told: hears how many pictures are there, and of how many.
    Returns:
        The runs beside each other.
    Raises:
        SettingsError: fewer than two runs, two of one name, or no prompts.
        FileRefused: one has no file yet.
    """
    runs = [_run(Path(folder)) for folder in folders]
    names = tuple(run.name for run in runs)
    if len(set(names)) < max(2, len(names)):
        raise SettingsError(
            f"comparing runs needs two or more of different names, got {', '.join(names)}"
        )
    first = runs[0].recipe
    templates = tuple(prompts) or first.sampling.prompts or ()
    if not templates:
        raise SettingsError('the first run brings no prompts; give one or more --prompt "..."')
    shots = [(one, seed) for one in templates for seed in seeds or first.sampling.seeds]
    plain = [(one, seed) for one, seed in shots if _calls(runs[0], one)][: len(templates)]
    asked = [(run, _shots(run, shots, plain)) for run in runs]
    drawn = _draw(asked, base=base, told=told)
    events = {run.name: read(run.folder) for run in runs}
    return Several(
        names=names,
        strips=_strips(runs, shots, drawn, plain=False),
        plain=_strips(runs, plain, drawn, plain=True),
        differs=recipe_differences([run.recipe for run in runs]),
        verdicts=tuple(_verdict(run) for run in runs),
        figures=_figures(events),
    )


def _run(folder: Path) -> _Run:
    if not (folder / "recipe.toml").is_file():
        raise FileRefused(
            f"{store.shown(folder)} is no run folder: it holds no recipe.toml; `workbench runs` "
            "lists the runs"
        )
    recipe = Recipe.load(folder / "recipe.toml")
    return _Run(folder.resolve().name, folder, recipe, final_file(folder))


def _calls(run: _Run, template: str) -> bool:
    return run.prompt(template, plain=True) != run.prompt(template, plain=False)


def _shots(run: _Run, shots: Sequence[Shot], plain: Sequence[Shot]) -> list[Shot]:
    with_it = [(run.prompt(one, plain=False), seed) for one, seed in shots]
    return list(dict.fromkeys(with_it + [(run.prompt(one, plain=True), s) for one, s in plain]))


def _draw(
    asked: Sequence[tuple[_Run, list[Shot]]], *, base: str | None, told: Told | None
) -> dict[tuple[str, float, Shot], Image.Image]:
    """Pictures by run, strength and shot; each base is loaded once, and drawn with once."""
    how = wanted(asked[0][0].recipe).sampling
    found: dict[tuple[str, float, Shot], Image.Image] = {}
    for run, shots in asked:
        own = drawn_pictures(run.folder) if _alike(run.recipe.sampling, how) else {}
        found |= {(run.name, at, (p, s)): x for (p, s, at), x in own.items() if (p, s) in shots}
    first = asked[0][0]  # its base stands for all
    missing = [
        (run, at, [shot for shot in shots if (run.name, at, shot) not in found])
        for run, shots in asked
        for at in ((0.0, 1.0) if run is first else (1.0,))
    ]
    total, prompts = sum(len(x) for *_, x in missing), [p for _, shots in asked for p, _ in shots]
    painter, loaded, done = None, "", 0
    for run, at, shots in missing:
        if not shots:
            continue
        key = base or run.recipe.base.model_dump_json()
        if painter is None or loaded != key:
            painter = None  # one model at a time
            painter, loaded = Painter.open(run.folder, base=base, prompts=prompts), key
        painter.sampling = how
        spots = {shot: Spot(run.file, *shot, at) for shot in shots}
        hears = None if told is None else lambda here, _, done=done: told(done + here, total)
        pictures = painter.pictures(list(spots.values()), told=hears)
        found |= {(run.name, at, shot): pictures[spot] for shot, spot in spots.items()}
        done += len(shots)
    return found


def _alike(one: SampleSettings, other: SampleSettings) -> bool:
    first, second = as_dict(one), as_dict(other)
    return all(first[key] == second[key] for key in first.keys() - _SAME_PICTURES)


def _strips(
    runs: Sequence[_Run],
    shots: Sequence[Shot],
    drawn: Mapping[tuple[str, float, Shot], Image.Image],
    *,
    plain: bool,
) -> tuple[Strip, ...]:
    strips = []
    for template, seed in shots:
        shown = runs[0].prompt(template, plain=plain)
        cells = [("base", drawn[runs[0].name, 0.0, (shown, seed)])]
        for run in runs:
            shot = (run.prompt(template, plain=plain), seed)
            cells.append((run.name, drawn[run.name, 1.0, shot]))
        strips.append(Strip(shown, seed, tuple(cells)))
    return tuple(strips)


def recipe_differences(recipes: Sequence[Recipe]) -> dict[str, tuple[str, ...]]:
    """Say what recipes differ in.

    Args:
        recipes: two or more.
    Returns:
        Setting, but for the name, to its value in each; "–" where one has no such setting.
    """
    against = [differences(recipes[0], one) for one in recipes]
    found = {}
    for path in sorted({path for one in against for path in one} - {"name"}):
        pairs = [one.get(path) for one in against]
        first = next(pair[0] for pair in pairs if pair is not None)
        values = [first if pair is None else pair[1] for pair in pairs]
        found[path] = tuple("–" if value is None else str(value) for value in values)
    return found


def _verdict(run: _Run) -> str:
    judged = judgement.load(run.folder)
    return judged.verdict or judged.sentence if judged is not None else ""


def _figures(events: Mapping[str, Sequence[Event]]) -> dict[str, "Figure"]:
    """Stable loss against the base, and the training loss, of all runs over one another."""
    from workbench.plots.curves import losses, several

    gaps = {name: gap_series(every) for name, every in events.items()}
    found = {}
    if any(steps for steps, _ in gaps.values()):
        found["stable loss"] = several({k: v for k, v in gaps.items() if v[0]})
    trained = {
        name: [(float(e.step), e.loss) for e in every if isinstance(e, Progress)]
        for name, every in events.items()
    }
    if any(trained.values()):
        found["training loss"] = losses(
            {name: ([s for s, _ in x], [y for _, y in x]) for name, x in trained.items() if x}
        )
    return found


def gap_series(events: Sequence[Event]) -> tuple[list[float], list[float]]:
    """Read off how the stable loss fell.

    Args:
        events: of a run.
    Returns:
        Steps, and the change against the base in percent.
    """
    measured = [e for e in events if isinstance(e, Validated) and e.split == "train"]
    based = [(e.step, e.loss / e.base_loss) for e in measured if e.base_loss]
    return [float(step) for step, _ in based], [100 * (ratio - 1) for _, ratio in based]
