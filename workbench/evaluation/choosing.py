"""Which checkpoint, at which strength? Chosen on some prompts, confirmed on others.

The best of many looks better than it is, by the luck of the pictures that it was chosen with. So
the chosen one is drawn again, for other prompts and other seeds, and only that counts.
"""

import functools
import itertools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from workbench.evaluation.candidates import Candidate, OnBase, candidates
from workbench.evaluation.choice import Choice, Score, advice, best_tradeoffs, recommended
from workbench.evaluation.compare import leak_of, training_data
from workbench.evaluation.drawing import draw_jobs
from workbench.evaluation.features import SUPPLY, Features, at_hand, remembering
from workbench.evaluation.loading import Trained, is_run, open_trained, recorded_recipe
from workbench.evaluation.prompts import called_prompts, described, enough_seeds
from workbench.evaluation.results import Comparison, Leak, Pair, Strip
from workbench.evaluation.statistics import estimate, unit_means
from workbench.evaluation.study import judge_margin
from workbench.evaluation.verdict import answer_all, assembled, concept_pictures
from workbench.recipe import Recipe
from workbench.records.events import Event
from workbench.records.log import read
from workbench.records.sampling import without_trigger
from workbench.settings import Settings, SettingsError, setting

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.training.run import Run

DESCRIBED = "base, the concept described"
NUM_STRIPS = 4  # prompts of the choice that are shown
Told = Callable[[str, int, int], None]  # stage, done, of how many
Shown = Mapping[tuple[str, int], Image.Image]  # by the prompt of the choice and the seed


class ChooseSettings(Settings):
    """What is chosen among; no part of a recipe, since it changes no run."""

    prompts: tuple[str, ...] = setting(
        (), help="half of them to choose on, half to confirm on; empty: the run's own and captions"
    )
    num_prompts: int = setting(8, ge=1, help="prompts to choose on, and as many to confirm on")
    num_seeds: int = setting(4, ge=1, help="seeds of each prompt; other seeds confirm")
    strengths: tuple[float, ...] = setting((1.0,), min_length=1, help="at which each is tried")
    checkpoints: int = setting(3, ge=1, help="files of each run at most, the last one among them")
    raw: bool = setting(True, help="also the last weights without their moving average, if any")
    description: str = setting(
        "",
        help="the concept in words that the base knows, put in the trigger's place: the trigger "
        "alone tells the base nothing; empty: the run's own",
    )
    in_model: bool = setting(True, help="measure in the model, too, whether the chosen one leaks")


@dataclass(frozen=True, slots=True)
class Study:
    """A choice before it is made: what will be drawn, and how it is judged.

    Attributes:
        on: the base in memory.
        candidates: what there is to choose among.
        prompts: to choose on, to confirm on.
        seeds: likewise.
        description: of the concept; "" where none is known.
        recipe: of the first source; None for a file that says nothing.
        dataset: the training pictures.
        known: those of the concept.
        features: the judge.
        in_model: whether the leak is measured in the model.
    """

    on: OnBase
    candidates: tuple[Candidate, ...]
    prompts: tuple[tuple[str, ...], tuple[str, ...]]
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    description: str
    recipe: Recipe | None
    dataset: "Dataset"
    known: tuple[Image.Image, ...]
    features: Features
    in_model: bool = True

    @property
    def num_pictures(self) -> int:
        """All pictures that it looks at; what an earlier study drew is not drawn again."""
        choose, confirm = (len(p) * len(s) for p, s in zip(self.prompts, self.seeds, strict=True))
        bases = 2 if self.description else 1
        plain = 2 * confirm if self.on.trained.trigger else 0
        return choose * (len(self.candidates) + bases) + confirm * (1 + bases) + plain


def plan(
    sources: Sequence[Path],
    *,
    base: str | None = None,
    judge: str | Path | None = None,
    settings: ChooseSettings | None = None,
) -> Study:
    """Load the base and say what will be drawn; no picture is drawn yet.

    Args:
        sources: run folders and LoRA files, all of one base.
        base: where the base lies, if not where they say.
        judge: folder of a CLIP, SigLIP or DINOv2; the best at hand when left out.
        settings: what to choose among.
    Returns:
        The study.
    Raises:
        SettingsError: nothing to judge by, too few prompts, or sources of two bases.
        FileRefused: a source is unsound.
    """
    chosen, first = settings or ChooseSettings(), sources[0]
    recipe = Recipe.load(first / "recipe.toml") if is_run(first) else recorded_recipe(first)
    features = at_hand(base or (recipe.base.path if recipe else ""), judge=judge)
    if not features.judges:
        raise SettingsError(f"nothing on this machine can judge these pictures; {SUPPLY}")
    every = candidates(
        sources, strengths=chosen.strengths, checkpoints=chosen.checkpoints, raw=chosen.raw
    )
    dataset = training_data(first)
    if isinstance(dataset, str):
        raise SettingsError(
            f"{first}: likeness needs the pictures it was trained on, and {dataset}; put them "
            "back, or compare without them: `workbench compare`"
        )
    weights = every[0].weights.path  # a run that was stopped has no final file
    opened = weights if weights.is_file() else first
    trained = open_trained(opened, base=base, prompts=chosen.prompts)
    own = recipe.data.subsets[0].description if recipe else None
    choosing = enough_seeds(trained.sampling.seeds, chosen.num_seeds)
    return Study(
        on=OnBase(trained),
        candidates=tuple(every),
        prompts=_halves(trained, dataset, chosen),
        seeds=(choosing, enough_seeds((), chosen.num_seeds, taken=choosing)),
        description=chosen.description or own or "",
        recipe=recipe,
        dataset=dataset,
        known=tuple(concept_pictures(dataset)),
        features=remembering(features),
        in_model=chosen.in_model,
    )


def _halves(
    trained: Trained, dataset: "Dataset", chosen: ChooseSettings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Prompts to choose on and to confirm on, none of them twice."""
    every = tuple(dict.fromkeys(chosen.prompts)) or called_prompts(
        trained, dataset, 2 * chosen.num_prompts
    )
    if len(every) < 2:
        raise SettingsError(
            f"choosing needs at least two prompts, one of them to confirm on, got {len(every)}; "
            "give more with --prompt (sixteen: eight to choose on, eight to confirm)"
        )
    half = (len(every) + 1) // 2
    return every[:half], every[half:]


def choose(
    *sources: "Run | str | Path",
    base: str | None = None,
    judge: str | Path | None = None,
    settings: ChooseSettings | None = None,
    told: Told | None = None,
) -> Choice:
    """Choose among the checkpoints of runs and among files, and confirm what was chosen.

    Args:
        sources: finished runs, run folders and LoRA files, all of one base.
        base: where the base lies, if not where they say.
        judge: folder of a CLIP, SigLIP or DINOv2; the best at hand when left out.
        settings: what to choose among.
        told: hears the stage and how far it is.
    Returns:
        The choice; a notebook draws it.
    Raises:
        SettingsError: nothing to judge by, too few prompts, or sources of two bases.
        FileRefused: a source is unsound.
    """
    paths = [Path(one) if isinstance(one, str | Path) else one.folder for one in sources]
    return carry_out(plan(paths, base=base, judge=judge, settings=settings), told)


def carry_out(study: Study, told: Told | None = None) -> Choice:
    """Draw, choose, and confirm the chosen one on what it was not chosen with.

    Args:
        study: see `plan`.
        told: hears the stage and how far it is.
    Returns:
        The choice.
    """
    started = time.monotonic()
    drawn = {one.name: _pictures(study, 0, one, told) for one in study.candidates}
    base = _pictures(study, 0, None, told)
    if study.description:
        drawn[DESCRIBED] = _pictures(study, 0, None, told, words=study.description)
    vectors = study.features.pictures(list(base.values()))
    known = study.features.pictures(study.known)
    scores = {name: _score(study, name, base, own) for name, own in drawn.items()}
    rivals = [scores[one.name] for one in study.candidates]
    picked = recommended(rivals, margin=judge_margin(vectors, known))
    best = best_tradeoffs(rivals)
    for place, one in enumerate(rivals):
        kind = "chosen" if place == picked else "front" if best[place] else "other"
        scores[one.name] = replace(one, kind=kind)
    if DESCRIBED in scores:
        scores[DESCRIBED] = replace(scores[DESCRIBED], kind="base")
    winner = study.candidates[picked]
    comparison, more = _confirm(study, winner, told)
    answers = answer_all(
        comparison,
        _events(winner),
        features=study.features,
        known=study.known,
        recipe=study.recipe,
        leak=comparison.leak,
    )
    judged = assembled(
        answers, features=study.features.name, step=winner.weights.step or 0, leak=comparison.leak
    )
    said = (*advice(rivals, picked), f"On other prompts and seeds: {judged.sentence}", more)
    return Choice(
        scores=tuple(scores.values()),
        chosen=winner.name,
        path=winner.weights.path,
        strength=winner.strength,
        said=tuple(filter(None, said)),
        confirmed=judged,
        comparison=comparison,
        strips=tuple(_strips(study, base, drawn)),
        num_pictures=study.num_pictures,
        seconds=time.monotonic() - started,
    )


def _pictures(
    study: Study, half: int, who: Candidate | None, told: Told | None, *, words: str = ""
) -> dict[tuple[str, int], Image.Image]:
    """What a candidate, or the base, makes of one half's prompts and seeds."""
    trained = study.on.put(who.weights) if who else study.on.trained
    asked = list(itertools.product(study.prompts[half], study.seeds[half]))
    say = _say(study, who, words)
    strength = who.strength if who else 0.0
    stage = f"drawing {who.name if who else 'base'}"
    report = functools.partial(told, stage) if told else None
    found = draw_jobs(trained, [(say(prompt), seed, strength) for prompt, seed in asked], report)
    return {(prompt, seed): found[say(prompt), seed, strength] for prompt, seed in asked}


def _say(study: Study, who: Candidate | None, words: str) -> Callable[[str], str]:
    """How a prompt of the study is put to a candidate, or to the base in words that it knows."""
    first, own = study.on.trained.trigger, who.weights.trigger if who else None
    if words:
        return lambda prompt: described(prompt, study.on.trained, words)
    if first and own and own != first:
        word = re.compile(rf"(?<!\w){re.escape(first)}(?!\w)")
        return lambda prompt: word.sub(lambda _: own, prompt)
    return lambda prompt: prompt


def _score(study: Study, name: str, base: Shown, own: Shown) -> Score:
    """Change of likeness and of prompt following over the prompts of the choice."""
    prompts = [prompt for prompt, _ in base]
    before = study.features.pictures(list(base.values()))
    after = study.features.pictures(list(own.values()))
    known = study.features.pictures(study.known)
    likeness = estimate(unit_means(prompts, ((after - before) @ known.T).mean(axis=1)))
    texts = _texts(study, prompts)
    if texts is None:
        return Score(name, likeness, None)
    return Score(
        name, likeness, estimate(unit_means(prompts, ((after - before) * texts).sum(axis=1)))
    )


def _texts(study: Study, prompts: Sequence[str]) -> np.ndarray | None:
    """The prompts as the judge reads them, the trigger left out."""
    trained = study.on.trained
    words = {"trigger": trained.trigger, "class_word": trained.class_word}
    plain = [without_trigger(prompt, **words) for prompt in prompts]
    if study.features.texts is None or not any(plain):
        return None
    return study.features.texts(plain)


def _confirm(study: Study, winner: Candidate, told: Told | None) -> tuple[Comparison, str]:
    """Draw the chosen one, its base and what is without the trigger, for the other prompts."""
    own, base = _pictures(study, 1, winner, told), _pictures(study, 1, None, told)
    pairs = tuple(Pair(*job, base=base[job], trained=own[job]) for job in own)
    trained = study.on.put(winner.weights)
    words = {"trigger": trained.trigger, "class_word": trained.class_word}
    plain = dict.fromkeys(without_trigger(prompt, **words) for prompt in study.prompts[1])
    leakage: tuple[Pair, ...] = ()
    if trained.trigger:
        jobs = list(itertools.product(plain, study.seeds[1]))
        report = functools.partial(told, "drawing without the trigger") if told else None
        both = [(*job, at) for at in (0.0, winner.strength) for job in jobs]
        found = draw_jobs(trained, both, report)
        leakage = tuple(
            Pair(*job, base=found[*job, 0.0], trained=found[*job, winner.strength]) for job in jobs
        )
    leak: Leak | str | None = None
    if study.in_model and trained.trigger:
        if told:
            told("measuring the leak in the model", 0, 1)
        leak = leak_of(trained, study.dataset, strength=winner.strength)
    comparison = Comparison(pairs, leakage=leakage, trigger=trained.trigger, leak=leak)
    return comparison, _against_words(study, own, told)


def _against_words(study: Study, own: Shown, told: Told | None) -> str:
    """Whether the LoRA is more like the concept than a base that was told what it is."""
    if not study.description:
        return ""
    base = _pictures(study, 1, None, told, words=study.description)
    found = _score(study, DESCRIBED, base, own).likeness
    head = f"Against a base that is told {study.description!r}: likeness {found.mean:+.3f}"
    interval = f"({found.low:+.3f} to {found.high:+.3f})"
    if found.low > 0:
        return f"{head} {interval}; words alone do not do it."
    if found.high < 0:
        return f"{head} {interval}; words alone do better."
    return f"{head} {interval}; undecided whether words alone would do."


def _events(winner: Candidate) -> list[Event]:
    """The losses up to the chosen step; they were measured at strength 1 alone."""
    folder, step = winner.weights.run, winner.weights.step
    if folder is None or step is None or winner.strength != 1 or winner.weights.raw:
        return []
    return [event for event in read(folder) if (getattr(event, "step", None) or 0) <= step]


def _strips(study: Study, base: Shown, drawn: Mapping[str, Shown]) -> list[Strip]:
    seed = study.seeds[0][0]
    return [
        Strip(
            prompt,
            seed,
            (("base", base[prompt, seed]), *((n, own[prompt, seed]) for n, own in drawn.items())),
        )
        for prompt in study.prompts[0][:NUM_STRIPS]
    ]
