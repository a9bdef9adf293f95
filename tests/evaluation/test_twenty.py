"""Twenty LoRAs by recipes that the verdict is not told of: it finds the right words for 18."""

import os
from pathlib import Path

import pytest
from twenty import CONCEPTS, HEAD, KINDS, is_copy, judged, line, prompts, recipe_of

from workbench import checks
from workbench.records.judgement import Answer

LEAST = 18


def test_each_recipe_is_drawn_once_and_may_run(tmp_path: Path) -> None:
    drawn = {(kind, name): recipe_of(kind, name, tmp_path) for kind in KINDS for name in CONCEPTS}
    assert len({recipe.to_toml() for recipe in drawn.values()}) == 20
    for recipe in drawn.values():
        checks.require(recipe)
    again, other = (recipe_of("good", "robot", tmp_path, lot=lot) for lot in ("first", "second"))
    assert again == drawn["good", "robot"] != other
    assert len(drawn["good", "robot"].data.subsets) == 2
    assert len(drawn["leaking", "robot"].data.subsets) == 1
    assert all(len(set(prompts(name))) == 8 for name in CONCEPTS)


def test_a_copy_is_told_from_a_mere_loss_of_diversity() -> None:
    lost = Answer(question="diversity", reply="yes", word="worse")
    assert not is_copy(lost)
    assert is_copy(lost.model_copy(update={"clause": "copies training pictures (3 of 32 samples)"}))


@pytest.mark.full
@pytest.mark.timeout(4 * 3600)
def test_the_verdict_on_twenty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """WORKBENCH_TWENTY names a folder in which LoRAs that are done are not made again."""
    folder = Path(os.environ.get("WORKBENCH_TWENTY", tmp_path)).resolve()
    monkeypatch.setenv("WORKBENCH_HOME", str(folder / "home"))
    lot, right = os.environ.get("WORKBENCH_TWENTY_LOT", "first"), 0
    with capsys.disabled():
        print(f"\n{HEAD}")  # noqa: T201
        for kind, chosen in KINDS.items():
            for name in CONCEPTS:
                found = judged(kind, name, folder, lot=lot)
                right += chosen.right({one.question: one for one in found.answers})
                print(line(kind, name, found), flush=True)  # noqa: T201
    assert right >= LEAST
