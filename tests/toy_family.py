"""A family that no file of the package knows, harder than those that ship.

Seven channels, sides of 12 px, captions of 1 to 40 rows, latents without a distribution, a
continuous flow, a model that is told 1 - sigma and answers the other way round, channels laid
beside, and a denoiser called `mixer`.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from workbench import store
from workbench.models.base import BaseSettings
from workbench.models.codec import Moments
from workbench.models.defaults import Machine
from workbench.models.family import Condition, Identity, Rows, SampleOptions, TargetGroups
from workbench.models.source import Described, Peek, Source
from workbench.process import Flow
from workbench.settings.advice import Advice

CHANNELS, PATCH_PX, WIDTH, MOST_ROWS, NATIVE = 7, 12, 24, 40, 96


class Mixer(nn.Module):
    """Mixes latents, text and level, place by place."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(2 * CHANNELS + 1, WIDTH, 3, padding=1)
        self.told = nn.Linear(6 + 1, WIDTH)
        self.mix = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.leave = nn.Linear(WIDTH, CHANNELS)

    def forward(self, latents: Tensor, time: Tensor, words: Tensor, there: Tensor) -> Tensor:
        mean = (words * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        told = self.told(torch.cat([mean, time[:, None]], dim=1))
        x = self.enter(latents).permute(0, 2, 3, 1) + told[:, None, None]
        for layer in self.mix:
            x = x + functional.silu(layer(x))
        return self.leave(x).permute(0, 3, 1, 2)


class Words(nn.Module):
    """One row a word."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 6)
        self.project = nn.Linear(6, 6)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.project(self.table(numbers))


class Patches(nn.Module):
    """Colours of squares of 12 px, in seven channels."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.randn(CHANNELS, 3, generator=torch.Generator().manual_seed(0))
        self.register_buffer("basis", torch.linalg.qr(draws).Q)

    def encode(self, pixels: Tensor) -> Tensor:
        return torch.einsum("cr,brhw->bchw", self.basis, functional.avg_pool2d(pixels, PATCH_PX))

    def decode(self, latents: Tensor) -> Tensor:
        colours = torch.einsum("cr,bchw->brhw", self.basis, latents)
        return functional.interpolate(colours, scale_factor=PATCH_PX)


class PatchCodec:
    channels, side_multiple_px, key = CHANNELS, PATCH_PX, "toy-patches-1"

    def __init__(self) -> None:
        self.module = Patches().eval()

    def shape(self, width_px: int, height_px: int) -> tuple[int, int]:
        return height_px // PATCH_PX, width_px // PATCH_PX

    def encode(self, pixels: Tensor) -> Moments:
        return Moments(self.module.encode(pixels.float()), None)

    def decode(self, latents: Tensor) -> Tensor:
        return (self.module.decode(latents.float()) / 2 + 0.5).clamp(0, 1)


class Toy:
    name, process, frees, idle = "toy", Flow(), frozenset[str](), frozenset[str]()
    native_px, max_tokens, inpaints = NATIVE, MOST_ROWS, True
    version, text_key, single_file = ("toy_v1", "toy"), "toy-words-1", None

    def __init__(self, settings: BaseSettings, source: Source, device: torch.device) -> None:
        self.settings, self.codec = settings, PatchCodec()
        self.mixer, self.words = Mixer(), Words()
        self.parts: Mapping[str, nn.Module] = {"mixer": self.mixer, "text_encoder": self.words}
        groups: TargetGroups = {"attention": ("mix.0", "mix.1"), "projection": ("leave",)}
        self.targets = {"mixer": groups, "text_encoder": {"attention": ("project",)}}
        for name, part in self.parts.items():
            part.load_state_dict(load_file(source.path / f"{name}.safetensors"))
            part.to(device).eval().requires_grad_(False)
        hashes = {name: store.file_hash(source.path / f"{name}.safetensors") for name in self.parts}
        self.identity = Identity(
            path=settings.path, family="toy", version="toy_v1", architecture="toy",
            prediction="flow", zero_terminal_snr=False, hashes=hashes,
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        return self.mixer.leave.weight.device

    def count_tokens(self, caption: str) -> int:
        return Tokens.count_tokens(caption)

    def windows(self, caption: str) -> list[str]:
        return Tokens.windows(caption)

    def encode_text(self, prompts: Sequence[str]) -> list[Rows]:
        numbers = [
            [zlib.crc32(word.encode()) % 64 for word in (prompt.split() or [""])[:MOST_ROWS]]
            for prompt in prompts
        ]
        return [{"words": self.words(torch.tensor(row, device=self.device))} for row in numbers]

    def collate(self, rows: Sequence[Rows]) -> dict[str, Tensor]:
        words = [row["words"].to(self.device) for row in rows]
        there = [torch.ones(len(one), device=self.device) for one in words]
        pad = nn.utils.rnn.pad_sequence
        return {
            "words": pad(words, batch_first=True),
            "there": pad(there, batch_first=True),
        }

    def beside(self, pixels: Tensor, masks: Tensor) -> Tensor:
        hidden = (masks >= 0.5).float()
        mean = self.codec.encode(pixels * (1 - hidden)).mean
        return torch.cat([functional.avg_pool2d(hidden, PATCH_PX), mean], dim=1).to(self.device)

    def denoise(self, noisy: Tensor, level: Tensor, condition: Condition) -> Tensor:
        assert condition.beside is not None
        x = torch.cat([noisy, condition.beside.to(noisy)], dim=1)
        return -self.mixer(x, 1 - level, condition.text["words"], condition.text["there"]).float()

    def sample_latents(
        self,
        noise: Tensor,
        condition: Condition,
        *,
        negative: Condition | None,
        options: SampleOptions,
    ) -> Tensor:
        latents, sigmas = noise.to(self.device), torch.linspace(1, 0, options.steps + 1)
        for now, then in itertools.pairwise(sigmas):
            level = now.expand(len(noise)).to(self.device)
            said = self.denoise(latents, level, condition)
            if negative is not None:
                other = self.denoise(latents, level, negative)
                said = other + options.guidance * (said - other)
            latents = latents + (then - now) * said
        return latents

    def file_name(self, part: str, path: str) -> str:
        return f"lora_{part}_{path}".replace(".", "_")

    def using(self, *parts: str) -> AbstractContextManager[None]:
        return nullcontext()

    def save(self, folder: Path) -> None:
        write(folder, self.parts)


class Tokens:
    max_tokens: int | None = MOST_ROWS

    @staticmethod
    def count_tokens(caption: str) -> int:
        return len(caption.split())

    @staticmethod
    def windows(caption: str) -> list[str]:
        return [caption]


def write(folder: Path, parts: Mapping[str, nn.Module]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.json").write_text("{}")
    for name, part in parts.items():
        save_file(part.state_dict(), folder / f"{name}.safetensors")
    return folder


def build(folder: Path) -> Path:
    """Write a base of random weights."""
    torch.manual_seed(7)
    return write(folder, {"mixer": Mixer(), "text_encoder": Words()})


class Module:
    """What a family's file offers; put into the registry by a test."""

    TITLE, NATIVE_PX, NAMES = "Toy", NATIVE, {"toy": NATIVE}

    @staticmethod
    def recognise(seen: Peek, settings: BaseSettings) -> Source | None:
        if seen.is_file or not (seen.path / "toy.json").exists():
            return None
        source = Source(seen.path, seen.path, "toy", "toy1", "Toy", "it holds toy.json")
        return dataclasses.replace(source, inpaints=True)

    @staticmethod
    def describe(source: Source, settings: BaseSettings) -> Described:
        return Described(NATIVE, "flow", PATCH_PX, PATCH_PX)

    @staticmethod
    def defaults(title: str, native_px: int, machine: Machine) -> tuple[Advice, ...]:
        return (Advice("data.buckets.step", PATCH_PX, f"{title} takes squares of 12 px"),)

    @staticmethod
    def tokens(source: Source | None, max_tokens: int) -> Tokens:
        return Tokens()

    @staticmethod
    def load(
        source: Source, settings: BaseSettings, *, device: torch.device, max_tokens: int
    ) -> Toy:
        return Toy(settings, source, device)
