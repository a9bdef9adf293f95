"""The embedded world: creatures that are drawn from their tags, and a small base that knows them.

This package stays light to import: drawing needs Pillow and numpy alone; `architecture` and
`vocabulary` bring torch, diffusers and transformers.
"""

from pathlib import Path

from workbench.critters.attributes import Attributes, all_tags, caption, sample_attributes, tags
from workbench.critters.draw import WORLD_SIZES, draw, plan, stream, world

# A diffusers folder: what `StableDiffusionPipeline.from_pretrained` takes.
BASE = Path(__file__).parent / "base"

__all__ = [
    "BASE",
    "WORLD_SIZES",
    "Attributes",
    "all_tags",
    "caption",
    "draw",
    "plan",
    "sample_attributes",
    "stream",
    "tags",
    "world",
]
