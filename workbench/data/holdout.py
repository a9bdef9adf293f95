"""Which pictures are kept from training, so that overfitting can be seen."""

from typing import TYPE_CHECKING

import torch

from workbench.seeds import generator

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

__all__ = ["MIN_TO_HOLD_OUT", "split"]

MIN_TO_HOLD_OUT = 20  # below, every picture is needed for training


def split(dataset: "Dataset", holdout: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Keep some pictures from training, so that overfitting can be seen.

    Args:
        dataset: all pictures.
        holdout: share held out of what is no prior; nothing is held out below 20 pictures.
        seed: the run's.
    Returns:
        Indices to train on and indices held out, each in rising order.
    """
    concept = [index for index in range(len(dataset)) if index not in dataset.priors]
    num_held = round(len(concept) * holdout) if len(concept) >= MIN_TO_HOLD_OUT else 0
    order = torch.randperm(len(concept), generator=generator(seed, "holdout")).tolist()
    held = {concept[place] for place in order[:num_held]}
    return [index for index in range(len(dataset)) if index not in held], sorted(held)
