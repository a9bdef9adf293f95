"""What the reload proof asks a model: fixed before training, the same ever after."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench import seeds
from workbench.adapters.naming import is_encoder
from workbench.models.family import Condition, Rows, SizeInfo
from workbench.process import THOUSAND
from workbench.records.sampling import SampleSettings, evaluating

if TYPE_CHECKING:
    from workbench.adapters import AttachedAdapter
    from workbench.models.family import Family

__all__ = ["NUM_INPUTS", "FixedInputs", "weights_hash"]

NUM_INPUTS = 5


@dataclass(frozen=True, slots=True)
class _Input:
    """One question to the model, kept on the CPU."""

    prompt: str
    rows: Rows
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
        inputs: latents, levels and text, as the base's own encoder gave it.
        base_hash: SHA-256 of the base's weights; "" until `remember` was called.
        base_outputs: what the base answered, of a full fine-tune that keeps no first weights.
    """

    prompts: tuple[str, ...]
    negative: str
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
        size, beside = SizeInfo.whole(width, height), None
        with evaluating(family):
            if family.inpaints:
                with family.using("codec"):
                    blank = torch.zeros(1, 3, height, width), torch.ones(1, 1, height, width)
                    beside = family.beside(*blank).cpu()
            encoded = family.encode_text([*prompts, sampling.negative])
        inputs = []
        for k in range(NUM_INPUTS):
            noisy = torch.randn(shape, generator=seeds.generator(0, "proof", k))
            level = torch.tensor([int((k + 0.5) * THOUSAND / NUM_INPUTS)])
            rows = {name: row.cpu() for name, row in encoded[k % len(prompts)].items()}
            prompt = prompts[k % len(prompts)]
            inputs.append(_Input(prompt, rows, noisy, family.process.at(level), size, beside))
        return cls(prompts, sampling.negative, tuple(inputs))

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
                rows = family.encode_text([one.prompt]) if encode else [one.rows]
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
        for k, one in enumerate(self.inputs):
            for name, row in now[k % len(self.prompts)].items():
                if row.shape != one.rows[name].shape:
                    return float("inf")
                apart = (row.cpu().float() - one.rows[name].float()).abs().max()
                worst = max(worst, float(apart / one.rows[name].float().abs().max()))
        return worst


def weights_hash(parts: Mapping[str, nn.Module], *, apart: Iterable[Tensor] = ()) -> str:
    """Hash the weights and buffers of modules, whether an adapter is on them or not.

    Args:
        parts: name to module.
        apart: tensors that do not count: the adapter's own.
    Returns:
        SHA-256 over names, types, shapes and bytes, 64 hex digits.
    """
    ignored = {id(tensor) for tensor in apart}
    digest = hashlib.sha256()
    for part, module in parts.items():
        named = [*module.named_parameters(), *module.named_buffers()]
        # peft puts a layer that it wraps one level deeper
        own = {n.replace(".base_layer.", "."): t for n, t in named if id(t) not in ignored}
        for name in sorted(own):
            tensor = own[name].detach().cpu().contiguous()
            digest.update(f"{part}.{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
