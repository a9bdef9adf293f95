"""The spellings of layers' names in adapter files, all brought to one: a part, and a key in it.

A key is the module's path with underscores for dots, which is what kohya's names hold anyway.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from torch import nn

from workbench.adapters.layers import adaptable
from workbench.adapters.naming import is_encoder
from workbench.layouts.aliases import Share, other_paths, share_of

DENOISER = "denoiser"
ANY_ENCODER = "text_encoder?"  # the file does not say which
_FIRST, _SECOND, _THIRD = "text_encoder", "text_encoder_2", "text_encoder_3"
# Beginnings of names; the first that fits counts. Dotted ones: diffusers and PEFT, ComfyUI,
# OneTrainer, Stability's checkpoints; with underscores: kohya, LyCORIS, SimpleTuner.
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("model.diffusion_model.", DENOISER),
    ("diffusion_model.", DENOISER),
    ("unet.", DENOISER),
    ("transformer.", DENOISER),
    ("prior.", DENOISER),
    ("text_encoders.clip_l.", _FIRST),
    ("text_encoders.clip_h.", _FIRST),
    ("text_encoders.clip_g.", _SECOND),
    ("text_encoders.t5xxl.", _THIRD),
    ("text_encoder_3.", _THIRD),
    ("text_encoder_2.", _SECOND),
    ("text_encoder.", _FIRST),
    (f"{ANY_ENCODER}.", ANY_ENCODER),
    ("clip_l.", _FIRST),
    ("clip_h.", _FIRST),
    ("clip_g.", _SECOND),
    ("cond_stage_model.", _FIRST),
    ("conditioner.embedders.0.", _FIRST),
    ("lora_unet_", DENOISER),
    ("lora_transformer_", DENOISER),
    ("lora_prior_unet_", DENOISER),
    ("lora_prior_te_", _FIRST),
    ("lora_te1_", _FIRST),
    ("lora_te2_", _SECOND),
    ("lora_te3_", _THIRD),
    ("lora_te_", _FIRST),
    ("lycoris_", DENOISER),
)
_PARTS = ("unet", "transformer", "prior")
_BARE_ENCODER = re.compile(r"(text_model\.)?(encoder\.layers\.\d|text_projection$)")
# The attention of a text encoder in diffusers' files of early 2023.
_EARLY = re.compile(r"\.self_attn\.to_(q|k|v|out)$")


class Spelled(NamedTuple):
    """What a layer's name says.

    Attributes:
        part: DENOISER, ANY_ENCODER or a text encoder's name.
        path: inside the part, in one spelling; dotted where the name is.
    """

    part: str
    path: str

    @property
    def key(self) -> str:
        """What modules are looked up by."""
        return flat(self.part, self.path)


def spelled(name: str) -> Spelled:
    """Read a layer's name.

    Args:
        name: in any format, without the ending that names the tensor.
    Returns:
        Part and path.
    """
    name = name.removeprefix("base_model.model.")
    bare = ("", ANY_ENCODER if _BARE_ENCODER.match(name) else DENOISER)
    prefix, part = next((pair for pair in _PREFIXES if name.startswith(pair[0])), bare)
    rest = name.removeprefix(prefix)
    if part == DENOISER:
        rest = rest.replace(".processor.", ".")
        return Spelled(part, f"{rest}.0" if rest.endswith(".to_out") else rest)
    rest = _EARLY.sub(lambda m: f".self_attn.{m[1]}_proj", rest.removeprefix("transformer."))
    return Spelled(part, rest)


def dotted(name: str, *, parts: Iterable[str] = ()) -> str:
    """A dotted name as "<part>.<path>".

    Args:
        name: in diffusers', PEFT's or ComfyUI's format.
        parts: that the file's own configuration names, beside the usual ones.
    Returns:
        For example "unet.mid_block.attentions.0.proj_in"; the prefix says which denoiser it is, or
        else the path does.
    """
    part, path = spelled(name)
    if part != DENOISER:
        return f"{part}.{path}"
    first = name.removeprefix("base_model.model.").partition(".")[0]
    if first not in _PARTS and first in parts:
        return path  # the denoiser of a family that no other program knows
    if first in _PARTS:
        return f"{first}.{path}"
    return f"{'unet' if _UNET.match(path) else 'transformer'}.{path}"


_UNET = re.compile(
    r"(down|up)_blocks\.|mid_block\.|(input|output)_blocks\.|middle_block\.|"
    r"conv_(in|out)$|(time|add)_embedding\.|(time_embed|label_emb|out)\.\d"
)


def flat(part: str, path: str) -> str:
    """A module's key.

    Args:
        part: of the model or of a file.
        path: of the module.
    Returns:
        The path with underscores; without the level that some classes of text encoders lack.
    """
    key = path.replace(".", "_")
    return key.removeprefix("text_model_") if is_encoder(part) else key


class Module(NamedTuple):
    """A module that can carry an adapter.

    Attributes:
        part: of the model.
        path: inside the part.
        module: itself.
    """

    part: str
    path: str
    module: nn.Module


class Index:
    """The modules of a model by every name that files give them."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self.modules: list[Module] = []
        self._single: dict[tuple[str, str], Module] = {}
        self._joined: dict[tuple[str, str], dict[int, Module]] = {}
        for part, model in parts.items():
            config: Mapping[str, object] = getattr(model, "config", None) or {}
            plain = config if isinstance(config, Mapping) else {}
            for path, module in adaptable(model):
                found = Module(part, path, module)
                self.modules.append(found)
                others = () if is_encoder(part) else other_paths(path, plain)
                for other in (path, *others):
                    self._single.setdefault((part, flat(part, other)), found)
                if not is_encoder(part) and (share := share_of(path)):
                    self._join(part, share, found)

    def _join(self, part: str, share: Share, module: Module) -> None:
        self._joined.setdefault((part, flat(part, share.path)), {})[share.index] = module

    def find(self, name: str) -> Iterator[tuple[Module, ...]]:
        """Look a layer's name up.

        Args:
            name: in any format.
        Yields:
            The module; or those that it stands for, whose rows it joins. Several times only where
            the name does not say which text encoder is meant.
        """
        asked = spelled(name)
        for part in dict.fromkeys(module.part for module in self.modules):
            encoder = is_encoder(part)
            fits = not encoder if asked.part == DENOISER else encoder
            if not fits or asked.part not in (DENOISER, ANY_ENCODER, part):
                continue
            # A denoiser of another name than the usual ones says it itself.
            path = asked.path if encoder else asked.path.removeprefix(f"{part}.")
            key = (part, flat(part, path))
            if key in self._single:
                yield (self._single[key],)
            elif key in self._joined:
                yield tuple(module for _, module in sorted(self._joined[key].items()))
