"""Captions beyond 75 tokens: windows that are encoded one by one and joined, as sd-scripts does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.models.base import BaseSettings
from workbench.models.clip import ClipTokens, clip_tokenizer
from workbench.models.family import Family
from workbench.models.loading import caption_tokens, load, tokens_for

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# 160 words of one token each in the tiny vocabulary, no two windows alike
WORDS = [LETTERS[(7 * k + k // 26) % 26] for k in range(160)]
SHORT = "a b c"


@pytest.fixture(scope="module", params=["tiny_sd", "tiny_sd2", "tiny_sdxl"])
def opened(request: pytest.FixtureRequest) -> Callable[[int], Any]:
    settings = BaseSettings(path=str(request.getfixturevalue(request.param)))
    return lambda max_tokens: load(settings, max_tokens=max_tokens)


def by_hand(windows: list[Tensor]) -> Tensor:
    """Start of the first window, what lies between start and end of each, end of the last."""
    return torch.cat([windows[0][:1], *(window[1:76] for window in windows), windows[-1][76:]])


@torch.no_grad()
def test_each_window_is_encoded_by_itself_and_the_ends_between_are_left_out(
    opened: Callable[[int], Family],
) -> None:
    one, three = opened(75), opened(225)
    parts = [" ".join(WORDS[:75]), " ".join(WORDS[75:150]), " ".join(WORDS[150:])]
    alone = one.encode_text(parts)
    (whole, short) = three.encode_text([" ".join(WORDS), SHORT])
    assert whole["hidden"].shape == (2 + 225, alone[0]["hidden"].shape[1])
    torch.testing.assert_close(whole["hidden"], by_hand([row["hidden"] for row in alone]))
    padded = by_hand([row["hidden"] for row in one.encode_text([SHORT, "", ""])])
    torch.testing.assert_close(short["hidden"], padded)
    if "pooled" in whole:
        torch.testing.assert_close(whole["pooled"], alone[0]["pooled"])
    first = one.encode_text([" ".join(WORDS), SHORT])
    assert torch.equal(first[0]["hidden"][:76], whole["hidden"][:76])
    assert one.text_key != three.text_key != opened(150).text_key


@torch.no_grad()
def test_one_window_is_what_the_tokenizer_makes_of_it(opened: Callable[[int], Any]) -> None:
    family = opened(75)
    captions = [" ".join(WORDS), SHORT, ""]
    ids = family.tokenizers[0](
        captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    encoder, layer = family.text_encoders[0], -2 if family.name == "sdxl" else None
    output = encoder(ids, output_hidden_states=True)
    expected = output.last_hidden_state if layer is None else output.hidden_states[layer]
    for row, states in zip(family.encode_text(captions), expected, strict=True):
        assert torch.equal(row["hidden"][:, : states.shape[1]], states)


@torch.no_grad()
def test_words_beyond_the_first_window_reach_the_answer(opened: Callable[[int], Family]) -> None:
    """What is cut by one window matters with two, and what two cut matters with three."""
    other = [*WORDS[:100], "z", *WORDS[101:]]
    late = [*WORDS[:155], "z", *WORDS[156:]]
    for max_tokens, seen in ((75, (False, False)), (150, (True, False)), (225, (True, True))):
        family = opened(max_tokens)
        rows = family.encode_text([" ".join(words) for words in (WORDS, other, late)])
        text = [row["hidden"] for row in rows]
        assert tuple(not torch.equal(text[0], changed) for changed in text[1:]) == seen


def test_windows_break_after_every_75th_token() -> None:
    tokens = ClipTokens(clip_tokenizer(), 150)
    caption = ", ".join(["cat"] * 80)  # two tokens each, but the last has no comma
    assert (tokens.max_tokens, tokens.count_tokens(caption)) == (150, 159)
    windows = tokens.windows(caption)
    assert [tokens.count_tokens(part) for part in windows] == [75, 75, 9]
    assert "".join(windows) == caption
    assert windows[1].startswith(", cat") and windows[2].startswith("cat")
    assert tokens.windows("a cat") == ["a cat"] and tokens.windows("") == [""]
    assert "".join(tokens.windows("Ein Café，日本 " * 40)) == "Ein Café，日本 " * 40


def test_prompts_are_read_whole_as_far_as_windows_go() -> None:
    base = BaseSettings(path="critters")
    wanted = {5: 75, 75: 75, 76: 150, 200: 225, 500: 225}
    for words, tokens in wanted.items():
        assert tokens_for(base, ["short", "blue " * words]) == tokens
    assert tokens_for(base, ["blue"], at_least=150) == 150


def test_a_base_that_is_not_here_is_read_by_the_tokenizer_of_its_family() -> None:
    tokens = caption_tokens(BaseSettings(path="someone/anime-xl-v3"), 150)
    assert tokens is not None
    assert (tokens.max_tokens, tokens.count_tokens("a photo of a cat")) == (150, 5)
    assert caption_tokens(BaseSettings(path="someone/z-image"), 150) is None
    assert caption_tokens(BaseSettings(path="someone/model"), 150) is None
