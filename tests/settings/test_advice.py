"""Advice: how it is followed, said, and recognised in settings."""

import pytest

from workbench.recipe import Recipe
from workbench.settings.advice import Advice, exists, follow, kept, value

BLOCKS = [{"match": "unet.mid_block.*", "rank": 0, "rate_factor": 1.0}]


@pytest.mark.parametrize(
    ("advice", "assignment", "line"),
    [
        (Advice("adapter.rank", 4, ""), "adapter.rank=4", "adapter.rank = 4"),
        (Advice("ema", None, ""), "ema=none", "ema = none"),
        (
            Advice("base.vae_dtype", "float16", ""),
            'base.vae_dtype="float16"',
            'base.vae_dtype = "float16"',
        ),
        (
            Advice("adapter.blocks", BLOCKS, ""),
            'adapter.blocks=[{"match": "unet.mid_block.*", "rank": 0, "rate_factor": 1.0}]',
            'adapter.blocks = ["unet.mid_block.*"]',
        ),
        (Advice("name", "x" * 80, ""), f'name="{"x" * 80}"', f'name = "{"x" * 59}...'),
    ],
)
def test_it_is_written_as_a_command_and_as_a_line(
    advice: Advice, assignment: str, line: str
) -> None:
    assert (advice.assignment, advice.line) == (assignment, line)


def test_what_is_followed_is_kept_until_it_is_changed() -> None:
    recipe = Recipe.preset("critters").override(["sampling.width=64", "ema.decay=0.9"])
    advice = (
        Advice("adapter.blocks", BLOCKS, ""),
        Advice("sampling.width", None, ""),
        Advice("ema", None, ""),
        Advice("adapter.groups", ["conv"], ""),
        Advice("weighting.kind", "constant", ""),
    )
    followed = follow(advice, recipe)
    assert (followed.sampling.width, followed.ema) == (None, None)
    assert kept(advice, followed) == advice
    changed = followed.override(["adapter.blocks.0.rank=2", "sampling.width=64"])
    assert [one.setting for one in kept(advice, changed)] == [
        *("ema", "adapter.groups", "weighting.kind")
    ]


def test_what_does_not_exist_is_not_kept() -> None:
    full = Recipe.preset("critters").override(["adapter.kind=full"])
    assert not exists(full, "adapter.rank") and not exists(full, "ema.decay")
    assert exists(full, "adapter.keep_start") and exists(full, "data.inpainting")
    assert kept([Advice("adapter.rank", None, "")], full) == ()
    assert value(full, "adapter.rank") is None
    assert value(full, "data.subsets")[0]["path"] == "critters:character"
