"""Editing the captions of a folder: planned, written, kept, taken back."""

import json
from pathlib import Path

import pytest
from PIL import Image

from workbench.data.dataset import DataSettings, index
from workbench.data.edits import (
    Edit,
    Keeper,
    apply,
    editable,
    plan_caption,
    plan_edit,
    plan_reading,
    restore,
    take_back,
)
from workbench.store import FileRefused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        Image.new("RGB", (64, 64), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "0.txt").write_text("old, hat")
    (tmp_path / "1.caption").write_bytes("old".encode("utf-16"))
    return tmp_path


def read(folder: Path):
    settings = {"subsets": [{"path": str(folder)}], "buckets": {"resolution": 64, "step": 16}}
    return index(DataSettings.model_validate(settings))


def captions(folder: Path) -> list[str]:
    return [record.caption for record in read(folder).records]


def test_an_edit_is_planned_then_written_where_the_captions_are(folder):
    changes = plan_edit(read(folder), rename={"old": "new"}, prepend=["zib"], append=["end"])
    assert [(c.path.name, c.before, c.after) for c in changes] == [
        ("0.txt", "old, hat", "zib, new, hat, end"),
        ("1.caption", "old", "zib, new, end"),
        ("2.txt", "", "zib, end"),
    ]
    assert (folder / "0.txt").read_text() == "old, hat"  # nothing yet
    assert apply(changes, Keeper(folder)) == 3
    assert captions(folder) == ["zib, new, hat, end", "zib, new, end", "zib, end"]
    assert plan_edit(read(folder), rename={"old": "new"}, prepend=["zib"], append=["end"]) == []


def test_what_was_there_is_kept_and_put_back_byte_for_byte(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for word in ("first", "second"):
        keeper = Keeper(folder, now=0.0)  # in the same second
        apply(plan_edit(read(folder), prepend=[word]), keeper)
        assert json.loads((keeper.folder / "kept.json").read_text())["0.txt"] is True
    assert captions(folder)[0] == "second, first, old, hat"
    kept, count = restore(folder)
    assert count == 3 and captions(folder) == ["first, old, hat", "first, old", "first"]
    assert restore(folder)[0] != kept
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before  # the caption that did not exist is gone, UTF-16 is UTF-16 again
    with pytest.raises(FileRefused, match="no edit of these captions was kept"):
        restore(folder)


def test_a_list_of_kept_captions_cannot_reach_outside(folder):
    kept = folder / ".captions" / "20260101-000000" / "kept.json"
    kept.parent.mkdir(parents=True)
    (folder.parent / "victim.txt").write_text("mine")
    for name in ("../victim.txt", "/etc/passwd.txt", "0.png"):
        kept.write_text(json.dumps({name: False}))
        with pytest.raises(FileRefused, match="not a list of captions of this folder"):
            restore(folder)
    assert (folder.parent / "victim.txt").read_text() == "mine" and (folder / "0.png").exists()


def test_a_drawn_world_cannot_be_edited():
    for path in ("critters:world", "critters:character"):
        extra = {"num_images": 3} if path == "critters:world" else {}
        dataset = index(DataSettings.model_validate({"subsets": [{"path": path, **extra}]}))
        with pytest.raises(FileRefused, match="cannot be edited"):
            plan_edit(dataset, prepend=["zib"])
        with pytest.raises(FileRefused, match="cannot be edited"):
            next(plan_reading(dataset, lambda images: [], mode="append"))


class Reader:
    """Names the red of a picture, and remembers how many it was shown at once."""

    def __init__(self):
        self.sizes: list[int] = []

    def __call__(self, images):
        self.sizes.append(len(images))
        return [[f"red {image.getpixel((0, 0))[0]}", "common"] for image in images]


def test_a_model_fills_in_what_is_missing_and_nothing_else(folder):
    reader = Reader()
    steps = list(plan_reading(read(folder), reader, prepend=["zib"], exclude=["common"]))
    assert reader.sizes == [1] and [(done, total) for done, total, _ in steps] == [(0, 1), (1, 1)]
    (change,) = steps[-1][2]
    assert (change.path.name, change.after) == ("2.txt", "zib, red 160")


def test_changes_come_batch_by_batch(folder):
    reader = Reader()
    plan = plan_reading(read(folder), reader, mode="append", batch_size=2)
    assert next(plan) == (0, 3, [])
    done, total, changes = next(plan)
    assert (done, total, len(changes)) == (2, 3, 2)
    apply(changes, Keeper(folder))
    plan.close()  # interrupted: what was read is written
    assert captions(folder) == ["old, hat, red 0, common", "old, red 80, common", ""]


def test_a_model_that_sees_nothing_leaves_the_caption_alone(folder):
    plan = plan_reading(read(folder), lambda images: [[] for _ in images], mode="replace")
    assert [changes for *_, changes in plan] == [[], []]


def test_one_caption_is_written_alone(folder):
    dataset = read(folder)
    first = dataset.records[0]
    assert plan_caption(dataset, first, " old, hat \n") == []  # white space is no change
    (change,) = plan_caption(dataset, first, "new, hat")
    apply([change], Keeper(folder))
    assert captions(folder) == ["new, hat", "old", ""]
    restore(folder)
    assert captions(folder) == ["old, hat", "old", ""]


def test_an_edit_of_several_folders_is_one(folder):
    """Folders are edited, a drawn source beside them is left alone, and one step takes it back."""
    other = folder.parent / "other"
    other.mkdir()
    Image.new("RGB", (64, 64)).save(other / "x.png")
    (other / "x.txt").write_text("old")
    paths = (str(folder), "critters:character", str(other))

    def both():
        settings = {
            "subsets": [{"path": path} for path in paths],
            "buckets": {"resolution": 64, "step": 16},
        }
        return index(DataSettings.model_validate(settings))

    dataset = both()
    assert len(dataset) == 3 + 16 + 1
    view = editable(dataset)
    assert [record.caption for record in view.records] == ["old, hat", "old", "", "old"]
    assert Edit(view).write(plan_edit(view, rename={"old": "new"})) == 3
    assert Edit(view).write(plan_edit(editable(both()), rename={"hat": "cap"})) == 1
    assert [x.caption for x in editable(both()).records] == ["new, cap", "new", "", "new"]
    assert take_back(both()) == 1
    assert take_back(both()) == 3
    assert [x.caption for x in editable(both()).records] == ["old, hat", "old", "", "old"]
    with pytest.raises(FileRefused, match="nothing to take back"):
        take_back(both())
