"""What the reload proof asks a model: fixed before training, the same ever after."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench import seeds
from workbench.adapters.naming import is_encoder
from workbench.data.inpainting import InpaintingSettings
from workbench.models.family import Condition, Rows, SizeInfo
from workbench.process import THOUSAND
from workbench.records.sampling import SampleSettings, evaluating, heed

if TYPE_CHECKING:
    from workbench.adapters import AttachedAdapter
    from workbench.models.family import Family

__all__ = ["NUM_INPUTS", "FixedInputs", "weights_hash"]

NUM_INPUTS = 5


@dataclass(frozen=True, slots=True)
class _Input:
    """One question to the model, kept on the CPU."""

    prompt: int  # its number
    noisy: Tensor  # (1, C, h, w)
    level: Tensor  # (1,)
    size: SizeInfo
    beside: Tensor | None


@dataclass(slots=True)
class FixedInputs:
    """Five inputs of a model, and what its base was before anything learned.

    Attributes:
        prompts: what pictures of the proof are drawn from; at least one.
        negative: what they are steered away from.
        rows: of all prompts and the negative one, as the base's own encoder gave them.
        inputs: latents, levels, and which prompt goes with them.
        base_hash: SHA-256 of the base's weights; "" until `remember` was called.
        base_outputs: what the base answered, of a full fine-tune that keeps no first weights.
    """

    prompts: tuple[str, ...]
    negative: str
    rows: tuple[Rows, ...]
    inputs: tuple[_Input, ...]
    base_hash: str = ""
    base_outputs: Tensor | None = None

    @classmethod
    def freeze(
        cls, family: "Family", prompts: Sequence[str], *, sampling: SampleSettings
    ) -> "FixedInputs":
        """Fix the inputs, while text encoder and codec can be had.

        Args:
            family: the base, with an adapter that changes nothing yet, or without.
            prompts: taken in turn; none stands for the empty one.
            sampling: the size of its pictures is taken, and its negative prompt encoded too, since
                pictures will be drawn with it.
        Returns:
            The inputs.
        """
        prompts = tuple(prompts) or ("",)
        width, height = sampling.width or family.native_px, sampling.height or family.native_px
        shape = (1, family.codec.channels, *family.codec.shape(width, height))
        with evaluating(family):
            encoded = family.encode_text([*prompts, sampling.negative])
        rows = tuple({name: row.cpu() for name, row in one.items()} for one in encoded)
        inputs = []
        for k in range(NUM_INPUTS):
            noisy = torch.randn(shape, generator=seeds.generator(0, "proof", k))
            level = torch.tensor([int((k + 0.5) * THOUSAND / NUM_INPUTS)])
            inputs.append(
                _Input(
                    k % len(prompts),
                    noisy,
                    family.process.at(level),
                    SizeInfo.whole(width, height),
                    _beside(family, (height, width), k) if family.inpaints else None,
                )
            )
        return cls(prompts, sampling.negative, rows, tuple(inputs))

    def remember(self, family: "Family", adapter: "AttachedAdapter") -> None:
        """Note what the base is, before the first step.

        Args:
            family: as it was loaded, an adapter on it that changes nothing yet.
            adapter: says which weights are its own, and whether it can go back.
        """
        with adapter.lifted():
            self.base_hash = weights_hash(self._frozen(family, adapter), apart=adapter.owned())
        if not adapter.keeps_base and self.base_outputs is None:
            self.base_outputs = self.ask(family, encode=any(map(is_encoder, adapter.modules)))

    def base_is_unchanged(self, family: "Family", adapter: "AttachedAdapter") -> bool:
        """Whether the base is bit for bit what `remember` saw.

        Args:
            family: with the adapter taken off.
            adapter: that was taken off.
        Returns:
            True where every weight is the same.
        """
        now = weights_hash(self._frozen(family, adapter), apart=adapter.owned())
        return now == self.base_hash

    @staticmethod
    def _frozen(family: "Family", adapter: "AttachedAdapter") -> dict[str, nn.Module]:
        """The parts that have a base to go back to and stay in memory."""
        return {
            name: part
            for name, part in family.parts.items()
            if name not in family.frees and (adapter.keeps_base or name not in adapter.modules)
        }

    @torch.no_grad()
    def ask(self, family: "Family", *, encode: bool) -> Tensor:
        """Ask the model, so that two states of it can be compared number by number.

        Args:
            family: the model, with an adapter or without.
            encode: encode the prompts anew, because an encoder learned; otherwise the frozen
                embeddings are used.
        Returns:
            Predictions at five levels, (5, C, h, w), float32, on the CPU.
        """
        found = []
        with evaluating(family):
            for one in self.inputs:
                prompt = one.prompt
                rows = family.encode_text([self.prompts[prompt]]) if encode else [self.rows[prompt]]
                condition = Condition(family.collate(rows), (one.size,), one.beside)
                noisy, level = one.noisy.to(family.device), one.level.to(family.device)
                found.append(family.denoise(noisy, level, condition).cpu())
        return torch.cat(found)

    @torch.no_grad()
    def encoded_alike(self, family: "Family") -> float:
        """Compare what the text encoder gives now with the frozen embeddings.

        Args:
            family: its encoder is loaded where it was freed.
        Returns:
            Largest difference as a share of the largest embedding; infinite where shapes differ.
        """
        with family.using("text_encoder"), evaluating(family):
            now = family.encode_text([*self.prompts, self.negative])  # the very batch of `freeze`
        worst = 0.0
        for before, rows in zip(self.rows, now, strict=True):
            for name, row in rows.items():
                if row.shape != before[name].shape or not row.isfinite().all():
                    return float("inf")
                apart = (row.cpu().float() - before[name].float()).abs().max()
                worst = max(worst, float(apart / before[name].float().abs().max()))
        return worst


@torch.no_grad()
def _beside(family: "Family", size: tuple[int, int], number: int) -> Tensor:
    """A soft picture of random colours under one of the masks that training draws."""
    draws = torch.rand(1, 3, 4, 4, generator=seeds.generator(0, "proof picture", number))
    pixels = nn.functional.interpolate(draws * 2 - 1, size=size, mode="bicubic").clamp(-1, 1)
    mask = InpaintingSettings(full=0.0).draw(size, seed=0, place=(0, number))
    with family.using("codec"), evaluating(family):
        return family.beside(pixels, mask[None]).cpu()


def weights_hash(parts: Mapping[str, nn.Module], *, apart: Iterable[Tensor] = ()) -> str:
    """Hash the weights and buffers of modules, whether an adapter is on them or not.

    Args:
        parts: name to module.
        apart: tensors that do not count: the adapter's own.
    Returns:
        SHA-256 over names, types, shapes and bytes, 64 hex digits.
    Raises:
        Interrupted: see `interruptible`.
    """
    ignored = {id(tensor) for tensor in apart}
    digest = hashlib.sha256()
    for part, module in parts.items():
        named = [*module.named_parameters(), *module.named_buffers()]
        # peft puts a layer that it wraps one level deeper
        own = {n.replace(".base_layer.", "."): t for n, t in named if id(t) not in ignored}
        for name in sorted(own):
            heed()
            tensor = own[name].detach().cpu().contiguous()
            digest.update(f"{part}.{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
