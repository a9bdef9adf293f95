"""`workbench check`: findings as a clear list, and what a run will need."""

import pytest

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
    assert "nowhere does not exist yet: rules about pictures" in capsys.readouterr().out


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
