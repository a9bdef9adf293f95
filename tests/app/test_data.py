"""The tab Data: sources, pictures on show, masks, models, without a browser."""

import io
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from workbench.app import (
    captions,
    data,
    data_masks,
    data_models,
    data_source,
    data_subsets,
    gallery,
)
from workbench.app.desk import EMPTY, pictures
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.store import FileRefused
from workbench.workspace.folders import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "workspace")
    folder = workspace.data / "cats"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (128, 96), (80 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("<b>cat</b>, hat")
    (folder / "broken.png").write_text("no picture")
    return workspace


@pytest.fixture
def cats(workspace):
    return data_source.use_folder(EMPTY, "instead", data_source.place(workspace, "cats"))


def test_folders_of_the_workspace_are_offered_with_their_counts(workspace):
    (workspace.data / ".parts").mkdir()
    (workspace.data / "some.zip").write_bytes(b"")
    assert [name for _, name in data_source.folders(workspace)] == ["cats", "some.zip"]
    assert "pictures: 4" in data_source.folders(workspace)[0][0]


@pytest.mark.parametrize("name", ["../runs", "/etc", "cats/../../x"])
def test_no_folder_outside_is_taken(workspace, name):
    with pytest.raises(FileRefused):
        data_source.place(workspace, name)


def test_own_pictures_have_no_trigger_yet_and_no_ordinary_critters(cats, workspace):
    (subset,) = cats.data.subsets
    assert data_source.concept_in_use(cats) == gr.skip()
    assert subset.path == str(workspace.data / "cats") and subset.trigger is None
    assert cats.name == "cats"
    beside = data_source.use_folder(cats, "prior", workspace.data / "cats")
    assert [one.is_prior for one in beside.data.subsets] == [False, True]
    kept = data_source.use_folder(beside, "instead", workspace.data / "cats")
    assert [one.is_prior for one in kept.data.subsets] == [False, True]  # the user's own stay


def test_a_built_in_concept_comes_with_its_trigger():
    recipe = data_source.use_concept(EMPTY, "instead", "style")
    assert [one.path for one in recipe.data.subsets] == ["critters:style", "critters:prior"]
    assert recipe.data.subsets[0].trigger == "risoka" == recipe.name
    more = data_source.use_concept(recipe, "beside", "scenes")
    assert more.data.subsets[-1].path == "critters:scenes"
    assert data_source.concept_in_use(recipe) == "style"
    assert data_source.concept_in_use(more) == "scenes"


def test_a_source_is_taken_out_but_not_the_last():
    one = data_subsets.without(EMPTY, 1)
    assert [subset.path for subset in one.data.subsets] == ["critters:character"]
    with pytest.raises(SettingsError, match="last source stays"):
        data_subsets.without(one, 0)
    with pytest.raises(SettingsError, match="Choose the source"):
        data_subsets.without(EMPTY, None)


def test_what_was_set_aside_is_named_and_nothing_is_markup(cats):
    numbers, fold, notes = data._describe(cats)
    assert "<dd>3</dd>" in numbers and "<dd>1</dd>" in numbers
    assert "broken.png" in notes and "not an image" in notes
    assert fold.visible


def test_a_folder_that_is_gone_is_said(cats, workspace):
    for path in (workspace.data / "cats").iterdir():
        path.unlink()
    (workspace.data / "cats").rmdir()
    said, *_ = data._describe(cats)
    assert "finding mistake" in said and "does not exist" in said


def test_the_gallery_is_sent_in_pages_and_once(cats, workspace, monkeypatch):
    monkeypatch.setattr(gallery, "PAGE", 2)
    small, turning, said, page, seen, changed = gallery._show(workspace, cats, 0, None, 0)
    assert [name for _, name in small] == ["0.png", "1.png"]
    assert all(Path(path).is_relative_to(workspace.thumbnails) for path, _ in small)
    assert turning.visible and "of 3" in said and (page, changed) == (0, 1)
    again = gallery._show(workspace, cats, 0, seen, 1)
    assert all(one == gr.skip() for one in again)
    last, *_, page, _, _ = gallery._show(workspace, cats, 9, seen, 1)
    assert [name for _, name in last] == ["2.png"] and page == 1


def test_a_picture_that_is_damaged_leaves_its_place(cats, workspace):
    dataset = pictures(cats)
    (workspace.data / "cats" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    small = gallery._small(workspace, dataset, range(3))
    assert [name for _, name in small][::2] == ["0.png", "2.png"]
    assert "1.png" in small[1][1]


def test_a_mask_is_painted_on_a_small_copy_and_read_back(cats, workspace):
    value, easel, said, label = data_masks._take(cats, 1)
    assert easel.visible and "no mask" in said and label.endswith("1.png")
    layer = np.zeros((96, 128, 4), np.uint8)
    layer[:, :64] = 255
    painted = {**value, "layers": [Image.fromarray(layer)]}
    said, changed = data_masks._save(cats, label, 4, painted)
    assert "50%" in said and changed == 5
    value, _, said, _ = data_masks._take(cats, 1)
    alpha = np.asarray(value["layers"][0].getchannel("A"))
    assert alpha[:, :60].min() == 255 and alpha[:, 70:].max() == 0
    _, said, _ = data_masks._remove(cats, label, 5)
    assert "no mask" in said
    with pytest.raises(SettingsError, match="first"):
        data_masks._save(cats, "elsewhere.png", 0, painted)


def test_a_token_leaves_its_box_at_once_and_stays_in_memory():
    assert data_models._take(" hf_secret ", "") == ("", "hf_secret")
    assert data_models._take("", "hf_secret") == ("", "hf_secret")  # looked up a second time


def test_models_are_chosen_from_the_workspace(cats):
    assert data_models._use(cats, "critters").base.path == "critters"
    with pytest.raises(SettingsError, match="Choose a model"):
        data_models._use(cats, None)
    about = data_models._about(cats.base, 0)
    assert "ships with the workbench" in about


def test_a_zip_is_unpacked_into_a_folder_of_its_name(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Info", said.append)
    workspace = Workspace(tmp_path / "workspace")
    with zipfile.ZipFile(workspace.data / "cats.zip", "w") as archive:
        file = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(file, "PNG")
        archive.writestr("a.png", file.getvalue())
        archive.writestr("a.txt", "red")
        archive.writestr("read.me", "x")
    chosen = data_source._unpack(workspace, "cats.zip")
    assert chosen.value == "cats" and said == [
        "2 files are in the folder cats now; 1 others were left out."
    ]
    again = captions.copy_built_in(
        Recipe.preset("critters").override(
            [f'data.subsets=[{{path="{workspace.data / "cats.zip"}"}}]']
        ),
        workspace,
    )
    assert again.data.subsets[0].path == str(workspace.data / "cats-2")
    left = sorted(p.relative_to(workspace.data).as_posix() for p in workspace.data.rglob("*.*"))
    kept = [name for name in left if not name.startswith(".")]
    assert kept == ["cats-2/a.png", "cats-2/a.txt", "cats.zip", "cats/a.png", "cats/a.txt"]
