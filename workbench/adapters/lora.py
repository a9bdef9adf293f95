"""LoRA: each chosen weight learns a low-rank change; peft puts it beside the frozen layer."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from workbench.adapters.kohya import NameOf, write_layers
from workbench.adapters.layers import Layer, adaptable
from workbench.settings import Settings, SettingsError, setting

Targets = Mapping[str, Mapping[str, tuple[str, ...]]]
Group = Literal["attention", "feedforward", "projection", "conv", "time"]
_NAME = "default"  # of peft's adapter: there is one


class AttachedAdapter(Protocol):
    """An adapter on a model: what learns, how strongly it acts, and how it is kept."""

    trainables: dict[str, nn.Parameter]
    modules: dict[str, nn.Module]

    @property
    def settings(self) -> Settings | None:
        """How it was made; None for one that came from a file."""
        ...

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable weights of each part: "unet", "text_encoder", "text_encoder_2"."""
        ...

    def strength(self, strength: float) -> Any:
        """Context in which the model is W + strength (W' - W); 0 is the base bit for bit."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Copies of the trainable weights on the CPU, by name."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights that `state` returned; all fit or none is taken."""
        ...

    def delta(self) -> Iterator[tuple[str, Tensor]]:
        """Each changed layer's name and its dW in fp32, in the weight's shape."""
        ...

    def save(
        self, path: Path, *, name_of: NameOf, dtype: torch.dtype, metadata: dict[str, str]
    ) -> Path:
        """Write what was learned in the form that other programs read."""
        ...

    def detach(self) -> None:
        """Take the adapter off; the model is its base again."""
        ...


class LoRA(Settings):
    """Low-rank adapters: W + alpha / rank * B A, with B zero at the start.

    Source: Hu et al. 2021, arXiv 2106.09685; rank_scaled: Kalajdzievski 2023, arXiv 2312.03732.
    """

    kind: Literal["lora"] = "lora"
    rank: int = setting(16, ge=1, le=1024, basic=True, help="width of the bottleneck: capacity")
    alpha: float | None = setting(
        None, gt=0, le=4096, basic=True, help="scale times rank; absent: the rank, a scale of 1"
    )
    groups: tuple[Group, ...] = setting(
        ("attention",), min_length=1, help="kinds of layers that learn, as far as a model has them"
    )
    text_encoder: bool = setting(False, basic=True, help="adapt the text encoders too")
    text_encoder_rank: int | None = setting(
        None, ge=1, le=1024, help="rank in the text encoders; absent: the same"
    )
    dropout: float = setting(0.0, ge=0, lt=1, help="share of a layer's inputs the adapter misses")
    rank_scaled: bool = setting(
        False, help="scale alpha / sqrt(rank) in place of alpha / rank (rsLoRA), for large ranks"
    )

    def attach(
        self, parts: Mapping[str, nn.Module], targets: Targets, *, generator: torch.Generator
    ) -> "AttachedLoRA":
        """Put an adapter on the model and freeze everything else.

        Args:
            parts: part to model: "unet", "text_encoder", "text_encoder_2".
            targets: part to group to the path endings of its layers.
            generator: draws A, on the CPU, so that every device starts the same.
        Returns:
            The adapter; the model computes what it did before, B being zero.
        Raises:
            SettingsError: a group is unknown or no layer fits.
        """
        self._check_groups(targets)
        layers: dict[str, dict[str, Layer]] = {}
        for part, module in parts.items():
            if part != "unet" and not self.text_encoder:
                continue
            suffixes = [s for g in self.groups for s in targets.get(part, {}).get(g, ())]
            found = {
                path: self._start(part, layer, generator)
                for path, layer in adaptable(module)
                if any(f".{path}".endswith(f".{suffix}") for suffix in suffixes)
            }
            if not found:
                raise SettingsError(
                    f"adapter.groups {self.groups} fit no layer of the {part}; it has "
                    f"{tuple(targets.get(part, {}))}"
                )
            layers[part] = found
        return AttachedLoRA(parts, layers, settings=self)

    def _check_groups(self, targets: Targets) -> None:
        known = {group for part in targets.values() for group in part}
        if unknown := [group for group in self.groups if group not in known]:
            raise SettingsError(
                f"adapter.groups must be among {tuple(sorted(known))} for this model, got {unknown}"
            )

    def _start(self, part: str, module: nn.Module, generator: torch.Generator) -> Layer:
        """A as torch and peft draw it (uniform within 1 / sqrt(fan in)), B zero."""
        rank = (None if part == "unet" else self.text_encoder_rank) or self.rank
        alpha = rank if self.alpha is None else self.alpha
        if self.rank_scaled:
            alpha *= math.sqrt(rank)
        # Files hold alpha as fp32: rounding it now keeps the trained scale equal to the saved one.
        alpha = torch.tensor(alpha, dtype=torch.float32).item()
        weight: Tensor = module.weight  # pyright: ignore[reportAssignmentType]
        down = torch.empty(rank, *weight.shape[1:])
        bound = 1 / math.sqrt(down[0].numel())
        down.uniform_(-bound, bound, generator=generator)
        return Layer(down, torch.zeros(weight.shape[0], rank, *(1,) * (weight.dim() - 2)), alpha)


class AttachedLoRA:
    """A LoRA on a model.

    Attributes:
        settings: how it was made; None when it came from a file.
        trainables: "<part>.<path>.lora_A" and ".lora_B" to fp32 weight, in the model's order.
        modules: part to model, for the parts that hold trainable weights.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        layers: Mapping[str, Mapping[str, Layer]],
        *,
        settings: LoRA | None,
    ) -> None:
        """Put layers on a model and freeze everything else.

        Args:
            parts: part to model, without an adapter so far.
            layers: part to path to the layer's first values.
            settings: how the layers were made; dropout is read from here.
        """
        self.settings = settings
        self.modules = {part: parts[part] for part in layers if layers[part]}
        self.trainables: dict[str, nn.Parameter] = {}
        self._layers: dict[str, Any] = {}  # "<part>.<path>" -> peft's layer
        self._alphas: dict[str, float] = {}
        self._strength = 1.0
        for module in parts.values():
            module.requires_grad_(False)
        for part, module in self.modules.items():
            _inject(module, layers[part], dropout=settings.dropout if settings else 0.0)
            for path, layer in layers[part].items():
                self._fill(f"{part}.{path}", module.get_submodule(path), layer)

    def _fill(self, name: str, wrapped: Any, layer: Layer) -> None:
        self._layers[name] = wrapped
        self._alphas[name] = layer.alpha
        wrapped.scaling[_NAME] = layer.scale
        for suffix, source in (("lora_A", layer.down), ("lora_B", layer.up)):
            weight = getattr(wrapped, suffix)[_NAME].weight
            weight.data = source.to(weight.device, torch.float32, copy=True)
            self.trainables[f"{name}.{suffix}"] = weight.requires_grad_()
        wrapped.train(wrapped.get_base_layer().training)  # new modules would have dropout on

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable weights of each part.

        Returns:
            "unet", "text_encoder", "text_encoder_2" (those that learn) to weights.
        """
        return {
            part: [p for name, p in self.trainables.items() if name.startswith(f"{part}.")]
            for part in self.modules
        }

    def layers(self) -> dict[str, Layer]:
        """The adapter as plain tensors.

        Returns:
            "<part>.<path>" to layer; the tensors are those that train, detached.
        """
        return {
            name: Layer(
                self.trainables[f"{name}.lora_A"].detach(),
                self.trainables[f"{name}.lora_B"].detach(),
                alpha,
            )
            for name, alpha in self._alphas.items()
        }

    @contextmanager
    def strength(self, strength: float) -> Iterator[None]:
        """Let the adapter act more or less.

        Args:
            strength: factor on dW; 0 switches the adapter off, so the base answers bit for bit.
        """
        before = self._strength
        try:
            self._set_strength(strength)
            yield
        finally:
            self._set_strength(before)

    def _set_strength(self, strength: float) -> None:
        self._strength = strength
        for name, wrapped in self._layers.items():
            rank = wrapped.r[_NAME]
            wrapped.scaling[_NAME] = self._alphas[name] / rank * strength
            if wrapped.disable_adapters != (strength == 0):
                wrapped.enable_adapters(strength != 0)  # off also freezes, on thaws

    def state(self) -> dict[str, Tensor]:
        """The trainable weights.

        Returns:
            Copies on the CPU, by name.
        """
        return {n: p.detach().to("cpu", copy=True) for n, p in self.trainables.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights back.

        Args:
            state: what `state` returned.
        Raises:
            ValueError: names or shapes differ; nothing is taken then.
        """
        take(self.trainables, state)

    def delta(self) -> Iterator[tuple[str, Tensor]]:
        """The change of each layer.

        Yields:
            "<part>.<path>" and dW in fp32, in the weight's shape.
        """
        for name, layer in self.layers().items():
            yield name, layer.delta()

    def save(
        self, path: Path, *, name_of: NameOf, dtype: torch.dtype, metadata: dict[str, str]
    ) -> Path:
        """Write a kohya-format file.

        Args:
            path: a .safetensors path.
            name_of: (part, path) to the layer's name in the file.
            dtype: type of the two matrices; alpha is fp32.
            metadata: what `metadata.metadata` made.
        Returns:
            The path.
        """
        layers = {name_of(*name.split(".", 1)): layer for name, layer in self.layers().items()}
        assert len(layers) == len(self._layers), "two layers have one name"
        return write_layers(path, layers, dtype=dtype, metadata=metadata)

    def detach(self) -> None:
        """Take the adapter off: the model has its own layers again, frozen."""
        for name, wrapped in self._layers.items():
            part, path = name.split(".", 1)
            parent, _, child = path.rpartition(".")
            setattr(self.modules[part].get_submodule(parent), child, wrapped.get_base_layer())
        for module in self.modules.values():
            del module.peft_config
        self._layers.clear()


def take(params: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
    """Copy saved weights into parameters: all fit, or none is taken.

    Args:
        params: name to parameter.
        state: name to saved weight.
    Raises:
        ValueError: names or shapes differ.
    """
    check_fit(params, state)
    with torch.no_grad():
        for name, p in params.items():
            p.copy_(state[name])


def check_fit(params: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Compare names and shapes.

    Args:
        params: name to parameter.
        state: name to saved weight.
    Raises:
        ValueError: they differ; the places are listed.
    """
    wanted = {name: tuple(p.shape) for name, p in params.items()}
    saved = {name: tuple(t.shape) for name, t in state.items()}
    if wanted != saved:
        wrong = sorted(set(wanted.items()) ^ set(saved.items()))
        raise ValueError(
            f"the saved weights do not fit this adapter in {len(wrong)} places: "
            + ", ".join(f"{name} {list(shape)}" for name, shape in wrong[:8])
        )


def _inject(module: nn.Module, layers: Mapping[str, Layer], *, dropout: float) -> None:
    """Wrap layers by peft; the values are filled in afterwards.

    peft matches every layer against every rank pattern, so layers of one rank share one pattern:
    a pattern a layer makes 700 layers of a file cost 500,000 compiled expressions.
    """
    from peft import LoraConfig, inject_adapter_in_model

    paths_of: dict[int, list[str]] = {}
    for path, layer in layers.items():
        paths_of.setdefault(layer.rank, []).append(re.escape(path))
    patterns = {f"^(?:{'|'.join(paths)})": rank for rank, paths in paths_of.items()}
    config = LoraConfig(
        r=1,
        rank_pattern=patterns,
        target_modules="|".join(p for paths in paths_of.values() for p in paths),
        lora_dropout=dropout,
        init_lora_weights=False,
    )
    # peft draws values for the layers, which are replaced; the global generator is left alone.
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, module, adapter_name=_NAME)
