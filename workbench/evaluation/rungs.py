"""The rungs of the reload proof: a difference, what it may be, and a sentence about it."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import store
from workbench.adapters import formats
from workbench.adapters.attached import AttachedNetwork
from workbench.adapters.kohya import altered_layers
from workbench.adapters.layers import Layer, copied, relative_error
from workbench.adapters.readers import TABLE, TITLES, Feature, Reader
from workbench.evaluation.results import ProofRow
from workbench.records.fixed import NUM_INPUTS

if TYPE_CHECKING:
    from workbench.models.family import Family

# What saving may cost, as a share of what the LoRA changes in the model's output.
OUTPUT_LIMIT = 1e-2
# float16 rounds a layer's dW by 3e-4; ten times that comes from values near the smallest it has.
ROUNDING_LIMIT = 1e-3
# A merge into a narrow type may lose all of a small change (1), but not turn it round (2).
LOST_LIMIT = 1.5
PICTURE_LIMIT = 1.0  # of 255 levels, mean over the picture
TEXT_LIMIT = 1e-3  # of the largest embedding


def tensor_rows(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[ProofRow]:
    """Names equal, and every tensor bit for bit the trained one in the file's type."""
    missing, unknown = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
    said = f"All {len(wanted)} tensors are there, and no others."
    if missing or unknown:
        said = f"{len(missing)} missing, {len(unknown)} unknown: {_few([*missing, *unknown])}."
    strange = len(missing) + len(unknown)
    yield ProofRow("names", strange, 0, strange == 0, said)
    common = [name for name in wanted if name in stored]
    altered = [name for name in common if not _same_bits(wanted[name], stored[name])]
    exact = (".alpha", ".dora_scale")
    types = sorted({str(stored[n].dtype)[6:] for n in common if not n.endswith(exact)})
    said = f"Every tensor is bit for bit what was trained, as {' and '.join(types)}."
    if altered:
        said = f"{len(altered)} tensors differ from what was trained: {_few(altered)}."
    yield ProofRow("tensors", len(altered), 0, not altered, said)


def _same_bits(trained: Tensor, stored: Tensor) -> bool:
    cast = trained.detach().cpu().to(stored.dtype)
    if cast.shape != stored.shape:
        return False
    one, other = (t.contiguous().reshape(-1).view(torch.uint8) for t in (cast, stored))
    return one.equal(other)


def rounding_row(reloaded: Mapping[str, Layer], adapter: AttachedNetwork) -> ProofRow:
    """How much the file's type changed the effect of each layer: said, but no failure."""
    common = {name: copied(x) for name, x in adapter.layers().items() if name in reloaded}
    errors = relative_error(reloaded, common, weights=adapter.weights())
    worst = max(errors, key=errors.__getitem__, default="")
    value = errors.get(worst, 0.0)
    many = sum(error > ROUNDING_LIMIT for error in errors.values())
    said = f"Saving changed no layer's dW by more than {value:.2g} of it."
    if many:
        said = (
            f"Saving rounds the dW of {many} layers by more than {ROUNDING_LIMIT:g} of it, most "
            f"in {worst}; output.dtype = 'float32' keeps every bit."
        )
    return ProofRow("rounding", value, ROUNDING_LIMIT, True, said, warning=many > 0)


def output_row(name: str, found: Tensor, wanted: Tensor, *, base: Tensor) -> ProofRow:
    """Difference as a share of what the LoRA changes; where that is nothing, of the output."""
    effect = torch.maximum((wanted - base).norm(), 1e-3 * wanted.norm()).clamp(min=1e-12)
    value = float((found - wanted).norm() / effect)
    passed = value <= OUTPUT_LIMIT
    said = (
        f"At {NUM_INPUTS} fixed inputs it predicts the same, but for {value:.1g} of what the LoRA "
        "changes."
    )
    if not passed:
        said = (
            f"At {NUM_INPUTS} fixed inputs it predicts something else: {value:.2g} of what the "
            "LoRA changes."
        )
    return ProofRow(name, value, OUTPUT_LIMIT, passed, said)


def narrow_output_row(
    row: ProofRow, found: Tensor, rounded: Tensor, *, trained: Tensor
) -> ProofRow:
    """Tell a wrong file from one whose effect drowns in the rounding of a model in half precision.

    Args:
        row: the output rung, which failed.
        found: what the base answers with the file, (5, C, h, w).
        rounded: what the trained adapter answers with its weights rounded as in the file.
        trained: what it answers as it is.
    Returns:
        The rung; it holds, with a warning, where the file is off by no more than that rounding.
    """
    noise, off = (trained - rounded).norm(), (found - rounded).norm()
    if off > 2 * noise:
        return row
    said = (
        "What was learned is smaller than what the model's own half precision rounds: the file "
        f"predicts what the trained weights predict once they are saved, within {float(off):.2g} "
        f"of {float(trained.norm()):.3g}. Train longer, or verify with the base in float32."
    )
    return replace(row, passed=True, warning=True, explanation=said)


def off_row(off: Tensor, base: Tensor) -> ProofRow:
    """The file at strength 0 leaves the base, bit for bit.

    Args:
        off: what the base answers with the file at strength 0, (5, C, h, w).
        base: what it answers without the file.
    Returns:
        The rung.
    """
    worst = float((off - base).abs().max())
    said = "With the reloaded LoRA switched off, the model is the base bit for bit."
    if not off.equal(base):
        said = f"With the reloaded LoRA switched off, it differs from the base by {worst:.2g}."
    return ProofRow("strength 0", worst, 0, off.equal(base), said)


def untouched_row(off: Tensor, base: Tensor, *, same_base: bool) -> ProofRow:
    """The trained adapter switched off leaves the base, whose weights have their first hash."""
    worst = float((off - base).abs().max())
    passed = off.equal(base) and same_base
    said = "With the trained adapter switched off, the model is the base bit for bit."
    if not off.equal(base):
        said = f"With the trained adapter switched off, it differs from the base by {worst:.2g}."
    if not same_base:
        said = "The base's own weights are not those that it was loaded with (by SHA-256)."
    return ProofRow("base untouched", worst, 0, passed, said)


def text_row(value: float) -> ProofRow:
    """A frozen encoder must still give the embeddings that were trained on.

    Args:
        value: difference as a share of the largest embedding.
    Returns:
        The rung.
    """
    passed = value <= TEXT_LIMIT
    said = "The text encoder gives the embeddings that were used."
    if not passed:
        said = f"The text encoder gives other embeddings than were used, by {value:.2g} of them."
    return ProofRow("text", value, TEXT_LIMIT, passed, said)


def effect_row(on: Tensor, base: Tensor) -> ProofRow:
    """How much a file changes; nothing at all is worth a warning.

    Args:
        on: what the base answers with the file, (5, C, h, w).
        base: what it answers without.
    Returns:
        The rung.
    """
    effect = float((on - base).norm() / base.norm().clamp(min=1e-12))
    said = f"It changes what the model predicts by {effect:.2g} of it."
    if effect == 0:
        said = "It changes nothing: its weights are all zero."
    return ProofRow("effect", effect, None, math.isfinite(effect), said, warning=effect == 0)


def merged_row(merged: Tensor, on: Tensor, *, base: Tensor, dtype: str) -> ProofRow:
    """Merged into the weights it must do what it does beside them, as far as their type allows.

    Args:
        merged: what the base answers with the file in its weights, (5, C, h, w).
        on: what it answers with the file beside them.
        base: what it answers without.
        dtype: of the weights.
    Returns:
        The rung; what a narrow type loses is a warning.
    """
    row = output_row("merged", merged, on, base=base)
    if row.passed or dtype == "float32":
        return row
    said = (
        f"Merging into {dtype} weights loses {row.value:.2g} of what the LoRA changes: keep it "
        "beside the model, or merge in float32."
    )
    return replace(row, passed=row.value < LOST_LIMIT, warning=True, explanation=said)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What other programs make of a file.

    Attributes:
        features: what the file holds.
        off: program to layer of a DoRA to how far the program is off.
        outside: layers outside of a U-Net's blocks.
    """

    features: tuple[Feature, ...]
    off: Mapping[Reader, Mapping[str, float]]
    outside: int = 0

    @property
    def comfyui(self) -> dict[str, float]:
        """Layer to how far ComfyUI is off."""
        return dict(self.off.get("comfyui", {}))


def elsewhere_rows(found: Elsewhere) -> Iterator[ProofRow]:
    """What other programs do otherwise: a matter of theirs, so no failure."""
    for reader, layers in found.off.items():
        if layers:
            yield _off_row(reader, layers)
    unread = [
        f"{TITLES[reader]} {reading.says}: {reading.fix}"
        for feature in found.features
        for reader, reading in TABLE[feature].items()
        if reading.verdict != "reads" and reading.shown is None
    ]
    if unread:
        said = "; ".join(unread).format(outside=f"{found.outside} layers", rank="N")
        yield ProofRow("readers", len(unread), None, True, f"{said}.")


def _off_row(reader: Reader, layers: Mapping[str, float]) -> ProofRow:
    reading = TABLE["dora"][reader]
    worst, mean = max(layers, key=layers.__getitem__), sum(layers.values()) / len(layers)
    measured = "each layer's change" if reading.of == "change" else "each layer's weight"
    said = (
        f"{TITLES[reader]} {reading.says.partition(':')[0]}; here {measured} is off by "
        f"{min(layers.values()):.1%} to {layers[worst]:.1%}, {mean:.1%} on average, most in "
        f"{worst}; {reading.fix.format(rank='N')}."
    )
    name = "other programs" if reader == "comfyui" else f"other programs, {reader}"
    return ProofRow(name, layers[worst], None, True, said, warning=mean > OUTPUT_LIMIT)


def trip_row(family: "Family", path: Path) -> ProofRow:
    """Kohya's format to PEFT's and back must give the same tensors."""
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder) / "peft.safetensors", Path(folder) / "kohya.safetensors"
        names = {"parts": family.parts, "name_of": family.file_name}
        formats.convert(path, there, to="peft", **names)
        formats.convert(there, back, to="kohya", **names)
        before, after = store.load_tensors(path), store.load_tensors(back)
    wrong = sorted(before.keys() ^ after.keys())
    wrong += [n for n in before if n in after and not _same_bits(before[n], after[n])]
    said = "Converted to PEFT's format and back, every tensor is the same."
    if wrong:
        said = f"Converted to PEFT's format and back, {len(wrong)} tensors differ: {_few(wrong)}."
    return ProofRow("round trip", len(wrong), 0, not wrong, said)


def picture_row(found: Image.Image, wanted: Image.Image) -> ProofRow:
    """The same prompt and seed, drawn with the file and with what was trained.

    Args:
        found: with the file.
        wanted: with what was trained.
    Returns:
        The rung.
    """
    difference = np.abs(np.asarray(found, np.int16) - np.asarray(wanted, np.int16))
    value = float(difference.mean())
    passed = value <= PICTURE_LIMIT
    said = "The same prompt and seed give the same picture, pixel for pixel."
    if value > 0:
        other = "nearly the same" if passed else "another"
        said = (
            f"The same prompt and seed give {other} picture: {value:.2g} of 255 levels apart on "
            f"average, {difference.max()} at most."
        )
    return ProofRow("picture", value, PICTURE_LIMIT, passed, said)


def rounded_picture_row(row: ProofRow, found: Image.Image, rounded: Image.Image) -> ProofRow:
    """Tell a wrong file from one whose rounding shows: steps of sampling add differences up.

    Args:
        row: the picture rung, which failed.
        found: drawn with the file.
        rounded: drawn with the trained adapter, its weights rounded as in the file.
    Returns:
        The rung; it holds, with a warning, where the file draws what the rounded weights draw.
    """
    again = picture_row(found, rounded)
    if not again.passed:
        return row
    said = (
        f"The file draws what the trained weights draw once they are saved: saving alone moves the "
        f"picture by {row.value:.2g} of 255 levels on average. output.dtype = 'float32' keeps it."
    )
    return replace(row, passed=True, warning=True, explanation=said)


def hash_row(path: Path) -> ProofRow:
    """Every layer against the hash that was recorded when the file was written.

    Args:
        path: a LoRA file of ours.
    Returns:
        The rung.
    """
    altered = altered_layers(path)
    said = "Every layer has the hash that was recorded when the file was written."
    if altered:
        said = f"{len(altered)} layers were altered since the file was written: {_few(altered)}."
    return ProofRow("hashes", len(altered), 0, not altered, said)


def _few(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
