"""A public report: secrets planted wherever a run keeps words are in no byte of what is written."""

import getpass
import socket
from pathlib import Path

import pytest
from PIL import Image

from workbench.evaluation import page, report
from workbench.evaluation.folders import compare_folders
from workbench.evaluation.page import Notice, Report
from workbench.evaluation.private import Private, private_of, public, public_recipe
from workbench.evaluation.results import Comparison, Fault, Pair, Proof, ProofRow, Strip, Verdict
from workbench.recipe import Recipe
from workbench.records.events import (
    Failed,
    Likeness,
    NearestPicture,
    Progress,
    Resumed,
    Sampled,
    SampledPicture,
    Started,
    Validated,
    Warned,
)
from workbench.records.log import EventLog
from workbench.settings import from_toml, override

FOLDER, FILE, PERSON, MACHINE = "Annas-Geheimordner", "IMG_4711_anna", "annamaria", "annas-laptop"
CAPTION = "mochi, zanzibar terrace, yellow umbrella, aunt gertrude"
EXIF, PROFILE = "Owner 0815", "profile of zeppelin"
SECRETS = (FOLDER, FILE, PERSON, MACHINE, "zanzibar", "gertrude", EXIF, "zeppelin")


@pytest.fixture(autouse=True)
def _somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: PERSON)
    monkeypatch.setattr(socket, "gethostname", lambda: MACHINE)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Training pictures of which everything is private."""
    folder = tmp_path / PERSON / FOLDER
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010E] = EXIF
    for number in range(3):
        Image.new("RGB", (64, 64), (number * 80, 0, 0)).save(
            folder / f"{FILE}{number}.png", exif=exif
        )
        (folder / f"{FILE}{number}.txt").write_text(CAPTION, encoding="utf-8")
    return folder


def drawn(colour: str) -> Image.Image:
    """A picture that carries what files carry."""
    image = Image.new("RGB", (16, 16), colour)
    image.info = {"exif": EXIF.encode(), "icc_profile": PROFILE.encode(), "prompt": CAPTION}
    return image


@pytest.fixture
def run(tmp_path: Path, pictures: Path) -> Path:
    """A run whose events and recipe say all of it."""
    folder = tmp_path / PERSON / "runs" / "mochi"
    folder.mkdir(parents=True)
    recipe = override(
        Recipe.preset("critters"),
        [
            'name="mochi"',
            f'data.subsets=[{{path="{pictures}", trigger="mochi"}}]',
            f'output.folder="{folder.parent}"',
            'sampling.prompts=["mochi, a beach", "mochi, aunt gertrude, yellow umbrella, zanzibar '
            'terrace"]',
        ],
    )
    (folder / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    log = EventLog(folder)
    log.append(Started(run="mochi", recipe_hash="0", total_steps=20, num_images=3))
    message = f"not trained on (1): '{FILE}0.png' in {pictures}: aunt gertrude"
    log.append(Warned(id="set-aside", message=message, fix=f"look into {pictures}"))
    for step in (0, 10):
        Image.new("RGB", (8, 8)).save(folder / f"{step}.png")
        shot = SampledPicture(prompt=CAPTION, seed=0, path=f"{step}.png")
        log.append(Sampled(step=step, pictures=(shot,), base=step == 0))
    change = f"data.subsets.0.path: '/home/{PERSON}/old' -> '{pictures}'"
    log.append(Resumed(step=5, changes=("length.steps: 10 -> 20", change)))
    log.append(Progress(step=10, loss=0.5, learning_rates={"unet": 1e-3}))
    log.append(Validated(step=10, split="train", loss=0.5, base_loss=1.0))
    nearest = NearestPicture(path="10.png", nearest=f"{FILE}0.png", similarity=0.99)
    log.append(Likeness(step=10, features=f"{FOLDER} (clip)", pictures=(nearest,),
                        among_training=(0.1, 0.2, 0.3)))  # fmt: skip
    log.append(Failed(step=10, error=f"{pictures / FILE}0.png: cut short", cause="error", fix=""))
    log.close()
    return folder


COMPARISON = Comparison(
    (
        Pair(CAPTION, 0, drawn("red"), drawn("blue")),
        Pair("mochi, a beach", 0, drawn("red"), drawn("blue")),
    ),
    (Strip(CAPTION, 0, (("1", drawn("red")),)),),
    (Pair("zanzibar terrace, yellow umbrella, aunt gertrude", 0, drawn("red"), drawn("blue")),),
    "mochi",
    leak=f"the training pictures cannot be read: /home/{PERSON}/{FOLDER}: no such folder",
)


def test_no_byte_of_any_file_tells_a_secret(run: Path) -> None:
    for shown in (False, True):
        report.write_report(run, comparison=COMPARISON, public=shown)
    told = {path.name: path.read_bytes() for path in run.glob("report*")}
    assert {name for name in told if "public" in name} == {
        "report-public.html", "report-public.json", "report-public.csv"
    }  # fmt: skip
    private = b"".join(told[f"report.{kind}"] for kind in ("html", "json", "csv"))
    assert all(secret.encode() in private for secret in (FOLDER, FILE, "zanzibar", "gertrude"))
    for name in ("report-public.html", "report-public.json", "report-public.csv"):
        text = told[name].decode()
        assert not [s for s in (*SECRETS, str(run.parent)) if s.lower() in text.lower()], name


def test_what_is_nobodys_secret_stays(run: Path) -> None:
    text = report.write_report(run, comparison=COMPARISON, public=True).read_text(encoding="utf-8")
    assert "mochi</mark>, a beach" in text, "the run's own prompt"
    assert "prompt 1, a caption of the training pictures" in text
    assert "3 from a folder that is not named" in text and "Apache-2.0" in text
    assert "set-aside (its words are left out)" in text
    assert "length.steps: 10 -&gt; 20" in text and "data.subsets.0.path: changed" in text
    assert "learning_rate = 0.006" in text and "-50.0 %" in text


def test_pictures_are_pixels_and_nothing_else(tmp_path: Path) -> None:
    pair = Pair("x", 0, drawn("red"), drawn("blue"))
    path = page.write(
        Report("x", Verdict("x"), comparison=Comparison((pair,))), tmp_path / "x.html"
    )
    import base64
    import re

    found = re.findall(r"data:image/webp;base64,([^\"]+)", path.read_text(encoding="utf-8"))
    assert len(found) == 2
    for one in found:
        assert not {b"EXIF", b"ICCP", b"XMP "} & {
            base64.b64decode(one)[k : k + 4] for k in range(90)
        }


def test_a_captions_words_in_another_order_or_in_a_longer_prompt_are_the_caption() -> None:
    private = Private(("a cat on a red sofa", "smile, hills, mint background"), words=("mochi",))
    hidden = (
        "mochi, smile, hills, mint background", "Mint background, hills, smile",
        "hills, mint background, smile, a hat", "a photo of mochi, a cat on a red sofa at night",
    )  # fmt: skip
    assert all("caption" in private.prompt(prompt) for prompt in hidden)
    for prompt in ("mochi, smile, hills", "mochi, a cat", "a dog on a red sofa"):
        assert private.prompt(prompt) == prompt
    assert len({private.prompt(prompt) for prompt in hidden}) == len(hidden)


def test_where_captions_cannot_be_read_every_prompt_may_be_one(run: Path, pictures: Path) -> None:
    pictures.rename(pictures.with_name("gone"))
    recipe = Recipe.load(run / "recipe.toml")
    assert private_of(recipe).prompt("mochi, a beach").startswith("prompt 1, a caption")


@pytest.mark.parametrize(
    ("sentence", "stays"),
    [
        ("3 prompts; 8 are needed", True),
        ("stable loss, training images and 1/2 of and/or", True),
        ("|dW| / |W| of unet.up_blocks.0", True),
        ("openai/clip-vit-base-patch32 reads no prompts", True),
        ("/mnt/x.png: cut short", False),
        (r"D:\pictures\x.png: cut short", False),
        (r"\\server\share\x.png: cut short", False),
        ("~/pictures cannot be read", False),
        ("pictures/x.png cannot be read", False),
        ("IMG_1.png cannot be read", False),
        ("of annas-laptop", False),
    ],
)
def test_a_sentence_with_a_path_or_name_is_left_out(sentence: str, stays: bool) -> None:
    private = Private((), ("pictures", "images", "IMG_1", "annas-laptop", "x"))
    assert (private.sentence(sentence) == sentence) is stays


def test_a_recipe_keeps_numbers_and_choices_and_says_not_whose(run: Path) -> None:
    recipe = override(
        Recipe.load(run / "recipe.toml"),
        [
            f'base.path="/home/{PERSON}/models/sd15.safetensors"',
            'adapter.start_from="/x/y.safetensors"',
        ],
    )
    shown = public_recipe(recipe, private_of(recipe))
    assert shown.base.path == "sd15.safetensors" and shown.data.subsets[0].path == "left out"
    assert shown.data.subsets[0].trigger == "mochi" and shown.optimizer == recipe.optimizer
    assert shown.adapter.start_from == "left out" and shown.output.folder == "left out"  # type: ignore[union-attr]
    assert shown.sampling.prompts == (
        "mochi, a beach",
        "prompt 1, a caption of the training pictures",
    )
    assert from_toml(Recipe, shown.to_toml()).length == recipe.length, "it reads as a recipe"


def test_a_fault_is_named_and_its_evidence_stays_home() -> None:
    fault = Fault("copying", "2 of 3 samples are nearly training pictures", "", (f"{FILE}.png",))
    told = Report(
        "x",
        Verdict(
            "It learned.", evidence=(f"{FILE}.png", "Fix: .", "Stable loss 0.1."), faults=(fault,)
        ),
        proof=Proof(f"/home/{PERSON}/x.safetensors", (ProofRow("a", 0, None, True, "of /x/y"),)),
        warnings=(Notice("a", "b", 2, "one"), Notice("c", "d", 1, "one")),
    )
    shown = public(told, Private(names=(FILE,)))
    assert shown.verdict.evidence == ("Stable loss 0.1.",)
    assert shown.proof == Proof("x.safetensors", (ProofRow("a", 0, None, True, "left out"),))
    assert shown.warnings == (Notice("one (its words are left out)", "", 3),)


def test_two_folders_are_shown_without_their_names(tmp_path: Path) -> None:
    folders = [tmp_path / f"{FOLDER}-{k}" for k in "ab"]
    for folder, colour in zip(folders, ("red", "blue"), strict=True):
        folder.mkdir()
        for number in range(2):
            Image.new("RGB", (16, 16), colour).save(folder / f"{FILE}{number}.png")
    Image.new("RGB", (16, 16)).save(folders[0] / f"{FILE}alone.png")
    path, _ = compare_folders(folders[0], folders[1], public=True)
    assert path == folders[1] / "report-public.html"
    for file in folders[1].glob("report-public.*"):
        text = file.read_text(encoding="utf-8").lower()
        assert not [s for s in SECRETS if s.lower() in text], file.name
