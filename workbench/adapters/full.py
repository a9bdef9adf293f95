"""Full fine-tuning: every weight of a part learns; also how a model is trained from scratch."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from workbench import store
from workbench.adapters.kohya import NameOf, lazy_hashes
from workbench.adapters.naming import is_encoder
from workbench.adapters.networks import Targets
from workbench.adapters.weights import check_fit, rounded_weights, take
from workbench.settings import Settings, setting
from workbench.store import FileRefused

# Metadata of a whole model in one file: the parts that learned; the others are the base's.
LEARNED = "workbench.parts"


class Full(Settings):
    """All weights of the denoiser, and if wanted of the text encoders, learn in fp32."""

    kind: Literal["full"] = "full"
    text_encoder: bool = setting(False, basic=True, help="train the text encoders too")
    keep_start: bool = setting(
        True,
        help="keep a copy of the first weights in main memory, so that strength and the base's "
        "pictures stay available",
    )
    layout: Literal["diffusers", "single_file"] = setting(
        "diffusers",
        help="how the result is saved: a folder of the parts that learned, for diffusers, or the "
        "whole model in one .safetensors file, which UIs load as a checkpoint",
    )

    def attach(
        self,
        parts: Mapping[str, nn.Module],
        targets: Targets,
        *,
        generator: torch.Generator,
        name_of: NameOf | None = None,
    ) -> "AttachedFull":
        """Let all weights learn.

        Args:
            parts: part to model: the denoiser, then the text encoders.
            targets: not used, there is nothing to choose.
            generator: not used, nothing is drawn.
            name_of: not used, nothing is read.
        Returns:
            The adapter; the parts that learn are in fp32 from now on.
        """
        return AttachedFull(parts, self)

    def parts(self, parts: Iterable[str]) -> list[str]:
        """The parts that learn.

        Args:
            parts: all that the model has.
        Returns:
            The denoiser, and if wanted the text encoders.
        """
        return [part for part in parts if self.text_encoder or not is_encoder(part)]


class AttachedFull:
    """A model whose weights all learn.

    Attributes:
        settings: how it was made.
        trainables: "<part>.<path of the weight>" to fp32 weight, in the model's order.
        modules: part to model, for the parts that learn.
    """

    def __init__(self, parts: Mapping[str, nn.Module], settings: Full) -> None:
        """Let weights learn and freeze the parts that do not.

        Args:
            parts: part to model.
            settings: which parts learn.
        """
        self.settings = settings
        self.modules = {part: parts[part] for part in settings.parts(parts)}
        for module in parts.values():
            module.requires_grad_(False)
        # In the base's own type: half of what fp32 takes, and the same values.
        self._start = self._copied() if settings.keep_start else None
        self._dtypes = {
            f"{part}.{name}": p.dtype
            for part, module in self.modules.items()
            for name, p in module.named_parameters()
        }
        self.trainables = {
            f"{part}.{name}": p
            for part, module in self.modules.items()
            for name, p in module.float().named_parameters()
        }
        for p in self.trainables.values():
            p.requires_grad_()
        self._trained: dict[str, Tensor] = {}  # while another strength than 1 is set
        self._strength = 1.0

    def _copied(self) -> dict[str, Tensor]:
        """The weights of the parts that learn, on the CPU."""
        return {
            f"{part}.{name}": p.detach().to("cpu", copy=True)
            for part, module in self.modules.items()
            for name, p in module.named_parameters()
        }

    @property
    def keeps_base(self) -> bool:
        """Whether the first weights are kept."""
        return self._start is not None

    def owned(self) -> Iterator[Tensor]:
        """None: the weights that learn are the model's own."""
        return iter(())

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """See `AttachedAdapter`; without first weights the trained ones stay where they are."""
        try:
            with nullcontext() if self._start is None else self.strength(0):
                yield
        finally:
            for p in self.trainables.values():
                p.requires_grad_()

    def rounded(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """See `AttachedAdapter`."""
        return rounded_weights(self.trainables, dtype)

    @property
    def rate_factors(self) -> dict[str, float]:
        """None: each part has one rate."""
        return {}

    def after_step(self) -> None:
        """Nothing."""

    def traces(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable weights of each part that learns."""
        return {part: list(module.parameters()) for part, module in self.modules.items()}

    @contextmanager
    def strength(self, strength: float) -> Iterator[None]:
        """Go part of the way from the first weights to the trained ones.

        Args:
            strength: 0 is the first weights bit for bit, 1 the trained ones.
        Raises:
            ValueError: the first weights were not kept.
        """
        before = self._strength
        try:
            self._set_strength(strength)
            yield
        finally:
            self._set_strength(before)

    @torch.no_grad()
    def _set_strength(self, strength: float) -> None:
        if strength == self._strength:
            return
        start = self._first_weights()
        if not self._trained:
            self._trained = {name: p.data for name, p in self.trainables.items()}
        for name, p in self.trainables.items():
            trained = self._trained[name]
            if strength == 1:
                p.data = trained
                continue
            # Not copied into `p`: weights that learn in bfloat16 cannot hold the base's.
            first = start[name].to(p.device, torch.float32, copy=True)
            if strength == 0:
                p.data = first  # by arithmetic, -0.0 would become 0.0
            else:
                p.data = first + strength * (trained - first)
        self._strength = strength
        if strength == 1:
            self._trained = {}

    def _first_weights(self) -> dict[str, Tensor]:
        if self._start is None:
            raise ValueError(
                "adapter.keep_start is false, so a full fine-tune has no base to go back to; "
                "set it to true, or load the base a second time"
            )
        return self._start

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """The trainable weights.

        Args:
            copy: also of what lies on the CPU already; without, it changes as the weights do.
        Returns:
            Tensors on the CPU, by name.
        """
        return {n: p.detach().to("cpu", copy=copy) for n, p in self.trainables.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights back.

        Args:
            state: what `state` returned.
        Raises:
            ValueError: names or shapes differ; nothing is taken then.
        """
        take(self.trainables, state)

    def delta(self) -> Iterator[tuple[str, Tensor]]:
        """The change of each weight since the start.

        Yields:
            "<part>.<path of the weight>" and dW in fp32.
        Raises:
            ValueError: the first weights were not kept.
        """
        start = self._first_weights()
        for name, p in self.trainables.items():
            yield name, p.detach() - start[name].to(p.device, torch.float32)

    def save(
        self, path: Path, *, name_of: NameOf, dtype: torch.dtype, metadata: dict[str, str]
    ) -> Path:
        """Write the parts that learned as diffusers folders.

        Args:
            path: the folder is this path without its suffix.
            name_of: not used, the layout has the model's own names.
            dtype: type of the weights in the files.
            metadata: string pairs for the files' headers.
        Returns:
            The folder, with <part>/*.safetensors in it, and <part>/config.json where it has one.
        """
        folder = Path(path).with_suffix("")
        files = {part: store.hub_tensors(module, dtype) for part, module in self.modules.items()}
        hashed = {
            part: lazy_hashes(tensors, path=store.weights_path(folder, part))
            for part, tensors in files.items()
        }
        for part, tensors in files.items():
            known = {"format": "pt", **metadata, **hashed[part]}
            store.stream_tensors(store.weights_path(folder, part), tensors, known)
            if (config := store.hub_config(self.modules[part], dtype)) is not None:
                store.write_text(folder / part / "config.json", config)
        return folder

    def detach(self) -> None:
        """Put the first weights back, frozen.

        Raises:
            ValueError: the first weights were not kept.
        """
        start = self._first_weights()
        for name, p in self.trainables.items():
            p.data = start[name].to(p.device, self._dtypes[name])
            p.requires_grad_(False)


def attach_folder(folder: Path, parts: Mapping[str, nn.Module]) -> AttachedFull:
    """Put the weights of a full fine-tune on a model.

    Args:
        folder: what `AttachedFull.save` left.
        parts: part to model.
    Returns:
        The adapter; strength 0 is the model as it was.
    Raises:
        FileRefused: no such weights, or they do not fit; the model is as it was.
    """
    return attach_state(folder, parts, read_folder(folder, parts))


def attach_state(
    path: Path, parts: Mapping[str, nn.Module], state: Mapping[str, Tensor]
) -> AttachedFull:
    """Put whole weights on a model.

    Args:
        path: where they came from, for errors.
        parts: part to model.
        state: "<part>.<path of the weight>" to weight, of the parts that learned.
    Returns:
        The adapter; strength 0 is the model as it was.
    Raises:
        FileRefused: they do not fit; the model is as it was.
    """
    settings = Full(text_encoder=any(map(is_encoder, state)))
    wanted = {
        f"{part}.{name}": p
        for part in settings.parts(parts)
        for name, p in parts[part].named_parameters()
    }
    try:
        check_fit(wanted, state)
    except ValueError as error:
        raise FileRefused(f"{path}: {error}") from None
    adapter = AttachedFull(parts, settings)
    adapter.load(state)
    return adapter


def read_folder(folder: Path, parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Read what a full fine-tune left, in the Hub's names or in those of older runs.

    Args:
        folder: what `AttachedFull.save` left.
        parts: part to model.
    Returns:
        "<part>.<path of the weight>", as the model names it, to weight.
    Raises:
        FileRefused: a file is unsound.
    """
    files = {part: store.weights_path(folder, part) for part in parts}
    return {
        f"{part}.{name}": tensor
        for part, file in files.items()
        if file.exists()
        for name, tensor in store.own_names(
            store.load_tensors(file), parts[part].state_dict().keys()
        ).items()
    }
