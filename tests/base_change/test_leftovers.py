"""What belongs to the old base goes with it: facts about its files, sides in pixels, words."""

from pathlib import Path

from workbench import base_change
from workbench.models.defaults import Machine
from workbench.recipe import Recipe

A100 = Machine(True, True)
SD, SDXL = "some/sd1-photos", "some/sdxl-photos"
CRITTERS = Recipe.preset("critters")


def on(recipe: Recipe, path: str, *given: str) -> Recipe:
    changed, _ = base_change.override(recipe, [f"base.path={path}", *given], machine=A100)
    return changed


def real(path: str, *changes: str) -> Recipe:
    return on(CRITTERS, path).override(changes)


def test_what_was_said_of_its_files_goes() -> None:
    own = real(
        SDXL,
        *("base.prediction=v_prediction", "base.zero_terminal_snr=true", "base.config=a"),
        *("base.vae=fixed-vae", "base.family=sdxl"),
    )
    same = on(own, "another/xl-model").base
    assert (same.prediction, same.zero_terminal_snr, same.config) == (None, None, None)
    assert (same.family, same.vae) == ("auto", "fixed-vae"), "its latents are the same family's"
    other = on(own.override(["base.clip_skip=1"]), SD).base
    assert (other.vae, other.clip_skip) == (None, 0)
    given = on(own, "another/xl-model", "base.prediction=epsilon").base
    assert given.prediction == "epsilon"
    _, followed = base_change.with_base(own, "another/xl-model", machine=A100)
    assert f"'v_prediction' was set for {SDXL}" in [one.reason for one in followed]


def test_sides_in_pixels_are_those_of_another_size() -> None:
    own = real(
        SD,
        *("data.buckets.min_side=256", "data.buckets.max_side=768"),
        *("sampling.width=512", "sampling.height=768"),
    )
    changed = on(own, SDXL)
    assert changed.data.buckets.bounds == (512, 2048)
    assert (changed.sampling.width, changed.sampling.height) == (None, None)
    kept = on(own, "another/sd1-model")
    assert (kept.data.buckets.max_side, kept.sampling.height) == (768, 768)
    given = on(own, SDXL, "data.buckets.max_side=1536")
    assert given.data.buckets.bounds == (512, 1536)


def test_the_text_encoders_rate_follows_the_denoisers() -> None:
    own = CRITTERS.override(["optimizer.text_encoder_learning_rate=3e-3"])
    assert on(own, SDXL).optimizer.text_encoder_learning_rate == 5e-5


def test_ordinary_critters_and_their_word_stay_behind(tmp_path: Path) -> None:
    pictures = CRITTERS.override([f"data.subsets.0.path={tmp_path.as_posix()}"])
    (only,) = on(pictures, SDXL).data.subsets
    assert (only.path, only.class_word, only.trigger) == (tmp_path.as_posix(), None, "mochi")
    (given,) = on(CRITTERS, SDXL, f"data.subsets.0.path={tmp_path.as_posix()}").data.subsets
    assert (given.path, given.class_word) == (tmp_path.as_posix(), None)
    named = on(pictures, SDXL, "data.subsets.0.class_word=critter").data.subsets[0]
    assert named.class_word == "critter"
    own = CRITTERS.override(['data.subsets=[{path="mine"}, {path="others", is_prior=true}]'])
    assert on(own, SDXL).data.subsets == own.data.subsets


def test_ordinary_critters_come_back_beside_a_concept_alone() -> None:
    there = on(CRITTERS, SDXL)
    assert on(there, "critters").data.subsets == CRITTERS.data.subsets
    own = there.override(["data.subsets.0.path=mine"])
    assert on(own, "critters").data.subsets == own.data.subsets


def test_prompts_of_ones_own_stay() -> None:
    prompts = 'sampling.prompts=["{trigger}, in the snow", "a house, hills"]'
    own = CRITTERS.override([prompts])
    assert on(own, SDXL).sampling.prompts == own.sampling.prompts
    assert on(own.override(["sampling.prompts=[]"]), SDXL).sampling.prompts == ()
    mixed = 'sampling.prompts=["mochi, critter, blue body", "{class}, crown"]'
    assert on(CRITTERS.override([mixed]), SDXL).sampling.prompts is None
    back = on(real(SDXL, prompts), "critters")
    assert back.sampling.prompts == CRITTERS.sampling.prompts, "the critters know no snow"
