"""CLIP's tokenizer, rebuilt from merge rules, against token numbers published with CLIP."""

import pytest

from workbench.models.clip import byte_symbols, clip_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return clip_tokenizer()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("Hello World!", [3306, 1002, 256]),
        ("a diagram", [320, 22697]),
        ("a dog", [320, 1929]),
    ],
)
def test_token_numbers_are_those_of_clip(tokenizer, text: str, numbers: list[int]) -> None:
    assert tokenizer(text).input_ids == [49406, *numbers, 49407]


def test_vocabulary_has_clips_size_and_its_first_and_last_tokens(tokenizer) -> None:
    assert len(tokenizer) == 49408
    ends = tokenizer.convert_ids_to_tokens([0, 256, 512, 49405, 49406, 49407])
    assert ends == ["!", "!</w>", "in", "jekyll</w>", "<|startoftext|>", "<|endoftext|>"]
    assert len(set(byte_symbols())) == 256


def test_openclip_pads_with_an_exclamation_mark() -> None:
    padded = clip_tokenizer(pad="!")("a", padding="max_length", max_length=77).input_ids
    assert padded == [49406, 320, 49407] + [0] * 74
