"""A LoRA given away: what other programs read from its bundle, by readers of the test's own."""

import hashlib
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_recipes import tiny_recipe, write_photos

import workbench as wb
from workbench import cli
from workbench.evaluation.bundle import write_bundle
from workbench.evaluation.programs import (
    Drawn,
    a1111_parameters,
    comfyui_prompt,
    comfyui_workflow,
)
from workbench.records.sampling import SampleSettings
from workbench.settings import SettingsError
from workbench.store import FileRefused

HOW = SampleSettings(steps=28, guidance=5.5, scheduler="dpmpp_2m", negative="dull, (flat)")
DRAWN = Drawn(
    prompt="zib on a hill, (soft light) [x]",
    seed=7,
    size=(768, 512),
    sampling=HOW,
    lora="my-zib",
    lora_hash="0123456789abcdef" * 4,
    base="v1-5-pruned-emaonly",
    base_hash="6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
    version="sd1",
    clip_skip=1,
)


def parsed(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and fields of A1111's text, read letter by letter."""
    *prompts, line = text.split("\n")
    prompt, _, negative = "\n".join(prompts).partition("\nNegative prompt: ")
    fields: dict[str, str] = {}
    while line:
        key, _, line = line.partition(": ")
        if line.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(line)
            line = line[end:]
        else:
            value, comma, rest = line.partition(",")
            line = comma + rest
        fields[key], line = value, line.removeprefix(",").lstrip()
    return prompt, negative, fields


def test_a1111_reads_all_that_it_can_be_told() -> None:
    prompt, negative, fields = parsed(a1111_parameters(DRAWN))
    assert prompt == r"zib on a hill, \(soft light\) \[x\] <lora:my-zib:1>"
    assert negative == r"dull, \(flat\)"
    assert fields == {
        "Steps": "28",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Simple",
        "CFG scale": "5.5",
        "Seed": "7",
        "Size": "768x512",
        "Model hash": "6ce0161689",
        "Model": "v1-5-pruned-emaonly",
        "Clip skip": "2",
        "RNG": "CPU",
        "Lora hashes": "my-zib: 0123456789ab",
    }
    plain = replace(
        DRAWN, clip_skip=0, sampling=SampleSettings(), base="a, b", zero_terminal_snr=True
    )
    _, negative, fields = parsed(a1111_parameters(plain))
    assert negative == "" and "Clip skip" not in fields
    assert fields["Model"] == "a, b" and fields["Noise Schedule"] == "Zero Terminal SNR"


NAMES = {  # ours: A1111's sampler and schedule type, ComfyUI's sampler_name and scheduler
    ("ddim", "trailing"): ("Euler", "Simple", "ddim", "simple"),
    ("ddim", "leading"): ("DDIM", "Automatic", "ddim", "ddim_uniform"),
    ("euler", "linspace"): ("Euler", "Uniform", "euler", "normal"),
    ("euler_a", "trailing"): ("Euler a", "Simple", "euler_ancestral", "simple"),
    ("dpmpp_2m", "trailing"): ("DPM++ 2M", "Simple", "dpmpp_2m", "simple"),
}


@pytest.mark.parametrize("ours", NAMES, ids="-".join)
def test_samplers_have_their_names(ours: tuple[str, str]) -> None:
    how = SampleSettings.model_validate({"scheduler": ours[0], "spacing": ours[1]})
    drawn = replace(DRAWN, sampling=how)
    fields = parsed(a1111_parameters(drawn))[2]
    sampler = only(comfyui_prompt(drawn), "KSampler")
    found = (
        fields["Sampler"],
        fields["Schedule type"],
        sampler["sampler_name"],
        sampler["scheduler"],
    )
    assert found == NAMES[ours]


def only(graph: dict, kind: str) -> dict:
    (node,) = [node for node in graph.values() if node["class_type"] == kind]
    return node["inputs"]


# Inputs of ComfyUI's nodes, from its nodes.py.
NODES = {
    "CheckpointLoaderSimple": {"ckpt_name"},
    "LoraLoader": {"model", "clip", "lora_name", "strength_model", "strength_clip"},
    "CLIPSetLastLayer": {"clip", "stop_at_clip_layer"},
    "CLIPTextEncode": {"clip", "text"},
    "ModelSamplingDiscrete": {"model", "sampling", "zsnr"},
    "RescaleCFG": {"model", "multiplier"},
    "VAELoader": {"vae_name"},
    "EmptyLatentImage": {"width", "height", "batch_size"},
    "KSampler": {"model", "seed", "steps", "cfg", "sampler_name", "scheduler", "positive",
                 "negative", "latent_image", "denoise"},
    "VAEDecode": {"samples", "vae"},
    "SaveImage": {"images", "filename_prefix"},
}  # fmt: skip
FULL = replace(DRAWN, velocity=True, zero_terminal_snr=True, rescale=0.7, vae="fix.safetensors")


@pytest.mark.parametrize("drawn", [DRAWN, FULL, replace(DRAWN, version="sdxl", clip_skip=0)])
def test_the_graph_is_closed_and_every_node_has_its_inputs(drawn: Drawn) -> None:
    graph = comfyui_prompt(drawn)
    for node in graph.values():
        assert set(node["inputs"]) == NODES[node["class_type"]]
        for value in node["inputs"].values():
            assert not isinstance(value, list) or value[0] in graph
    workflow = json.loads(json.dumps(comfyui_workflow(graph)))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(graph) == workflow["last_node_id"]
    assert len(workflow["links"]) == workflow["last_link_id"]
    for link, source, slot, target, place, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == link
        assert (
            nodes[source]["outputs"][slot]["type"] == nodes[target]["inputs"][place]["type"] == kind
        )
    named = {"MODEL": "model", "VAE": "vae", "LATENT": "latent", "CLIP": "clip", "IMAGE": "images"}
    for node in nodes.values():
        for taken in node["inputs"]:
            word = named.get(taken["type"], "")
            assert word in taken["name"] or taken["name"] in ("samples", "positive", "negative")


def test_the_graphs_values() -> None:
    graph = comfyui_prompt(FULL)
    assert only(graph, "CheckpointLoaderSimple") == {"ckpt_name": "v1-5-pruned-emaonly.safetensors"}
    assert only(graph, "LoraLoader")["lora_name"] == "my-zib.safetensors"
    assert only(graph, "EmptyLatentImage") == {"width": 768, "height": 512, "batch_size": 1}
    assert only(graph, "ModelSamplingDiscrete")["sampling"] == "v_prediction"
    assert only(graph, "ModelSamplingDiscrete")["zsnr"] is True
    assert only(graph, "RescaleCFG")["multiplier"] == 0.7
    sampler = only(graph, "KSampler")
    assert (sampler["seed"], sampler["steps"], sampler["cfg"], sampler["denoise"]) == (
        7,
        28,
        5.5,
        1,
    )
    texts = {k: graph[sampler[k][0]]["inputs"]["text"] for k in ("positive", "negative")}
    assert texts == {
        "positive": r"zib on a hill, \(soft light\) [x]",
        "negative": r"dull, \(flat\)",
    }
    widgets = {node["type"]: node["widgets_values"] for node in comfyui_workflow(graph)["nodes"]}
    assert widgets["KSampler"] == [7, "fixed", 28, 5.5, "dpmpp_2m", "simple", 1.0]


@pytest.mark.parametrize(
    ("version", "skip", "last"), [("sd1", 1, -2), ("sd1", 3, -4), ("sd2", 1, -3), ("sdxl", 1, -3)]
)
def test_clip_skip_counts_from_what_each_family_leaves_out(
    version: str, skip: int, last: int
) -> None:
    graph = comfyui_prompt(replace(DRAWN, version=version, clip_skip=skip))
    assert only(graph, "CLIPSetLastLayer")["stop_at_clip_layer"] == last


@pytest.fixture(scope="module")
def run(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundled")
    quiet = ("length.steps=2", "sampling.steps=2", "sampling.prompts=[a red disc, zib disc]")
    recipe = tiny_recipe(
        tiny_sd, write_photos(folder / "photos", 4), folder, *quiet, "output.report=false"
    )
    started = wb.start(recipe, folder=folder / "run")
    assert [event.event for event in started.train()][-1] == "finished"
    return started.folder


def test_a_run_gives_its_own_sample_proof_and_settings(run: Path, tmp_path: Path) -> None:
    out = write_bundle(run, tmp_path / "out", license="cc-by-4.0")
    names = ["README.md", "tiny.png", "tiny.safetensors", "workflow-api.json", "workflow.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    file = run / "lora" / "tiny.safetensors"
    assert (out / "tiny.safetensors").read_bytes() == file.read_bytes()
    with Image.open(out / "tiny.png") as image:
        text = dict(image.text)
        pixels = image.convert("RGB").tobytes()
    samples = sorted((run / "samples").glob("step-000002/*zib*.png"))
    with Image.open(samples[0]) as sample:
        assert sample.convert("RGB").tobytes() == pixels, "the sample with the trigger"
    prompt, _, fields = parsed(text["parameters"])
    assert prompt == "zib disc <lora:tiny:1>"
    assert fields["Size"] == "64x64" and fields["Steps"] == "2"
    data = file.read_bytes()
    content = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert fields["Lora hashes"] == f"tiny: {content[:12]}"  # what A1111 computes of the tensors
    assert json.loads(text["workflow"]) == json.loads((out / "workflow.json").read_text())
    assert json.loads(text["prompt"]) == json.loads((out / "workflow-api.json").read_text())
    card = ModelCard.load(out / "README.md")
    card.data.to_yaml()
    assert card.data.instance_prompt == "zib" and card.data.license == "cc-by-4.0"
    assert {"text-to-image", "lora", "template:sd-lora", "stable-diffusion"} <= set(card.data.tags)
    assert card.data.widget == [{"text": "zib disc", "output": {"url": "tiny.png"}}]
    assert card.data.base_model is None, "a folder of one's own is no repository"
    assert "It is what was trained." in card.text and "✓ tensors" in card.text
    assert re.search(r"\| method \| lora, rank 4, alpha 2, .* \|", card.text)
    assert "| steps | 2, each of 2 pictures |" in card.text


def test_a_file_alone_draws_its_preview_and_a_zip_holds_all(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "moved.safetensors"
    file.write_bytes((run / "lora" / "tiny.safetensors").read_bytes())
    out = write_bundle(file, tmp_path / "moved.zip")
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert {Path(name).parent.name for name in archive.namelist()} == {"moved"}
        card = ModelCard(archive.read("moved/README.md").decode())
        with archive.open("moved/moved.png") as png, Image.open(png) as image:
            assert parsed(image.text["parameters"])[0] == "a red disc <lora:moved:1>"
    assert "was not proved" in card.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved.safetensors", "moved.zip"]


def test_what_cannot_be_bundled_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exists; name a new folder"):
        write_bundle(run, tmp_path)
    with pytest.raises(FileRefused, match="no such file"):
        write_bundle(tmp_path / "none.safetensors", tmp_path / "out")
    with pytest.raises(FileRefused, match="so this is no run"):
        write_bundle(tmp_path, tmp_path / "out")
    strange = tmp_path / "strange.safetensors"
    save_file(load_file(run / "lora" / "tiny.safetensors"), strange)
    with pytest.raises(SettingsError, match="carries no recipe"):
        write_bundle(strange, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "given"
    for code in (0, 2):  # the second time it is there
        with pytest.raises(SystemExit) as caught:
            cli.main(["bundle", str(run), "--out", str(out)])
        assert (caught.value.code or 0) == code
    shown = capsys.readouterr()
    assert "workflow.json" in shown.out and "exists" in shown.err
