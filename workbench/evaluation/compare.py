"""Base and LoRA at the same prompts and seeds: pairs, rising strength, and without the trigger."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from workbench import store
from workbench.evaluation.drawing import Job, Told, draw_jobs
from workbench.evaluation.loading import (
    Trained,
    Wanted,
    from_run,
    is_run,
    open_trained,
    recorded_recipe,
)
from workbench.evaluation.prompts import called_prompts, enough_seeds
from workbench.evaluation.results import Comparison, Leak, Pair, Strip
from workbench.recipe import Recipe
from workbench.records.events import Sampled, Saved
from workbench.records.log import read
from workbench.records.sampling import without_trigger
from workbench.settings import Settings, SettingsError, setting
from workbench.settings import replace as update
from workbench.store import FileRefused

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.training.run import Run


class CompareSettings(Settings):
    """What is compared; no part of a recipe, since it changes no run."""

    prompts: tuple[str, ...] = setting((), help="what to draw; empty: the run's sample prompts")
    seeds: tuple[int, ...] = setting((), help="seeds of each prompt; empty: the run's own")
    strengths: tuple[float, ...] = setting(
        (0.0, 0.25, 0.5, 0.75, 1.0, 1.25), help="strengths of the strip; 0 is the base"
    )
    num_strips: int = setting(1, help="prompts shown at every strength", ge=0)
    leakage: bool = setting(True, help="draw the prompts without the trigger, too")
    in_model: bool = setting(
        False, help="measure in the model, too, whether the concept leaks: some 500 calls of it"
    )
    num_prompts: int = setting(
        0,
        ge=0,
        help="fill the run's own prompts up to so many with captions of its pictures; fewer than "
        "eight say too little",
    )
    num_seeds: int = setting(
        0, ge=0, help="fill the run's own seeds up to so many; diversity needs four of each prompt"
    )


def compare(
    source: "Run | Trained | str | Path",
    *,
    base: str | None = None,
    settings: CompareSettings | None = None,
    told: Told | None = None,
) -> Comparison:
    """Draw what a base and its LoRA make of the same prompts and seeds.

    Pictures that a run has drawn already are taken from its folder.

    Args:
        source: a run, a run folder, or a LoRA file.
        base: where the base lies, if not where the run or the file says.
        settings: what to compare.
        told: hears how many pictures are drawn, and of how many, before the first and after each.
    Returns:
        The comparison; `.show()` draws it in a notebook.
    Raises:
        FileRefused: nothing to load there.
        SettingsError: there are no prompts, or no base is known.
    """
    started = time.monotonic()
    settings = settings or CompareSettings()
    if isinstance(source, str | Path):
        trained = open_trained(source, base=base, prompts=settings.prompts)
        drawn = drawn_pictures(Path(source)) if is_run(source) else {}
        known = drawn, training_data(Path(source))
        return _compare(trained, settings, known, started=started, told=told)
    if isinstance(source, Trained):
        known = {}, "a model alone does not say what it was trained on"
        return _compare(source, settings, known, started=started, told=told)
    with source.trainer.showing():
        trained = from_run(source)
        known = drawn_pictures(source.folder), source.trainer.dataset
        return _compare(trained, settings, known, started=started, told=told)


def _compare(
    trained: Trained,
    settings: CompareSettings,
    known: "tuple[Mapping[Job, Image.Image], Dataset | str]",
    *,
    started: float,
    told: Told | None,
) -> Comparison:
    drawn, dataset = known
    plan = make_plan(trained, filled(settings, trained, dataset))
    wanted = [job for job in plan.jobs if job not in drawn]
    pictures = dict(drawn) | draw_jobs(trained, wanted, told)
    found = plan.comparison(pictures, seconds=time.monotonic() - started)
    if not settings.in_model or trained.trigger is None:
        return found
    return replace(found, leak=leak_of(trained, dataset))


def filled(
    settings: CompareSettings, trained: Trained | Wanted, dataset: "Dataset | str"
) -> CompareSettings:
    """Add prompts and seeds to a run's own, where that was asked for.

    Args:
        settings: `num_prompts` and `num_seeds` say how many; what was given stays as it is.
        trained: whose prompts and seeds come first.
        dataset: whose captions become further prompts.
    Returns:
        Settings with prompts and seeds spelt out.
    """
    prompts, seeds = settings.prompts, settings.seeds
    if not prompts and settings.num_prompts and not isinstance(dataset, str):
        wanted = called_prompts(trained, dataset, settings.num_prompts)
        prompts = tuple(dict.fromkeys([*trained.prompts, *wanted]))
    if not seeds and settings.num_seeds:
        seeds = enough_seeds(trained.sampling.seeds, settings.num_seeds)
    return update(settings, prompts=prompts, seeds=seeds)


def training_data(source: Path) -> "Dataset | str":
    """Read the pictures that a run or file was trained on.

    Args:
        source: a run folder, or a LoRA file of ours.
    Returns:
        The pictures, or why they are not to be had.
    """
    from workbench.data.dataset import index

    try:
        recipe = Recipe.load(source / "recipe.toml") if is_run(source) else recorded_recipe(source)
        if recipe is None:
            return "the file does not say what it was trained on"
        dataset = index(recipe.data)
    except (SettingsError, FileRefused) as error:
        return f"the training pictures cannot be read: {error}"
    return "the training pictures are drawn without end" if dataset.is_drawn else dataset


def leak_of(
    trained: Trained, dataset: "Dataset | str", *, strength: float = 1.0, unrelated: bool = True
) -> "Leak | str":
    """Measure the leak in the model.

    Args:
        trained: the model.
        dataset: what it was trained on, or why that is not to be had.
        strength: at which it is measured.
        unrelated: ask with unrelated prompts, too.
    Returns:
        The leak, or why it cannot be measured.
    """
    if isinstance(dataset, str):
        return dataset
    if dataset.is_drawn:
        return "the training pictures are drawn without end"
    from workbench.evaluation.leak import measure_leak

    try:
        return measure_leak(trained, dataset, strength=strength, unrelated=unrelated)
    except SettingsError as error:
        return str(error)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which pictures a comparison is made of.

    Attributes:
        pairs: prompts with the trigger, and their seeds.
        leaks: prompts without it, and their seeds.
        strips: prompts and seeds that are shown at every strength.
        strengths: of the strips.
        trigger: the concept's word, if there is one.
    """

    pairs: tuple[tuple[str, int], ...]
    leaks: tuple[tuple[str, int], ...]
    strips: tuple[tuple[str, int], ...]
    strengths: tuple[float, ...]
    trigger: str | None

    @property
    def jobs(self) -> list[Job]:
        """Every picture once, those of the first pairs first."""
        both = [(*one, at) for one in (*self.pairs, *self.leaks) for at in (0.0, 1.0)]
        rising = [(*one, at) for one in self.strips for at in self.strengths]
        return list(dict.fromkeys([*both, *rising]))

    def comparison(self, pictures: Mapping[Job, Image.Image], *, seconds: float = 0) -> Comparison:
        """Put drawn pictures together.

        Args:
            pictures: all of `jobs`.
            seconds: how long drawing took.
        Returns:
            The comparison.
        """

        def pair(one: tuple[str, int]) -> Pair:
            return Pair(*one, base=pictures[*one, 0.0], trained=pictures[*one, 1.0])

        def strip(one: tuple[str, int]) -> Strip:
            return Strip(*one, tuple((_label(s), pictures[*one, s]) for s in self.strengths))

        return Comparison(
            pairs=tuple(map(pair, self.pairs)),
            strengths=tuple(map(strip, self.strips)),
            leakage=tuple(map(pair, self.leaks)),
            trigger=self.trigger,
            seconds=seconds,
        )


def make_plan(trained: Trained | Wanted, settings: CompareSettings) -> Plan:
    """Say which pictures a comparison needs; no model is loaded for it.

    Args:
        trained: whose prompts, seeds and trigger count where the settings name none.
        settings: what to compare.
    Returns:
        The plan.
    Raises:
        SettingsError: there are no prompts.
    """
    seeds = settings.seeds or trained.sampling.seeds
    prompts, plain = _prompts(trained, settings)
    return Plan(
        pairs=tuple((prompt, seed) for prompt in prompts for seed in seeds),
        leaks=tuple((prompt, seeds[0]) for prompt in plain),
        strips=tuple((prompt, seeds[0]) for prompt in prompts[: settings.num_strips]),
        strengths=settings.strengths,
        trigger=trained.trigger,
    )


def _prompts(trained: Trained | Wanted, settings: CompareSettings) -> tuple[list[str], list[str]]:
    """Prompts with the trigger, and those without: asked for as such, or made by leaving it out."""
    prompts = settings.prompts or trained.prompts
    if not prompts:
        raise SettingsError(
            "compare needs prompts, and the run or file brings none; give prompts = ['...']"
        )

    def plain(prompt: str) -> str:
        return without_trigger(prompt, trigger=trained.trigger, class_word=trained.class_word)

    having = [prompt for prompt in prompts if plain(prompt) != prompt]
    if not having:
        return list(prompts), []
    others = [prompt for prompt in prompts if prompt not in having]
    made = [plain(prompt) for prompt in having] if settings.leakage else []
    return having, list(dict.fromkeys([*made, *others]))


def drawn_pictures(folder: Path) -> dict[Job, Image.Image]:
    """Pictures that a run left in its folder: of the base, and of the step that it saved.

    Args:
        folder: the run folder.
    Returns:
        Prompt, seed and strength (0 or 1) to picture.
    """
    events = read(folder)
    saved = [event.step for event in events if isinstance(event, Saved) and event.final]
    pictures: dict[Job, Image.Image] = {}
    for event in events:
        if not isinstance(event, Sampled) or not (event.base or event.step in saved[-1:]):
            continue
        for one in event.pictures:
            if (folder / one.path).is_file():
                with store.open_image(folder / one.path) as image:
                    strength = 0.0 if event.base else 1.0
                    pictures[one.prompt, one.seed, strength] = image.convert("RGB")
    return pictures


def _label(strength: float) -> str:
    return "0 (base)" if strength == 0 else f"{strength:g}"
