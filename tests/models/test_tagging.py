"""Taggers against the libraries behind them: tiny models of the true classes, built here."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_taggers import BIAS, LABELS, WEIGHTS, WORDS, write_blip, write_clip, write_git, write_wd

from workbench.critters import world
from workbench.models.tagging import ImageToText, Suggestion, TaggingSettings, ZeroShot
from workbench.models.tagging.clip import CrittersCLIP, read_vocabulary
from workbench.models.tagging.wd14 import WD14, plain_name, prepare, read_labels
from workbench.settings import SettingsError, from_dict
from workbench.store import FileRefused

GROUPS = ("colour", "shape", "ears", "eyes", "mouth", "pattern", "scene", "background", "hat")


def photos() -> list[Image.Image]:
    sizes = ((40, 20), (20, 40), (32, 32))
    return [Image.new("RGB", size, (200 - 60 * n, 40 * n, 90)) for n, size in enumerate(sizes)]


# ----------------------------------------------------------------------------------- critters' CLIP


def test_the_embedded_clip_names_what_a_critter_looks_like():
    drawn = [world(4242, number, ((128, 128),)) for number in range(16)]
    images, told = [image for image, _ in drawn], [set(text.split(", ")) for _, text in drawn]

    def share_right(threshold: float) -> float:
        read = CrittersCLIP(threshold=threshold).load().read(images)
        found = [{suggestion.text for suggestion in picture} for picture in read]
        assert {one.group for one in read[0]} <= {*GROUPS}
        right = sum(len(a & b) for a, b in zip(found, told, strict=True))
        return right / sum(map(len, found))

    every, sure = share_right(0.0), share_right(0.9)
    assert every > 0.55  # docs/critters.md has the share over many pictures
    assert sure > every  # what it is sure of is right more often


# ----------------------------------------------------------------------------------------- WD, ONNX


def by_hand(image: Image.Image) -> dict[str, float]:
    """The scores of `write_wd`'s model, by numpy: a square of white around the picture."""
    side = max(image.size)
    share = image.width * image.height / side**2
    mean = np.asarray(image, dtype=float).mean(axis=(0, 1)) * share + 255 * (1 - share)
    scores = 1 / (1 + np.exp(-(WEIGHTS @ (mean[::-1] / 255) + BIAS)))
    return {name: score for (name, _), score in zip(LABELS, scores, strict=True)}


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_wd_scores_are_those_of_the_model_on_blue_green_red(tmp_path, batch):
    folder = write_wd(tmp_path, batch=batch)
    settings = WD14(model=str(folder), threshold=0.0, character_threshold=0.0, spaces=False)
    tagger = settings.load()
    assert tagger.batch_size == (8 if batch == "N" else batch)
    images = photos()[: tagger.batch_size] if batch != "N" else photos()
    for image, read in zip(images, tagger.read(images), strict=True):
        expected = by_hand(image)
        assert {one.text for one in read} == {name for name, kind in LABELS if kind != 9}
        for one in read:
            assert one.score == pytest.approx(expected[one.text], abs=0.01)
        groups = [one.group for one in read]
        assert groups == ["character"] * 2 + ["general"] * 3  # characters first
        for kind in ("character", "general"):
            scores = [one.score for one in read if one.group == kind]
            assert scores == sorted(scores, reverse=True)


def test_wd_thresholds_and_names(tmp_path):
    red = Image.new("RGB", (30, 30), (255, 0, 0))
    tagger = WD14(model=str(write_wd(tmp_path))).load()
    (read,) = tagger.read([red])
    # By hand: long_hair sigmoid(3) = .95, mochi sigmoid(5) = .993, the others below.
    assert [one.text for one in read] == ["mochi (critter)", "long hair"]
    assert read[1].score == pytest.approx(0.9526, abs=1e-3)
    (strict,) = WD14(model=str(tmp_path), character_threshold=0.995).load().read([red])
    assert [one.text for one in strict] == ["long hair"]


def test_faces_keep_their_underscores():
    faces = (
        "0_0 (o)_(o) +_+ +_- ._. <o>_<o> <|>_<|> =_= >_< 3_3 6_9 >_o @_@ ^_^ o_o u_u x_x |_| ||_||"
    )
    assert [plain_name(face) for face in faces.split()] == faces.split()
    assert plain_name("red_hat_(big)") == "red hat (big)" and plain_name("1girl") == "1girl"
    assert plain_name("v-neck_t-shirt") == "v-neck t-shirt"


def test_wd_pictures_stand_on_a_white_square():
    image = Image.new("RGB", (4, 2), (10, 20, 30))
    pixels = prepare(image, 4)
    assert pixels.shape == (4, 4, 3) and pixels.dtype == np.float32
    assert pixels[0].tolist() == pixels[3].tolist() == [[255, 255, 255]] * 4
    assert pixels[1, 0].tolist() == [30, 20, 10]  # blue first
    assert prepare(image, 8).shape == (8, 8, 3)


def test_wd_files_that_do_not_fit_are_refused(tmp_path):
    folder = write_wd(tmp_path / "a", probability=False)
    with pytest.raises(FileRefused, match=r"its scores must be in \[0, 1\]"):
        WD14(model=str(folder)).load().read(photos()[:1])
    labels = folder / "selected_tags.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[:-1]))
    with pytest.raises(FileRefused, match="7 scores for 6 tags"):
        WD14(model=str(folder)).load().read(photos()[:1])
    labels.write_text("tag,kind\na,0\n")
    with pytest.raises(FileRefused, match="must have the columns name and category"):
        read_labels(labels)
    (folder / "model.onnx").write_bytes(b"no model")
    labels.write_text("name,category\na,0\n")
    with pytest.raises(FileRefused, match="no ONNX model"):
        WD14(model=str(folder)).load()
    (folder / "model.onnx").unlink()
    with pytest.raises(FileRefused, match=r"a WD tagger has a model\.onnx"):
        WD14(model=str(folder)).load()


def test_wd_without_onnxruntime_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingsError, match="pip install onnxruntime"):
        WD14(model=str(tmp_path)).load()


# ---------------------------------------------------------------------------------------- zero-shot


def test_zero_shot_takes_the_likeliest_of_each_group(tmp_path):
    from transformers import CLIPImageProcessorPil, CLIPModel

    from workbench.models.clip import byte_pair_tokenizer

    folder = write_clip(tmp_path / "clip")
    (tmp_path / "tags.txt").write_text("# mine\n[colour]\nred\nblue\n\n[thing]\nhat\ncat\ntree\n")
    tagger = ZeroShot(
        model=str(folder), vocabulary=str(tmp_path / "tags.txt"), template="a {tag}", threshold=0.0
    ).load()
    read = tagger.read(photos())

    model = CLIPModel.from_pretrained(folder).eval()
    sentences = ["a red", "a blue", "a hat", "a cat", "a tree"]
    ids = byte_pair_tokenizer([])(
        sentences, padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(
        photos(), return_tensors="pt"
    ).pixel_values
    with torch.no_grad():
        logits = model(input_ids=ids, pixel_values=pixels).logits_per_image
    for picture, row in zip(read, logits, strict=True):
        for one, part, names in zip(
            picture, row.split([2, 3]), (("red", "blue"), ("hat", "cat", "tree")), strict=True
        ):
            chances = part.softmax(dim=0)
            assert one.text == names[int(chances.argmax())]
            assert one.score == pytest.approx(float(chances.max()), abs=1e-5)
    assert [one.group for one in read[0]] == ["colour", "thing"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("red\n[colour]\nblue", "line 1: 'red' stands before the first group"),
        ("[colour]\nred\n", r"group \[colour\] needs two tags"),
        ("# nothing\n", "it has no groups"),
    ],
)
def test_a_vocabulary_without_groups_is_refused(tmp_path, text, problem):
    path = tmp_path / "tags.txt"
    path.write_text(text)
    with pytest.raises(FileRefused, match=problem):
        read_vocabulary(path)


def test_zero_shot_needs_a_vocabulary_and_a_model(tmp_path):
    with pytest.raises(SettingsError, match=r"tagger\.vocabulary must name a text file"):
        ZeroShot(model=str(tmp_path)).load()
    (tmp_path / "tags.txt").write_text("[a]\nb\nc\n")
    with pytest.raises(SettingsError, match="must be a folder, or a Hugging Face repository"):
        ZeroShot(model="./nowhere", vocabulary=str(tmp_path / "tags.txt")).load()


# ------------------------------------------------------------------------------------ image to text


@pytest.mark.parametrize("write", [write_blip, write_git])
def test_a_sentence_is_what_the_model_generates(tmp_path, write):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = write(tmp_path / "model")
    settings = ImageToText(model=str(folder), max_tokens=8, num_beams=2)
    read = settings.load().read(photos())
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    pixels = processor(images=photos(), return_tensors="pt").pixel_values
    answer = model.generate(pixel_values=pixels, max_new_tokens=8, num_beams=2, do_sample=False)
    texts = processor.batch_decode(answer, skip_special_tokens=True)
    assert any(texts)
    for found, text in zip(read, texts, strict=True):
        expected = " ".join(text.split())
        assert found == ([Suggestion(expected, 1.0, "sentence")] if expected else [])


def test_the_question_is_not_part_of_the_answer(tmp_path):
    from transformers import GitForCausalLM, GitProcessor

    folder = write_git(tmp_path / "model")
    asked = ImageToText(model=str(folder), max_tokens=6, num_beams=1, prompt="the old tree")
    read = asked.load().read(photos())
    processor, model = GitProcessor.from_pretrained(folder), GitForCausalLM.from_pretrained(folder)
    question = torch.tensor([[2, *(5 + WORDS.index(word) for word in ("the", "old", "tree"))]] * 3)
    pixels = processor(images=photos(), return_tensors="pt").pixel_values
    answer = model.eval().generate(
        input_ids=question, pixel_values=pixels, max_new_tokens=6, do_sample=False
    )
    texts = processor.batch_decode(answer[:, question.shape[1] :], skip_special_tokens=True)
    assert any(texts)
    for found, text in zip(read, texts, strict=True):
        assert [one.text for one in found] == ([text] if text else [])


def test_a_captioner_that_is_given_a_beginning_writes_the_rest(tmp_path):
    """BLIP repeats the words that it is given; only what it adds is a caption."""
    folder = write_blip(tmp_path / "model")
    asked = ImageToText(model=str(folder), max_tokens=6, num_beams=1, prompt="a red cat")
    texts = [one.text for picture in asked.load().read(photos()) for one in picture]
    assert texts and not any(text.startswith("a red cat") for text in texts)


def test_only_safetensors_are_read(tmp_path):
    folder = write_blip(tmp_path / "model")
    weights = folder / "model.safetensors"
    torch.save({}, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(OSError, match="safetensors"):
        ImageToText(model=str(folder)).load()


# ----------------------------------------------------------------------------------------- settings


def test_the_kind_chooses_the_tagger_and_its_settings():
    chosen = from_dict(TaggingSettings, {"tagger": {"kind": "wd14", "threshold": 0.5}}).tagger
    assert isinstance(chosen, WD14) and chosen.threshold == 0.5
    assert TaggingSettings().tagger.kind == "critters"
    with pytest.raises(SettingsError, match="character_threshold"):
        from_dict(TaggingSettings, {"tagger": {"kind": "critters", "character_threshold": 0.5}})
