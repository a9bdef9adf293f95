"""Properties that hold for any recipe, caption, header, zip and event file that can be made up."""

import io
import os
import random
import re
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from workbench import settings as trees
from workbench import store
from workbench.data.captions import CaptionSettings, draw_caption, split_tags
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Event, Progress, Saved, Started, Warned
from workbench.settings import SettingsError

pytest.importorskip("hypothesis", reason="pip install 'lora-workbench[test]'")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# The same examples everywhere; `WORKBENCH_EXAMPLES=5000` draws that many others of each.
MORE = os.environ.get("WORKBENCH_EXAMPLES")
settings.register_profile(
    "workbench",
    max_examples=int(MORE or 50),
    derandomize=not MORE,
    deadline=None,
    database=None,
    # The folder of a test is shared by its examples: each writes its file anew.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("workbench")


# ----------------------------------------------------------------------------------------- recipes


def leaves(tree: object, path: str = "") -> list[str]:
    if isinstance(tree, dict):
        return [leaf for name, one in tree.items() for leaf in leaves(one, f"{path}.{name}")]
    return [path.removeprefix(".")]


BASE = Recipe.preset("critters")
KEYS = sorted(leaves(trees.as_dict(BASE)))
VALUES = st.one_of(
    st.integers(-(10**9), 10**9).map(str),
    st.floats().map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.text(max_size=20),
    st.lists(st.integers(0, 99), max_size=3).map(str),
    st.sampled_from(["none", "", "[", "{", "'", "1e400", "nan", "[1, 'a']"]),
)


@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_setting_is_taken_and_written_back_or_refused_as_the_users_mistake(key, value):
    try:
        recipe = BASE.override([f"{key}={value}"])
    except SettingsError as error:
        assert str(error)
        return
    assert trees.from_toml(Recipe, recipe.to_toml()) == recipe
    assert trees.from_toml(Recipe, recipe.to_toml()).hash() == recipe.hash()


@given(text=st.text(max_size=200) | st.sampled_from(KEYS).map(lambda key: f"{key} = 1\n" * 2))
def test_any_text_is_a_recipe_or_the_users_mistake(tmp_path, text):
    (tmp_path / "x.toml").write_text(text, encoding="utf-8", newline="")
    with pytest.raises((SettingsError, store.FileRefused)):
        Recipe.load(tmp_path / "x.toml")  # none of these names a base and data


# ---------------------------------------------------------------------------------------- captions

SIGNS = st.characters(exclude_characters=",|;{}\\，、", exclude_categories=("C", "Z"))
TAGS = st.lists(st.text(SIGNS, min_size=1), min_size=1, max_size=8)


@given(
    tags=TAGS,
    seed=st.integers(0, 9),
    shuffle=st.booleans(),
    dropout=st.sampled_from([0.0, 0.5, 1.0]),
    kept=st.integers(0, 3),
)
def test_a_drawn_caption_holds_its_own_tags_alone_and_those_that_stay(
    tags, seed, shuffle, dropout, kept
):
    chosen = CaptionSettings(shuffle=shuffle, tag_dropout=dropout, keep_tokens=kept)
    drawn = draw_caption(", ".join(tags), chosen, rng=random.Random(seed), trigger="zib")
    again = draw_caption(", ".join(tags), chosen, rng=random.Random(seed), trigger="zib")
    found = drawn.split(", ")
    assert drawn == again and found[0] == "zib"
    others = [tag for tag in found[1:] if tag]
    pool = list(tags)
    for tag in others:
        pool.remove(tag)  # raises where a tag is made up, or shown twice
    if dropout == 0:
        assert not pool or pool == ["zib"]
    assert others[:kept] == [tag for tag in tags if tag != "zib"][:kept] or "zib" in tags


@given(caption=st.text(max_size=80), seed=st.integers(0, 3))
def test_no_caption_is_an_error(caption, seed):
    wild = CaptionSettings(shuffle=True, tag_dropout=0.3, wildcards=True)
    assert isinstance(draw_caption(caption, wild, rng=random.Random(seed)), str)
    split_tags(caption, wild)


# ------------------------------------------------------------------------------------ damaged files


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """A file with some bytes altered, cut off, or put in."""
    places = st.integers(0, len(whole) - 1)

    def spoil(edits: list[tuple[int, int]], end: int) -> bytes:
        data = bytearray(whole)
        for place, byte in edits:
            data[place] = byte
        return bytes(data[:end])

    edits = st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)
    return st.builds(spoil, edits, st.just(len(whole)) | places)


TENSORS = save({"a.lora_A": torch.ones(2, 3), "b": torch.zeros(1)}, {"ss_steps": "4"})


@given(data=damaged(TENSORS) | st.binary(max_size=64))
def test_a_damaged_lora_is_read_or_refused_by_name(tmp_path, data):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    try:
        _, shapes = store.read_header(path)
        tensors = store.load_tensors(path)
    except store.FileRefused as error:
        assert "x.safetensors" in str(error)
    else:
        assert {name: tuple(t.shape) for name, t in tensors.items()} == {
            name: shape for name, (_, shape) in shapes.items()
        }


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


MEMBERS = {"a.png": b"first " * 20, "b/c.txt": b"red, hat", "é.txt": b""}


@given(data=damaged(zipped(MEMBERS)))
def test_a_damaged_zip_gives_a_members_own_bytes_or_refuses(tmp_path, data):
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    try:
        archive = store.Archive(path)
    except store.FileRefused as error:
        assert "x.zip" in str(error)
        return
    for name in archive.names:
        try:
            content = archive.read(name)
        except store.FileRefused as error:
            assert "x.zip" in str(error)
        else:
            assert content in MEMBERS.values(), "its sum was right"
    archive.close()


NAMES = st.lists(
    st.text(st.sampled_from("ab./\\:~ \n"), min_size=1, max_size=8), min_size=1, max_size=3
)


@given(names=NAMES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_member_of_a_zip_leads_out_of_a_folder(tmp_path, names):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(dict.fromkeys(names, b"")))
    try:
        archive = store.Archive(path)
    except store.FileRefused:
        return
    home = tmp_path / "home"
    for name in archive.names:
        assert not re.match("/|[A-Za-z]:", name)
        assert (home / name).resolve().is_relative_to(home)
    archive.close()


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


@given(data=st.one_of(*(damaged(picture(kind)) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"))))
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_damaged_picture_is_read_or_refused(data):
    try:
        store.image_header(io.BytesIO(data), name="x.png")
        with store.open_image(io.BytesIO(data), name="x.png") as image:
            store.to_rgb(image, name="x.png")
    except store.FileRefused as error:
        assert "x.png" in str(error)


# ------------------------------------------------------------------------------------------ events

EVENTS = st.one_of(
    st.builds(Started, run=st.text(), recipe_hash=st.text(max_size=5), total_steps=st.integers(0)),
    st.builds(
        Progress,
        step=st.integers(1, 10**6),
        loss=st.floats(),
        gradient_norm=st.none() | st.floats(),
        traces=st.dictionaries(st.text(max_size=5), st.floats(), max_size=3),
    ),
    st.builds(Warned, id=st.text(max_size=5), message=st.text()),
    st.builds(Saved, step=st.integers(0, 9), path=st.text(max_size=9)),
)


def written(folder: Path, events: list[Event]) -> list[Event]:
    (folder / log.FILE_NAME).unlink(missing_ok=True)
    with log.EventLog(folder) as file:
        return [file.append(event) for event in events]


@given(events=st.lists(EVENTS, max_size=5))
def test_events_come_back_as_they_were(tmp_path, events):
    recorded = written(tmp_path, events)
    assert list(map(repr, log.read(tmp_path))) == list(map(repr, recorded))  # NaN is not NaN


@given(events=st.lists(EVENTS, min_size=1, max_size=4), cut=st.integers(0, 10**6), tail=st.binary())
def test_a_log_that_was_cut_anywhere_gives_what_is_whole_and_is_gone_on_with(
    tmp_path, events, cut, tail
):
    recorded = written(tmp_path, events)
    path = tmp_path / log.FILE_NAME
    data = path.read_bytes()
    cut %= len(data) + 1
    path.write_bytes(data[:cut] + tail.replace(b"\n", b""))
    whole = data[:cut].count(b"\n")
    found = log.read(tmp_path)
    assert list(map(repr, found)) == list(map(repr, recorded[:whole]))
    with log.EventLog(tmp_path) as file:
        added = file.append(Warned(id="x", message="on"))
    assert added.seq == whole + 1
    assert log.read(tmp_path)[-1] == added
