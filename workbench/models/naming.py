"""Names of modules in LoRA files: kohya's scheme, which every UI reads.

The U-Net of SD 1.x and 2.x keeps its diffusers path, that of SDXL the path of Stability's original
code, and text encoders the path that transformers had before version 5 dropped a level.
"""

from workbench.layouts.unet import original_path

__all__ = ["original_path", "text_name"]


def text_name(prefix: str, path: str) -> str:
    """Name a text encoder's module, with the level that some transformers classes lack.

    Args:
        prefix: "lora_te", "lora_te1" or "lora_te2".
        path: module path in `CLIPTextModel` or `CLIPTextModelWithProjection`.
    Returns:
        For example "lora_te_text_model_encoder_layers_0_self_attn_q_proj".
    """
    if path != "text_projection" and not path.startswith("text_model."):
        path = f"text_model.{path}"
    return f"{prefix}_{path}".replace(".", "_")
