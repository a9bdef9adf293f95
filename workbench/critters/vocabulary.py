"""The base's tokenizer: CLIP's kind, with a vocabulary made from the critters' words.

A word that captions use is one token. Any other word falls apart into letters or short pieces, as
a rare word does in Stable Diffusion, so a new trigger word can be taught.
"""

import itertools

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from workbench.critters.attributes import all_tags

MAX_TOKENS = 77
WORD_END = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
# Words that prompts use beyond the tags; the base's training never saw them.
PROMPT_WORDS = (
    *("a", "an", "and", "at", "by", "in", "of", "on", "the", "with"),
    *("picture", "drawing", "photo", "scene", "style", "dark", "bright", "night", "snow", "light"),
)


def words() -> tuple[str, ...]:
    """List the words that are one token each.

    Returns:
        Words of the tags in the order of their first occurrence, then the prompts' words.
    """
    from_tags = [word for tag in all_tags() for word in tag.split()]
    return tuple(dict.fromkeys((*from_tags, *PROMPT_WORDS)))


def _apply_merges(pieces: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Join neighbours as byte-pair encoding does: the earliest merge first, until none fits."""
    while True:
        pairs = list(itertools.pairwise(pieces))
        known = [pair for pair in pairs if pair in ranks]
        if not known:
            return pieces
        best = min(known, key=ranks.__getitem__)
        at = pairs.index(best)
        pieces = [*pieces[:at], "".join(best), *pieces[at + 2 :]]


def _merges() -> list[tuple[str, str]]:
    """Find merges that make every word one token.

    Each word first goes through the merges found so far; what is left of it is joined from the
    left by new merges. New ones come later in rank, so they never undo an earlier word.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words():
        pieces = _apply_merges([*word[:-1], word[-1] + WORD_END], ranks)
        while len(pieces) > 1:
            ranks[(pieces[0], pieces[1])] = len(ranks)
            pieces = _apply_merges(pieces, ranks)
    return list(ranks)


def build_tokenizer() -> CLIPTokenizer:
    """Build the tokenizer from the tags.

    Returns:
        Tokenizer of 77 tokens that pads with the end token, as Stable Diffusion's does; start and
        end have the two highest ids.
    """
    letters = sorted(ByteLevel.alphabet())
    merges = _merges()
    entries = [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges)]
    vocabulary = {token: index for index, token in enumerate([*dict.fromkeys(entries), START, END])}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # pyright: ignore[reportArgumentType]: declared as text, taken as pairs
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )
