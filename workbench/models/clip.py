"""CLIP's text side: its vocabulary, which no single file contains, and a call of its encoders.

`configs/clip_merges.txt.gz` holds the first 48,894 merge rules of `bpe_simple_vocab_16e6.txt`, as
distributed with open_clip_torch under the MIT licence (see `configs/LICENSE-CLIP`). The table of
tokens follows from them and from the order of the 256 bytes, so it is not shipped a second time.
"""

import gzip
import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MERGES_FILE = Path(__file__).parent / "configs" / "clip_merges.txt.gz"
START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 77  # tokens that an encoder takes
WINDOW = CONTEXT - 2  # tokens of a caption in one window: start and end take one each
MOST_TOKENS = 3 * WINDOW  # of a caption: as many windows as trainers join


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


class ClipTokens:
    """See `CaptionTokens`; captions are read in windows, each encoded by itself.

    Attributes:
        max_tokens: a multiple of `WINDOW`.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> None:
        self._tokenizer, self.max_tokens = tokenizer, max_tokens

    def count_tokens(self, caption: str) -> int:
        """See `CaptionTokens`."""
        return len(self._tokenizer(caption, add_special_tokens=False, verbose=False).input_ids)

    def windows(self, caption: str) -> list[str]:
        """See `CaptionTokens`."""
        tokens: Any = self._tokenizer(
            caption, add_special_tokens=False, verbose=False, return_offsets_mapping=True
        )
        starts = [start for start, _ in tokens["offset_mapping"]]
        cuts = [0, *starts[WINDOW : self.max_tokens + 1 : WINDOW], len(caption)]
        return [caption[start:end] for start, end in itertools.pairwise(cuts)]


def encoder_outputs(
    encoder: Any, tokenizer: "PreTrainedTokenizerBase", captions: Sequence[str], *, num_windows: int
) -> list[Any]:
    """Run a CLIP text encoder on captions, window by window.

    Args:
        encoder: `CLIPTextModel` or `CLIPTextModelWithProjection`.
        tokenizer: its tokenizer.
        captions: B texts; what does not fit into the windows is cut off.
        num_windows: how many.
    Returns:
        The encoder's output for each window of B rows of 77 tokens; `hidden_states` are those
        before the final layer norm.
    """
    rows = tokenizer(list(captions), add_special_tokens=False, verbose=False).input_ids
    context = encoder.config.max_position_embeddings
    device, size = next(encoder.parameters()).device, context - 2
    outputs = []
    for start in range(0, num_windows * size, size):
        parts = [row[start : start + size] for row in rows]
        ids = _framed(parts, tokenizer, context=context)
        outputs.append(encoder(ids.to(device), output_hidden_states=True))
    return outputs


def joined(windows: Sequence[Tensor]) -> Tensor:
    """Join the windows of captions: one start, all tokens between, one end.

    Args:
        windows: states of each window's tokens, (B, n, D).
    Returns:
        (B, 2 + len(windows) * (n - 2), D).
    Source: kohya sd-scripts, `get_hidden_states` with `max_token_length`.
        Differs from web UIs, which keep the start and end of every window.
    """
    if len(windows) == 1:
        return windows[0]
    between = [window[:, 1:-1] for window in windows]
    return torch.cat([windows[0][:, :1], *between, windows[-1][:, -1:]], dim=1)


def _framed(
    rows: Sequence[Sequence[int]], tokenizer: "PreTrainedTokenizerBase", *, context: int
) -> Tensor:
    """Token numbers of one window: start, tokens, end, padding, (B, context)."""
    start, end, pad = (
        int(number)  # pyright: ignore[reportArgumentType]
        for number in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    )
    padding = [pad] * context
    return torch.tensor([[start, *row, end, *padding[len(row) + 2 :]] for row in rows])
