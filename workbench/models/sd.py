"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, epsilon or velocity prediction."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from workbench.models.base import BaseSettings
from workbench.models.clip import encoder_output
from workbench.models.family import (
    TEXT_TARGETS,
    UNET_TARGETS,
    Family,
    SizeInfo,
    TargetGroups,
    pipeline_of,
)
from workbench.models.naming import text_name
from workbench.models.parts import Parts


class StableDiffusion(Family):
    """Stable Diffusion 1.x and 2.x, and every model of their structure."""

    name = "sd"

    def __init__(self, settings: BaseSettings, loaded: Parts) -> None:
        self.settings = settings
        self.loaded = loaded

    @property
    def adapter_targets(self) -> dict[str, TargetGroups]:
        """See `Family`."""
        return {"unet": dict(UNET_TARGETS), "text_encoder": dict(TEXT_TARGETS)}

    @property
    def version(self) -> tuple[str, str]:
        """See `Family`; the names are those of sd-scripts and of modelspec 1.0.1."""
        velocity = self.prediction_type == "v_prediction"
        if self.loaded.version == "sd1":
            return ("sd_v1_v" if velocity else "sd_v1"), "stable-diffusion-v1"
        if velocity:
            return "sd_v2_v", "stable-diffusion-v2-768-v"
        return "sd_v2", "stable-diffusion-v2-512"

    def kohya_name(self, part: str, path: str) -> str:
        """See `Family`."""
        if part == "unet":
            return f"lora_unet_{path}".replace(".", "_")
        return text_name("lora_te", path)

    def encode_captions(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Encode captions into "hidden" (B, 77, D); see `Family`.

        The final layer norm is applied whatever layer the states come from, as sd-scripts and
        diffusers do. SD 2.x already ends one layer early: its published encoder has 23 of 24.
        """
        encoder, skip = self.text_encoders[0], self.settings.clip_skip
        output = encoder_output(encoder, self.tokenizers[0], captions)
        if skip == 0:
            return {"hidden": output.last_hidden_state}
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        return {"hidden": norm(output.hidden_states[-1 - skip])}

    def denoise(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: dict[str, Tensor],
        sizes: Sequence[SizeInfo] = (),
        *,
        unet: nn.Module | None = None,
    ) -> Tensor:
        """See `Family`."""
        dtype = next(self.unet.parameters()).dtype
        predicted = (unet or self.unet)(
            noisy.to(dtype),
            timesteps,
            encoder_hidden_states=text["hidden"].to(dtype),
            return_dict=False,
        )
        return predicted[0].float()

    def pipeline(self) -> Any:
        """See `Family`."""
        from diffusers import StableDiffusionPipeline

        return pipeline_of(
            StableDiffusionPipeline,
            self,
            text_encoder=self.text_encoders[0],
            tokenizer=self.tokenizers[0],
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
