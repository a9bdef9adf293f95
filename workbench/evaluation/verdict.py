"""The verdict on a run: what its pictures, losses and its model say, in one sentence.

`judge` answers the six questions and keeps the answers in the run folder, where every face reads
them; `wording.sentence` is the only place that makes a sentence of them.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from workbench.data.dataset import Dataset, index
from workbench.evaluation import diagnosis
from workbench.evaluation.copying import copies, kinds, training_pictures
from workbench.evaluation.features import Features, at_hand, remembering
from workbench.evaluation.leaks import answer_leak, confirmed, recorded, restored
from workbench.evaluation.loading import recorded_recipe
from workbench.evaluation.results import Comparison, Leak, Pair
from workbench.evaluation.statistics import unit_means
from workbench.evaluation.study import Finding, Judged, colours, decide, learning
from workbench.evaluation.wording import sentence, tone
from workbench.recipe import Recipe
from workbench.records import judgement
from workbench.records.events import Event, Validated
from workbench.records.judgement import Answer, Judgement, Question
from workbench.records.log import read
from workbench.records.sampling import without_trigger
from workbench.settings import SettingsError, as_dict
from workbench.store import FileRefused


def judge(
    folder: str | Path,
    comparison: Comparison | None,
    *,
    judge: str | Path | None = None,
    leak: Leak | str | None = None,
    more: Sequence[Event] = (),
) -> Judgement | None:
    """Answer the six questions on a run, and keep the answers in its folder.

    Args:
        folder: the run folder.
        comparison: pictures of base and trained model.
        judge: folder of a CLIP, SigLIP or DINOv2; the best at hand when left out.
        leak: as it was measured in the model, or why it was not; None takes what was measured at
            this step before.
        more: events that are not recorded.
    Returns:
        The judgement; None where the folder holds no recipe that this version understands.
    Raises:
        SettingsError: the judge cannot be used.
    """
    folder, events = Path(folder), [*read(folder), *more]
    try:
        recipe = Recipe.load(folder / "recipe.toml")
    except (SettingsError, FileRefused):
        return None
    step = diagnosis.last_measured(events)
    before = judgement.load(folder, step=step)
    if leak is None and before is not None and before.leak is not None:
        leak = restored(before.leak)
    features = at_hand(recipe.base.path, judge=judge)
    dataset = _pictures(recipe)
    answers = answer_all(
        comparison or Comparison(()),
        events,
        features=features,
        known=concept_pictures(dataset),
        recipe=recipe,
        leak=leak,
    )
    found = assembled(
        answers, features=features.name, step=step, leak=leak, learned=_learned(events)
    )
    said = diagnosis.verdict(events, recipe=as_dict(recipe), judged=found).sentence
    found = found.model_copy(update={"verdict": said})
    judgement.save(folder, found)
    return found


def judge_file(path: Path, comparison: Comparison, *, judge: str | Path | None = None) -> Judgement:
    """Answer what can be answered on a LoRA file: how it was trained it does not tell.

    Args:
        path: the file; the recipe in it, if any, says where its pictures are.
        comparison: pictures of base and LoRA.
        judge: folder of a CLIP, SigLIP or DINOv2; the best at hand when left out.
    Returns:
        The judgement, kept nowhere.
    Raises:
        SettingsError: the judge cannot be used.
    """
    recipe = recorded_recipe(path)
    features = at_hand(recipe.base.path if recipe else "", judge=judge)
    known = concept_pictures(_pictures(recipe) if recipe else None)
    leak = comparison.leak
    answers = answer_all(
        comparison, (), features=features, known=known, recipe=recipe, leak=leak
    )  # fmt: skip
    return assembled(answers, features=features.name, leak=leak)


def assembled(
    answers: Sequence[Answer],
    *,
    features: str,
    step: int = 0,
    leak: Leak | str | None = None,
    learned: str = "",
) -> Judgement:
    """Put answers together.

    Args:
        answers: to the six questions.
        features: name of the judge.
        step: of the judged weights.
        leak: as measured.
        learned: what the losses say, see `sentence`.
    Returns:
        The judgement with its sentence.
    """
    said = sentence(answers, learned=learned)
    return Judgement(
        step=step,
        sentence=said,
        verdict=said,
        tone=tone(answers),
        answers=tuple(answers),
        features=features,
        leak=recorded(leak) if isinstance(leak, Leak) else None,
    )


def answer_all(
    comparison: Comparison,
    events: Sequence[Event],
    *,
    features: Features,
    known: Sequence[Image.Image],
    recipe: Recipe | None = None,
    leak: Leak | str | None = None,
) -> list[Answer]:
    """Answer the six questions; those that were measured are one family.

    Args:
        comparison: pictures with the trigger, and without it.
        events: of the run; without any, whether it learned is not measured.
        features: what judges.
        known: pictures of the concept.
        recipe: says which word is the trigger, and which base this is.
        leak: as measured, or why it was not.
    Returns:
        One answer a question, in the order in which they are asked.
    """
    features = remembering(features)
    subset = None if recipe is None else recipe.data.subsets[0]
    trigger = comparison.trigger or (subset.trigger if subset else None)
    words = {"trigger": trigger, "class_word": subset.class_word if subset else None}
    plain = functools.partial(without_trigger, **words)
    last = {e.split: e for e in events if isinstance(e, Validated) and e.step > 0 and e.base_loss}
    judged = Judged(features, comparison.pairs, known, plain)
    found = [
        learning(last.get("train"), last.get("held_out")),
        *judged.findings(),
        colours(comparison.leakage or comparison.pairs),
    ]
    lost = _without(features, comparison.leakage, known)
    base = recipe.base.path if recipe else ""
    answers = _decided([*found, answer_leak(leak, lost, base=base, trigger=trigger)])
    answers["leak"] = confirmed(answers["leak"], lost)
    answers["diversity"] = _copies(answers["diversity"], judged)
    return [answers[question] for question in judgement.ASKED]


def _decided(found: Sequence[Finding | Answer]) -> dict[Question, Answer]:
    """Decide what was tested as one family; what was not measured stays as it is."""
    findings = [one for one in found if isinstance(one, Finding)]
    answers = [one for one in found if isinstance(one, Answer)]
    return {one.question: one for one in (*answers, *decide(findings))}


def _without(
    features: Features, plain: Sequence[Pair], known: Sequence[Image.Image]
) -> list[float]:
    """Likeness of pictures without the trigger above the base's, one a prompt."""
    if not features.judges or not plain or not known:
        return []
    concept = features.pictures(known)
    trained = features.pictures([pair.trained for pair in plain])
    base = features.pictures([pair.base for pair in plain])
    change = ((trained - base) @ concept.T).mean(axis=1)
    return unit_means([pair.prompt for pair in plain], change).tolist()


def _copies(answer: Answer, judged: Judged) -> Answer:
    """A copy is a loss of diversity whatever the mean over prompts says."""
    if not judged.pairs or len(judged.known) == 0:
        return answer
    shown = judged.features.pictures([pair.trained for pair in judged.pairs])
    found = copies(shown, judged.features.pictures(judged.known))
    if not found:
        return answer
    said = f"copies training pictures ({len(found)} of {len(shown)} samples)"
    return answer.model_copy(update={"reply": "yes", "word": "worse", "clause": said, "note": ""})


def _pictures(recipe: Recipe) -> Dataset | None:
    """The run's pictures; None where they are no longer there, or are drawn without end."""
    try:
        dataset = index(recipe.data)
    except (SettingsError, FileRefused):
        return None
    return None if dataset.is_drawn else dataset


def concept_pictures(dataset: Dataset | None) -> list[Image.Image]:
    """Open the pictures of a concept as they are trained on.

    Args:
        dataset: the training pictures; None where they are not to be had.
    Returns:
        Those with a trigger, or all of them where none has one.
    """
    if dataset is None:
        return []
    concept, ordinary = kinds(dataset)
    return training_pictures(dataset, concept or ordinary)[1]


def _learned(events: Sequence[Event]) -> str:
    """The first sentence of what the losses say, without its end."""
    found = diagnosis.learned(events)
    return "" if found is None else found.split(". ")[0].rstrip(".")
