import pytest
from transformers import CLIPTokenizer

from workbench.critters import BASE, all_tags
from workbench.critters.concepts import CONCEPTS
from workbench.critters.vocabulary import build_tokenizer, words


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(BASE / "tokenizer")


@pytest.mark.parametrize("tag", all_tags())
def test_every_word_of_a_tag_is_one_token_and_comes_back(tokenizer, tag):
    ids = tokenizer(tag).input_ids
    assert tokenizer.convert_ids_to_tokens(ids[1:-1]) == [f"{word}</w>" for word in tag.split()]
    assert tokenizer.decode(ids[1:-1]) == tag


def test_start_end_and_padding_are_as_in_stable_diffusion(tokenizer):
    batch = tokenizer(["critter, crown"], padding="max_length", max_length=77).input_ids[0]
    assert len(batch) == tokenizer.model_max_length == 77
    assert batch[0] == tokenizer.bos_token_id == len(tokenizer) - 2
    assert batch[4] == batch[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("text", [*(c.trigger for c in CONCEPTS.values()), "sks", "zażółć", "42"])
def test_unknown_words_fall_apart_into_known_pieces(tokenizer, text):
    ids = tokenizer(text).input_ids[1:-1]
    assert len(ids) > 1
    assert tokenizer.eos_token_id not in ids


def test_triggers_are_no_known_words():
    assert not {concept.trigger for concept in CONCEPTS.values()} & set(words())


def test_what_ships_is_what_the_function_builds(tokenizer):
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
