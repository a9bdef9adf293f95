"""A whole model as one file in Stability's original layout, which UIs load as a checkpoint.

One table of names and shapes serves both ways: what is written is read back bit for bit.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from workbench.models.codec import config_of
from workbench.models.naming import original_path
from workbench.store import FileRefused, LazyTensor, load_tensors, read_header
from workbench.store.hub_layout import hub_name

__all__ = ["TEXT_PREFIXES", "Entry", "SingleFile", "layout"]

UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
# Where the text encoders of each version lie; OpenCLIP's own names begin with `.model.`.
TEXT_PREFIXES = {
    "sd1": {"text_encoder": "cond_stage_model.transformer."},
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}
_IMPLEMENTATIONS = {
    "sd1": "https://github.com/CompVis/stable-diffusion",
    "sd2": "https://github.com/Stability-AI/stablediffusion",
    "sdxl": "https://github.com/Stability-AI/generative-models",
}
_VAE_BLOCK = re.compile(
    r"(encoder|decoder)\.(down|up|mid)_blocks?\.(?:(\d+)\.)?([a-z]+)\.(\d+)\.(.+)"
)
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_CLIP_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_FUSED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
# What OpenCLIP's encoders have in files and lack here: a layer never read, and what trained them.
_UNUSED = re.compile(r"logit_scale|text_projection|transformer\.resblocks\.(\d+)\..+")

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the file, and what it is made of.

    Attributes:
        part: "unet", "vae", "text_encoder" or "text_encoder_2".
        names: of the weights in that part; several lie one below the other.
        kind: "conv" is a matrix here and a convolution of 1x1 there, "turned" is transposed there.
    """

    part: str
    names: tuple[str, ...]
    kind: Literal["same", "conv", "turned"] = "same"

    def lazy(self, state: State, dtype: torch.dtype | None) -> LazyTensor:
        """The tensor to be written.

        Args:
            state: weights of the part.
            dtype: in the file; None keeps the weights' own.
        Returns:
            Nothing is computed yet.
        """
        pieces = [state[name] for name in self.names]
        rows = sum(piece.shape[0] for piece in pieces)
        shape = (rows, *pieces[0].shape[1:])
        shape = {"same": shape, "conv": (*shape, 1, 1), "turned": shape[::-1]}[self.kind]

        def make() -> Tensor:
            whole = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
            return whole.T if self.kind == "turned" else whole.reshape(shape)

        return LazyTensor(dtype or pieces[0].dtype, shape, make)

    def taken(self, tensor: Tensor) -> dict[str, Tensor]:
        """The weights again; the inverse of `lazy`.

        Args:
            tensor: of a file.
        Returns:
            Name in the part to weight.
        """
        if self.kind == "turned":
            tensor = tensor.T
        elif self.kind == "conv":
            tensor = tensor.flatten(1)  # newer files have a matrix already
        return dict(zip(self.names, tensor.chunk(len(self.names)), strict=True))


def layout(
    version: str, states: Mapping[str, State], *, unet_config: Mapping[str, Any]
) -> dict[str, Entry]:
    """Name all weights of a model as Stability's code did.

    Args:
        version: "sd1", "sd2" or "sdxl".
        states: part to its weights; their names and shapes are read, so "meta" will do.
        unet_config: of the U-Net.
    Returns:
        Name in the file to what it is made of.
    Raises:
        ValueError: the U-Net has modules that the original code has not.
    """
    found: dict[str, Entry] = {}
    for name in states["unet"]:
        path, _, leaf = name.rpartition(".")
        found[f"{UNET_PREFIX}{original_path(path, unet_config)}.{leaf}"] = Entry("unet", (name,))
    found |= {VAE_PREFIX + name: entry for name, entry in _vae(states["vae"])}
    for part, prefix in TEXT_PREFIXES[version].items():
        named = _open_clip if prefix.endswith(".model.") else _clip
        found |= {prefix + name: entry for name, entry in named(part, states[part])}
    return found


def _vae(state: State) -> Iterator[tuple[str, Entry]]:
    ups = [int(m[3]) for m in map(_VAE_BLOCK.fullmatch, state) if m and m[2] == "up"]
    last = max(ups, default=0)
    for name, tensor in state.items():
        match = _VAE_BLOCK.fullmatch(name)
        if match is None:
            yield name.replace("conv_norm_out", "norm_out"), Entry("vae", (name,))
            continue
        half, side, block, kind, layer, rest = match.groups()
        path, _, leaf = rest.rpartition(".")
        if kind == "attentions":
            flat = leaf == "weight" and tensor.dim() == 2
            entry = Entry("vae", (name,), "conv" if flat else "same")
            yield f"{half}.mid.attn_{int(layer) + 1}.{_VAE_ATTENTION[path]}.{leaf}", entry
            continue
        rest = rest.replace("conv_shortcut", "nin_shortcut")
        number = last - int(block) if side == "up" else block
        place = {
            "resnets": f"mid.block_{int(layer) + 1}"
            if side == "mid"
            else f"{side}.{number}.block.{layer}",
            "downsamplers": f"down.{number}.downsample",
            "upsamplers": f"up.{number}.upsample",
        }[kind]
        yield f"{half}.{place}.{rest}", Entry("vae", (name,))


def _clip(part: str, state: State) -> Iterator[tuple[str, Entry]]:
    for name in state:
        yield hub_name(name), Entry(part, (name,))


def _open_clip(part: str, state: State) -> Iterator[tuple[str, Entry]]:
    for name in state:
        bare = name.removeprefix("text_model.")
        match = _CLIP_LAYER.fullmatch(bare)
        if match is None:
            turned = bare == "text_projection.weight"
            yield _OPEN_CLIP[bare], Entry(part, (name,), "turned" if turned else "same")
            continue
        layer, path, leaf = match.groups()
        block = f"transformer.resblocks.{layer}"
        if path in _OPEN_CLIP_LAYER:
            yield f"{block}.{_OPEN_CLIP_LAYER[path]}.{leaf}", Entry(part, (name,))
        elif path == _FUSED[0]:
            fused = tuple(name.replace(path, other) for other in _FUSED)
            yield f"{block}.attn.in_proj_{leaf}", Entry(part, fused)


class SingleFile:
    """A loaded model as one file.

    Args:
        version: "sd1", "sd2" or "sdxl".
        modules: part to model, the autoencoder as "vae" among them.
        architecture: modelspec's word for it.
        prediction: "epsilon" or "v_prediction".
        zero_terminal_snr: its last timestep is noise alone.
        source: the single file that the model was loaded from, if it was.
    Raises:
        ValueError: the U-Net has modules that the original code has not.
    """

    def __init__(
        self,
        version: str,
        modules: Mapping[str, nn.Module],
        *,
        architecture: str,
        prediction: str,
        zero_terminal_snr: bool,
        source: Path | None = None,
    ) -> None:
        self._version, self._modules = version, modules
        self._layout = layout(version, self._states(), unet_config=config_of(modules["unet"]))
        self._velocity = prediction == "v_prediction"
        self._zero_terminal_snr = zero_terminal_snr
        self._beside = self._unused(source) if source is not None else {}
        self.metadata = {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": architecture,
            "modelspec.implementation": _IMPLEMENTATIONS[version],
            "modelspec.prediction_type": "v" if self._velocity else "epsilon",
        }

    def tensors(self, dtype: torch.dtype | None = None) -> dict[str, LazyTensor]:
        """What the file holds, with the weights as they are now.

        Args:
            dtype: of all weights in the file; None keeps theirs.
        Returns:
            Name to tensor; nothing is copied.
        """
        states = self._states()
        found = {n: entry.lazy(states[entry.part], dtype) for n, entry in self._layout.items()}
        for part, prefix in TEXT_PREFIXES[self._version].items():
            own = dtype or next(iter(states[part].values())).dtype
            mine = {n: t for n, t in self._beside.items() if n.startswith(prefix)}
            found |= {name: LazyTensor.of(tensor, own) for name, tensor in mine.items()}
            if prefix.endswith(".transformer."):  # transformers before 4.31 looks for them
                rows = self._layout[f"{prefix}text_model.embeddings.position_embedding.weight"]
                ids = torch.arange(states[part][rows.names[0]].shape[0])[None]
                found[f"{prefix}text_model.embeddings.position_ids"] = LazyTensor.of(ids)
        # Empty tensors by which UIs know such a model; Stability's code had no place to say it.
        marks = {"v_pred": self._velocity, "ztsnr": self._velocity and self._zero_terminal_snr}
        return found | {name: LazyTensor.of(torch.tensor([])) for name, on in marks.items() if on}

    def read(self, path: Path, parts: tuple[str, ...]) -> dict[str, Tensor]:
        """Read parts of a file that was written from `tensors`.

        Args:
            path: the file.
            parts: which; names of `Family.parts`.
        Returns:
            "<part>.<name of the weight>" to weight.
        Raises:
            FileRefused: it lacks weights of such a model.
        """
        wanted = {name: entry for name, entry in self._layout.items() if entry.part in parts}
        there = read_header(path)[1]
        if missing := [name for name in wanted if name not in there]:
            raise FileRefused(
                f"{path}: {len(missing)} weights of this base are missing, the first is "
                f"{missing[0]}; it belongs to another base, or is not whole"
            )
        tensors = load_tensors(path, wanted)
        return {
            f"{entry.part}.{own}": tensor
            for name, entry in wanted.items()
            for own, tensor in entry.taken(tensors[name]).items()
        }

    def _states(self) -> dict[str, State]:
        return {part: module.state_dict() for part, module in self._modules.items()}

    def _unused(self, source: Path) -> dict[str, Tensor]:
        """Weights of OpenCLIP's encoders that no reader uses, but some expect; as they were."""
        prefixes = [p for p in TEXT_PREFIXES[self._version].values() if p.endswith(".model.")]
        names = [
            name
            for name in read_header(source)[1]
            for prefix in prefixes
            if name not in self._layout
            and name.startswith(prefix)
            and _UNUSED.fullmatch(name.removeprefix(prefix))
        ]
        return load_tensors(source, names) if names else {}
