"""The shape of the embedded base: which parts it has, how large they are, how they are laid out."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from workbench import store
from workbench.critters.vocabulary import MAX_TOKENS, build_tokenizer

PICTURE_SIZE_PX = 128
LATENT_SIZE = 16
TEXT_WIDTH = 128
CLIP_WIDTH = 128  # the space that pictures and captions share


def new_autoencoder() -> AutoencoderKL:
    """Build the untrained autoencoder: Stable Diffusion's structure, 2.2 M weights.

    Returns:
        KL autoencoder, 8x downsampling, 4 latent channels.
    """
    structure: dict[str, Any] = {  # diffusers declares its tuples as of length one
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (24, 48, 96, 96),
    }
    return AutoencoderKL(
        **structure,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=PICTURE_SIZE_PX,
    )


def new_unet() -> UNet2DConditionModel:
    """Build the untrained U-Net: Stable Diffusion's structure, 10.9 M weights.

    Returns:
        U-Net for 16 x 16 latents and other sizes; text is attended to at all three of its scales.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        block_out_channels=(64, 128, 192),
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers reads it as a number of heads here
        norm_num_groups=32,
    )


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Build the untrained CLIP: its text half conditions the U-Net, both halves serve as tagger.

    Args:
        tokenizer: says the vocabulary's size and its special tokens.
    Returns:
        CLIP of 0.7 M weights for text and 1.5 M for pictures.
    """
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "projection_dim": CLIP_WIDTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "image_size": PICTURE_SIZE_PX,
        "patch_size": 16,
        "projection_dim": CLIP_WIDTH,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=CLIP_WIDTH))


def image_processor() -> CLIPImageProcessor:
    """Say how CLIP's pictures are prepared.

    Returns:
        Processor that resizes to 128 x 128 as a whole (nothing is cropped away) and brings pixels
        to [-1, 1].
    """
    return CLIPImageProcessor(
        size={"height": PICTURE_SIZE_PX, "width": PICTURE_SIZE_PX},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def new_scheduler() -> DDIMScheduler:
    """Build Stable Diffusion's noise schedule.

    Returns:
        DDIM scheduler with its betas, epsilon target.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def write_layout(folder: Path) -> None:
    """Write what needs no training: tokenizer, scheduler, and the index that names the parts.

    Args:
        folder: becomes a diffusers folder for StableDiffusionPipeline.
    """
    build_tokenizer().save_pretrained(folder / "tokenizer")
    new_scheduler().save_pretrained(folder / "scheduler")
    image_processor().save_pretrained(folder / "clip")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    store.write_json(folder / "model_index.json", index)


def save_clip(clip: CLIPModel, folder: Path) -> None:
    """Write a CLIP in two halves, so that the text encoder's weights are stored once.

    Args:
        clip: trained model.
        folder: gets `text_encoder/` (as in Stable Diffusion) and `clip/` (everything else).
    """
    clip = clip.half()
    clip.text_model.save_pretrained(folder / "text_encoder")
    clip.config.save_pretrained(folder / "clip")
    tensors = clip.state_dict()
    rest = {name: t for name, t in tensors.items() if not name.startswith("text_model.")}
    store.save_tensors(folder / "clip" / "model.safetensors", rest, {"format": "pt"})


def load_clip(folder: Path) -> CLIPModel:
    """Put the two halves of the base's CLIP together again.

    Args:
        folder: the base.
    Returns:
        CLIP in fp32 and evaluation mode.
    Raises:
        RuntimeError: the folder's weights do not fit its configuration.
    """
    clip = CLIPModel(CLIPConfig.from_pretrained(folder / "clip"))
    text = store.load_tensors(folder / "text_encoder" / "model.safetensors")
    tensors = store.load_tensors(folder / "clip" / "model.safetensors")
    clip.load_state_dict(tensors | {f"text_model.{name}": value for name, value in text.items()})
    return clip.float().eval()
