"""`workbench check`: findings as a clear list, and what a run will need."""

from pathlib import Path

import pytest
from found_pictures import picture

from workbench import cli
from workbench.training import preflight
from workbench.training.trial import Load, Trial

MISTAKES = {
    "prodigy_rate": ("optimizer.kind=prodigy", "optimizer.learning_rate=1e-4"),
    "prodigy_restarts": ("schedule.kind=cosine_restarts",),
    "alpha_large": ("adapter.alpha=512",),
    "ema_unreachable": ("ema.decay=0.9999",),
    "dropout_takes_all": ("data.captions.tag_dropout=0.95",),
    "offset_strong": ("noise.kind=offset", "noise.strength=0.5"),
    "timesteps_narrow": ("timesteps.highest=100",),
    "guidance_high": ("sampling.guidance=25",),
    "trigger_not_sampled": ('sampling.prompts=["a house"]',),
    "no_gradient_clip": ("training.gradient_clip=none",),
}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


def test_ten_mistakes_are_listed_with_reason_fix_place_and_source(capsys: pytest.CaptureFixture):
    planted = [
        "optimizer.text_encoder_learning_rate=none",
        *(change for changes in MISTAKES.values() for change in changes),
    ]
    assert run("check", "critters", *planted) == 2
    said = capsys.readouterr().out
    blocks = {
        line.partition("[")[2].partition("]")[0] for line in said.splitlines() if " [" in line
    }
    assert blocks == set(MISTAKES)
    assert said.count("  fix: ") == said.count("; source: ") == 10
    assert "at ema.decay; source: the average's warm-up" in said
    assert said.splitlines()[-1] == "Pitfalls: 1 refused, 7 warned of, 2 noted."


def test_pictures_that_are_not_there_are_said(capsys: pytest.CaptureFixture):
    assert run("check", "critters", "data.subsets.0.path=nowhere") == 0
    said = capsys.readouterr().out
    assert "nowhere does not exist yet: rules about pictures" in said
    assert "No pitfall found." not in said


LOST = {
    "empty.png": "set aside: empty.png: empty file (0 bytes)",
    "lost.txt": "caption files that no picture took (1): lost.txt",
    "raw.CR3": "set aside: raw.CR3: a camera's raw file",
    "copy.png": "the same picture and caption as 0.png",
}


@pytest.mark.parametrize("name", LOST)
def test_nothing_lost_goes_with_no_pitfall(tmp_path: Path, capsys: pytest.CaptureFixture, name):
    for number in range(8):
        picture(tmp_path / f"{number}.png", size=(128, 128), caption=f"mochi, hat {number}")
    good = [
        "check",
        "critters",
        f"data.subsets=[{{path='{tmp_path}', trigger='mochi', repeats=8}}]",
    ]
    assert run(*good) == 0
    before = capsys.readouterr().out
    if name == "copy.png":
        picture(tmp_path / name, seed=0, size=(128, 128))
        picture(tmp_path / "0.png", seed=0, size=(128, 128))
        (tmp_path / "copy.txt").write_bytes((tmp_path / "0.txt").read_bytes())
    else:
        (tmp_path / name).write_bytes(b"words" if name == "lost.txt" else b"")
    assert run(*good) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert LOST[name] in said and LOST[name] not in before
    assert "No pitfall found" not in said


def test_a_transcript_of_pitfalls_in_captions_says_where_each_is(tmp_path, capsys):
    for number, words in enumerate(["a, (red hat:1.2)", r"saber \(fate\), b", "red_hat, blue"]):
        picture(tmp_path / f"{number}.png", size=(128, 128), caption=words)
    assert run("check", "critters", f"data.subsets=[{{path='{tmp_path}', trigger='mochi'}}]") == 0
    said = capsys.readouterr().out
    for rule in ("prompt_weights", "brackets_escaped", "tags_with_underscores", "few_pictures"):
        assert f"[{rule}]" in said
    for text in ("'(red hat:1.2)'", "'red_hat'"):
        assert text in said


def test_what_a_run_will_need(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def quick(recipe):
        seconds = {"caching": 0.1, "validation": 1.0, "samples": 5.0, "saving": 0.5}
        sizes = {"checkpoint": 3 << 20, "lora": 1 << 20, "samples": 1 << 19, "cached": 2048}
        trial = Trial({"step": 5 << 30, "samples": 6 << 30}, 0.5, seconds, sizes)
        load = Load(None, (128, 160), 32, 170, 1)  # type: ignore[arg-type]
        return preflight.Preflight("GPU", recipe, load, trial, 24 << 30, 1 << 40)
        yield

    monkeypatch.setattr(preflight, "preflight", quick)
    assert run("check", "critters", "--measure", "--price-per-hour", "0.80") == 0
    said = capsys.readouterr().out
    assert "Measured on GPU: batches of 4 at 128 x 160, the heaviest" in said
    assert "peak memory    6 GiB of 24 GiB (step 5 GiB, samples 6 GiB)" in said
    assert "time per step  500 ms" in said
    assert "170 steps, at most 1 min 42 s" in said
    assert "disk           " in said and "1 TiB free" in said
    assert "cost           at most 0.02 at 0.8 an hour" in said
