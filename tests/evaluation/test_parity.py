"""The proof passes for a true file, and each way of breaking one breaks a rung that names it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_recipes import tiny_recipe, write_photos
from tiny_trained import train
from torch import Tensor

import workbench as wb
from workbench import store
from workbench.adapters import LoHa, LoKr, LoRA
from workbench.evaluation import parity
from workbench.evaluation.loading import Trained
from workbench.evaluation.results import ProofRow
from workbench.models import loading as models
from workbench.records.events import Proved

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    yield train(tiny_sd, tmp_path_factory.mktemp("trained"))


def rows(trained: Trained) -> dict[str, ProofRow]:
    return {row.name: row for row in parity.prove_file(trained).rows}


def test_a_true_file_passes_every_rung(trained: Trained) -> None:
    training = [module.training for module in trained.family.unet.modules()]
    proof = parity.prove_file(trained)
    assert proof.passed, proof.findings
    assert list(proof.numbers) == [
        "names", "tensors", "rounding", "model output", "strength 0", "base untouched",
        "picture", "merged", "round trip",
    ]  # fmt: skip
    assert proof.numbers["tensors"] == proof.numbers["strength 0"] == 0
    assert 1e-5 < proof.numbers["rounding"] < 1e-3, "float16 rounds, but not much"
    assert [module.training for module in trained.family.unet.modules()] == training
    for row in proof.rows:
        again = ProofRow.from_sentence(row.sentence, row.value)
        assert again == replace(row, limit=None)


def all_scaled(tensors: Tensors, name: str) -> None:
    suffix = name.rpartition(".")[2]
    tensors |= {n: t * 1.5 for n, t in tensors.items() if n.endswith(suffix)}


def one_bit(tensors: Tensors, name: str) -> None:
    tensors[name].view(torch.int16).view(-1)[3] ^= 1


def unnamed(tensors: Tensors, name: str) -> None:
    tensors["lora_unet_nowhere.alpha"] = tensors.pop(name)


LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.mark.parametrize(
    ("name", "damage", "fails"),
    [
        (f"{LAYER}.lora_up.weight", one_bit, {"tensors"}),
        (f"{LAYER}.lora_up.weight", all_scaled, {"tensors", "model output"}),
        (f"{LAYER}.alpha", all_scaled, {"tensors", "model output"}),
        (f"{LAYER}.alpha", unnamed, {"names", "reload"}),
    ],
)
def test_a_damaged_file_fails_and_the_layer_is_named(
    trained: Trained, tmp_path: Path, name: str, damage: Callable[[Tensors, str], None], fails: set
) -> None:
    tensors = store.load_tensors(trained.path)
    damage(tensors, name)
    path = store.save_tensors(tmp_path / "damaged.safetensors", tensors)
    found = rows(replace(trained, path=path))
    assert fails <= {name for name, row in found.items() if not row.passed}
    said = [row.explanation for row in found.values() if not row.passed]
    assert any(LAYER in one or (damage is all_scaled and "lora_unet_" in one) for one in said)


def test_a_file_of_other_weights_than_those_in_memory_fails(trained: Trained) -> None:
    weight = next(w for n, w in trained.adapter.trainables.items() if n.endswith("lora_B"))
    kept = weight.detach().clone()
    weight.data.add_(0.3)
    found = rows(trained)
    weight.data.copy_(kept)
    assert not found["tensors"].passed and not found["model output"].passed
    assert found["strength 0"].passed and found["base untouched"].passed


def test_a_base_changed_by_training_is_noticed(trained: Trained) -> None:
    weight = next(trained.family.unet.parameters())
    kept = weight.detach().clone()
    weight.data.mul_(1.01)
    found = rows(trained)
    weight.data.copy_(kept)
    assert not found["base untouched"].passed
    assert found["tensors"].passed


def test_rounding_of_small_changes_is_warned_about(trained: Trained, tmp_path: Path) -> None:
    """At |B| near 1e-6, float16 has few bits left: METHODS gives 1.7e-2."""
    weights = [w for n, w in trained.adapter.trainables.items() if n.endswith("lora_B")]
    kept = [w.detach().clone() for w in weights]
    for w in weights:
        w.data.mul_(1e-5)
    path = trained.adapter.save(
        tmp_path / "small.safetensors",
        name_of=trained.family.file_name,
        dtype=torch.float16,
        metadata={},
    )
    row = rows(replace(trained, path=path))["rounding"]
    for w, before in zip(weights, kept, strict=True):
        w.data.copy_(before)
    assert row.warning and row.passed and 2e-3 < row.value < 0.2
    assert "float32" in row.explanation


def test_verify_a_file_alone_by_its_recorded_hashes(
    trained: Trained, tiny_sd: Path, tmp_path: Path
) -> None:
    proof = parity.verify(trained.path, base=str(tiny_sd))
    assert proof.passed, proof.findings
    assert proof.numbers["effect"] > 0.01
    tensors = store.load_tensors(trained.path)
    one_bit(tensors, f"{LAYER}.lora_up.weight")
    metadata, _ = store.read_header(trained.path)
    path = store.save_tensors(tmp_path / "altered.safetensors", tensors, metadata)
    proof = parity.verify(path, base=str(tiny_sd))
    assert not proof.passed
    assert any(LAYER in finding and finding.startswith("✗") for finding in proof.findings)


def test_sdxl_passes_too(tiny_sdxl: Path, tmp_path: Path) -> None:
    proof = parity.prove_file(train(tiny_sdxl, tmp_path, dtype=torch.float32))
    assert proof.passed, proof.findings
    assert proof.numbers["rounding"] == 0


def test_text_is_compared_where_no_encoder_learns(tiny_sd: Path, tmp_path: Path) -> None:
    trained = train(tiny_sd, tmp_path, settings=LoRA(rank=4, alpha=2.0))
    found = rows(trained)
    assert found["text"].passed and found["text"].value == 0
    next(trained.family.text_encoders[0].parameters()).data.mul_(1.5)
    found = rows(trained)
    assert not found["text"].passed and not found["base untouched"].passed


WIDE = {"groups": ("attention", "conv"), "text_encoder": True}
METHODS = {
    "dora": LoRA(rank=4, alpha=2.0, dora=True, dropout=0.5, **WIDE),
    "loha": LoHa(rank=4, alpha=2.0, rank_dropout=0.3, **WIDE),
    "lokr": LoKr(rank=2, alpha=1.5, factor=4, module_dropout=0.3, **WIDE),
    "lokr-full": LoKr(rank=64, alpha=16, **WIDE),
    "pissa": LoRA(rank=4, alpha=2.0, init="pissa", **WIDE),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_passes(method: str, tiny_sd: Path, tmp_path: Path) -> None:
    trained = train(tiny_sd, tmp_path, settings=METHODS[method])
    proof = parity.prove_file(trained)
    assert proof.passed, proof.findings
    assert 0 < proof.numbers["rounding"] < 2e-3
    assert ("other programs" in proof.numbers) == (method == "dora")


def test_what_comfyui_shows_of_a_dora_is_told_layer_by_layer(tiny_sd: Path, tmp_path: Path) -> None:
    trained = train(tiny_sd, tmp_path, settings=METHODS["dora"])
    proof = parity.verify(trained.path, base=str(tiny_sd))
    assert proof.passed, proof.findings
    assert proof.elsewhere.keys() == trained.adapter.layers().keys()
    row = next(row for row in proof.rows if row.name == "other programs")
    assert row.warning and row.value == max(proof.elsewhere.values())
    name = next(iter(proof.elsewhere))
    layer, weight = trained.adapter.layers()[name], trained.adapter.weights()[name].detach()
    moved, axes = weight + layer.product(), tuple(range(1, weight.dim()))
    theirs = layer.magnitude * moved / weight.norm(dim=axes, keepdim=True)
    ours = layer.magnitude * moved / moved.norm(dim=axes, keepdim=True)
    expected = (theirs - ours).norm() / (ours - weight).norm()
    assert proof.elsewhere[name] == pytest.approx(float(expected), rel=2e-2), "float16 in the file"


def test_lost_lengths_of_a_dora_are_noticed(tiny_sd: Path, tmp_path: Path) -> None:
    """What diffusers does to such a file."""
    trained = train(tiny_sd, tmp_path, settings=METHODS["dora"])
    tensors = store.load_tensors(trained.path)
    kept = {name: t for name, t in tensors.items() if not name.endswith("dora_scale")}
    path = store.save_tensors(tmp_path / "stripped.safetensors", kept)
    found = rows(replace(trained, path=path))
    assert not found["names"].passed and not found["model output"].passed


def test_an_untrained_lora_is_not_called_broken(tiny_sd: Path, tmp_path: Path) -> None:
    """B is zero: there is no effect that a difference could be a share of."""
    trained = train(tiny_sd, tmp_path)
    trained.adapter.detach()
    family = models.load(trained.family.settings)
    adapter = LoRA(rank=2).attach(
        family.parts, family.targets, generator=torch.Generator().manual_seed(0)
    )
    path = adapter.save(
        tmp_path / "zero.safetensors",
        name_of=family.file_name,
        dtype=torch.float16,
        metadata={},
    )
    proof = parity.prove_file(replace(trained, family=family, adapter=adapter, path=path))
    assert proof.passed, proof.findings


@pytest.mark.parametrize("layout", ["diffusers", "single_file"])
def test_a_full_fine_tune_is_proved_by_the_run_itself(
    tiny_sd: Path, tmp_path: Path, layout: str
) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    wanted = "adapter.kind=full", "adapter.text_encoder=true", f"adapter.layout={layout}"
    run = wb.start(
        tiny_recipe(tiny_sd, photos, tmp_path, *wanted, "length.steps=2", "output.report=false"),
        folder=tmp_path / "run",
    )
    (proved,) = [event for event in run.train() if isinstance(event, Proved)]
    assert proved.passed, proved.findings
    assert parity.verify(run.folder).passed
    if layout == "diffusers":
        assert (run.final_lora / "unet" / "config.json").exists()
        file = run.final_lora / "text_encoder" / "model.safetensors"
        names = store.load_tensors(file)
        assert all(name.startswith("text_model.") for name in names)
        older = {name.removeprefix("text_model."): t for name, t in names.items()}
        store.save_tensors(file, older, {"format": "pt"})
        assert parity.verify(run.folder).passed, "a folder of before is read as well"
        return
    assert run.final_lora.name == "tiny.safetensors"
    assert parity.verify(run.final_lora).passed
    whole = store.load_tensors(run.final_lora)
    name = "cond_stage_model.transformer.text_model.final_layer_norm.bias"
    store.save_tensors(
        run.final_lora, whole | {name: whole[name] + 1}, store.read_header(run.final_lora)[0]
    )
    proof = parity.verify(run.final_lora)
    assert not proof.passed and name in " ".join(proof.findings)
    wrong = {row.name: row.passed for row in parity.verify(run.folder).rows}
    assert not wrong["tensors"] and not wrong["model output"]


def test_what_half_precision_drowns_is_told_from_a_wrong_file(
    tiny_sd: Path, tmp_path: Path
) -> None:
    """One step's worth of learning on a bfloat16 base, whose own rounding is larger."""
    trained = train(tiny_sd, tmp_path, base_dtype="bfloat16", scale=0.05)
    proof = parity.prove_file(trained)
    assert proof.passed, proof.findings
    row = next(row for row in proof.rows if row.name == "model output")
    assert row.warning and row.value > parity.rungs.OUTPUT_LIMIT
    assert "half precision" in row.explanation
    learned = train(tiny_sd, tmp_path, base_dtype="bfloat16", scale=30)
    tensors = store.load_tensors(learned.path)
    wrong = {n: t * 1.5 if n.endswith(".alpha") else t for n, t in tensors.items()}
    path = store.save_tensors(tmp_path / "wrong.safetensors", wrong)
    assert not rows(replace(learned, path=path))["model output"].passed


def test_a_picture_that_rounding_alone_moves_is_told_from_another_one() -> None:
    """Sampling adds differences up; the file must draw what the rounded weights draw."""
    trained = Image.new("RGB", (8, 8), (100, 100, 100))
    moved = Image.new("RGB", (8, 8), (103, 100, 103))
    row = parity.rungs.picture_row(moved, trained)
    assert (row.value, row.passed) == (2.0, False)  # 3 of 255 in two of three channels
    same = parity.rungs.rounded_picture_row(row, moved, moved)
    assert same.passed and same.warning and "by 2 of 255 levels" in same.explanation
    assert parity.rungs.rounded_picture_row(row, moved, trained) == row
