"""Z-Image: a flow-matching transformer, told the caption by a language model's hidden states.

Source: diffusers, `pipelines/z_image/pipeline_z_image.py` and `transformer_z_image.py`.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench import store
from workbench.models import qwen
from workbench.models.base import BaseSettings
from workbench.models.codec import KL, digest
from workbench.models.family import Condition, Identity, Rows, SampleOptions, TargetGroups
from workbench.models.folder import save_beside_copies
from workbench.models.parts import from_folder
from workbench.models.qwen import QwenTokens
from workbench.models.source import Described, Peek, Source, files_hash, missing_weights
from workbench.models.source import weight_files as files_of
from workbench.models.zimage_settings import MEANINGLESS, defaults
from workbench.process import Flow
from workbench.settings import SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:
    from diffusers import ZImagePipeline
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "NAMES",
    "NATIVE_PX",
    "TITLE",
    "ZImage",
    "defaults",
    "describe",
    "load",
    "recognise",
    "tokens",
]

TITLE = "Z-Image"
NATIVE_PX = 1024
NAMES = dict.fromkeys(("z-image", "zimage"), NATIVE_PX)
_PARTS = ("transformer", "vae", "text_encoder")
_REMEMBERED = 256  # prompts whose embeddings are kept, for samples, validation and proof
# What trainers adapt: the main layers, without refiners and modulation.
_TARGETS: TargetGroups = {
    "attention": (
        "layers.*.attention.to_q",
        "layers.*.attention.to_k",
        "layers.*.attention.to_v",
        "layers.*.attention.to_out.0",
    ),
    "feedforward": (
        "layers.*.feed_forward.w1",
        "layers.*.feed_forward.w2",
        "layers.*.feed_forward.w3",
    ),
}


def recognise(seen: Peek, settings: BaseSettings) -> Source | None:
    """See `FamilyModule`.

    Args:
        seen: headers and configs.
        settings: not asked.
    Returns:
        What was found, or None.
    Raises:
        FileRefused: a single file, or a part is missing.
    """
    if seen.is_file:
        if key := seen.first("x_pad_token"):
            raise FileRefused(
                f"{seen.path}: this is Z-Image's transformer in a single file (it holds {key}); "
                "choose its diffusers folder, with transformer/, vae/, text_encoder/, tokenizer/ "
                "and scheduler/"
            )
        return None
    config = seen.config("transformer") or {}
    if config.get("_class_name") != "ZImageTransformer2DModel":
        return None
    missing = missing_weights(seen.path, _PARTS)
    missing += [
        name for name in ("tokenizer", "scheduler") if not any((seen.path / name).glob("*.json"))
    ]
    if missing:
        raise FileRefused(
            f"{seen.path}: {', '.join(missing)} missing; a full {TITLE} model is needed: copy the "
            "folder whole"
        )
    evidence = f"transformer/config.json names {config['_class_name']}"
    return Source(seen.path, seen.path, "zimage", "zimage", TITLE, evidence)


def describe(source: Source, settings: BaseSettings) -> Described:
    """See `FamilyModule`.

    Args:
        source: what `recognise` found.
        settings: not asked.
    Returns:
        Resolution, prediction.
    """
    return Described(NATIVE_PX, "flow", latent_px=8, side_multiple_px=16)


def tokens(source: Source | None, max_tokens: int) -> QwenTokens | None:
    """See `FamilyModule`.

    Args:
        source: what `recognise` found.
        max_tokens: not asked, the model has a limit of its own.
    Returns:
        What cuts captions into tokens; None without the files of the tokenizer.
    """
    return None if source is None else QwenTokens(qwen.tokenizer(source))


def load(
    source: Source, settings: BaseSettings, *, device: torch.device, max_tokens: int
) -> "ZImage":
    """See `FamilyModule`; the transformer alone is loaded, on the CPU, the rest when it is used.

    Args:
        source: what `recognise` found.
        settings: how it is loaded.
        device: where it goes.
        max_tokens: must be the default.
    Returns:
        The family.
    Raises:
        SettingsError: a setting that has no meaning here.
    """
    from diffusers import ZImageTransformer2DModel

    qwen.require_whole(max_tokens, TITLE)
    for name, wanted, why in MEANINGLESS:
        if (value := getattr(settings, name)) != wanted:
            raise SettingsError(f"base.{name} must be left out for {TITLE}: {why}; got {value!r}")
    if settings.dtype == "float16":
        raise SettingsError(
            f'base.dtype must be "bfloat16" or "float32" for {TITLE}, got "float16", in which it '
            "overflows"
        )
    transformer: Any = _part(ZImageTransformer2DModel, source, "transformer", settings.dtype)
    if settings.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    transformer.eval().requires_grad_(False)
    return ZImage(settings, source, transformer, device)


class ZImage:
    """Z-Image and every model of its structure; see `Family`.

    Text encoder and autoencoder are in memory only inside `using`.
    """

    name = "zimage"
    process = Flow()
    frees = frozenset({"text_encoder", "codec"})
    idle: frozenset[str] = frozenset()
    inpaints = False
    single_file = None
    native_px = NATIVE_PX
    version = "zimage", "z-image"

    def __init__(
        self,
        settings: BaseSettings,
        source: Source,
        transformer: nn.Module,
        device: torch.device,
    ) -> None:
        self.settings, self._source, self.device = settings, source, device
        self.transformer = transformer
        self.parts: Mapping[str, nn.Module] = {"transformer": transformer}
        self.targets: Mapping[str, TargetGroups] = {"transformer": _TARGETS}
        config = store.read_json(source.path / "vae" / "config.json")
        self.codec = KL(
            {name: value for name, value in config.items() if not name.startswith("_")},
            getattr(torch, settings.vae_dtype),
            lambda: self._hash("vae"),
            patch=2,
        )
        self.tokenizer: PreTrainedTokenizerBase = qwen.tokenizer(source)
        self._tokens = QwenTokens(self.tokenizer)
        self.max_tokens = self._tokens.max_tokens
        self._encoder: Any = None
        self._users: Counter[str] = Counter()
        self._remembered: OrderedDict[str, Rows] = OrderedDict()
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """See `Family`."""
        if self._identity is None:
            version, architecture = self.version
            self._identity = Identity(
                path=self.settings.path,
                family=self.name,
                version=version,
                architecture=architecture,
                prediction=self.process.prediction,
                zero_terminal_snr=False,
                hashes={part: self._hash(part) for part in _PARTS},
            )
        return self._identity

    @property
    def text_key(self) -> str:
        """See `Family`."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        frame = [qwen.framed(self.tokenizer, ""), qwen.LAYER, qwen.MOST_TOKENS]
        weights = self._hash("text_encoder")
        return digest("text", weights, vocabulary, frame, self.settings.dtype)

    def count_tokens(self, caption: str) -> int:
        """See `Family`."""
        return self._tokens.count_tokens(caption)

    def windows(self, caption: str) -> list[str]:
        """See `Family`."""
        return self._tokens.windows(caption)

    def encode_text(self, prompts: Sequence[str]) -> list[Rows]:
        """Encode captions into "hidden" (n, D), n with the template's tokens; see `Family`.

        The last layer but one is read. What was encoded lately is remembered, so that samples and
        validation need no encoder; while it is loaded anyway, everything is encoded anew.
        """
        there = () if self._users["text_encoder"] else self._remembered
        if missing := [p for p in dict.fromkeys(prompts) if p not in there]:
            with self.using("text_encoder"):
                self._remembered |= zip(
                    missing, qwen.hidden_states(self._encoder, self.tokenizer, missing), strict=True
                )
        for prompt in prompts:
            self._remembered.move_to_end(prompt)
        found = [self._remembered[prompt] for prompt in prompts]
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    def collate(self, rows: Sequence[Rows]) -> dict[str, Tensor]:
        """See `Family`; pads to the longest, and keeps the lengths on the CPU."""
        hidden = [row["hidden"] for row in rows]
        padded = nn.utils.rnn.pad_sequence(hidden, batch_first=True)
        return {
            "hidden": padded.to(self.device),
            "lengths": torch.tensor([len(one) for one in hidden]),
        }

    def beside(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """See `Family`; never asked, since it does not inpaint."""
        raise AssertionError("Z-Image takes nothing beside the noisy latents")

    def denoise(self, noisy: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """See `Family`; the model is told 1 - sigma, and answers the other way round."""
        self._ready()
        dtype = next(self.transformer.parameters()).dtype
        latents = list(noisy.to(dtype).unsqueeze(2).unbind(0))  # B times (C, 1, h, w)
        answers = self.transformer(latents, 1 - level, _split(condition, dtype), return_dict=False)
        return -torch.stack(answers[0]).squeeze(2).float()

    def sample_latents(
        self,
        noise: Tensor,
        condition: Condition,
        *,
        negative: Condition | None,
        options: SampleOptions,
    ) -> Tensor:
        """See `Family`; diffusers counts guidance here from 0, which is none."""
        self._ready()
        dtype = next(self.transformer.parameters()).dtype
        running: Any = self._pipeline(vae=None, text_encoder=None)
        return running(
            prompt_embeds=_split(condition, dtype),
            negative_prompt_embeds=None if negative is None else _split(negative, dtype),
            latents=noise.to(self.device),
            height=options.height_px,
            width=options.width_px,
            num_inference_steps=options.steps,
            guidance_scale=0.0 if negative is None else options.guidance - 1,
            output_type="latent",
        ).images

    def file_name(self, part: str, path: str) -> str:
        """See `Family`."""
        return f"lora_unet_{path}".replace(".", "_")

    @contextmanager
    def using(self, *parts: str) -> Iterator[None]:
        """See `Family`; loaded by the first who uses it, and freed by the last."""
        with ExitStack() as stack:
            for part in parts:
                if part in self.frees:
                    stack.enter_context(self._using(part))
            yield

    @contextmanager
    def _using(self, part: str) -> Iterator[None]:
        if not self._users[part]:
            self._load(part)
        self._users[part] += 1
        try:
            yield
        finally:
            self._users[part] -= 1
            if not self._users[part]:
                self._free(part)

    def _ready(self) -> None:
        """Put the transformer where it works; while the text encoder worked, it gave way."""
        if next(self.transformer.parameters()).device != self.device:
            self.transformer.to(self.device)

    def _load(self, part: str) -> None:
        from diffusers import AutoencoderKL
        from transformers import AutoModel

        if part == "codec":
            module = _part(AutoencoderKL, self._source, "vae", self.settings.vae_dtype)
            self.codec.module = module.to(self.device).eval().requires_grad_(False)
        else:
            self.transformer.to("cpu")  # both do not fit the GPUs that can train it
            encoder = _part(AutoModel, self._source, "text_encoder", self.settings.dtype)
            self._encoder = encoder.to(self.device).eval().requires_grad_(False)

    def _free(self, part: str) -> None:
        if part == "codec":
            self.codec.module = None
        else:
            self._encoder = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def save(self, folder: Path) -> None:
        """See `Family`."""
        save_beside_copies(self.transformer, folder, "transformer", source=self._source.path)

    def _pipeline(self, *, vae: Any, text_encoder: Any) -> "ZImagePipeline":
        """A diffusers pipeline around these very modules, with a scheduler of its own."""
        from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline

        config = store.read_json(self._source.path / "scheduler" / "scheduler_config.json")
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(config)
        pipeline = ZImagePipeline(
            scheduler=scheduler,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=self.tokenizer,  # pyright: ignore[reportArgumentType]
            transformer=self.transformer,  # pyright: ignore[reportArgumentType]
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _hash(self, part: str) -> str:
        return files_hash(files_of(self._source.path, part)[1])


def _split(condition: Condition, dtype: torch.dtype) -> list[Tensor]:
    """Each caption's own embeddings, as the model takes them: B times (n, D)."""
    lengths = condition.text["lengths"].tolist()
    pairs = zip(condition.text["hidden"], lengths, strict=True)
    return [row[:length].to(dtype) for row, length in pairs]


def _part(kind: Any, source: Source, part: str, dtype: str) -> Any:
    key = "dtype" if part == "text_encoder" else "torch_dtype"
    return from_folder(
        kind, source.path / part, {key: getattr(torch, dtype), "local_files_only": True}
    )
