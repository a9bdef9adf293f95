"""How many tokens a caption has, estimated where no tokenizer is at hand."""

import math
import re
import unicodedata

__all__ = ["estimate_tokens"]

# CLIP's own pieces: words, single digits, runs of other signs.
_PIECE = re.compile(r"[^\W\d_]+|\d|[^\s\w]+|_+")
# Tokens a letter of scripts that CLIP's vocabulary hardly knows: it spells their bytes.
_BY_SCRIPT = {
    "CJK": 2.6, "HIRAGANA": 1.85, "KATAKANA": 1.85, "HANGUL": 2.05, "CYRILLIC": 1.3, "GREEK": 2.0,
    "HEBREW": 2.0, "ARABIC": 1.1, "THAI": 1.3, "DEVANAGARI": 2.0,
}  # fmt: skip
_OTHER = 2.0
_ACCENTED, _VIETNAMESE = 1.5, 2.3  # a Latin letter of two bytes, and of three
_WHOLE_WORD = 5  # letters of words that are mostly one token
_REST = 0.14  # tokens for each letter more
_FOREIGN = 0.36  # tokens a letter in languages that CLIP has read little of
_ACCENTED_WORDS = 2  # from so many on a text is not English with a café in it


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens CLIP makes of a text, without its start and end.

    Underscores, brackets and digits are tokens of their own, long words are several, and a Chinese
    letter is nearly three: words between blanks say nothing of the kind.

    Args:
        text: a caption.
    Returns:
        Tokens; English and tags are mostly within 10 % of the true number, texts of signs, numbers
        or other languages within 40 % (`python benchmarks/tokens.py`). Only the base's own
        tokenizer counts.
    """
    pieces = _PIECE.findall(text.lower())
    foreign = sum(any(map(_is_accented, piece)) for piece in pieces) >= _ACCENTED_WORDS
    return math.ceil(sum(_cost(piece, foreign=foreign) for piece in pieces) - 1e-9)


def _cost(piece: str, *, foreign: bool) -> float:
    if piece.isdigit():
        return 1.0
    if not piece[0].isalpha():
        return sum(1.5 if ord(sign) > 0x2000 else 0.4 for sign in piece) + 0.6
    spelt = sum(map(_letter_cost, piece))
    latin = sum(letter.isascii() for letter in piece)
    if not latin:
        return spelt
    if foreign:
        return spelt + max(1.0, _FOREIGN * latin)
    return spelt + 1.05 + _REST * max(0, latin - _WHOLE_WORD)


def _is_accented(letter: str) -> bool:
    return not letter.isascii() and unicodedata.name(letter, "").startswith("LATIN")


def _letter_cost(letter: str) -> float:
    if letter.isascii():
        return 0.0
    if _is_accented(letter):
        return _VIETNAMESE if ord(letter) >= 0x800 else _ACCENTED
    script = unicodedata.name(letter, "").partition(" ")[0]
    return _BY_SCRIPT.get(script, _OTHER)
