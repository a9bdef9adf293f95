"""What every tagger offers, whatever model is behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

__all__ = ["Suggestion", "Tagger"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One thing that a model says of a picture.

    Attributes:
        text: a tag, or a whole sentence.
        score: how sure the model is, in [0, 1]; 1 for a sentence, which has no score.
        group: what kind of tag: "general", "character", the name of a vocabulary's group, or
            "sentence".
    """

    text: str
    score: float = 1.0
    group: str = "general"


class Tagger(Protocol):
    """A loaded model that puts pictures into words."""

    batch_size: int

    def read(self, images: Sequence[Image.Image]) -> list[list[Suggestion]]:
        """Look at some pictures.

        Args:
            images: upright RGB pictures of any size, at most `batch_size` of them.
        Returns:
            For each picture what is above the tagger's thresholds, in the order to be written.
        Raises:
            FileRefused: the model's answer is not what such a model answers.
        """
        ...
