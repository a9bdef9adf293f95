"""Is the saved file what was trained? It is put on the base in place, and compared rung by rung.

"Good previews, broken file" has many causes: dropout left on, alpha lost, unmatched names,
rounding, a moving average shown but not saved. Each of them breaks one of these rungs. No second
base is loaded: the trained adapter is lifted off, the file takes its place, and at the end all is
as it was, which a hash over the base's weights confirms.
"""

import math
import time
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from PIL import Image
from torch import Tensor

from workbench.adapters.attached import AttachedNetwork
from workbench.adapters.folders import weights_files
from workbench.adapters.layers import Layer, copied, shown_elsewhere, tensors
from workbench.adapters.merge import merge
from workbench.adapters.naming import is_encoder
from workbench.adapters.readers import TABLE, Reader, features_in, outside_blocks
from workbench.evaluation import rungs
from workbench.evaluation.loading import (
    Trained,
    attach,
    from_run,
    is_run,
    open_lora,
    open_run,
    stored_tensors,
)
from workbench.evaluation.results import Proof, ProofRow
from workbench.records.fixed import FixedInputs
from workbench.records.sampling import draw
from workbench.settings import replace as change

if TYPE_CHECKING:
    from workbench.training.run import Run

STAGES = 6  # that a proof of a run goes through

T = TypeVar("T")
Stages = Generator[int, None, T]  # yields the number of stages done


def proving(run: "Run") -> Stages[Proof]:
    """Compare a run's final file with the weights that it trained, while it still holds them.

    Args:
        run: after its final save; as it was when this ends, or is closed before its end.
    Yields:
        Stages done, of `STAGES`.
    Returns:
        The proof.
    """
    with run.trainer.showing():
        return (yield from climb(from_run(run)))


def verify(path: str | Path, *, base: str | None = None) -> Proof:
    """Check a finished file again, at any time.

    Args:
        path: a run folder, whose file is compared with the newest checkpoint; or a LoRA file,
            which is compared with the hashes that it recorded when it was written.
        base: where the base model lies now, if not where it was.
    Returns:
        The proof; a failing rung names the layer.
    Raises:
        FileRefused: nothing to check, or the file is unsound.
        CheckpointRefused: the run has no valid checkpoint.
    """
    path = Path(path)
    if is_run(path):
        return prove_file(open_run(path, base=base, weights="checkpoint"))
    started = time.monotonic()
    rows = [rungs.hash_row(weights_files(path)[0] if path.is_dir() else path)]
    trained = open_lora(path, base=base)
    elsewhere = _elsewhere(trained)
    with trained.adapter.lifted():
        asked = _Asked.of(trained)
        again = _to_end(_reload(asked, asked.answer()))
    rows += [rungs.effect_row(again.on, again.base), rungs.off_row(again.off, again.base)]
    rows += again.merging
    rows += rungs.elsewhere_rows(elsewhere)
    return Proof(str(path), tuple(rows), time.monotonic() - started, elsewhere.comfyui)


def prove_file(trained: Trained) -> Proof:
    """Climb the whole ladder at once; see `climb`.

    Args:
        trained: the model in memory with its adapter on, and the file made from it.
    Returns:
        The proof.
    """
    return _to_end(climb(trained))


def climb(trained: Trained) -> Stages[Proof]:
    """Climb the ladder: names, tensors, rounding, outputs, strength 0, merged, round trip, picture.

    Beside the model only copies of the adapted layers' own weights are made, on the CPU.

    Args:
        trained: the model in memory with its adapter on, and the file made from it.
    Yields:
        Stages done, of `STAGES`.
    Returns:
        The proof; a file that does not load ends it.
    """
    started = time.monotonic()
    elsewhere = _elsewhere(trained)
    stored = stored_tensors(trained.family, trained.path)
    rows = [*rungs.tensor_rows(stored, _expected(trained))]
    yield 1
    asked = _Asked.of(trained)
    if not asked.fixed.base_hash:  # loaded just now, so the base is what it should be
        asked.fixed.remember(trained.family, trained.adapter)
    adapter, inside, picture = trained.adapter, asked.answer(), _picture(trained)
    yield 2
    if adapter.keeps_base:
        with adapter.strength(0):
            untouched = asked.answer()
    else:
        untouched = None
    with adapter.lifted():
        base = asked.answer() if adapter.keeps_base else asked.fixed.base_outputs
        yield 3
        try:
            again = yield from _reload(asked, inside if base is None else base)
        except ValueError as error:
            rows.append(ProofRow("reload", math.inf, None, False, str(error)))
            return Proof(
                str(trained.path), tuple(rows), time.monotonic() - started, elsewhere.comfyui
            )
        same_base = asked.fixed.base_is_unchanged(trained.family, adapter)
    if isinstance(adapter, AttachedNetwork):
        rows.append(rungs.rounding_row(again.layers, adapter))
    row = rungs.output_row("model output", again.on, inside, base=again.base)
    if not row.passed and trained.family.settings.dtype != "float32":
        with adapter.rounded(_type_of(stored)):
            row = rungs.narrow_output_row(row, again.on, asked.answer(), trained=inside)
    rows.append(row)
    if untouched is not None:
        rows.append(rungs.off_row(again.off, again.base))
        rows.append(rungs.untouched_row(untouched, again.base, same_base=same_base))
    if not asked.encode:
        rows.append(rungs.text_row(asked.fixed.encoded_alike(trained.family)))
    row = rungs.picture_row(again.picture, picture)
    if not row.passed:
        with adapter.rounded(_type_of(stored)):
            row = rungs.rounded_picture_row(row, again.picture, _picture(trained))
    rows.append(row)
    rows += again.merging
    rows += rungs.elsewhere_rows(elsewhere)
    return Proof(str(trained.path), tuple(rows), time.monotonic() - started, elsewhere.comfyui)


def _to_end(stages: Stages[T]) -> T:
    """Run a generator for what it returns."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            return end.value


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model and the fixed inputs that it is asked.

    Attributes:
        encode: an encoder learned, so text is encoded anew at each asking.
    """

    trained: Trained
    fixed: FixedInputs
    encode: bool

    @classmethod
    def of(cls, trained: Trained) -> "_Asked":
        return cls(trained, trained.fixed, any(map(is_encoder, trained.adapter.modules)))

    def answer(self) -> Tensor:
        """What the model gives now."""
        return self.fixed.ask(self.trained.family, encode=self.encode)


@dataclass(frozen=True, slots=True)
class _Reloaded:
    """What the base does without the file, with it, and with it at strength 0.

    `merging` are the rungs of a file that is merged, and that goes to PEFT's format and back.
    """

    base: Tensor
    on: Tensor
    off: Tensor
    merging: tuple[ProofRow, ...]
    layers: dict[str, Layer]
    picture: Image.Image


def _reload(asked: _Asked, base: Tensor) -> Stages[_Reloaded]:
    """Put the file on the base, which has nothing on it, and take it off again."""
    trained, family = asked.trained, asked.trained.family
    adapter = attach(family, trained.path)
    try:
        on, picture = asked.answer(), _picture(trained)
        yield 4
        with adapter.strength(0):
            off = asked.answer()
        layers: dict[str, Layer] = {}
        if isinstance(adapter, AttachedNetwork):
            layers = {name: copied(layer) for name, layer in adapter.layers().items()}
    finally:
        adapter.detach()
    yield 5
    merging: tuple[ProofRow, ...] = ()
    if layers:
        merged, dtype = _merged(asked, layers), family.settings.dtype
        row = rungs.merged_row(merged, on, base=base, dtype=dtype)
        merging = row, rungs.trip_row(family, trained.path)
    yield STAGES
    return _Reloaded(base, on, off, merging, layers, picture)


def _merged(asked: _Asked, layers: Mapping[str, Layer]) -> Tensor:
    """What the base answers with the file merged into its weights, which are put back."""
    family = asked.trained.family
    paths = {name: name.split(".", 1) for name in layers}
    weights = {n: family.parts[p].get_parameter(f"{path}.weight") for n, (p, path) in paths.items()}
    kept = {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()}
    try:
        merge(family.parts, asked.trained.path, name_of=family.file_name)
        return asked.answer()
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(kept[name])


def _picture(trained: Trained) -> Image.Image:
    settings = change(trained.sampling, steps=min(10, trained.sampling.steps))
    job = (trained.fixed.prompts[0], trained.sampling.seeds[0])
    return next(draw(trained.family, settings, [job])).image


def _type_of(stored: Mapping[str, Tensor]) -> torch.dtype:
    """The type that most of a file's values have; alpha and DoRA's lengths are float32 anyway."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in stored.values():
        sizes[tensor.dtype] += tensor.numel()
    return sizes.most_common(1)[0][0]


def _expected(trained: Trained) -> dict[str, Tensor]:
    """What the file must hold, before the cast to its type."""
    if not isinstance(trained.adapter, AttachedNetwork):
        modules = trained.adapter.modules.items()
        return {f"{p}.{n}": tensor for p, m in modules for n, tensor in m.state_dict().items()}
    return {
        f"{trained.family.file_name(*name.split('.', 1))}.{suffix}": tensor
        for name, layer in trained.adapter.layers().items()
        for suffix, tensor in tensors(layer).items()
    }


def _elsewhere(trained: Trained) -> rungs.Elsewhere:
    """What other programs make of the file, and of a DoRA layer by layer."""
    if not isinstance(trained.adapter, AttachedNetwork):
        return rungs.Elsewhere((), {})
    layers, weights = trained.adapter.layers(), trained.adapter.weights()
    off: dict[Reader, dict[str, float]] = {
        reader: shown_elsewhere(layers, weights=weights, shown=reading.shown, of=reading.of)
        for reader, reading in TABLE["dora"].items()
        if reading.shown is not None
    }
    outside = outside_blocks(layers)
    return rungs.Elsewhere(features_in(layers), off, outside)
