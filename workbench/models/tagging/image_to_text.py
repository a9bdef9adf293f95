"""Models that describe a picture in a sentence: BLIP, GIT, Florence and their relatives."""

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image

from workbench.models.hub import fetch_files
from workbench.models.tagging.base import Suggestion, Tagger
from workbench.settings import Settings, SettingsError, setting

__all__ = ["ImageToText"]

FILES = ("*.json", "*.txt", "*.model", "*.jinja", "model*.safetensors")


class ImageToText(Settings):
    """A sentence for each picture, by any image-to-text model that transformers knows."""

    kind: Literal["image_to_text"] = "image_to_text"
    model: str = setting(
        "Salesforce/blip-image-captioning-large",
        min_length=1,
        help="a folder in the layout of transformers, or the name of a Hugging Face repository",
    )
    prompt: str | None = setting(
        None,
        min_length=1,
        help="what the model is asked, for those that need it: <DETAILED_CAPTION> for Florence, "
        "a question for chat models; it is not part of the caption",
    )
    max_tokens: int = setting(75, ge=1, le=1000, unit="tokens", help="longest sentence")
    num_beams: int = setting(3, ge=1, le=16, help="sentences tried side by side; 1 is fastest")
    batch_size: int = setting(4, ge=1, le=1024, unit="pictures", help="pictures read at once")

    def load(self, device: str | torch.device = "cpu") -> Tagger:
        """Load the model; weights are read from safetensors alone, and no code of theirs is run.

        Args:
            device: where it runs.
        Returns:
            The tagger.
        Raises:
            SettingsError: no such model, or it needs a library that is not installed.
        """
        return _Captioner(self, torch.device(device))


class _Captioner:
    def __init__(self, settings: ImageToText, device: torch.device) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = fetch_files(settings.model, FILES)
        self.settings, self.device, self.batch_size = settings, device, settings.batch_size
        try:
            self.processor: Any = AutoProcessor.from_pretrained(folder)
        except ImportError as error:
            needed = str(error).strip().partition("\n")[0]
            raise SettingsError(
                f"tagger.model = {settings.model!r} cannot be read here: {needed}; install it, or "
                "take another model"
            ) from error
        model: Any = AutoModelForImageTextToText
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        loaded = model.from_pretrained(folder, use_safetensors=True, dtype=dtype)
        self.model: Any = loaded.to(device).eval()

    @torch.no_grad()
    def read(self, images: Sequence[Image.Image]) -> list[list[Suggestion]]:
        """See `Tagger`."""
        inputs = self._inputs(list(images)).to(self.device, self.model.dtype)
        answer = self.model.generate(
            **inputs,
            max_new_tokens=self.settings.max_tokens,
            num_beams=self.settings.num_beams,
            do_sample=False,
        )
        sentences = self._decoded(answer)
        # Decoders repeat the question before their answer; encoder-decoders do not.
        asked = self._decoded(inputs["input_ids"]) if "input_ids" in inputs else [""] * len(images)
        return [
            _suggestion(sentence.removeprefix(question))
            for sentence, question in zip(sentences, asked, strict=True)
        ]

    def _decoded(self, ids: torch.Tensor) -> list[str]:
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _inputs(self, images: list[Image.Image]) -> Any:
        prompt = self.settings.prompt
        if prompt is None:
            return self.processor(images=images, return_tensors="pt")
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            prompt = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
        text = [prompt] * len(images)
        # A decoder goes on from the last place, which must be the question's end in every row: many
        # models give wide pictures more places than others.
        inputs = self.processor(
            images=images, text=text, padding=True, padding_side="left", return_tensors="pt"
        )
        if self.model.config.model_type == "git":
            # Its tokenizer ends the question as if it were the whole caption.
            for name in ("input_ids", "attention_mask"):
                inputs[name] = inputs[name][:, :-1]
        if "token_type_ids" not in inspect.signature(self.model.forward).parameters:
            inputs.pop("token_type_ids", None)  # BERT's tokenizers give them unasked
        return inputs


def _suggestion(sentence: str) -> list[Suggestion]:
    text = sentence.strip()
    return [Suggestion(text, group="sentence")] if text else []
