"""Settings follow the base where it is changed, each with a reason, and nowhere else."""

from pathlib import Path

import pytest

from workbench import base_change, intents
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.defaults import Machine
from workbench.recipe import Recipe, presets
from workbench.settings.advice import Advice, exists, value

A100, T4 = Machine(True, True), Machine(True, False)
SD, SDXL, ZIMAGE = "some/sd1-photos", "some/sdxl-photos", "some/z-image-photos"
CRITTERS = Recipe.preset("critters")


def on(recipe: Recipe, path: str, *given: str, machine: Machine = A100) -> Recipe:
    changed, _ = base_change.override(recipe, [f"base.path={path}", *given], machine=machine)
    return changed


def values(recipe: Recipe, *settings: str) -> list[object]:
    return [value(recipe, setting) for setting in settings]


MAIN = (
    "data.buckets.resolution",
    "data.buckets.step",
    "base.dtype",
    "training.precision",
    "training.batch_size",
    "training.accumulation",
    "base.gradient_checkpointing",
    "optimizer.learning_rate",
    "sampling.guidance",
    "adapter.blocks",
    "adapter.groups",
    "weighting.kind",
)
ATTENTION = ["attention"]
EXPECTED = {
    SD: [512, 64, "bfloat16", "bfloat16", 4, 1, False, 1e-4, 7, [], ATTENTION, "constant"],
    SDXL: [1024, 64, "bfloat16", "bfloat16", 1, 4, True, 1e-4, 5, [], ATTENTION, "constant"],
    ZIMAGE: [
        *(1024, 64, "bfloat16", "bfloat16", 1, 4, True, 1e-4, 5, []),
        *(["attention", "feedforward"], "constant"),
    ],
}


@pytest.mark.parametrize("path", EXPECTED)
def test_leaving_the_critters_leaves_none_of_their_settings(path: str) -> None:
    recipe, followed = base_change.with_base(CRITTERS, path, machine=A100)
    assert values(recipe, *MAIN) == EXPECTED[path]
    assert (recipe.length.steps, recipe.training.checkpoint_every) == (1500, None)
    assert [subset.path for subset in recipe.data.subsets] == ["critters:character"]
    assert recipe.sampling.prompts is None, "prompts in the critters' words"
    reasons = {one.setting: one.reason for one in followed}
    assert all(value(recipe, one.setting) == one.value for one in followed)
    assert all(value(CRITTERS, one.setting) != one.value for one in followed), "changes alone"
    assert f"made for {EXPECTED[path][0]} px" in reasons["data.buckets.resolution"]


@pytest.mark.parametrize("way", [(SD,), (SDXL,), (ZIMAGE,), (SD, SDXL, ZIMAGE, SDXL)])
def test_back_on_the_critters_all_is_as_before(way: tuple[str, ...]) -> None:
    recipe = CRITTERS
    for path in (*way, "critters"):
        recipe = on(recipe, path)
    assert recipe == CRITTERS


def test_between_real_bases_only_what_they_differ_in_changes() -> None:
    own = on(CRITTERS, SD).override(
        ["optimizer.learning_rate=5e-5", "length.steps=3000", "training.batch_size=2"]
    )
    recipe, followed = base_change.with_base(own, SDXL, machine=A100)
    assert (recipe.optimizer.learning_rate, recipe.length.steps) == (5e-5, 3000)
    assert {one.setting for one in followed} == {
        "data.buckets.resolution",
        "training.batch_size",
        "training.accumulation",
        "base.gradient_checkpointing",
        "sampling.batch_size",
        "sampling.guidance",
        "sampling.steps",
    }
    again, nothing = base_change.with_base(recipe, "another/xl-model", machine=A100)
    assert nothing == () and again == recipe.override(["base.path=another/xl-model"])


def test_what_is_given_in_the_same_breath_wins() -> None:
    given = (
        *("data.buckets.resolution=768", "optimizer.learning_rate=3e-5", "weighting.gamma=3"),
        *("length.epochs=5", "length.steps=none", "adapter.blocks.0.rank=4"),
    )
    recipe, followed = base_change.override(CRITTERS, [f"base.path={SDXL}", *given], machine=A100)
    told = {one.setting for one in followed}
    assert (recipe.data.buckets.resolution, recipe.optimizer.learning_rate) == (768, 3e-5)
    assert (recipe.weighting.kind, recipe.length.steps) == ("min_snr", None)
    assert value(recipe, "adapter.blocks")[0]["rank"] == 4
    assert not told & {
        *("data.buckets.resolution", "optimizer.learning_rate", "weighting.kind"),
        *("length.steps", "adapter.blocks"),
    }
    assert recipe.training.accumulation == 4, "what was not given follows"
    longer = on(CRITTERS, SDXL, "length.steps=+500")
    assert longer.length.steps == 666, "added to what stood there, once"


def test_other_edits_change_nothing_else() -> None:
    wrong = CRITTERS.override([f"base.path={SDXL}"])  # 128 px, as a file may have it
    for given in (["adapter.rank=4"], ["base.attention=eager"], [f"base.path={SDXL}"], []):
        assert base_change.override(wrong, given, machine=A100) == (wrong.override(given), ())


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        (("optimizer.kind=adafactor",), 1e-4),
        (("optimizer.kind=lion",), 2e-5),
        (("optimizer.kind=prodigy",), 1.0),
        (("adapter.kind=full",), 1e-5),
        (("optimizer.kind=custom", "optimizer.path=torch.optim.SGD"), 1e-4),
    ],
)
def test_the_rate_suits_optimizer_and_adapter(given: tuple[str, ...], rate: float) -> None:
    recipe = on(CRITTERS, SDXL, *given)
    assert recipe.optimizer.learning_rate == pytest.approx(rate)


def test_an_optimizer_of_another_scale_keeps_its_rate() -> None:
    own = ("optimizer.kind=custom", "optimizer.path=torch.optim.SGD", "optimizer.learning_rate=0.1")
    assert on(CRITTERS.override(own), SDXL).optimizer.learning_rate == 0.1


def test_who_trains_from_nothing_chooses_size_and_length() -> None:
    start = Recipe.preset("sdxl-unet-from-scratch")
    recipe = on(start, SD)
    kept = ("data.buckets.resolution", "length.steps", "optimizer.learning_rate", "weighting.kind")
    assert values(recipe, *kept) == values(start, *kept)


def test_an_intent_asks_the_new_base_for_its_own() -> None:
    asked = base_change.change.follow(intents.advise("scene", CRITTERS), CRITTERS)
    recipe = on(asked, SDXL)
    assert recipe.length.steps == 2000 and recipe.sampling.prompts is not None
    assert recipe.sampling.prompts[0] == "{trigger}, wide shot, in the morning"
    assert on(recipe, "critters") == asked


@pytest.mark.parametrize(
    ("path", "precision"),
    [(SD, "float16"), (SDXL, "float16"), ("some/thing", "float16"), (ZIMAGE, "float32")],
)
def test_a_gpu_without_bfloat16_gets_what_it_computes(path: str, precision: str) -> None:
    narrow = CRITTERS.override(["training.trainable_dtype=bfloat16"])
    recipe = on(narrow, path, machine=T4)
    assert values(recipe, "base.dtype", "training.precision") == [precision] * 2
    wanted = "float32" if precision == "float16" else "bfloat16"
    assert recipe.training.trainable_dtype == wanted, "scaled gradients need float32 weights"


def test_what_a_base_does_not_take_is_put_right() -> None:
    own = on(CRITTERS, SDXL).override(
        [
            *("weighting.kind=min_snr", "sampling.scheduler=dpmpp_2m", "sampling.spacing=leading"),
            *("adapter.text_encoder=true", "base.clip_skip=1", "base.attention=eager"),
            *("training.precision=float16", "data.captions.warmup_steps=10"),
        ]
    )
    recipe = on(own, ZIMAGE)
    assert values(recipe, "weighting.kind", "sampling.scheduler", "sampling.spacing") == [
        *("constant", "ddim", "trailing")
    ]
    assert values(recipe, "adapter.text_encoder", "base.clip_skip", "base.attention") == [
        *(False, 0, "sdpa")
    ]
    assert recipe.training.precision == "bfloat16", "in float16 it overflows"
    assert recipe.data.captions.warmup_steps == 0 and recipe.data.captions.variants == 8
    euler = own.override(["sampling.scheduler=euler"])
    assert on(euler, ZIMAGE).sampling.scheduler == "euler", "which suits as well"


def test_of_a_name_that_says_nothing_the_usual_follows_for_critters_alone() -> None:
    recipe = on(CRITTERS, "some/thing")
    assert values(recipe, *MAIN) == EXPECTED[SD]
    sdxl = on(CRITTERS, SDXL)
    assert on(sdxl, "some/thing") == sdxl.override(["base.path=some/thing"])
    assert values(on(recipe, SDXL), *MAIN) == EXPECTED[SDXL], "once it is known"


def test_of_a_base_that_cannot_be_read_nothing_follows_until_it_can(
    tiny_sd2_file: Path, tiny_sd2: Path
) -> None:
    described = f"base.config={tiny_sd2.as_posix()}"
    silent = on(CRITTERS, tiny_sd2_file.as_posix(), described)  # it does not say what it predicts
    path = f"base.path={tiny_sd2_file.as_posix()}"
    assert silent == CRITTERS.override([path, described])
    told, followed = base_change.override(silent, ["base.prediction=v_prediction"], machine=A100)
    assert (told.data.buckets.resolution, told.optimizer.learning_rate) == (64, 1e-4)
    assert told.base.config == tiny_sd2.as_posix() and len(followed) > 10


@pytest.mark.parametrize("name", presets())
def test_presets_and_what_follows_from_their_bases_agree(name: str) -> None:
    recipe = Recipe.preset(name)
    suited = loading.defaults(recipe.base, A100)
    assert suited
    if recipe.base.from_scratch is not None:  # its size and length are chosen
        suited = tuple(one for one in suited if one.setting.startswith("base."))
    for one in suited:
        if exists(recipe, one.setting):
            now = value(recipe, one.setting)
            assert now == one.value or now in one.accepted, one.line
    assert base_change.preset(name, machine=A100) == (recipe, ())


@pytest.mark.parametrize("name", ["sd15-lora", "sd2-lora", "sdxl-lora"])
def test_a_preset_is_taken_as_the_machine_can_train_it(name: str) -> None:
    recipe, followed = base_change.preset(name, machine=T4)
    changed = ["base.dtype=float16", "training.precision=float16"]
    assert recipe == Recipe.preset(name).override(changed)
    assert [one.setting for one in followed] == ["base.dtype", "training.precision"]
    assert "bfloat16 only by emulation" in followed[0].reason


def test_every_base_has_one_piece_of_advice_about_each_setting() -> None:
    asked = [loading.defaults(BaseSettings(path=p), A100) for p in ("critters", SD, SDXL, ZIMAGE)]
    settings = [{one.setting for one in advice} for advice in asked]
    assert all(len(found) == len(advice) for found, advice in zip(settings, asked, strict=True))
    shared = set.intersection(*settings)
    assert shared >= {*MAIN, "length.steps", "sampling.batch_size", "timesteps.stratified"}
    assert shared == settings[0], "what the critters set, every base sets back"


def test_what_stands_is_what_the_recipe_still_has() -> None:
    recipe = on(CRITTERS, SDXL, "training.batch_size=2")
    standing = {one.setting: one for one in base_change.follows(recipe, machine=A100)}
    assert standing["data.buckets.resolution"].value == 1024
    assert "training.batch_size" not in standing and "adapter.blocks" not in standing
    assert isinstance(standing["optimizer.learning_rate"], Advice)
