"""Judges: the critters' own, thumbnails, and tiny models of each true class on the disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from workbench.critters.draw import world
from workbench.evaluation import features
from workbench.settings import SettingsError

VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 200,
}


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [world(0, k)[0] for k in range(3)]


def test_thumbnails_are_unit_vectors_that_correlate(pictures: list[Image.Image]) -> None:
    thumbnails = features.thumbnails()
    vectors = thumbnails.pictures([*pictures, pictures[0].filter(ImageFilter.GaussianBlur(1))])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), rel=1e-5)
    assert vectors[0] @ vectors[3] > 0.98 > vectors[0] @ vectors[1]
    assert not thumbnails.judges and thumbnails.texts is None


def test_the_critters_judge_knows_a_picture_by_its_caption() -> None:
    judge = features.at_hand("critters")
    drawn = [world(1, k, sizes=((128, 128),)) for k in range(8)]
    assert judge.texts is not None
    shown = judge.pictures([image for image, _ in drawn])
    scores = shown @ judge.texts([text for _, text in drawn]).T
    assert (scores.argmax(axis=1) == np.arange(8)).mean() > 0.8


def test_remembering_looks_once(pictures: list[Image.Image]) -> None:
    looks: list[int] = []

    def count(images) -> np.ndarray:
        looks.append(len(images))
        return np.arange(len(images), dtype=float)[:, None]

    once = features.remembering(features.Features("counting", count))
    assert once.pictures([*pictures, pictures[0]])[:, 0].tolist() == [0, 1, 2, 0]
    assert once.pictures(pictures[1:])[:, 0].tolist() == [1, 2]
    assert looks == [3]


def words(folder: Path) -> None:
    """A tokenizer of letters."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(97, 123)]
    vocabulary = {
        token: number
        for number, token in enumerate(
            ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{x}</w>" for x in letters)]
        )
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)


def build(kind: str, folder: Path) -> Path:
    import transformers as t

    torch.manual_seed(0)
    sides = {"height": 32, "width": 32}
    if kind == "clip":
        t.CLIPModel(
            t.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)
        ).save_pretrained(folder)
        t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=sides).save_pretrained(folder)
    elif kind == "siglip":
        text = TEXT | {"max_position_embeddings": 16, "projection_size": 16}
        t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(
            folder
        )
        t.SiglipImageProcessor(size=sides).save_pretrained(folder)
    elif kind == "siglip2":
        vision = {k: v for k, v in VISION.items() if k != "image_size"} | {"num_patches": 16}
        text = TEXT | {"max_position_embeddings": 16, "projection_size": 16}
        t.Siglip2Model(t.Siglip2Config(text_config=text, vision_config=vision)).save_pretrained(
            folder
        )
        t.Siglip2ImageProcessor(max_num_patches=16, patch_size=16).save_pretrained(folder)
    else:
        t.Dinov2Model(t.Dinov2Config(**VISION)).save_pretrained(folder)
        t.BitImageProcessor(size={"shortest_edge": 32}, crop_size=sides).save_pretrained(folder)
    if kind != "dinov2":
        words(folder)
    return folder


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "dinov2"])
def test_a_judge_on_the_disk(kind: str, tmp_path: Path, pictures: list[Image.Image]) -> None:
    judge = features.open_judge(build(kind, tmp_path / "judge"))
    assert judge.name == f"judge ({kind})" and judge.judges
    vectors = judge.pictures([*pictures, pictures[0]])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), rel=1e-5)
    assert vectors[3] == pytest.approx(vectors[0], abs=1e-5)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-4)
    if kind == "dinov2":
        assert judge.texts is None
        return
    assert judge.texts is not None
    texts = judge.texts(["a hat", "a far longer prompt of a critter with a hat"])
    assert texts.shape == (2, vectors.shape[1])
    assert np.linalg.norm(texts, axis=1) == pytest.approx(np.ones(2), rel=1e-5)


def test_a_folder_that_is_no_judge_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"config.json.*give a judge: --judge"):
        features.at_hand("some/base", judge=tmp_path / "none")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(SettingsError, match=r"model_type = 'bert'.*SigLIP 2 or DINOv2"):
        features.at_hand("some/base", judge=tmp_path)


def test_without_a_judge_photographs_are_not_judged() -> None:
    assert features.at_hand("some/base").name == "thumbnails"
    assert features.at_hand("some/base", judge="critters").name == "critters' CLIP"
