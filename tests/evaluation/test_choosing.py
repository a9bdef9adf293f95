"""Chosen on some prompts, confirmed on others, and nothing drawn twice."""

import shutil
from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench.evaluation import choice_page, choosing, drawing
from workbench.evaluation.candidates import candidates
from workbench.evaluation.choosing import DESCRIBED, ChooseSettings
from workbench.records.events import Warned
from workbench.records.log import EventLog
from workbench.settings import SettingsError
from workbench.store import FileRefused, read_json
from workbench.training.run import Run

FEW = ChooseSettings(num_prompts=2, num_seeds=2, strengths=(0.5, 1.0), description="a red thing")
DRAWS = ("sampling.prompts=['{trigger}, sea','{trigger}, hill']", "sampling.steps=1")


@pytest.fixture(scope="module")
def folder(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that saved a file on the way and keeps a moving average."""
    place = tmp_path_factory.mktemp("choosing")
    recipe = tiny_recipe(
        tiny_sd, write_photos(place / "photos"), place, *DRAWS,
        "data.subsets.0.trigger=zorb", "length.steps=4", "training.lora_every=2",
        "ema.decay=0.5", "output.report=false", "optimizer.learning_rate=0.05",
    )  # fmt: skip
    run = Run(recipe, place / "zorb")
    for _ in run.train():
        pass
    with EventLog(run.folder) as log:
        log.append(Warned(id="of-no-step", message="some warnings belong to no step"))
    return run.folder


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """A cache of its own, and how many pictures were drawn at each call."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    found: list[int] = []
    before = drawing._drawn

    def counting(trained, pairs, strength):
        found.append(len(pairs))
        return before(trained, pairs, strength)

    monkeypatch.setattr(drawing, "_drawn", counting)
    return found


def test_checkpoints_strengths_and_raw_weights_are_listed(folder: Path) -> None:
    every = candidates([folder], strengths=(0.5, 1.0), checkpoints=3, raw=True)
    assert [one.name for one in every] == [
        "step 2 at 0.5", "step 2", "last at 0.5", "last",
        "last, without its moving average at 0.5", "last, without its moving average",
    ]  # fmt: skip
    assert [one.weights.step for one in every] == [2, 2, 4, 4, 4, 4]
    only = candidates([folder], strengths=(1.0,), checkpoints=1, raw=False)
    assert [one.name for one in only] == ["last"]


def test_losses_count_up_to_the_chosen_step_at_strength_1(folder: Path) -> None:
    every = candidates([folder], strengths=(0.5, 1.0), checkpoints=3, raw=True)
    steps = {
        one.name: max((getattr(e, "step", None) or 0 for e in choosing._events(one)), default=None)
        for one in every
    }
    assert steps == {
        "step 2 at 0.5": None, "step 2": 2, "last at 0.5": None, "last": 4,
        "last, without its moving average at 0.5": None,
        "last, without its moving average": None,
    }  # fmt: skip


def test_a_choice_is_confirmed_on_other_prompts_and_seeds(folder: Path, counted: list[int]) -> None:
    study = choosing.plan([folder], judge="critters", settings=FEW)
    assert not set(study.prompts[0]) & set(study.prompts[1])
    assert not set(study.seeds[0]) & set(study.seeds[1])
    stages: list[str] = []
    choice = choosing.carry_out(study, lambda stage, done, total: stages.append(stage))
    assert sum(counted) == study.num_pictures == 4 * (6 + 2) + 4 * 3 + 8
    assert {one.name for one in choice.scores} == {
        *(one.name for one in study.candidates), DESCRIBED,
    }  # fmt: skip
    assert sum(one.kind == "chosen" for one in choice.scores) == 1
    assert {pair.prompt for pair in choice.comparison.pairs} == set(study.prompts[1])
    assert all("zorb" in pair.prompt for pair in choice.comparison.pairs)
    assert not any("zorb" in pair.prompt for pair in choice.comparison.leakage)
    assert choice.recommendation.startswith(f"Take {choice.chosen}")
    assert "On other prompts and seeds:" in choice.recommendation
    assert "told 'a red thing'" in choice.recommendation
    assert choice.confirmed.answer("look like").n == 2
    assert "drawing base" in stages


def test_a_second_study_draws_nothing(folder: Path, counted: list[int], tmp_path: Path) -> None:
    first = choosing.choose(folder, judge="critters", settings=FEW)
    drawn = sum(counted)
    again = choosing.choose(folder, judge="critters", settings=FEW)
    assert sum(counted) == drawn
    assert again.recommendation == first.recommendation
    page = choice_page.write(again, tmp_path / "choice.html", name="zorb")
    told = read_json(page.with_suffix(".json"))
    assert told["chosen"]["name"] == again.chosen
    assert len(told["candidates"]) == 7
    assert "Take " in page.read_text(encoding="utf-8")


def test_pictures_of_other_weights_or_settings_are_not_taken_for_these(
    folder: Path, counted: list[int]
) -> None:
    study = choosing.plan([folder], judge="critters", settings=FEW)
    jobs = [("zorb, sea", 0, 1.0)]
    for candidate in study.candidates[::2]:
        drawing.draw_jobs(study.on.put(candidate.weights), jobs)
    assert counted == [1, 1, 1]
    drawing.draw_jobs(study.on.put(study.candidates[0].weights), [*jobs, ("zorb, sea", 0, 0.5)])
    assert counted == [1, 1, 1, 1]


def test_what_cannot_be_chosen_from_is_refused_with_the_fix(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"at least two prompts.*--prompt"):
        choosing.plan([folder], judge="critters", settings=ChooseSettings(prompts=("zorb",)))
    empty = tmp_path / "fresh"
    empty.mkdir()
    (empty / "recipe.toml").write_text((folder / "recipe.toml").read_text("utf-8"), "utf-8")
    with pytest.raises(FileRefused, match="no LoRA is saved there yet"):
        choosing.plan([empty], judge="critters")
    with pytest.raises(SettingsError, match=r"nothing on this machine can judge.*--judge"):
        choosing.plan([folder])


def test_a_run_that_was_stopped_is_chosen_from_by_what_it_saved(
    folder: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(folder, stopped)
    (stopped / "lora" / "tiny.safetensors").unlink()
    study = choosing.plan([stopped], judge="critters", settings=FEW)
    names = [one.name for one in study.candidates if one.strength == 1 and not one.weights.raw]
    assert names == ["step 2", "step 4"]
    assert study.on.trained.trigger == "zorb"


def test_sources_of_two_bases_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    text = (folder / "recipe.toml").read_text("utf-8")
    (other / "recipe.toml").write_text(
        "\n".join(
            'path = "critters"' if line.startswith("path") and "tiny" in line else line
            for line in text.splitlines()
        ),
        "utf-8",
    )
    with pytest.raises(SettingsError, match="must be of one base"):
        candidates([folder, other], strengths=(1.0,), checkpoints=1, raw=False)
