"""Full-size bases in the layout that people download: their headers say all that advice needs."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from true_sizes import write_single_file

from workbench import base_change, checks, cli
from workbench.checks.base import look
from workbench.data.dataset import index
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.defaults import Machine
from workbench.recipe import Recipe
from workbench.settings import replace

HERE = Machine(cuda=False, native_bfloat16=True)
V = "base.prediction=v_prediction"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("true")

    def write(version: str) -> Path:
        path = folder / f"{version}.safetensors"
        return path if path.exists() else write_single_file(version, path)

    return write


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (1024, 1024), (30 * number, 90, 120)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a thing, outdoors, number {number}")
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


@pytest.mark.parametrize("version", ["sd1", "sd2", "sdxl"])
def test_headers_are_read_in_less_than_half_a_second(
    version: str, base: Callable[[str], Path]
) -> None:
    settings = BaseSettings(path=str(base(version)), prediction="epsilon")
    before = time.process_time()
    known = look(settings)
    assert loading.defaults(settings, HERE)
    assert time.process_time() - before < 0.5, "measured: 0.05 s"
    assert known.native_px == {"sd1": 512, "sd2": 768, "sdxl": 1024}[version]


@pytest.mark.parametrize(
    ("version", "preset", "given"),
    [("sd1", "sd15-lora", []), ("sd2", "sd2-lora", [V]), ("sdxl", "sdxl-lora", [])],
)
def test_new_writes_for_a_base_what_its_preset_says(
    version: str, preset: str, given: list[str], base: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "x.toml"
    options = ("--base", str(base(version)), "--data", "images", "--out", str(out))
    assert run("new", preset, *options, *given) == 0
    made, wanted = Recipe.load(out), Recipe.preset(preset)
    assert made == replace(wanted, base=made.base), "all but where the base lies"
    own = base_change.override(wanted, [f"base.path={base(version)}", *given], machine=HERE)[0]
    assert made.base == own.base


@pytest.mark.parametrize("intent", ["character", "style"])
def test_new_and_check_find_nothing_wrong_in_what_they_wrote(
    intent: str,
    base: Callable[[str], Path],
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "x.toml"
    options = ("--base", str(base("sdxl")), "--data", str(pictures), "--trigger", "zib")
    assert run("new", "x", *options, "--for", intent, "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "data.buckets.resolution = 1024: Stable Diffusion XL is made for 1024 px" in said
    assert run("check", str(out)) == 0
    recipe = Recipe.load(out)
    assert recipe.data.buckets.resolution == 1024
    found = checks.check(recipe, dataset=index(recipe.data))
    # Of this machine and of eight pictures, not of what was written.
    assert {finding.rule.id for finding in found} <= {"real_base_on_cpu", "many_showings"}
    assert {finding.rule.severity for finding in found} == {"note"}


def test_a_base_given_to_check_brings_its_settings_and_says_so(
    base: Callable[[str], Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"base.path={base('sdxl')}"
    data = f'data.subsets=[{{path="{pictures.as_posix()}", trigger="zib"}}]'
    assert run("check", "sd15-lora", data, path, "training.batch_size=2") == 0
    said = capsys.readouterr().out
    assert "data.buckets.resolution = 1024: Stable Diffusion XL is made for 1024 px" in said
    assert "training.accumulation = 4" in said and "training.batch_size" not in said
    assert "sdxl_resolution" not in said
    assert run("check", "sd15-lora", data, "adapter.rank=8") == 0
    assert "accumulation" not in capsys.readouterr().out
    # A file stays what it is, whatever follows from its base.
    file = tmp_path / "old.toml"
    old = Recipe.preset("sd15-lora").override([path, data, "checks.allow=sdxl_resolution"])
    file.write_text(old.to_toml())
    assert run("check", str(file), "adapter.rank=8") == 0
    said = capsys.readouterr().out
    assert "resolution = 1024" not in said and "[sdxl_resolution]" in said
