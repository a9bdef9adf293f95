"""CLIP's text side: its vocabulary, which no single file contains, and a call of its encoders.

`configs/clip_merges.txt.gz` holds the first 48,894 merge rules of `bpe_simple_vocab_16e6.txt`, as
distributed with open_clip_torch under the MIT licence (see `configs/LICENSE-CLIP`). The table of
tokens follows from them and from the order of the 256 bytes, so it is not shipped a second time.
"""

import gzip
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

MERGES_FILE = Path(__file__).parent / "configs" / "clip_merges.txt.gz"
START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 77  # tokens that an encoder takes
MAX_TOKENS = CONTEXT - 2  # of a caption: start and end take one each


def byte_symbols() -> list[str]:
    """List a printable symbol for each of the 256 bytes, in the order of their token numbers.

    Returns:
        256 one-character strings: printable Latin-1 first, then stand-ins from U+0100 on.
    Source: OpenAI CLIP, simple_tokenizer.py, `bytes_to_unicode`.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def byte_pair_tokenizer(merges: list[tuple[str, str]], *, pad: str = END) -> Any:
    """Make a CLIP tokenizer from merge rules alone.

    Args:
        merges: pairs of symbols in order of priority; `</w>` ends a word.
        pad: token that fills captions up to 77.
    Returns:
        `transformers.CLIPTokenizer`, with 514 + len(merges) tokens.
    """
    from transformers import CLIPTokenizer

    symbols = byte_symbols()
    tokens = [*symbols, *(s + "</w>" for s in symbols), *map("".join, merges), START, END]
    rules: Any = list(merges)  # annotated as strings in transformers, which takes pairs
    numbers = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=numbers, merges=rules, pad_token=pad, model_max_length=CONTEXT)


@cache
def _clip_merges() -> tuple[tuple[str, str], ...]:
    lines = gzip.decompress(MERGES_FILE.read_bytes()).decode("utf-8").splitlines()
    return tuple((left, right) for left, right in (line.split(" ") for line in lines))


def clip_tokenizer(*, pad: str = END) -> Any:
    """Make the tokenizer of Stable Diffusion's text encoders.

    Args:
        pad: "<|endoftext|>" for CLIP ViT-L, "!" for the OpenCLIP encoders of SD 2.x and SDXL.
    Returns:
        `transformers.CLIPTokenizer` with 49,408 tokens.
    """
    return byte_pair_tokenizer(list(_clip_merges()), pad=pad)


def counter(tokenizer: Any) -> Callable[[str], int]:
    """Count tokens without those of start and end.

    Args:
        tokenizer: CLIP's.
    Returns:
        A function from a caption to the number of its tokens.
    """
    return lambda caption: len(tokenizer(caption, verbose=False).input_ids) - 2


def encoder_output(encoder: Any, tokenizer: Any, captions: Sequence[str]) -> Any:
    """Run a CLIP text encoder on captions, padded and cut to 77 tokens.

    Args:
        encoder: `CLIPTextModel` or `CLIPTextModelWithProjection`.
        tokenizer: its tokenizer.
        captions: B texts.
    Returns:
        The encoder's output; `hidden_states` are those before the final layer norm.
    """
    tokens = tokenizer(
        list(captions),
        padding="max_length",
        max_length=encoder.config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    device = next(encoder.parameters()).device
    return encoder(tokens.to(device), output_hidden_states=True)
