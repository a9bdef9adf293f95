"""Base and LoRA at the same prompts and seeds: pairs, rising strength, and without the trigger."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from workbench import store
from workbench.evaluation.loading import Trained, Wanted, from_run, is_run, open_trained
from workbench.evaluation.results import Comparison, Pair, Strip
from workbench.records.events import Sampled, Saved
from workbench.records.log import read
from workbench.records.sampling import draw, without_trigger
from workbench.settings import Settings, SettingsError, setting

if TYPE_CHECKING:
    from workbench.training.run import Run

# A picture is what a prompt and a seed become at a strength.
Job = tuple[str, int, float]


class CompareSettings(Settings):
    """What is compared; no part of a recipe, since it changes no run."""

    prompts: tuple[str, ...] = setting((), help="what to draw; empty: the run's sample prompts")
    seeds: tuple[int, ...] = setting((), help="seeds of each prompt; empty: the run's own")
    strengths: tuple[float, ...] = setting(
        (0.0, 0.25, 0.5, 0.75, 1.0, 1.25), help="strengths of the strip; 0 is the base"
    )
    num_strips: int = setting(1, help="prompts shown at every strength", ge=0)
    leakage: bool = setting(True, help="draw the prompts without the trigger, too")


def compare(
    source: "Run | Trained | str | Path",
    *,
    base: str | None = None,
    settings: CompareSettings | None = None,
) -> Comparison:
    """Draw what a base and its LoRA make of the same prompts and seeds.

    Pictures that a run has drawn already are taken from its folder.

    Args:
        source: a run, a run folder, or a LoRA file.
        base: where the base lies, if not where the run or the file says.
        settings: what to compare.
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
        return _compare(trained, settings, drawn, started)
    if isinstance(source, Trained):
        return _compare(source, settings, {}, started)
    with source.trainer.showing():
        trained = from_run(source)
        return _compare(trained, settings, drawn_pictures(source.folder), started)


def _compare(
    trained: Trained, settings: CompareSettings, drawn: Mapping[Job, Image.Image], started: float
) -> Comparison:
    plan = make_plan(trained, settings)
    pictures = dict(drawn) | _draw(trained, [job for job in plan.jobs if job not in drawn])
    return plan.comparison(pictures, seconds=time.monotonic() - started)


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


def _draw(trained: Trained, jobs: Iterable[Job]) -> dict[Job, Image.Image]:
    """Draw all pictures of one strength together, so that batches are full."""
    by_strength: dict[float, list[tuple[str, int]]] = {}
    for prompt, seed, strength in dict.fromkeys(jobs):
        by_strength.setdefault(strength, []).append((prompt, seed))
    pictures: dict[Job, Image.Image] = {}
    for strength, pairs in by_strength.items():
        with trained.adapter.strength(strength):
            for one in draw(trained.family, trained.sampling, pairs):
                pictures[one.prompt, one.seed, strength] = one.image
    return pictures


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
