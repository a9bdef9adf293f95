"""Prompts without the trigger, pictures that the base draws, and a folder that is a prior."""

import json
from collections import Counter
from pathlib import Path

import numpy
import pytest
from PIL import Image
from tiny_recipes import tiny_recipe, write_photos

from workbench import cli
from workbench.data import dataset as data
from workbench.data.dataset import DataSettings
from workbench.models import loading as models
from workbench.records.sampling import sample
from workbench.settings import SettingsError
from workbench.training.prior import PriorSettings, make_prior, prior_prompts

CAPTIONS = ("zib, dog, hat, red", "a zib dog in the rain", "dog, hat", "")
QUICK = ("sampling.steps=1", "sampling.guidance=1", "sampling.batch_size=2")


def concept(folder: Path, captions=CAPTIONS, **subset) -> data.Dataset:
    folder.mkdir()
    for number, caption in enumerate(captions):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    source = {"path": str(folder), "trigger": "zib", "class_word": "dog"} | subset
    return data.index(
        DataSettings.model_validate({"subsets": [source], "buckets": {"resolution": 64}})
    )


def prompts(dataset, count=50, **chosen) -> list[str]:
    made = prior_prompts(dataset, PriorSettings(count=count, **chosen))
    assert [one.seed for one in made] == list(range(made[0].seed, made[0].seed + count))
    assert len({one.file for one in made}) == count
    return [one.prompt for one in made]


def test_captions_lose_their_trigger_and_keep_the_class(tmp_path):
    made = prompts(concept(tmp_path / "a"))
    assert sorted(made[:4]) == ["a dog in the rain", "dog", "dog, hat", "dog, hat, red"]
    assert not any("zib" in prompt for prompt in made)
    assert all("dog" in prompt for prompt in made)
    assert "dog, red" in made  # later rounds take parts of them
    assert made == prompts(concept(tmp_path / "b"))
    assert made[:10] == prompts(concept(tmp_path / "c"), count=10)
    assert made != prompts(concept(tmp_path / "d"), seed=1)


def test_tags_are_drawn_by_how_often_they_stand(tmp_path):
    captions = ("zib, dog, hat",) * 8 + ("zib, dog, rare",)
    made = prompts(concept(tmp_path / "a", captions), count=400, prompts="tags")
    found = Counter(tag for prompt in made for tag in prompt.split(", "))
    assert found["dog"] == 400 and "zib" not in found
    assert found["hat"] > 3 * found["rare"] > 0


def test_the_class_alone(tmp_path):
    assert set(prompts(concept(tmp_path / "a"), prompts="class")) == {"dog"}


def test_without_any_word_it_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"give data\.subsets\.0\.class_word"):
        prompts(concept(tmp_path / "a", ("zib", ""), class_word=None))
    dataset = concept(tmp_path / "b", trigger=None, is_prior=True)
    with pytest.raises(SettingsError, match="no concept"):
        prompts(dataset)


def drawn(recipe, folder: Path, count: int = 3) -> list[tuple[int, int]]:
    return list(make_prior(recipe, folder, PriorSettings(count=count)))


def test_the_base_draws_them_and_a_second_call_goes_on(tiny_sd, photos, tmp_path):
    recipe = tiny_recipe(tiny_sd, photos, tmp_path / "runs", *QUICK)
    folder = tmp_path / "prior"
    assert drawn(recipe, folder) == [(0, 3), (1, 3), (2, 3), (3, 3)]
    made = json.loads((folder / "made-by.json").read_text())
    assert made["identity"]["family"] == "sd"
    assert [x["seed"] for x in made["pictures"]] == [0, 1, 2]
    for entry in made["pictures"]:
        assert (folder / entry["file"]).with_suffix(".txt").read_text().strip() == entry["prompt"]
    family = models.load(recipe.base)
    first = made["pictures"][0]
    alone = sample(family, recipe.sampling, prompts=[first["prompt"]], seeds=[first["seed"]])[0]
    with Image.open(folder / first["file"]) as image:
        difference = numpy.asarray(image).astype(int) - numpy.asarray(alone.image)
    assert abs(difference).max() <= 1  # whatever batch it was drawn in
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    (folder / "prior-00001.png").unlink()
    assert drawn(recipe, folder, 4) == [(2, 4), (3, 4), (4, 4)]
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert len(after) == 4 and after["prior-00000.png"] == before["prior-00000.png"]
    with pytest.raises(SettingsError, match=r"made with another sampling .*give another --out"):
        drawn(recipe.override(["sampling.steps=2"]), folder)


def test_foreign_folders_and_untrained_bases_are_refused(tiny_sd, photos, tmp_path):
    recipe = tiny_recipe(tiny_sd, photos, tmp_path / "runs", *QUICK)
    with pytest.raises(SettingsError, match="holds files that were not made here"):
        drawn(recipe, write_photos(tmp_path / "mine", 1))
    with pytest.raises(SettingsError, match="no prior to keep"):
        drawn(recipe.override(["base.from_scratch.weights=default"]), tmp_path / "b")


def test_the_command_makes_a_subset_that_loads(tiny_sd, photos, tmp_path, capsys):
    path = tmp_path / "recipe.toml"
    path.write_text(tiny_recipe(tiny_sd, photos, tmp_path / "runs", *QUICK).to_toml())
    folder = tmp_path / "prior"
    with pytest.raises(SystemExit) as left:
        cli.main(["make-prior", str(path), "--out", str(folder), "--count", "2"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert f'[[data.subsets]]\npath = "{folder}"\nis_prior = true' in said
    dataset = data.index(
        DataSettings.model_validate(
            {
                "subsets": [{"path": str(folder), "is_prior": True}],
                "buckets": {"resolution": 64, "step": 16},
            }
        )
    )
    assert len(dataset) == 2 and dataset.notes == () and dataset.priors == {0, 1}
    assert "photo" in dataset.plain_caption(0) or "disc" in dataset.plain_caption(0)
    with pytest.raises(SystemExit) as left:
        cli.main(["make-prior", str(path), "--out", str(folder), "--prompts", "poems"])
    assert left.value.code == 2
