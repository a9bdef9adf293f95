"""Captioners that are asked a question: tiny Florence and LLaVA-NeXT of the true classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast

from workbench.models.tagging import ImageToText, Suggestion
from workbench.settings import SettingsError

NAMES = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "User", "Assistant", ":", "?", "what", "does")
WORDS = (*NAMES, "image", "describe", "the", "a", "red", "blue", "old", "hat", "tree", "cat")
IMAGE = WORDS.index("<image>")
# As chat models have it: whose turn it is, the picture's place, the question.
TEMPLATE = (
    "{% for m in messages %}User : {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} Assistant :{% endif %}"
)


def photos() -> list[Image.Image]:
    """One wide, one tall, one square."""
    rng = np.random.default_rng(0)
    shapes = ((20, 64, 3), (64, 20, 3), (32, 32, 3))
    return [Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)) for shape in shapes]


def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, extra_special_tokens={"image_token": "<image>"}, **marks
    )


def ends() -> dict[str, int]:
    return {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "vocab_size": len(WORDS)}


@pytest.fixture(scope="module")
def florence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import (
        BartConfig,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
    )
    from transformers.models.florence2 import Florence2VisionConfig

    folder = tmp_path_factory.mktemp("florence")
    torch.manual_seed(1)
    four = dict.fromkeys(("num_heads", "num_groups"), (2, 2, 2, 2))
    vision = Florence2VisionConfig(
        depths=(1, 1, 1, 1),
        embed_dim=(8, 8, 16, 16),
        window_size=2,
        projection_dim=16,
        max_position_embeddings=4,
        max_temporal_embeddings=4,
        **four,
    )
    both = ("layers", "attention_heads", "ffn_dim")
    sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in both}
    text = BartConfig(
        d_model=16,
        decoder_start_token_id=3,
        max_position_embeddings=64,
        init_std=1.0,
        **sizes,
        **ends(),
    )
    config = Florence2Config(vision_config=vision, text_config=text, image_token_id=IMAGE)
    Florence2ForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    images.image_seq_length = 2
    Florence2Processor(images, tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextProcessor,
    )
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(5)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes["num_attention_heads"] = 4
    tiles = [[32, 64], [64, 32], [32, 32]]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=16, **sizes),
        text_config=LlamaConfig(initializer_range=0.2, **sizes, **ends()),
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        image_grid_pinpoints=tiles,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size=32, image_grid_pinpoints=tiles
    )
    LlavaNextProcessor(
        images,
        tokenizer(),
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def captioner(folder: Path, prompt: str) -> Any:
    return ImageToText(model=str(folder), max_tokens=6, num_beams=1, prompt=prompt).load()


def sentences(read: list[list[Suggestion]]) -> list[str]:
    assert all(one.group == "sentence" for picture in read for one in picture)
    return [" ".join(one.text for one in picture) for picture in read]


def test_florence_is_asked_in_the_words_of_its_task(florence: Path) -> None:
    from transformers import Florence2ForConditionalGeneration

    model = Florence2ForConditionalGeneration.from_pretrained(florence).eval()
    question = ["What", "does", "the", "image", "describe?"]  # what <CAPTION> stands for
    ids = [WORDS.index(word) if word in WORDS else 1 for word in question]
    text = torch.tensor([[IMAGE, IMAGE, 2, *ids, 3]] * 3)
    pixels = CLIPImageProcessorPil.from_pretrained(florence)(photos(), return_tensors="pt")
    answer = model.generate(
        input_ids=text, pixel_values=pixels.pixel_values, max_new_tokens=6, do_sample=False
    )
    expected = tokenizer().batch_decode(answer, skip_special_tokens=True)
    assert any(expected)
    assert sentences(captioner(florence, "<CAPTION>").read(photos())) == expected


def test_a_chat_model_is_asked_by_its_own_template(llava: Path) -> None:
    from transformers import LlavaNextForConditionalGeneration

    model = LlavaNextForConditionalGeneration.from_pretrained(llava).eval()
    reader = captioner(llava, "describe the cat ?")
    spoken = ["User", ":", *["<image>"] * 10, *["describe", "the", "cat", "?", "Assistant", ":"]]
    square = photos()[-1:]
    inputs = reader.processor.image_processor(square, return_tensors="pt")
    ids = torch.tensor([[WORDS.index(word) for word in spoken]])
    answer = model.generate(input_ids=ids, **inputs, max_new_tokens=6, do_sample=False)
    (expected,) = tokenizer().batch_decode(answer[:, ids.shape[1] :], skip_special_tokens=True)
    assert expected
    assert sentences(reader.read(square)) == [expected]


def test_pictures_of_several_shapes_are_read_together_as_alone(llava: Path) -> None:
    """They take 18, 18 and 10 places before the question; padding must not come after it."""
    reader = captioner(llava, "what")
    together = reader.read(photos())
    assert together == [reader.read([photo])[0] for photo in photos()]
    assert len(set(sentences(together))) > 1


def test_a_library_that_a_model_needs_is_named(
    florence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoProcessor

    def missing(*_: object, **__: object) -> None:
        raise ImportError("\nQwen2VLVideoProcessor requires the Torchvision library\nsee ...")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", missing)
    with pytest.raises(SettingsError, match=r"florence.* requires the Torchvision library"):
        captioner(florence, "<CAPTION>")
