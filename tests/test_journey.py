"""The main job from end to end, by the commands that a user types, on a tiny base."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import workbench
from workbench import cli
from workbench.records import history


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of several sizes; the commands run here."""
    home = tmp_path_factory.mktemp("journey")
    (home / "photos").mkdir()
    for index, size in enumerate([(90, 70), (70, 90), (64, 64), (200, 150)]):
        Image.new("RGB", size, (40 * index, 120, 200)).save(home / "photos" / f"{index}.png")
        (home / "photos" / f"{index}.txt").write_text(f"a photo, number {index}")
    return home


@pytest.fixture(scope="module")
def finished(home: Path, tiny_sd: Path) -> Path:
    """A run folder, made by the commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        settings = [
            *("data.buckets.resolution=64", "data.buckets.step=16", "length.steps=3"),
            *("training.batch_size=2", "training.checkpoint_every=1", "schedule.warmup=0"),
            *("adapter.groups=attention", "sampling.steps=2", "sampling.seeds=[0]"),
            *("sampling.guidance=1", "validation.num_images=2"),
        ]
        base = ["--base", str(tiny_sd), "--preset", "critters"]
        assert run("new", "mine", "--data", "photos", "--trigger", "zib", *base, *settings) == 0
        assert run("train", "mine.toml") == 0
    return home / "runs" / "mine"


@pytest.fixture(autouse=True)
def _here(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)


@pytest.fixture
def lora(finished: Path) -> Path:
    return finished / "lora" / "mine.safetensors"


def test_training_leaves_what_it_promises(finished: Path, lora: Path):
    assert lora.stat().st_size > 0
    assert (finished / "recipe.toml").is_file()
    assert (finished / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!")
    assert history.state(finished) == "finished"


def test_a_finished_run_asks_to_be_extended_and_stays_finished(finished: Path, capsys):
    assert run("resume", str(finished)) == 2
    assert "length.steps=+" in capsys.readouterr().err
    assert history.state(finished) == "finished"


def test_verify_passes_and_names_an_altered_layer(finished: Path, lora: Path, capsys):
    from safetensors import safe_open
    from safetensors.torch import save_file

    assert run("verify", str(finished)) == 0
    assert run("verify", str(lora)) == 0
    with safe_open(lora, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    name = next(name for name in tensors if name.endswith("lora_up.weight"))
    tensors[name] += 0.5
    save_file(tensors, "altered.safetensors", metadata)
    capsys.readouterr()
    assert run("verify", "altered.safetensors") == 1
    assert name.removesuffix(".lora_up.weight") in capsys.readouterr().out


def test_inspect_and_convert_there_and_back(lora: Path, capsys):
    from safetensors.torch import load_file

    assert run("inspect", str(lora)) == 0
    assert "kohya format" in capsys.readouterr().out
    assert run("convert", str(lora), "peft.safetensors", "--to", "peft") == 0
    assert run("convert", "peft.safetensors", "back.safetensors", "--to", "kohya") == 0
    before, after = load_file(lora), load_file("back.safetensors")
    assert run("convert", "peft.safetensors", str(lora), "--to", "kohya") == 2, "nor overwritten"
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)


def test_sample_compare_and_merge(lora: Path, capsys):
    few = ["-p", "zib, a photo", "-s", "3"]
    assert run("sample", str(lora), "steps=2", *few, "--out", "pictures") == 0
    assert len(list(Path("pictures").glob("*.png"))) == 1
    out = ["--out", "page.html"]
    assert run("compare", str(lora), "strengths=0,1", "num_strips=1", *few, *out) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "page.html"
    assert Path("page.html").stat().st_size > 10_000
    assert run("merge", str(lora), "merged") == 0
    assert Path("merged/model_index.json").is_file()
    assert run("merge", str(lora), "merged") == 2, "nothing is overwritten"


@pytest.mark.slow
def test_the_tiny_demo_ends_with_its_report(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "demo", "--out", "demo"],
        cwd=tmp_path,
        env=os.environ
        | {"WORKBENCH_TINY": "1", "PYTHONPATH": str(Path(workbench.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = tmp_path / done.stdout.splitlines()[-1]
    assert report.name == "report.html"
    assert report.is_file()
