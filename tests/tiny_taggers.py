"""Tiny taggers of the true classes, in folders as their authors publish theirs."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

WORDS = ("a", "red", "blue", "hat", "house", "on", "the", "hill", "with", "old", "tree", "cat")


LABELS = (
    ("general", 9),
    ("sensitive", 9),
    ("long_hair", 0),
    (">_<", 0),
    ("red_hat_(big)", 0),
    ("mochi_(critter)", 4),
    ("zib", 4),
)


# One row of weights for blue, green and red, and a bias, a tag.
WEIGHTS = np.array(
    [[0, 0, 0], [0, 0, 0], [0, 0, 6], [0, 6, 0], [6, 0, 0], [0, 0, 9], [9, 0, 0]], dtype=np.float32
)


BIAS = np.array([9, 9, -3, -3, -3, -4, -4], dtype=np.float32)


def write_wd(
    folder: Path, *, side: int = 448, batch: object = "N", probability: bool = True
) -> Path:
    """A model of the WD form: the mean colour, a linear layer, a sigmoid."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["sum"], keepdims=0),
        helper.make_node("Div", ["sum", "scale"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid" if probability else "Identity", ["logits"], ["output"]),
    ]
    constants = {
        "axes": np.array([1, 2], dtype=np.int64),
        "scale": np.array(255, dtype=np.float32),
        "weights": WEIGHTS.T.copy(),
        "bias": BIAS,
    }
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, side, side, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))
    with open(folder / "selected_tags.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("tag_id", "name", "category", "count"))
        rows.writerows((number, name, kind, 1) for number, (name, kind) in enumerate(LABELS))
    return folder


def write_clip(folder: Path) -> Path:
    from tiny_models import LETTER_TOKENS, tiny_text_config
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPVisionConfig

    from workbench.models.clip import byte_pair_tokenizer

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    vision = CLIPVisionConfig(**sizes, num_attention_heads=4, image_size=32, patch_size=8)
    text = tiny_text_config(32)
    assert text.vocab_size == LETTER_TOKENS
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
    )
    CLIPModel(config).save_pretrained(folder)
    byte_pair_tokenizer([]).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


def bert_tokenizer(folder: Path):
    from transformers import BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    return BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


def vision(**more):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return sizes | {"num_attention_heads": 4, "image_size": 32, "patch_size": 16} | more


def write_blip(folder: Path) -> Path:
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    torch.manual_seed(0)
    tokenizer = bert_tokenizer(folder)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "encoder_hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    config = BlipConfig(text_config=text, vision_config=vision())
    BlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": 32, "width": 32})
    BlipProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def write_git(folder: Path) -> Path:
    from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM, GitProcessor

    torch.manual_seed(1)
    tokenizer = bert_tokenizer(folder)
    config = GitConfig(
        vision_config=vision(),
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    GitForCausalLM(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    GitProcessor(images, tokenizer).save_pretrained(folder)
    return folder
