"""A judge that reads pictures: it learned from drawn pictures alone, so it can mark generated ones.

It is trained on request in about five minutes and kept in the cache folder: it measures the base
and is no part of it.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import store
from workbench.critters.attributes import VALUES, Attributes
from workbench.critters.concepts import character_or_not
from workbench.critters.draw import WORLD_SIZES, draw, plan

VERSION = 2  # raise it when drawing changes: an older judge is then trained anew
JUDGE_WORLD = 2
SQUARE_PX = 128
SIZES = ((SQUARE_PX, SQUARE_PX),) * 3 + WORLD_SIZES
NO_LABEL = -100  # cross_entropy leaves such entries out


class Judge(nn.Module):
    """Reads every attribute, and whether the character to teach is in the picture."""

    def __init__(self) -> None:
        super().__init__()
        # The first layer shrinks fourfold at once: at full size it would cost most of the time.
        layers: list[nn.Module] = []
        for before, after, kernel, stride in ((3, 48, 7, 4), (48, 96, 3, 2), (96, 128, 3, 2)):
            layers += [nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(128, 128, 3, 1, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU()]
        layers += [nn.Conv2d(128, 64, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(0.1)]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(64 * 8 * 8, len(values)) for name, values in VALUES.items()}
        )
        self.character = nn.Linear(64 * 8 * 8, 2)

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """Say what is seen where, before it becomes an opinion.

        Args:
            pixels: (B, 3, 128, 128) in [-1, 1].
        Returns:
            (B, 64, 8, 8), none negative.
        """
        return self.trunk[:-2](pixels)  # all but flatten and dropout

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Read pictures.

        Args:
            pixels: (B, 3, 128, 128) in [-1, 1].
        Returns:
            Logits, attribute name to (B, number of its values), and `character` to (B, 2).
        """
        features = self.trunk(pixels)
        logits = {name: head(features) for name, head in self.heads.items()}
        return logits | {"character": self.character(features)}


def to_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Bring pictures of any shape to what the judge and CLIP look at.

    Args:
        pictures: B pictures; what is not square is squeezed into the square.
    Returns:
        uint8 (B, 3, 128, 128).
    """
    side = (SQUARE_PX, SQUARE_PX)
    squares = [p.convert("RGB").resize(side, Image.Resampling.BICUBIC) for p in pictures]
    return torch.from_numpy(np.stack([np.asarray(p) for p in squares])).permute(0, 3, 1, 2)


def labels_of(attributes: Attributes) -> list[int]:
    """Number a critter's attributes.

    Args:
        attributes: what a picture shows.
    Returns:
        Index of each attribute's value, in the order of `VALUES`.
    """
    return [values.index(getattr(attributes, name)) for name, values in VALUES.items()]


def _examples(start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Draw pictures with their labels; every third one is, or nearly is, the character."""
    pictures, labels = [], []
    for index in range(start, stop):
        if index % 3:
            attributes, width, height = plan(JUDGE_WORLD, index, SIZES)
            pictures.append(draw(attributes, width, height))
            labels.append([*labels_of(attributes), 0])
        else:
            rng = random.Random(f"judge {index}")
            picture, is_character = character_or_not(rng, rng.choice(SIZES))
            pictures.append(picture)
            labels.append([NO_LABEL] * len(VALUES) + [int(is_character)])
    return to_pixels(pictures), torch.tensor(labels)


def _worn(pixels: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, soil and shift pictures a little, as an autoencoder does and as no two pictures agree.

    The noise is drawn once and moved about: drawing it anew took longer than the judge itself.
    """
    pixels = pixels.float() / 127.5 - 1
    small = F.interpolate(pixels, scale_factor=0.5, mode="area")
    soft = F.interpolate(small, scale_factor=2.0, mode="bilinear")
    share = torch.rand(len(pixels), 1, 1, 1, generator=generator) * 0.9
    along, down, right = torch.randint(-4, 5, (3,), generator=generator).tolist()
    shifted = pixels.lerp(soft, share).roll((down, right), dims=(2, 3))
    return shifted + noise.roll((along, 8 * down, 8 * right), dims=(0, 2, 3))


def train_judge(*, steps: int = 2400, pictures: int = 16_000, seed: int = 0) -> Judge:
    """Train a judge from nothing.

    Args:
        steps: of 64 pictures each; 2,400 take about five minutes on two cores.
        pictures: number of pictures drawn for it.
        seed: of its weights and batches.
    Returns:
        Judge in evaluation mode.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    judge = Judge().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    noise = 0.04 * torch.randn(64, 3, SQUARE_PX, SQUARE_PX, generator=generator)
    pixels, labels = _examples(0, pictures)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        which = torch.randint(len(pixels), (64,), generator=generator)
        # In fp32: a processor without bf16 arithmetic imitates it, ten times slower.
        logits = judge(_worn(pixels[which], noise, generator).to(memory_format=torch.channels_last))
        targets = labels[which].unbind(dim=1)
        pairs = zip(logits.values(), targets, strict=True)
        losses = [F.cross_entropy(read, wanted) for read, wanted in pairs]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    return judge.to(memory_format=torch.contiguous_format).eval()


def load_judge(folder: Path | None = None) -> Judge:
    """Take the judge from the cache, or train it first.

    Args:
        folder: where it is kept; the user's cache folder by default.
    Returns:
        Judge in evaluation mode.
    """
    path = (folder or store.cache_home() / "critters") / f"judge-{VERSION}.safetensors"
    if not path.exists():
        store.save_tensors(path, train_judge().state_dict())
    judge = Judge()
    judge.load_state_dict(store.load_tensors(path))
    return judge.eval()


@torch.no_grad()
def read_pictures(judge: Judge, pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
    """Say what pictures show.

    Args:
        judge: trained.
        pictures: B pictures of any shape.
    Returns:
        Attribute name to the index of its value in `VALUES`, (B,); `character` to 0 or 1.
    """
    chunks = to_pixels(pictures).float().div(127.5).sub(1).split(64)
    read = [judge(chunk) for chunk in chunks]
    return {name: torch.cat([part[name] for part in read]).argmax(dim=1) for name in read[0]}


def accuracy(
    judge: Judge, pictures: Sequence[Image.Image], attributes: Sequence[Attributes]
) -> dict[str, float]:
    """Compare what pictures show with what they should show.

    Args:
        judge: trained.
        pictures: B pictures.
        attributes: what each should show.
    Returns:
        Share of right readings for each attribute, 0 to 1.
    """
    read = read_pictures(judge, pictures)
    wanted = torch.tensor([labels_of(each) for each in attributes]).unbind(dim=1)
    return {
        name: (read[name] == column).float().mean().item()
        for name, column in zip(VALUES, wanted, strict=True)
    }
