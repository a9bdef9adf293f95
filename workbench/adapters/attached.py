"""An adapter on a model: what learns, how strongly it acts, and how it is kept."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from workbench.adapters import injection
from workbench.adapters.decompose import fitted_magnitude
from workbench.adapters.injection import MAGNITUDE, START, method_of
from workbench.adapters.kohya import NameOf, write_layers
from workbench.adapters.layers import Kronecker, Layer, LowRank, copied
from workbench.adapters.norms import Norms
from workbench.adapters.starting import since
from workbench.adapters.weights import rounded_weights, take
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.adapters.networks import NetworkSettings


class AttachedAdapter(Protocol):
    """An adapter on a model: what learns, how strongly it acts, and how it is kept."""

    trainables: dict[str, nn.Parameter]
    modules: dict[str, nn.Module]

    @property
    def settings(self) -> Settings | None:
        """How it was made; None for one that came from a file."""
        ...

    @property
    def keeps_base(self) -> bool:
        """Whether the model can be its base again."""
        ...

    def owned(self) -> Iterator[Tensor]:
        """Tensors that stand in the model but are the adapter's own."""
        ...

    def lifted(self) -> AbstractContextManager[None]:
        """Context in which the adapter is off the model, so that another can be put on it."""
        ...

    def rounded(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """Context in which the weights have the precision that a file of this type keeps."""
        ...

    @property
    def rate_factors(self) -> dict[str, float]:
        """Factor on the learning rate of those groups for which it is not 1."""
        ...

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable weights by part and rate: "unet", "unet x16", "text_encoder"."""
        ...

    def after_step(self) -> None:
        """What the settings ask for once the optimizer has moved the weights."""
        ...

    def traces(self) -> dict[str, float]:
        """Numbers of the last step that are worth a curve."""
        ...

    def strength(self, strength: float) -> AbstractContextManager[None]:
        """Context in which the model is W + strength (W' - W); 0 is the base bit for bit."""
        ...

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Weights by name, on the CPU, for `load`; copies unless they are only to be read now."""
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


class AttachedNetwork:
    """A LoRA, DoRA, LoHa or LoKr on a model.

    Attributes:
        settings: how it was made; None when it came from a file.
        trainables: "<part>.<path>.lora_A" and the like to fp32 weight, in the model's order.
        modules: part to model, for the parts that hold trainable weights.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        layers: Mapping[str, Mapping[str, Layer]],
        *,
        settings: "NetworkSettings | None",
    ) -> None:
        """Put layers on a model and freeze everything else.

        Args:
            parts: part to model, without an adapter so far.
            layers: part to path to the layer's first values.
            settings: how the layers were made; dropouts and rates are read from here.
        """
        self.settings = settings
        self.modules = {part: parts[part] for part in layers if layers[part]}
        self.trainables: dict[str, nn.Parameter] = {}
        self._layers: dict[str, tuple[Any, Layer]] = {}  # name -> peft's layer, shapes
        self._starts: dict[str, dict[str, nn.Parameter]] = {}  # name -> part of the base taken off
        self._strength = 1.0
        self._norms = Norms(settings.max_norm if settings is not None else None)
        for module in parts.values():
            module.requires_grad_(False)
        for part, module in self.modules.items():
            injection.inject(module, layers[part], settings=settings)
            if settings is not None and settings.moves_base:
                injection.inject(module, layers[part], settings=settings, name=START)
            for path, layer in layers[part].items():
                self._fill(f"{part}.{path}", module.get_submodule(path), layer)

    def _fill(self, name: str, wrapped: Any, layer: Layer) -> None:
        method = method_of(layer)
        self._layers[name] = wrapped, copied(layer, "meta")
        for weight, parameter in injection.fill(wrapped, layer).items():
            self.trainables[f"{name}.{weight}"] = parameter
        injection.add_dropouts(wrapped, method, self.settings)
        active = [method]
        if self.settings is not None and self.settings.moves_base:
            self._starts[name] = injection.fill(wrapped, layer, name=START)
            active.append(START)
        wrapped.set_adapter(active)
        if method == "dora":
            wrapped.register_forward_hook(self._blended)
        self._scale(name)
        self._freeze(name)

    def _blended(self, wrapped: Any, args: Any, output: Tensor) -> Tensor | None:
        """A DoRA at part strength: its scale would also change the length it divides by."""
        if self._strength in (0, 1) or wrapped.disable_adapters:
            return None
        base = wrapped.get_base_layer()(*args)
        return base + self._strength * (output - base)

    keeps_base = True

    def owned(self) -> Iterator[Tensor]:
        """See `AttachedAdapter`."""
        return iter(self._kept().values())

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """See `AttachedAdapter`: the model's own layers are back in place meanwhile."""
        configs = {part: module.peft_config for part, module in self.modules.items()}
        self._put_back(lambda wrapped: wrapped.get_base_layer())
        try:
            yield
        finally:
            self._put_back(lambda wrapped: wrapped)
            for part, module in self.modules.items():
                module.peft_config = configs[part]  # pyright: ignore[reportAttributeAccessIssue]

    def rounded(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """See `AttachedAdapter`; DoRA's lengths are never rounded."""
        return rounded_weights(
            {name: p for name, p in self._kept().items() if not name.endswith(MAGNITUDE)}, dtype
        )

    @property
    def rate_factors(self) -> dict[str, float]:
        """Factor on the learning rate of those groups for which it is not 1."""
        named = ((self._group(name), self._factor(name)) for name in self.trainables)
        return {group: factor for group, factor in named if factor != 1}

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable weights by part and rate.

        Returns:
            "unet", "text_encoder", "text_encoder_2" (those that learn), and for weights with a
            factor on their rate "unet x16" and the like, to weights.
        """
        found: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.trainables.items():
            found.setdefault(self._group(name), []).append(parameter)
        return found

    def _factor(self, name: str) -> float:
        return 1.0 if self.settings is None else self.settings.rate_factor(name)

    def _group(self, name: str) -> str:
        part, factor = name.partition(".")[0], self._factor(name)
        return part if factor == 1 else f"{part} x{factor:g}"

    def layers(self) -> dict[str, Layer]:
        """The adapter as plain tensors, as they stand in files.

        Returns:
            "<part>.<path>" to layer; the tensors are those that train, detached, but for what
            files have otherwise: a part taken off the base, a scale that goes into lokr_w1.
        """
        return {name: self._layer(name) for name in self._layers}

    def _layer(self, name: str) -> Layer:
        _, first = self._layers[name]
        layer = self._now(name)
        if isinstance(layer, Kronecker):
            return layer.folded()
        if name in self._starts:
            assert isinstance(layer, LowRank) and isinstance(first, LowRank)
            start = {w: p.detach() for w, p in self._starts[name].items()}
            return since(replace(first, down=start["lora_A"], up=start["lora_B"]), layer)
        return layer

    def _now(self, name: str) -> Layer:
        """The layer as it trains."""
        wrapped, first = self._layers[name]
        names = {field: f"{name}.{weight}" for field, weight in first.peft_names.items()}
        values = {f: self.trainables[n].detach() for f, n in names.items() if n in self.trainables}
        if first.magnitude is not None:
            length = self.trainables[f"{name}.{MAGNITUDE}"].detach()
            weight = wrapped.get_base_layer().weight
            values["magnitude"] = fitted_magnitude(length.flatten(), weight)  # type: ignore[assignment]
        return replace(first, **values)

    def weights(self) -> dict[str, Tensor]:
        """The base's weights under the adapter.

        Returns:
            "<part>.<path>" to weight.
        """
        return {n: wrapped.get_base_layer().weight for n, (wrapped, _) in self._layers.items()}

    @torch.no_grad()
    def after_step(self) -> None:
        """Scale layers back whose change has become too long, where `max_norm` says so."""
        if self._norms.limit is not None:
            self._norms.apply({name: self._now(name) for name in self._layers})

    def traces(self) -> dict[str, float]:
        """How many layers `max_norm` scaled back in the last step, and the longest change.

        Returns:
            "scaled layers" and "longest dW"; empty without `max_norm`.
        """
        return self._norms.traces()

    @contextmanager
    def strength(self, strength: float) -> Iterator[None]:
        """Let the adapter act more or less.

        Args:
            strength: factor on W' - W; 0 switches it off, so the base answers bit for bit.
        """
        before = self._strength
        try:
            self._set_strength(strength)
            yield
        finally:
            self._set_strength(before)

    def _set_strength(self, strength: float) -> None:
        self._strength = strength
        for name, (wrapped, _) in self._layers.items():
            self._scale(name)
            if wrapped.disable_adapters != (strength == 0):
                wrapped.enable_adapters(strength != 0)  # off also freezes, on thaws
                self._freeze(name)

    def _scale(self, name: str) -> None:
        """Set peft's scales; a DoRA is blended instead."""
        wrapped, layer = self._layers[name]
        method = method_of(layer)
        wrapped.scaling[method] = layer.scale * (1.0 if method == "dora" else self._strength)
        if name in self._starts:
            wrapped.scaling[START] = -layer.scale * self._strength

    def _freeze(self, name: str) -> None:
        """What was taken off the base does not learn."""
        for parameter in self._starts.get(name, {}).values():
            parameter.requires_grad_(False)

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """The trainable weights, and what was taken off the base at the start.

        Args:
            copy: also of what lies on the CPU already; without, it changes as the weights do.
        Returns:
            Tensors on the CPU, by name.
        """
        return {n: p.detach().to("cpu", copy=copy) for n, p in self._kept().items()}

    def _kept(self) -> dict[str, nn.Parameter]:
        starts = {
            f"{name}.{START}.{w}": p for name, own in self._starts.items() for w, p in own.items()
        }
        return self.trainables | starts

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights back.

        Args:
            state: what `state` returned.
        Raises:
            ValueError: names or shapes differ; nothing is taken then.
        """
        take(self._kept(), state)

    def delta(self) -> Iterator[tuple[str, Tensor]]:
        """The change of each layer.

        Yields:
            "<part>.<path>" and W' - W in fp32, in the weight's shape.
        """
        for name, weight in self.weights().items():
            yield name, self._layer(name).delta(weight)

    def save(
        self, path: Path, *, name_of: NameOf, dtype: torch.dtype, metadata: dict[str, str]
    ) -> Path:
        """Write a kohya-format file.

        Args:
            path: a .safetensors path.
            name_of: (part, path) to the layer's name in the file.
            dtype: type of the matrices; alpha and DoRA's lengths are fp32.
            metadata: what `metadata.metadata` made.
        Returns:
            The path.
        """
        layers = {name_of(*name.split(".", 1)): layer for name, layer in self.layers().items()}
        assert len(layers) == len(self._layers), "two layers have one name"
        return write_layers(path, layers, dtype=dtype, metadata=metadata)

    def detach(self) -> None:
        """Take the adapter off: the model has its own layers again, frozen."""
        self._put_back(lambda wrapped: wrapped.get_base_layer())
        self._layers.clear()

    def _put_back(self, chosen: Callable[[Any], nn.Module]) -> None:
        """Set what stands at each adapted layer's place, and forget peft's configurations."""
        for name, (wrapped, _) in self._layers.items():
            part, path = name.split(".", 1)
            parent, _, child = path.rpartition(".")
            setattr(self.modules[part].get_submodule(parent), child, chosen(wrapped))
        for module in self.modules.values():
            if hasattr(module, "peft_config"):
                del module.peft_config
