"""Do the pictures look like the training pictures? Answered by the CLIP that knows critters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from workbench.evaluation.features import critters
from workbench.models.source import is_critters
from workbench.recipe import Recipe

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset


class Likeness:
    """How much pictures look like the concept's training pictures, to the CLIP of critters.

    Source: CLIP-I of Ruiz et al. 2022, arXiv 2208.12242, with the embedded CLIP.
    """

    def __init__(self, dataset: "Dataset") -> None:
        """Look at the training pictures.

        Args:
            dataset: of critters; pictures without a trigger do not count where others have one.
        """
        self._features = critters()
        subsets = dataset.settings.subsets
        every = range(len(dataset))
        concept = [i for i in every if subsets[dataset.records[i].subset].trigger]
        self.pictures = [dataset.open(dataset.record(i)) for i in concept or every]
        self._known = self._features.pictures(self.pictures)

    def of(self, pictures: Sequence[Image.Image]) -> float:
        """Compare pictures with all training pictures.

        Args:
            pictures: at least one.
        Returns:
            Mean cosine over all pairs, in [-1, 1].
        """
        return float((self._features.pictures(pictures) @ self._known.T).mean())

    def among(self) -> float | None:
        """How alike the training pictures are to each other.

        Returns:
            Mean cosine over pairs of different pictures; None for a single one.
        """
        count = len(self._known)
        if count < 2:
            return None
        return float(((self._known @ self._known.T).sum() - count) / (count * (count - 1)))


def likeness_of(recipe: Recipe) -> Likeness | None:
    """Make a judge of likeness for a recipe.

    Args:
        recipe: of any base.
    Returns:
        The judge; None for other bases than critters, which their CLIP does not know, and for
        pictures that are drawn without end.
    """
    if not is_critters(recipe.base.path):
        return None
    from workbench.data.dataset import index

    dataset = index(recipe.data)
    return None if dataset.is_drawn else Likeness(dataset)
