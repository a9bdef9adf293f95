"""`workbench experiment`: what follows from a base follows in each variant that changes it."""

from pathlib import Path

import pytest

from workbench.commands.experiment import _variants


def test_each_base_of_an_experiment_brings_its_settings(
    tiny_sd: Path, tiny_sdxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bases = f"base.path=critters,{tiny_sd},{tiny_sdxl}"
    own, sd, sdxl = _variants("critters", ["adapter.rank=4"], [bases], 7, tmp_path)
    assert [v.recipe.data.buckets.resolution for v in (own, sd, sdxl)] == [128, 64, 64]
    assert [v.recipe.optimizer.learning_rate for v in (own, sd, sdxl)] == [6e-3, 1e-4, 1e-4]
    assert [v.recipe.training.accumulation for v in (own, sd, sdxl)] == [1, 1, 4]
    assert {(v.recipe.adapter.rank, v.recipe.length.steps) for v in (own, sd, sdxl)} == {(4, 7)}
    said = capsys.readouterr().out
    assert "Stable Diffusion XL" in said and said.count("data.buckets.resolution = 64") == 1
