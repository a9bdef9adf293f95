"""Prior pictures: their words, their place in the split, and how they balance the concept."""

from pathlib import Path

import pytest
from PIL import Image

from workbench.data.dataset import Dataset, DataSettings, index, split
from workbench.settings import SettingsError


def photos(folder: Path, count: int, caption: str | None = None) -> str:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64, 64), (number, 9, 9)).save(folder / f"{number:02d}.png")
        if caption is not None:
            (folder / f"{number:02d}.txt").write_text(caption)
    return str(folder)


def read(*subsets: dict) -> Dataset:
    return index(
        DataSettings.model_validate(
            {"subsets": list(subsets), "buckets": {"resolution": 64, "step": 16}}
        )
    )


def concept(folder: Path, count: int = 4, **more) -> dict:
    return {"path": photos(folder / "concept", count, "hat"), "trigger": "zib"} | more


def prior(folder: Path, count: int = 4, caption: str | None = None, **more) -> dict:
    return {"path": photos(folder / "prior", count, caption), "is_prior": True} | more


def test_words_are_the_class_word_unless_they_have_their_own(tmp_path):
    own = {"class_word": "dog"}
    dataset = read(concept(tmp_path / "a", **own), prior(tmp_path / "a"))
    assert dataset.plain_caption(0) == "zib, dog, hat"
    assert dataset.plain_caption(4) == "dog" == dataset.caption(4, seed=0)
    other = read(concept(tmp_path / "b", **own), prior(tmp_path / "b", class_word="cat"))
    assert other.plain_caption(4) == "cat"
    written = read(
        concept(tmp_path / "c", **own),
        prior(tmp_path / "c", caption="a photo of a dog", class_word="dog"),
    )
    assert written.plain_caption(4) == "a photo of a dog" == written.caption(4, seed=0)


def test_a_prior_without_any_word_is_told(tmp_path):
    notes = read(concept(tmp_path), prior(tmp_path)).notes
    assert any("prior pictures without caption and class word (4)" in note for note in notes)
    assert any("data.subsets.1.class_word" in note for note in notes)


def test_a_prior_takes_no_trigger(tmp_path):
    with pytest.raises(ValueError, match="trigger must be absent where is_prior is true"):
        read(prior(tmp_path, trigger="zib"))


def test_priors_are_never_held_out(tmp_path):
    dataset = read(concept(tmp_path, 30), prior(tmp_path, 30, class_word="dog"))
    assert dataset.priors == frozenset(range(30, 60))
    train, held = split(dataset, 0.2, seed=0)
    assert len(held) == 6 and not set(held) & dataset.priors
    assert sorted(train + held) == list(range(60))
    few = read(concept(tmp_path / "few", 4), prior(tmp_path / "few", 30, class_word="dog"))
    assert split(few, 0.5, seed=0)[1] == []  # four pictures are too few, priors count for nothing


@pytest.mark.parametrize(
    ("repeats", "count", "said"),
    [
        (1, 4, "4 showings an epoch beside 4 of the concept (1 to 1), at a loss weight of 1"),
        (10, 4, "4 showings an epoch beside 40 of the concept (0.1 to 1), at a loss weight of 1; "
         "data.subsets.1.repeats=10 would even it"),
        (1, 30, "(7.5 to 1), at a loss weight of 1; data.subsets.0.repeats=8 would even it"),
    ],
)  # fmt: skip
def test_balance_is_told_with_what_would_even_it(tmp_path, repeats, count, said):
    dataset = read(concept(tmp_path, repeats=repeats), prior(tmp_path, count, class_word="dog"))
    assert any(note.endswith(said) for note in dataset.notes), dataset.notes


def test_loss_weights(tmp_path):
    plain = read(concept(tmp_path / "a"), prior(tmp_path / "a", class_word="dog"))
    assert plain.loss_weights([0, 4]) is None
    dataset = read(
        concept(tmp_path / "b"), prior(tmp_path / "b", class_word="dog", loss_weight=0.5)
    )
    assert dataset.loss_weights([4, 0, 7]) == [0.5, 1.0, 0.5]


def test_without_captions_the_note_says_what_is_shown(tmp_path):
    dataset = read(concept(tmp_path), prior(tmp_path, class_word="dog"))
    assert "4 pictures without a caption: 4 shown with their class word alone" in dataset.notes
    with pytest.raises(SettingsError, match="4 of 4 pictures have no caption"):
        read(prior(tmp_path / "b", class_word="dog", missing_caption="refuse"))
