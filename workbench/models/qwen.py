"""Captions told to a model by the hidden states of a Qwen language model.

Source: diffusers, `pipelines/z_image/pipeline_z_image.py`, `_encode_prompt`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from workbench.models.clip import WINDOW
from workbench.models.family import Rows
from workbench.models.source import Source
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAYER = -2  # whose hidden states are read: the last but one
MOST_TOKENS = 512  # the template's among them


def tokenizer(source: Source) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a diffusers folder.

    Args:
        source: the folder.
    Returns:
        The tokenizer, which has a chat template.
    """
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(source.path / "tokenizer"), local_files_only=True)


def framed(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> str:
    """Put a caption into the chat template that the model was trained with.

    Args:
        tokenizer: has the template.
        prompt: the caption; what it holds of the template's own marks is its own affair.
    Returns:
        The user's turn, and the beginning of the answer.
    """
    turn = [{"role": "user", "content": prompt}]
    made: Any = tokenizer.apply_chat_template(
        turn, tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    return made


class QwenTokens:
    """See `CaptionTokens`; the template's own tokens count neither in a caption nor in the limit.

    Attributes:
        tokenizer: has the template.
        max_tokens: what the template leaves of `MOST_TOKENS`.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self._num_framing = self._num_tokens("")
        self.max_tokens = MOST_TOKENS - self._num_framing

    def count_tokens(self, caption: str) -> int:
        """See `CaptionTokens`."""
        return self._num_tokens(caption) - self._num_framing

    def windows(self, caption: str) -> list[str]:
        """See `CaptionTokens`; a language model reads a caption as a whole."""
        return [caption]

    def _num_tokens(self, caption: str) -> int:
        return len(self.tokenizer(framed(self.tokenizer, caption)).input_ids)


def require_whole(max_tokens: int, title: str) -> None:
    """Refuse windows of captions, which a language model does not need.

    Args:
        max_tokens: `data.captions.max_tokens`.
        title: of the family, for people.
    Raises:
        SettingsError: it is not the default.
    """
    if max_tokens != WINDOW:
        raise SettingsError(
            f"data.captions.max_tokens must be left out for {title}, whose text encoder reads a "
            f"caption whole; the setting joins windows of CLIP; got {max_tokens}"
        )


@torch.no_grad()
def hidden_states(
    encoder: nn.Module, tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str]
) -> list[Rows]:
    """Encode captions; padding is masked and left out.

    Args:
        encoder: the language model.
        tokenizer: its tokenizer.
        prompts: B texts, cut to `MOST_TOKENS` with their template.
    Returns:
        B times "hidden" (n, D), on the CPU, n the tokens of the caption and the template.
    """
    taken = tokenizer(
        [framed(tokenizer, prompt) for prompt in prompts],
        padding="max_length",
        max_length=MOST_TOKENS,
        truncation=True,
        return_tensors="pt",
    ).to(next(encoder.parameters()).device)
    mask = taken.attention_mask.bool()
    output = encoder(input_ids=taken.input_ids, attention_mask=mask, output_hidden_states=True)
    pairs = zip(output.hidden_states[LAYER], mask, strict=True)
    return [{"hidden": one[own].cpu()} for one, own in pairs]
