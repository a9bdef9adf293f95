"""What every tagger of the union keeps to, whatever model is behind it."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from tiny_taggers import write_blip, write_clip, write_wd

from workbench.models.tagging import (
    WD14,
    AnyTagger,
    CrittersCLIP,
    ImageToText,
    Suggestion,
    Tagger,
    ZeroShot,
)

MEMBERS = get_args(get_args(AnyTagger)[0])


def zero_shot(folder: Path) -> ZeroShot:
    words = folder / "tags.txt"
    words.write_text("[colour]\nred\nblue\n[thing]\nhat\ntree\n")
    return ZeroShot(model=str(write_clip(folder / "model")), vocabulary=str(words), threshold=0)


EXAMPLES = {
    CrittersCLIP: lambda folder: CrittersCLIP(),
    ZeroShot: zero_shot,
    WD14: lambda folder: WD14(model=str(write_wd(folder / "model", side=32)), threshold=0.0),
    ImageToText: lambda folder: ImageToText(model=str(write_blip(folder / "model")), max_tokens=6),
}


def test_every_member_has_an_example() -> None:
    assert set(EXAMPLES) == set(MEMBERS)


@pytest.fixture(scope="module", params=MEMBERS, ids=lambda member: member.__name__)
def tagger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    return EXAMPLES[request.param](tmp_path_factory.mktemp("tagger")).load()


@pytest.fixture
def photos(tagger: Tagger) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    shapes = ((40, 90, 3), (90, 40, 3), (64, 64, 3))[: tagger.batch_size]
    return [Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)) for shape in shapes]


def test_says_something_sound_of_every_picture(tagger: Tagger, photos: list[Image.Image]) -> None:
    read = tagger.read(photos)
    assert len(read) == len(photos) and any(read)
    for one in (one for picture in read for one in picture):
        assert isinstance(one, Suggestion)
        assert one.text == one.text.strip() != "" and one.group
        assert 0 <= one.score <= 1


def test_neighbours_and_repetition_change_nothing(
    tagger: Tagger, photos: list[Image.Image]
) -> None:
    before = [photo.tobytes() for photo in photos]
    together = tagger.read(photos)
    assert together == tagger.read(photos)
    for photo, expected in zip(photos, together, strict=True):
        (alone,) = tagger.read([photo])
        assert [(one.text, one.group) for one in alone] == [(x.text, x.group) for x in expected]
        assert [one.score for one in alone] == pytest.approx([x.score for x in expected], abs=1e-4)
    assert [photo.tobytes() for photo in photos] == before
