"""Killed at each write, flush, rename and removal, a run that goes on ends with the same bits.

One case at some moments always, some cases under `-m slow`, every case at every moment under
`-m full`; there `WORKBENCH_PART=2/8` does the second eighth.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from covering import Case, covering, pairs, possible
from kills import Snapshots, trained, went_on

from workbench import store
from workbench.recipe import Recipe
from workbench.records import log
from workbench.settings import SettingsError

FACTORS: dict[str, tuple[str, ...]] = {
    "optimizer": (
        *("adamw", "adamw8bit", "paged_adamw8bit", "prodigy", "dadaptation", "adafactor"),
        *("came", "lion", "lion8bit", "muon", "schedule_free", "custom"),
    ),
    "schedule": (
        *("constant", "linear", "cosine", "cosine_restarts", "polynomial"),
        "warmup_stable_decay",
    ),
    "ema": ("none", "0.9"),
    "accumulation": ("1", "2"),
    "dropout": ("none", "dropout", "rank_dropout", "module_dropout"),
    "captions": ("plain", "drawn"),
    "weights": ("float32", "bfloat16"),
}
OPTIONS = {
    "dadaptation": ("optimizer.d0=1e-4",),
    "custom": ("optimizer.path=torch.optim.NAdam",),
} | {name: ("optimizer.min_8bit_size=16",) for name in FACTORS["optimizer"] if "8bit" in name}


def allowed(case: Case) -> bool:
    """Combinations that the program refuses, each with a reason of its own."""
    free = case.get("optimizer") == "schedule_free"
    return not (free and case.get("schedule", "constant") != "constant")


CASES = covering(FACTORS, allowed)


def overrides(case: Case) -> tuple[str, ...]:
    drawn = ("data.captions.shuffle=true", "data.captions.tag_dropout=0.3", "data.augment.flip=0.5")
    return (
        *("length.steps=4", "training.checkpoint_every=1", "training.lora_every=2"),
        *("output.report=false", "validation.every_steps=2", "sampling.prompts=[]"),
        f"optimizer.kind={case['optimizer']}",
        *OPTIONS.get(case["optimizer"], ()),
        f"schedule.kind={case['schedule']}",
        *(("ema.decay=0.9",) if case["ema"] != "none" else ()),
        f"training.accumulation={case['accumulation']}",
        *((f"adapter.{case['dropout']}=0.2",) if case["dropout"] != "none" else ()),
        *(drawn if case["captions"] == "drawn" else ()),
        f"training.trainable_dtype={case['weights']}",
    )


def curve(folder: Path) -> list[tuple[int, float, float | None]]:
    steps = [event for event in log.read(folder) if event.event == "progress"]
    return [(event.step, event.loss, event.gradient_norm) for event in steps]


def killed_everywhere(recipe: Recipe, home: Path, *, every: int = 1) -> int:
    """Go on from each moment; gives their number."""
    snapshots = Snapshots(home / "calm", home, lambda number: number % every == 0)
    file, _ = trained(recipe, snapshots)
    expected, steps = store.load_tensors(file), curve(snapshots.run)
    for number, folder in snapshots.kept.items():
        what = f"killed at {number}, before {snapshots.moments[number]}"
        try:
            list(went_on(folder, recipe))
        except SettingsError as error:
            assert "already complete" in str(error), what
        found = store.load_tensors(folder / "lora" / file.name)
        assert found.keys() == expected.keys(), what
        assert all(found[name].equal(expected[name]) for name in found), what
        assert curve(folder) == steps, what
        assert not list(folder.rglob("*.tmp")), what
    assert len(snapshots.moments) > 25 * len(steps)
    return len(snapshots.kept)


def test_every_pair_meets_in_few_cases():
    """70 of the 4,608 combinations; the number is said in docs/reliability.md."""
    met = set().union(*map(pairs, CASES))
    assert met >= possible(FACTORS, allowed) and all(map(allowed, CASES))
    said = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert f"{len(CASES)} cases" in said


def test_killed_at_some_moments(recipe, tmp_path):
    chosen = recipe(*overrides(CASES[0]), "length.steps=2")
    assert 2 <= killed_everywhere(chosen, tmp_path, every=31) <= 4


def part() -> list[int]:
    """The cases that `WORKBENCH_PART` names, all by default."""
    said = os.environ.get("WORKBENCH_PART", "1/1")
    match = re.fullmatch(r"(\d+)/(\d+)", said)
    assert match, f"WORKBENCH_PART must be like 2/8, got {said!r}"
    return list(range(len(CASES)))[int(match[1]) - 1 :: int(match[2])]


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(0, len(CASES), 12))
def test_killed_at_many_moments(recipe, tmp_path, number):
    killed_everywhere(recipe(*overrides(CASES[number])), tmp_path, every=13)


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("number", part())
def test_killed_at_every_moment(recipe, tmp_path, number):
    kills = killed_everywhere(recipe(*overrides(CASES[number])), tmp_path)
    sys.stderr.write(f"case {number}: {kills} kills, {' '.join(CASES[number].values())}\n")
