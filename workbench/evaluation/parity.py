"""Is the saved file what was trained? It is loaded into a fresh base and compared, rung by rung.

"Good previews, broken file" has many causes: dropout left on, alpha lost, unmatched names,
rounding, a moving average shown but not saved. Each of them breaks one of these rungs.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import seeds, store
from workbench.adapters import Full, formats
from workbench.adapters.attached import AttachedNetwork
from workbench.adapters.kohya import altered_layers
from workbench.adapters.layers import Layer, copied, relative_error, shown_elsewhere, tensors
from workbench.adapters.merge import merge
from workbench.evaluation.loading import Trained, from_run, open_lora, open_run
from workbench.evaluation.results import Proof, ProofRow
from workbench.models import family as models
from workbench.records.sampling import draw, evaluating
from workbench.settings import replace as change

if TYPE_CHECKING:
    from workbench.models.family import Family
    from workbench.training.run import Run

# What saving may cost, as a share of what the LoRA changes in the model's output.
OUTPUT_LIMIT = 1e-2
# float16 rounds a layer's dW by 3e-4; ten times that comes from values near the smallest it has.
ROUNDING_LIMIT = 1e-3
PICTURE_LIMIT = 1.0  # of 255 levels, mean over the picture
NUM_INPUTS = 5


def prove(run: "Run") -> Proof:
    """Compare a run's final file with the weights that it trained, while it still holds them.

    Args:
        run: after its final save.
    Returns:
        The proof.
    """
    with run.trainer.showing():
        return prove_file(from_run(run))


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
    if path.is_dir():
        return prove_file(open_run(path, base=base, weights="checkpoint"))
    started = time.monotonic()
    rows = [_hash_row(path)]
    trained = open_lora(path, base=base)
    elsewhere = _elsewhere(trained)
    trained.adapter.detach()
    again = _reload(trained, trained.family)
    rows += [_effect_row(again), _off_row(again), _merged_row(again), _trip_row(again, path)]
    rows += _elsewhere_rows(elsewhere)
    return Proof(str(path), tuple(rows), time.monotonic() - started, elsewhere)


def prove_file(trained: Trained) -> Proof:
    """Climb the ladder: names, tensors, rounding, outputs, strength 0, merged, round trip, picture.

    Two models are in memory at most: the one that was trained and the fresh one.

    Args:
        trained: the model in memory with its adapter on, and the file made from it.
    Returns:
        The proof; a file that does not load ends it.
    """
    started = time.monotonic()
    elsewhere = _elsewhere(trained)
    rows = [*_climb(trained), *_elsewhere_rows(elsewhere)]
    return Proof(str(trained.path), tuple(rows), time.monotonic() - started, elsewhere)


def _climb(trained: Trained) -> Iterator[ProofRow]:
    family, adapter = trained.family, trained.adapter
    stored = _stored(trained.path)
    yield from _tensor_rows(stored, _expected(trained))
    try:
        again = _reload(trained, models.load(family.settings, device=family.device))
    except ValueError as error:
        yield ProofRow("reload", math.inf, None, False, str(error))
        return
    if isinstance(adapter, AttachedNetwork):
        yield _rounding_row(again.layers, adapter)
    inside = outputs(family, trained.prompts)
    yield _output_row("model output", again.on, inside, base=again.base)
    yield _off_row(again)
    if not isinstance(adapter.settings, Full) or adapter.settings.keep_start:
        with adapter.strength(0):
            untouched = outputs(family, trained.prompts)
        yield _equal_row("base untouched", untouched, again.base, "the trained adapter")
    yield _picture_row(again.picture, _picture(trained, family))
    if again.merged is not None:
        yield _merged_row(again)
        yield _trip_row(again, trained.path)


@dataclass(frozen=True, slots=True)
class _Reloaded:
    """What a fresh base does without the file, with it, with it at strength 0, and merged."""

    family: "Family"
    base: Tensor
    on: Tensor
    off: Tensor
    merged: Tensor | None
    layers: dict[str, Layer]
    picture: Image.Image


def _reload(trained: Trained, fresh: "Family") -> _Reloaded:
    """Put the file on a base that has nothing on it."""
    base = outputs(fresh, trained.prompts)
    adapter = formats.attach_file(trained.path, fresh.parts, name_of=fresh.kohya_name)
    on, picture = outputs(fresh, trained.prompts), _picture(trained, fresh)
    with adapter.strength(0):
        off = outputs(fresh, trained.prompts)
    layers, merged = {}, None
    if isinstance(adapter, AttachedNetwork):
        layers = {name: copied(layer) for name, layer in adapter.layers().items()}
        adapter.detach()
        merge(fresh.parts, trained.path, name_of=fresh.kohya_name)
        merged = outputs(fresh, trained.prompts)
    return _Reloaded(fresh, base, on, off, merged, layers, picture)


@torch.no_grad()
def outputs(family: "Family", prompts: Sequence[str]) -> Tensor:
    """Ask a model at fixed inputs, so that two models can be compared number by number.

    Args:
        family: the model, with an adapter or without.
        prompts: taken in turn; none stands for the empty one.
    Returns:
        Predictions at five timesteps, (5, C, h, w), float32, on the CPU.
    """
    side: Any = family.unet.config.sample_size
    rows, columns = (side, side) if isinstance(side, int) else side
    pixels = (columns * family.downsampling, rows * family.downsampling)
    size = models.SizeInfo(original=pixels, crop=(0, 0), target=pixels)
    steps, prompts = len(family.alphas_cumprod), prompts or ("",)
    found = []
    with evaluating(family):
        for k in range(NUM_INPUTS):
            generator = seeds.generator(0, "proof", k)
            noisy = torch.randn(1, family.latent_channels, rows, columns, generator=generator)
            timestep = torch.tensor([int((k + 0.5) * steps / NUM_INPUTS)], device=family.device)
            text = family.encode_captions([prompts[k % len(prompts)]])
            found.append(family.denoise(noisy.to(family.device), timestep, text, [size]).cpu())
    return torch.cat(found)


def _picture(trained: Trained, family: "Family") -> Image.Image:
    settings = change(trained.sampling, steps=min(10, trained.sampling.steps))
    job = (trained.prompts[0] if trained.prompts else "", trained.sampling.seeds[0])
    return next(draw(family, settings, [job])).image


def _stored(path: Path) -> dict[str, Tensor]:
    """Tensors of a LoRA file; of a full fine-tune's folder, with the part in front."""
    if path.is_file():
        return store.load_tensors(path)
    return {
        f"{file.parent.name}.{name}": tensor
        for file in sorted(path.glob("*/*.safetensors"))
        for name, tensor in store.load_tensors(file).items()
    }


def _expected(trained: Trained) -> dict[str, Tensor]:
    """What the file must hold, before the cast to its type."""
    if not isinstance(trained.adapter, AttachedNetwork):
        modules = trained.adapter.modules.items()
        return {f"{p}.{n}": tensor for p, m in modules for n, tensor in m.state_dict().items()}
    return {
        f"{trained.family.kohya_name(*name.split('.', 1))}.{suffix}": tensor
        for name, layer in trained.adapter.layers().items()
        for suffix, tensor in tensors(layer).items()
    }


def _tensor_rows(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[ProofRow]:
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


def _rounding_row(reloaded: Mapping[str, Layer], adapter: AttachedNetwork) -> ProofRow:
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


def _output_row(name: str, found: Tensor, wanted: Tensor, *, base: Tensor) -> ProofRow:
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


def _off_row(again: _Reloaded) -> ProofRow:
    return _equal_row("strength 0", again.off, again.base, "the reloaded LoRA")


def _equal_row(name: str, found: Tensor, base: Tensor, what: str) -> ProofRow:
    worst = float((found - base).abs().max())
    said = f"With {what} switched off, the model is the base bit for bit."
    if not found.equal(base):
        said = f"With {what} switched off, the model differs from the base by up to {worst:.2g}."
    return ProofRow(name, worst, 0, found.equal(base), said)


def _effect_row(again: _Reloaded) -> ProofRow:
    effect = float((again.on - again.base).norm() / again.base.norm().clamp(min=1e-12))
    said = f"It changes what the model predicts by {effect:.2g} of it."
    if effect == 0:
        said = "It changes nothing: its weights are all zero."
    return ProofRow("effect", effect, None, math.isfinite(effect), said, warning=effect == 0)


def _merged_row(again: _Reloaded) -> ProofRow:
    """Merged into the weights it must do what it does beside them, as far as their type allows."""
    assert again.merged is not None
    row = _output_row("merged", again.merged, again.on, base=again.base)
    dtype = again.family.settings.dtype
    if row.passed or dtype == "float32":
        return row
    said = (
        f"Merging into {dtype} weights loses {row.value:.2g} of what the LoRA changes: keep it "
        "beside the model, or merge in float32."
    )
    return replace(row, passed=math.isfinite(row.value), warning=True, explanation=said)


def _elsewhere(trained: Trained) -> dict[str, float]:
    """What programs show that read a DoRA otherwise, layer by layer."""
    if not isinstance(trained.adapter, AttachedNetwork):
        return {}
    return shown_elsewhere(trained.adapter.layers(), weights=trained.adapter.weights())


def _elsewhere_rows(found: Mapping[str, float]) -> Iterator[ProofRow]:
    """For a DoRA alone; a matter of other programs, so no failure."""
    if not found:
        return
    worst, mean = max(found, key=found.__getitem__), sum(found.values()) / len(found)
    said = (
        "ComfyUI and its kin divide a DoRA by |W|, not by |W + dW|: what they show of each layer's "
        f"change is off by {min(found.values()):.1%} to {found[worst]:.1%}, {mean:.1%} on average, "
        f"most in {worst}; `workbench convert --rank` writes a plain LoRA for them."
    )
    yield ProofRow("other programs", found[worst], None, True, said, warning=mean > OUTPUT_LIMIT)


def _trip_row(again: _Reloaded, path: Path) -> ProofRow:
    """Kohya's format to PEFT's and back must give the same tensors."""
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder) / "peft.safetensors", Path(folder) / "kohya.safetensors"
        names = {"parts": again.family.parts, "name_of": again.family.kohya_name}
        formats.convert(path, there, to="peft", **names)
        formats.convert(there, back, to="kohya", **names)
        before, after = store.load_tensors(path), store.load_tensors(back)
    wrong = sorted(before.keys() ^ after.keys())
    wrong += [n for n in before if n in after and not _same_bits(before[n], after[n])]
    said = "Converted to PEFT's format and back, every tensor is the same."
    if wrong:
        said = f"Converted to PEFT's format and back, {len(wrong)} tensors differ: {_few(wrong)}."
    return ProofRow("round trip", len(wrong), 0, not wrong, said)


def _picture_row(found: Image.Image, wanted: Image.Image) -> ProofRow:
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


def _hash_row(path: Path) -> ProofRow:
    altered = altered_layers(path)
    said = "Every layer has the hash that was recorded when the file was written."
    if altered:
        said = f"{len(altered)} layers were altered since the file was written: {_few(altered)}."
    return ProofRow("hashes", len(altered), 0, not altered, said)


def _few(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
