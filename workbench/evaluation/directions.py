"""What a LoRA is made of: how large each direction of its change is, and what few of them draw."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from workbench.adapters import formats
from workbench.adapters.reduce import reduce
from workbench.evaluation.loading import Trained, open_trained
from workbench.records.sampling import draw


@torch.no_grad()
def spectra(source: str | Path, *, base: str | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """Split the change of every layer into directions and say how large each is.

    Args:
        source: a run folder or a LoRA file, of any method.
        base: where the base lies, if not where the run or the file says.
    Returns:
        "<part>.<path>" to the singular values of dW and of the layer's own W, falling; a LoRA of
        rank 8 has eight that are not 0.
    Raises:
        FileRefused: nothing to load there.
        SettingsError: no base is known.
    """
    trained = open_trained(source, base=base)
    changes = dict(trained.adapter.delta())
    trained.adapter.detach()
    return {
        name: (_values(change), _values(_weight(trained, name))) for name, change in changes.items()
    }


def at_ranks(
    source: str | Path,
    ranks: Sequence[int],
    *,
    prompt: str | None = None,
    seed: int = 0,
    base: str | None = None,
) -> dict[int, Image.Image]:
    """Draw one picture with the largest directions of each layer's change alone.

    Args:
        source: a run folder or a LoRA file, of any method.
        ranks: how many directions are kept; 0 is the base.
        prompt: what to draw; the run's first sample prompt if left out.
        seed: of the picture.
        base: where the base lies, if not where the run or the file says.
    Returns:
        Number of directions to picture.
    Raises:
        FileRefused: nothing to load there.
        SettingsError: no base is known.
    """
    trained = open_trained(source, base=base)
    family, found = trained.family, {}
    job = (trained.prompts[0] if prompt is None else prompt, seed)
    trained.adapter.detach()
    names = {"parts": family.parts, "name_of": family.file_name}
    with tempfile.TemporaryDirectory() as folder:
        for rank in ranks:
            if rank == 0:
                found[rank] = next(draw(family, trained.sampling, [job])).image
                continue
            path = Path(folder) / f"rank-{rank}.safetensors"
            reduce(trained.path, path, rank=rank, to="kohya", **names)
            adapter = formats.attach_file(path, **names)
            found[rank] = next(draw(family, trained.sampling, [job])).image
            adapter.detach()
    return found


def _values(weight: Tensor) -> Tensor:
    return torch.linalg.svdvals(weight.detach().float().cpu().flatten(1))


def _weight(trained: Trained, name: str) -> Tensor:
    part, path = name.split(".", 1)
    return trained.family.parts[part].get_submodule(path).weight  # pyright: ignore[reportReturnType]
