import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from transformers import CLIPImageProcessor

from workbench.critters import BASE, caption
from workbench.critters.architecture import PICTURE_SIZE_PX, load_clip, new_unet, save_clip
from workbench.critters.contrastive import choose_tags, embed_captions, embed_pictures, tokenize
from workbench.critters.judge import to_pixels
from workbench.critters.measure import psnr, unseen, unseen_pictures
from workbench.critters.vocabulary import build_tokenizer

NUM_PICTURES = 8


@pytest.fixture(scope="module")
def clip():
    return load_clip(BASE)


@pytest.fixture(scope="module")
def pixels():
    return to_pixels(unseen_pictures(NUM_PICTURES)).float() / 127.5 - 1


def test_weights_stay_small():
    sizes = [path.stat().st_size for path in BASE.rglob("*") if path.is_file()]
    assert sum(sizes) <= 32 * 2**20


def test_the_autoencoder_keeps_unseen_pictures():
    autoencoder = AutoencoderKL.from_pretrained(BASE / "vae", dtype=torch.float32)
    assert psnr(autoencoder, to_pixels(unseen_pictures(4))) > 25.5


def test_scaled_latents_have_unit_spread(pixels):
    autoencoder = AutoencoderKL.from_pretrained(BASE / "vae", dtype=torch.float32)
    with torch.no_grad():
        latents = autoencoder.encode(pixels).latent_dist.mode()
    assert latents.shape == (NUM_PICTURES, 4, 16, 16)
    assert latents.std().item() * autoencoder.config.scaling_factor == pytest.approx(1, abs=0.2)


@torch.no_grad()
def test_clip_ranks_the_right_caption_first(clip, pixels):
    captions = [caption(each) for each in unseen(NUM_PICTURES)]
    texts = embed_captions(clip, tokenize(build_tokenizer(), captions))
    best = (embed_pictures(clip, pixels) @ texts.T).argmax(dim=1)
    assert best.tolist() == list(range(NUM_PICTURES))


def test_clip_reads_tags_off_pictures(clip, pixels):
    read = choose_tags(clip, build_tokenizer(), pixels)
    captions = [caption(each).split(", ") for each in unseen(NUM_PICTURES)]
    right = [
        tag in said for row, said in zip(read, captions, strict=True) for tag, _ in row.values()
    ]
    assert len(right) == 9 * NUM_PICTURES and sum(right) / len(right) > 0.6


def test_words_for_body_colours_are_far_apart(clip):
    tokenizer = build_tokenizer()
    texts = [f"critter, {colour} body, star body" for colour in ("red", "blue", "white", "pink")]
    with torch.no_grad():
        hidden = clip.text_model(input_ids=tokenize(tokenizer, texts)).last_hidden_state
    at_body = hidden[:, 4]  # start, critter, comma, colour, body
    assert at_body.std(dim=0).mean() > 0.5  # it was 0.03 when all colours meant the same


def test_the_two_halves_of_clip_survive_saving(clip, tmp_path):
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    save_clip(load_clip(BASE), tmp_path)
    after = load_clip(tmp_path).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_pictures_are_prepared_as_they_were_in_training():
    processor = CLIPImageProcessor.from_pretrained(BASE / "clip")
    picture = Image.new("RGB", (144, 112), (255, 0, 127))
    prepared = processor(picture, return_tensors="pt").pixel_values
    assert prepared.shape == (1, 3, PICTURE_SIZE_PX, PICTURE_SIZE_PX)
    assert prepared[0, :, 0, 0].tolist() == pytest.approx([1, -1, 2 * 127 / 255 - 1], abs=1e-5)


def test_the_folder_is_a_diffusers_pipeline():
    pipeline = StableDiffusionPipeline.from_pretrained(BASE, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert (
        dict(pipeline.unet.config).items()
        >= {
            "sample_size": 16,
            "cross_attention_dim": 128,
            "in_channels": 4,
        }.items()
    )
    assert pipeline.scheduler.config.prediction_type == "epsilon"
    assert pipeline.vae_scale_factor == 8
    expected = {name: tensor.shape for name, tensor in new_unet().state_dict().items()}
    assert {name: t.shape for name, t in pipeline.unet.state_dict().items()} == expected
    picture = pipeline("critter", width=160, height=96, num_inference_steps=1).images[0]
    assert picture.size == (160, 96)
