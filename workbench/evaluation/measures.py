"""Base against LoRA in numbers: likeness, the prompt's match, diversity, each with an interval.

Every number is a mean of paired differences, the same prompt and seed drawn by both.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.evaluation.copying import features_for, training_pictures
from workbench.evaluation.results import DriftRow, Pair
from workbench.models.source import is_critters
from workbench.records.sampling import without_trigger
from workbench.records.validation import paired_interval

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.recipe import Recipe

LIKENESS = "likeness to the training pictures"
MATCH = "match with the prompt"
DIVERSITY = "diversity"


def measures(
    pairs: Sequence[Pair], recipe: "Recipe", dataset: "Dataset | None" = None
) -> tuple[DriftRow, ...]:
    """Measure pairs of pictures.

    Args:
        pairs: same prompt and seed, drawn by base and LoRA.
        recipe: of the run; it decides which features are at hand.
        dataset: the training pictures; None leaves likeness to them out.
    Returns:
        Likeness (mean cosine to the training pictures), match with the prompt (cosine of picture
        and caption, the trigger left out; for the critters base, whose CLIP is at hand), and
        diversity (1 - mean cosine to the other pictures of the same prompt); what cannot be said
        is left out, all of it for fewer than two pairs.
    Source: CLIP-I and CLIP-T of Ruiz et al. 2022, arXiv 2208.12242.
    """
    if len(pairs) < 2:
        return ()
    name, features = features_for(recipe)
    base, trained = features([p.base for p in pairs]), features([p.trained for p in pairs])
    rows = []
    if dataset is not None and not dataset.is_drawn and len(dataset):
        known = features(training_pictures(dataset)[1])
        rows.append(
            _row(f"{LIKENESS} ({name})", (base @ known.T).mean(1), (trained @ known.T).mean(1))
        )
    if is_critters(recipe.base.path):
        texts = _embedded(pairs, recipe)
        rows.append(_row(f"{MATCH} ({name})", (base * texts).sum(1), (trained * texts).sum(1)))
    groups = [
        [k for k, pair in enumerate(pairs) if pair.prompt == prompt]
        for prompt in dict.fromkeys(pair.prompt for pair in pairs)
    ]
    several = [group for group in groups if len(group) > 1]
    if several:
        rows.append(
            _row(f"{DIVERSITY} ({name})", _spread(base, several), _spread(trained, several))
        )
    return tuple(rows)


def _row(name: str, base: np.ndarray, trained: np.ndarray) -> DriftRow:
    change = np.asarray(trained - base, dtype=np.float64)
    low, high = paired_interval(change)
    return DriftRow(name, float(base.mean()), float(change.mean()), low, high)


def _spread(vectors: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """For each picture of the groups, 1 - mean cosine to the others of its group."""
    found = []
    for group in groups:
        own = vectors[list(group)]
        among = own @ own.T
        count = len(group)
        found.append(1 - (among.sum(1) - np.diag(among)) / (count - 1))
    return np.concatenate(found)


def _embedded(pairs: Sequence[Pair], recipe: "Recipe") -> np.ndarray:
    """The prompts in the space of the critters' CLIP, which does not know the trigger."""
    import torch

    from workbench.critters import BASE
    from workbench.critters.architecture import load_clip
    from workbench.critters.contrastive import embed_captions, tokenize
    from workbench.models.loading import locate
    from workbench.models.parts import load_tokenizers

    subset = recipe.data.subsets[0]
    words = {"trigger": subset.trigger, "class_word": subset.class_word}
    texts = [without_trigger(pair.prompt, **words) for pair in pairs]
    tokenizer = load_tokenizers(locate(recipe.base))[0]
    with torch.no_grad():
        return embed_captions(load_clip(BASE), tokenize(tokenizer, texts)).numpy()
