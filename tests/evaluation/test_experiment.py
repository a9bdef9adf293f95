"""One recipe in several variants: what is varied, measured, shown, and not trained twice."""

from pathlib import Path

import pytest
from PIL import Image
from tiny_recipes import tiny_recipe, write_photos

import workbench
from workbench import checks, cli, store
from workbench.evaluation import experiment, experiment_page
from workbench.evaluation.experiment import NOISES, Outcome, differences, ready, variants, vary
from workbench.evaluation.likeness import Likeness, likeness_of
from workbench.evaluation.results import DriftRow
from workbench.recipe import Recipe
from workbench.records.events import (
    Failed,
    Finished,
    Progress,
    Sampled,
    SampledPicture,
    Saved,
    Validated,
)
from workbench.records.log import EventLog
from workbench.settings import SettingsError

# -------------------------------------------------------------------------------- what is varied


def test_values_become_variants() -> None:
    assert vary(["noise.kind=gaussian,offset"]) == {
        "gaussian": ("noise.kind=gaussian",),
        "offset": ("noise.kind=offset",),
    }
    assert vary(["a=1e-4, -2", "b=[1, 2],'x,y'"]) == {
        "1e-4-1-2": ("a=1e-4", "b=[1, 2]"),
        "1e-4-x-y": ("a=1e-4", "b='x,y'"),
        "2-1-2": ("a=-2", "b=[1, 2]"),
        "2-x-y": ("a=-2", "b='x,y'"),
    }


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (["noise.kind"], "must be a setting and two values or more, got 'noise.kind'"),
        (["noise.kind=offset"], "two values or more"),
        (["a=1,1"], "two variants are called '1'"),
        (["a=?,!"], "two variants are called ''"),
    ],
)
def test_what_is_no_list_of_values_is_refused(axes: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        vary(axes)


def test_the_bases_name_is_taken(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be called 'base'"):
        variants(Recipe.preset("critters"), {"base": ()}, out=tmp_path)


@pytest.mark.parametrize("name", experiment.READY)
def test_what_ships_is_made_of_recipes_that_may_run(name: str, tmp_path: Path) -> None:
    recipe, changes = ready(name)
    made = variants(recipe, changes, overrides=["length.steps=30"], out=tmp_path)
    assert len(made) == {"noises": len(NOISES), "optimizers": 6, "did-not-update": 4}[name]
    for variant in made:
        checks.require(variant.recipe)
        assert variant.recipe.length.steps == 30
        assert Path(variant.recipe.output.folder, variant.recipe.name) == tmp_path / variant.name
        assert differences(made[0].recipe, variant.recipe) or variant is made[0]
    if name == "did-not-update":
        assert {variant.recipe.adapter.kind for variant in made} == {"full"}
        return
    kinds = {v.recipe.noise.kind if name == "noises" else v.recipe.optimizer.kind for v in made}
    assert kinds == {variant.name.removesuffix("_more") for variant in made}


def test_differences_tell_what_a_folder_was_trained_with() -> None:
    recipe = Recipe.preset("critters")
    assert differences(recipe, recipe.override(["name=other", "output.report=false"])) == []
    changed = recipe.override(["length.steps=9", "noise.kind=offset", "sampling.steps=3"])
    keys = [line.partition(":")[0] for line in differences(recipe, changed)]
    assert keys[-2:] == ["length", "sampling.steps"] and "noise.kind" in keys
    open_prompts = recipe.override(["sampling.prompts=none"])
    assert differences(recipe, open_prompts) == [], "they were filled in from the captions"


# ------------------------------------------------------------------------------ what is measured


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run whose pictures with the trigger are grey, and whose others turned from grey to red."""
    folder = tmp_path / "grey"
    plain = [f"hat {number}" for number in range(8)]
    recipe = Recipe.preset("critters").override([f"sampling.prompts={['{trigger}, hat', *plain]}"])
    store.write_text(folder / "recipe.toml", recipe.to_toml())
    shades = {("mochi, hat", 0): 119, ("mochi, hat", 1): 255}
    shades |= {(prompt, seed): 119 for prompt in plain for seed in (0, 1)}
    for (prompt, seed), shade in shades.items():
        grey = Image.new("RGB", (8, 8), (shade,) * 3)
        red = Image.new("RGB", (8, 8), (200, 80, 80))
        for name, image in (("base", grey), ("after", red if prompt in plain else grey)):
            (folder / name).mkdir(exist_ok=True)
            image.save(folder / name / f"{prompt}-{seed}.png")

    def pictures(name: str) -> tuple[SampledPicture, ...]:
        return tuple(
            SampledPicture(prompt=prompt, seed=seed, path=f"{name}/{prompt}-{seed}.png")
            for prompt, seed in shades
        )

    with EventLog(folder) as log:
        log.append(Sampled(step=0, base=True, pictures=pictures("base")))
        for step, loss in ((5, 0.9), (10, 0.8)):
            log.append(Progress(step=step, loss=1.0))
            log.append(Validated(step=step, split="train", loss=loss, base_loss=1.0))
            log.append(Validated(step=step, split="held_out", loss=loss + 0.3, base_loss=1.0))
        log.append(Saved(step=10, path="lora/x.safetensors", what="lora", final=True))
        log.append(Sampled(step=10, pictures=pictures("after")))
        log.append(Finished(step=10))
    return folder


def test_an_outcome_is_read_off_a_run(finished: Path) -> None:
    found = experiment.measure(finished, differs=["a: 1 -> 2"])
    assert (found.name, found.state, found.step) == ("grey", "finished", 10)
    assert found.train_gap == pytest.approx(-0.2)
    assert found.held_out_gap == pytest.approx(0.1)
    assert found.lightness == pytest.approx((50, 100), abs=0.5)
    # CIE L*a*b* of (200, 80, 80) is 50.2, 47.9, 24.9; of the grey 50.0, 0, 0.
    assert found.colour_drift == pytest.approx(53.9, abs=0.1)
    assert found.moved
    cells = experiment.cells(found)
    assert cells[:6] == ["-20.0%", "+10.0%", "53.9*", "50", "100", ""]
    assert len(cells) == len(experiment.COLUMNS)
    base, *others = experiment.references(
        found, recipe=Recipe.load(finished / "recipe.toml"), likeness=None
    )
    assert (base.name, base.train_gap, others) == ("base", 0.0, [])
    assert base.lightness == found.lightness


def test_a_run_that_failed_is_told_as_such(finished: Path) -> None:
    with EventLog(finished) as log:
        log.append(Failed(error="the loss is nan"))
    assert experiment.measure(finished).state == "failed: the loss is nan"


def test_likeness_is_highest_for_what_was_trained_on() -> None:
    recipe = Recipe.preset("critters")
    likeness = likeness_of(recipe)
    assert isinstance(likeness, Likeness)
    assert len(likeness.pictures) == 16, "the prior's pictures are no concept's"
    flat = [Image.new("RGB", (128, 128), colour) for colour in ("red", "grey")]
    same, other, among = likeness.of(likeness.pictures), likeness.of(flat), likeness.among()
    assert among is not None
    assert other < among < same <= 1
    assert likeness_of(recipe.override(["base.path=somewhere/else"])) is None


# --------------------------------------------------------------------------------- what is shown


def outcome(name: str, **changes: object) -> Outcome:
    red = Image.new("RGB", (8, 8), "red")
    pictures = {("a <b>", seed, strength): red for seed in (0, 1) for strength in (0.0, 1.0)}
    return Outcome(name, pictures=pictures, **changes)  # type: ignore[arg-type]


def test_the_page_shows_every_variant_beside_the_base(tmp_path: Path) -> None:
    row = DriftRow("L* (lightness)", base=50, change=2, low=1, high=3, values=(2.0,), few=8)
    outcomes = [
        outcome("one", train_gap=-0.1, likeness=0.5, drift=(row,)),
        outcome("two", train_gap=-0.2, likeness=0.4, differs=("noise.kind: 'a' -> 'b'",)),
        Outcome("three", state="failed: <nan>"),
    ]
    strips = experiment_page.strips(outcomes)
    assert [[label for label, _ in strip.cells] for strip in strips] == [["base", "one", "two"]] * 2
    assert experiment_page.best(outcomes) == {"gap": "two", "alike": "one"}
    known = [Outcome("training pictures", lightness=(1.0, 99.0))]
    path = experiment_page.write(outcomes, known, tmp_path / "x.html", name="noises")
    text = path.read_text()
    assert text.count("<img") == 6 and text.count("data:image") == 6
    for shown in ("2.0?", "-20.0%", "training pictures", "noise.kind: &#39;a&#39;"):
        assert shown in text
    assert "failed: &lt;nan&gt;" in text and "a &lt;b&gt;" in text
    assert "http" not in text.replace("http-equiv", ""), "asks nothing of any network"


# ---------------------------------------------------------------------------- what is not repeated


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["experiment", *arguments])
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["critters"], "give --vary with critters"),
        (["noises", "--vary", "a=1,2"], "noises brings its variants"),
        (["critters", "--vary", "noise.kin=a,b"], "did you mean noise.kind"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(arguments, said, capsys) -> None:
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


def test_an_experiment_goes_on_where_it_was_cut_off(
    tiny_sd: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(
        tiny_sd,
        write_photos(tmp_path / "photos"),
        tmp_path,
        "sampling.prompts=['{trigger}, red', 'blue']",
        "sampling.steps=1",
        "output.report=false",
    )
    store.write_text(tmp_path / "mine.toml", recipe.to_toml())
    varied = ["mine.toml", "--vary", "noise.kind=gaussian,offset", "--out", "out"]
    real, started = workbench.start, []

    def start(recipe: Recipe, **options: object) -> object:
        started.append(recipe.name)
        made = real(recipe, **options)  # type: ignore[arg-type]
        if len(started) == 2:
            made.stop()  # as Ctrl-C does: it ends after the first step, saved
        return made

    monkeypatch.setattr(workbench, "start", start, raising=False)
    assert run(*varied, "--steps", "2") == 0
    assert started == ["gaussian", "offset"]
    shown = capsys.readouterr().out
    assert "offset: stopped" in shown

    assert run(*varied, "--steps", "2") == 0
    assert started == ["gaussian", "offset"], "one is complete, the other is resumed"
    shown = capsys.readouterr().out
    assert "gaussian (1 of 2): trained already" in shown
    assert "held out" in shown and "offset: stopped" not in shown
    page = Path("out/experiment.html").read_text()
    pictures, way = page.partition("The way there")[::2]
    assert pictures.count("<img") == 2 * 3, "two prompts, by the base and both variants"
    assert way.count("<img") == 2 * 2 * 2, "two prompts, by the base and at the end, of each"
    assert way.count("<h3>") == 2 and way.count("<svg") == 2

    assert run(*varied, "--steps", "3") == 2
    told = capsys.readouterr().err
    assert "gaussian was trained with other settings" in told and "{'steps': 2}" in told
