"""Base against LoRA in numbers: likeness, the prompt's match, diversity, each with an interval.

Every number is a mean over prompts of paired differences, the same prompt and seed drawn by both.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.evaluation.copying import training_pictures
from workbench.evaluation.features import Features, at_hand
from workbench.evaluation.results import DriftRow, Pair
from workbench.evaluation.rows import change_row
from workbench.records.sampling import without_trigger

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.recipe import Recipe

LIKENESS = "likeness to the training pictures"
MATCH = "match with the prompt"
DIVERSITY = "diversity"


def measures(
    pairs: Sequence[Pair],
    recipe: "Recipe",
    dataset: "Dataset | None" = None,
    *,
    features: Features | None = None,
) -> tuple[DriftRow, ...]:
    """Measure pairs of pictures.

    Args:
        pairs: same prompt and seed, drawn by base and LoRA.
        recipe: of the run; it says what the trigger is, and which features are at hand.
        dataset: the training pictures; None leaves likeness to them out.
        features: what judges; the best at hand when left out.
    Returns:
        Likeness (mean cosine to the training pictures), match with the prompt (cosine of picture
        and prompt, the trigger left out), and diversity (1 - mean cosine to the other pictures of
        the same prompt); what cannot be said is left out, all of it for fewer than two pairs.
    Source: CLIP-I and CLIP-T of Ruiz et al. 2022, arXiv 2208.12242.
    """
    features = features or at_hand(recipe.base.path)
    if len(pairs) < 2 or not features.judges:
        return ()
    base = features.pictures([p.base for p in pairs])
    trained = features.pictures([p.trained for p in pairs])
    prompts, name, rows = [pair.prompt for pair in pairs], features.name, []
    if dataset is not None and not dataset.is_drawn and len(dataset):
        known = features.pictures(training_pictures(dataset)[1])
        before, after = ((vectors @ known.T).mean(axis=1) for vectors in (base, trained))
        rows.append(change_row(f"{LIKENESS} ({name})", prompts, base=before, trained=after))
    if features.texts is not None:
        subset = recipe.data.subsets[0]
        words = {"trigger": subset.trigger, "class_word": subset.class_word}
        texts = features.texts([without_trigger(prompt, **words) for prompt in prompts])
        before, after = ((vectors * texts).sum(axis=1) for vectors in (base, trained))
        rows.append(change_row(f"{MATCH} ({name})", prompts, base=before, trained=after))
    several = [k for k, prompt in enumerate(prompts) if prompts.count(prompt) > 1]
    if several:
        kept = [prompts[k] for k in several]
        before, after = (spread(vectors[several], kept) for vectors in (base, trained))
        rows.append(change_row(f"{DIVERSITY} ({name})", kept, base=before, trained=after))
    return tuple(rows)


def spread(vectors: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """How unlike each picture is to the other pictures of its prompt.

    Args:
        vectors: unit vectors, (N, D).
        prompts: of each, (N,), each at least twice.
    Returns:
        1 - mean cosine to the others, (N,).
    """
    groups = np.asarray(prompts)[:, None] == np.asarray(prompts)[None, :]
    np.fill_diagonal(groups, False)
    return 1 - (vectors @ vectors.T * groups).sum(axis=1) / groups.sum(axis=1)
