"""What LoRA, LoHa and LoKr have in common: which layers learn, how wide, and what they miss."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from workbench.adapters.attached import AttachedNetwork
from workbench.adapters.files import read, resolve
from workbench.adapters.kohya import NameOf
from workbench.adapters.layers import Layer, adaptable
from workbench.adapters.naming import is_encoder
from workbench.adapters.starting import continued
from workbench.settings import Settings, SettingsError, setting

Targets = Mapping[str, Mapping[str, tuple[str, ...]]]
Group = Literal["attention", "feedforward", "projection", "conv", "time"]


class BlockSettings(Settings):
    """A rank, an alpha or a learning rate of their own for some layers."""

    match: str = setting(
        min_length=1,
        help="pattern of part and path with * for anything: unet.mid_block.*, *.attn2.*",
    )
    rank: int | None = setting(
        None, ge=0, le=1024, help="rank of these layers; 0 leaves them out; absent: the usual one"
    )
    alpha: float | None = setting(
        None, gt=0, le=4096, help="alpha of these layers; absent: the usual one"
    )
    rate_factor: float = setting(
        1.0, ge=0, le=100, help="factor on the learning rate of these layers; 0 keeps them as is"
    )


class NetworkSettings(Settings):
    """The settings that LoRA, LoHa and LoKr share."""

    rank: int = setting(16, ge=1, le=1024, basic=True, help="width of the bottleneck: capacity")
    alpha: float | None = setting(
        None, gt=0, le=4096, help="scale times rank; absent: the rank, a scale of 1"
    )
    groups: tuple[Group, ...] = setting(
        ("attention",),
        min_length=1,
        help="kinds of layers that learn, as far as a model has them; with conv it is a LoCon",
    )
    conv_rank: int | None = setting(
        None, ge=1, le=1024, help="rank of convolutions wider than 1 pixel; absent: the same"
    )
    text_encoder: bool = setting(False, basic=True, help="adapt the text encoders too")
    text_encoder_rank: int | None = setting(
        None, ge=1, le=1024, help="rank in the text encoders; absent: the same"
    )
    blocks: tuple[BlockSettings, ...] = setting(
        (), help="ranks and learning rates by block; the first pattern that fits a layer decides"
    )
    rank_dropout: float = setting(
        0.0, ge=0, lt=1, help="share of the bottleneck (LoHa, LoKr: of the outputs) left out a step"
    )
    module_dropout: float = setting(
        0.0, ge=0, lt=1, help="share of the adapted layers that do without their adapter in a step"
    )
    max_norm: float | None = setting(
        None, gt=0, help="largest |dW| of a layer; longer ones are scaled back after each step"
    )
    start_from: str | None = setting(
        None, min_length=1, help="adapter file to go on from; its rank must be the one set here"
    )

    @model_validator(mode="after")
    def _blocks_leave_something(self) -> "NetworkSettings":
        for block in self.blocks:
            if block.rank is None and block.alpha is None and block.rate_factor == 1:
                raise ValueError(
                    f"blocks: {block.match!r} changes nothing; give it a rank, an alpha or a "
                    "rate_factor"
                )
        return self

    @property
    def moves_base(self) -> bool:
        """Whether the first values are a part of the base, which is then taken off it."""
        return False

    def start(self, name: str, weight: Tensor, generator: torch.Generator) -> Layer:
        """First values of a layer.

        Args:
            name: "<part>.<path>".
            weight: of the layer.
            generator: on the CPU.
        Returns:
            A layer whose change is zero.
        """
        raise NotImplementedError

    def attach(
        self,
        parts: Mapping[str, nn.Module],
        targets: Targets,
        *,
        generator: torch.Generator,
        name_of: NameOf | None = None,
    ) -> AttachedNetwork:
        """Put an adapter on the model and freeze everything else.

        Args:
            parts: part to model: the denoiser, then the text encoders.
            targets: part to group to the path endings of its layers.
            generator: draws the first values, on the CPU, so that every device starts the same.
            name_of: (part, path) to a layer's name in kohya's format; `start_from` needs it.
        Returns:
            The adapter; the model computes what it did before, or what `start_from` made of it.
        Raises:
            SettingsError: a group, a pattern or `start_from` does not fit.
            FileRefused: `start_from` is unsound or made for another model.
        """
        modules = dict(self.chosen(parts, targets))
        if not any(modules.values()):
            raise SettingsError("adapter.blocks leaves no layer to learn: rank 0 everywhere")
        weights: dict[str, dict[str, Tensor]] = {
            part: {path: module.weight for path, module in own.items()}  # type: ignore[misc]
            for part, own in modules.items()
        }
        layers = {
            part: {path: self.start(f"{part}.{path}", w, generator) for path, w in own.items()}
            for part, own in weights.items()
        }
        if self.start_from is not None:
            assert name_of is not None, "start_from needs the names that files use"
            earlier = resolve(read(self.start_from), parts, name_of=name_of)
            layers = continued(layers, earlier, weights=weights, settings=self)
        return AttachedNetwork(parts, layers, settings=self)

    def block(self, name: str) -> BlockSettings | None:
        """The rule for a layer.

        Args:
            name: "<part>.<path>".
        Returns:
            The first whose pattern fits.
        """
        fitting = (block for block in self.blocks if fnmatchcase(name, block.match))
        return next(fitting, None)

    def rank_of(self, name: str, weight: Tensor) -> int:
        """The rank of a layer.

        Args:
            name: "<part>.<path>".
            weight: of the layer.
        Returns:
            The rank; 0 if it carries no adapter.
        """
        block = self.block(name)
        if block is not None and block.rank is not None:
            return block.rank
        if is_encoder(name):
            return self.text_encoder_rank or self.rank
        wide = weight.dim() == 4 and weight[0, 0].numel() > 1
        return (self.conv_rank if wide else None) or self.rank

    def alpha_of(self, name: str, rank: int) -> float:
        """Alpha of a layer, as files can hold it.

        Args:
            name: "<part>.<path>".
            rank: of the layer.
        Returns:
            The block's, the adapter's, or the rank; rounded to fp32.
        """
        block = self.block(name)
        own = block.alpha if block is not None and block.alpha is not None else self.alpha
        return fp32(rank if own is None else own)

    def rate_factor(self, name: str) -> float:
        """The factor on a weight's learning rate.

        Args:
            name: "<part>.<path>.<name of the weight>".
        Returns:
            1 unless its block says otherwise.
        """
        block = self.block(name.rpartition(".")[0])
        return 1.0 if block is None else block.rate_factor

    def chosen(
        self, parts: Mapping[str, nn.Module], targets: Targets
    ) -> Iterator[tuple[str, dict[str, nn.Module]]]:
        """The layers that will learn.

        Args:
            parts: part to model.
            targets: part to group to the path endings of its layers.
        Yields:
            Part, and path to module.
        Raises:
            SettingsError: a group or a pattern fits nothing.
        """
        known = {group for part in targets.values() for group in part}
        if unknown := [group for group in self.groups if group not in known]:
            raise SettingsError(
                f"adapter.groups must be among {tuple(sorted(known))} for this model, got {unknown}"
            )
        names: list[str] = []
        for part, module in parts.items():
            if is_encoder(part) and not self.text_encoder:
                continue
            found = dict(self._fitting(part, module, targets))
            if not found:
                raise SettingsError(
                    f"adapter.groups {self.groups} fit no layer of the {part}; it has "
                    f"{tuple(targets.get(part, {}))}"
                )
            names += [f"{part}.{path}" for path in found]
            yield part, {p: m for p, m in found.items() if self.rank_of(f"{part}.{p}", m.weight)}  # type: ignore[arg-type]
        self._check_blocks(names)

    def _fitting(
        self, part: str, module: nn.Module, targets: Targets
    ) -> Iterator[tuple[str, nn.Module]]:
        suffixes = [s for g in self.groups for s in targets.get(part, {}).get(g, ())]
        for path, layer in adaptable(module):
            if any(_is_target(path, suffix) for suffix in suffixes):
                yield path, layer

    def _check_blocks(self, names: list[str]) -> None:
        """A pattern that fits nothing is a slip; all layers left out is another."""
        for block in self.blocks:
            if not any(fnmatchcase(name, block.match) for name in names):
                shown = sorted({".".join(name.split(".")[:3]) + ".*" for name in names})
                raise SettingsError(
                    f"adapter.blocks: {block.match!r} fits no layer that learns; they are in "
                    f"{', '.join(shown)}"
                )


def _is_target(path: str, target: str) -> bool:
    """Whether a path ends as a target says, or, where that holds a `*`, fits it as a whole."""
    return fnmatchcase(path, target) if "*" in target else f".{path}".endswith(f".{target}")


def fp32(value: float) -> float:
    """Round a number as files hold it, so that the trained scale equals the saved one.

    Args:
        value: alpha.
    Returns:
        The nearest fp32 number.
    """
    return torch.tensor(value, dtype=torch.float32).item()


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw as torch and peft draw a layer: uniform within 1 / sqrt(fan in).

    Args:
        shape: of the tensor; the fan in is the product of all axes but the first.
        generator: on the CPU.
    Returns:
        fp32 tensor.
    """
    drawn = torch.empty(shape)
    bound = drawn[0].numel() ** -0.5
    return drawn.uniform_(-bound, bound, generator=generator)
