"""Other trainers' configurations are answered with a command that makes the same recipe here."""

import json
import re
import shlex
from pathlib import Path

import pytest

from workbench import cli
from workbench.recipe import Recipe
from workbench.settings import SettingsError

KOHYA = """pretrained_model_name_or_path = "critters"
train_data_dir = "kohya-folders"
network_module = "networks.lora"
network_dim = 32
network_alpha = 16
max_train_epochs = 10
learning_rate = "1e-4"
mixed_precision = "bf16"
"""
KOHYA_DATA = """[general]
shuffle_caption = true
caption_extension = '.txt'
keep_tokens = 1
[[datasets]]
resolution = 512
batch_size = 4
  [[datasets.subsets]]
  image_dir = 'pictures'
  class_tokens = 'mochi critter'
  num_repeats = 10
"""
GUI = {
    "pretrained_model_name_or_path": "critters",
    "train_data_dir": "pictures",
    "network_dim": 32,
    "network_alpha": 16,
    "epoch": 10,
    "max_resolution": "768,768",
    "LoRA_type": "Standard",
}
ONE = {
    "__version": 9,
    "training_method": "LORA",
    "base_model_name": "critters",
    "concept_file_name": "training_concepts/concepts.json",
    "learning_rate": 0.0003,
    "epochs": 100,
    "batch_size": 4,
    "lora_rank": 16,
    "lora_alpha": 1.0,
}
TOOLKIT = """job: extension
config:
  name: mochi
  process:
    - type: sd_trainer
      network: {type: lora, linear: 16, linear_alpha: 16}
      train: {steps: 2000, lr: 1e-4, batch_size: 1, dtype: bf16}
      datasets:
        - folder_path: pictures
          caption_ext: txt
"""
CASES = {
    "kohya.toml": (KOHYA, "kohya's sd-scripts", {
        "data.subsets.0.path": "kohya-folders", "adapter.rank": 32, "adapter.alpha": 16,
        "length.epochs": 10, "length.steps": None, "optimizer.learning_rate": 1e-4,
        "training.precision": "bfloat16"}),
    "dataset.toml": (KOHYA_DATA, "kohya's sd-scripts", {
        "data.subsets.0.path": "pictures", "data.subsets.0.trigger": "mochi critter",
        "data.subsets.0.repeats": 10, "data.captions.shuffle": True,
        "data.captions.keep_tokens": 1, "data.buckets.resolution": 512,
        "training.batch_size": 4}),
    "gui.json": (json.dumps(GUI), "kohya's sd-scripts or its GUI", {
        "adapter.rank": 32, "length.epochs": 10, "data.buckets.resolution": 768}),
    "one.json": (json.dumps(ONE), "OneTrainer", {
        "optimizer.learning_rate": 3e-4, "length.epochs": 100, "adapter.rank": 16,
        "adapter.alpha": 1, "training.batch_size": 4}),
    "toolkit.yaml": (TOOLKIT, "ai-toolkit", {
        "data.subsets.0.path": "pictures", "adapter.rank": 16, "length.steps": 2000,
        "optimizer.learning_rate": 1e-4, "training.precision": "bfloat16"}),
}  # fmt: skip


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


@pytest.mark.parametrize("name", CASES)
def test_the_command_of_the_answer_makes_the_recipe(tmp_path, monkeypatch, capsys, name):
    text, trainer, expected = CASES[name]
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    assert run("check", name) == 2
    said = capsys.readouterr()
    answer = said.out + said.err
    assert f"a configuration of {trainer}" in answer and "Traceback" not in answer
    with pytest.raises(SettingsError) as refusal:
        Recipe.load(name)
    (command,) = re.findall("workbench (new NAME .*)", str(refusal.value))
    assert run(*shlex.split(command.replace("NAME", "mine"))) == 0
    recipe = Recipe.load("mine.toml")
    for path, value in expected.items():
        found = recipe
        for step in path.split("."):
            found = found[int(step)] if step.isdigit() else getattr(found, step)
        assert found == value, path


def test_what_has_no_counterpart_is_named(tmp_path):
    (tmp_path / "gui.json").write_text(json.dumps(GUI))
    with pytest.raises(SettingsError, match="Not taken over: LoRA_type"):
        Recipe.load(tmp_path / "gui.json")


@pytest.mark.parametrize("text", ["{}", "a: b", "[1, 2]", "plain words", "name = 'x'"])
def test_other_files_keep_their_own_error(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SettingsError) as refusal:
        Recipe.load(tmp_path / "a.toml")
    assert "a configuration of" not in str(refusal.value)


PATH = 'name = "win"\n[base]\npath = "critters"\n[[data.subsets]]\npath = "{}"\n'


def test_backslashes_and_encodings_of_recipes(tmp_path, capsys):
    recipe = tmp_path / "a.toml"
    recipe.write_text(PATH.format("C:\\Users\\me\\pics"))
    assert run("check", str(recipe)) == 2
    said = capsys.readouterr()
    assert "write a path in single quotes" in " ".join((said.out + said.err).split())
    recipe.write_text(PATH.format("C:\\new\\train"))
    run("check", str(recipe))
    said = " ".join(capsys.readouterr().out.split())
    assert r"write it in single quotes: 'C:\new\train'" in said
    recipe.write_bytes(PATH.format("图片").encode("gbk"))
    run("check", str(recipe))
    said = " ".join(capsys.readouterr().out.split())
    assert "in gb18030 it would read 图片: save the recipe as UTF-8" in said
    recipe.write_text("\ufeff" + PATH.format("pictures"), encoding="utf-8")
    assert Recipe.load(recipe).name == "win"
    recipe.write_bytes(PATH.format("pictures").replace("\n", "\r\n").encode())
    assert Recipe.load(recipe).name == "win"
