"""How critters/base was made: `python -m workbench.pretrain STAGE`.

Stages: `autoencoder`, `decoder`, `text`, `vision`; the U-Net is trained by the product's own loop.
Each stage draws its pictures itself, saves where it stands every two minutes, and goes on from
there when it is started again with the same folder.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from workbench import store
from workbench.critters import BASE
from workbench.critters.architecture import (
    load_clip,
    new_autoencoder,
    new_clip,
    save_clip,
)
from workbench.critters.attributes import MOUTHS, SCENES, caption
from workbench.critters.compression import (
    autoencoder_loss,
    doodle,
    random_crops,
    reconstruction_loss,
    to_signed,
)
from workbench.critters.concepts import concept
from workbench.critters.contrastive import TextTeacher, clip_loss
from workbench.critters.draw import WORLD_SIZES, plan, world
from workbench.critters.judge import load_judge
from workbench.critters.measure import (
    HELD_OUT_WORLD,
    Bar,
    character_share,
    generate,
    load_pipeline,
    measure,
    psnr,
    tag_accuracy,
    unseen,
)
from workbench.critters.vocabulary import build_tokenizer
from workbench.recipe import Recipe
from workbench.records.events import Progress
from workbench.training.run import Run

SQUARE = ((128, 128),)
SAVE_EVERY_S = 120
LOG_EVERY_STEPS = 100
# Worlds are numbered so that what is measured (world 1) was never trained on.
TRAINING_WORLD, DECODER_WORLD = 0, 3


def draw_pictures(
    count: int,
    *,
    world_seed: int = TRAINING_WORLD,
    sizes: Sequence[tuple[int, int]] = SQUARE,
    doodled: float = 0.0,
) -> tuple[Tensor, list[str]]:
    """Draw pictures into memory, so that drawing costs a training step nothing.

    Args:
        count: number of pictures; 4,000 take 200 MB and ten seconds.
        world_seed: which world.
        sizes: (width, height) to choose from; what is not square is squeezed into the square.
        doodled: share of pictures that get shapes of any colour on top.
    Returns:
        Pictures as uint8 (count, 3, 128, 128), and their captions.
    """
    pixels = torch.empty(count, 3, 128, 128, dtype=torch.uint8)
    captions, rng = [], random.Random(world_seed)
    for index in range(count):
        picture, text = world(world_seed, index, sizes)
        square = picture.resize(SQUARE[0], Image.Resampling.BICUBIC)
        if rng.random() < doodled:
            square = doodle(square, rng)
        pixels[index] = torch.from_numpy(np.array(square)).permute(2, 0, 1)
        captions.append(text)
    return pixels, captions


def _checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, **progress: float
) -> None:
    tensors = _checkpoint(model, optimizer)
    tensors |= {f"progress.{k}": torch.tensor(v, dtype=torch.float64) for k, v in progress.items()}
    store.save_tensors(path, tensors)


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    if not path.exists():
        return {"step": 0, "elapsed_s": 0.0}
    tensors = store.load_tensors(path)
    kinds: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "progress": {}}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        kinds[kind][rest] = tensor
    model.load_state_dict(kinds["model"])
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in kinds["optimizer"].items():
        index, key = name.split(".", 1)
        states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    return {name: value.item() for name, value in kinds["progress"].items()}


def fit(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    folder: Path,
    *,
    minutes: float,
    learning_rate: float,
) -> Iterator[tuple[int, float]]:
    """Train for a span of time, the learning rate falling linearly to nothing at its end.

    A span of time and not of steps, since what is scarce on two cores is the former. Step `i`
    must draw the same batch whenever it is called, so that an interrupted run goes on as it was.

    Args:
        model: trained in place; only its parameters that require a gradient.
        loss_of: gives the loss of step `i`, a scalar.
        folder: holds `checkpoint.safetensors`, from which the run goes on if it is there.
        minutes: training time, that before an interruption included; > 0.
        learning_rate: AdamW's, reached after 100 steps of warm-up.
    Yields:
        Step and loss, every hundred steps.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    path = folder / "checkpoint.safetensors"
    progress = _resume(path, model, optimizer)
    step, before_s, started = int(progress["step"]), progress["elapsed_s"], time.monotonic()
    saved = started
    losses: list[float] = []
    while (elapsed_s := before_s + time.monotonic() - started) < minutes * 60:
        remaining = 1 - elapsed_s / (minutes * 60)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 100) * remaining
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        losses.append(loss.item())
        if step % LOG_EVERY_STEPS == 0:
            yield step, sum(losses) / len(losses)
            losses.clear()
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(path, model, optimizer, step=step, elapsed_s=elapsed_s)
            saved = time.monotonic()
    _save(path, model, optimizer, step=step, elapsed_s=minutes * 60)


@torch.no_grad()
def latent_scale(model: AutoencoderKL, pixels: Tensor) -> float:
    """Measure the factor that gives latents a standard deviation of one.

    Args:
        model: trained autoencoder.
        pixels: uint8 (N, 3, H, W).
    Returns:
        1 / standard deviation over all latents.
    """
    parts = [model.encode(to_signed(p), return_dict=False)[0].mode() for p in pixels.split(16)]
    return 1 / torch.cat(parts).std().item()


def train_autoencoder(folder: Path, *, minutes: float, pictures: int = 4000) -> None:
    """Train the autoencoder from nothing and write it in diffusers layout.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `vae/`.
        minutes: training time; 15 give about 26 dB on two cores.
        pictures: number of pictures drawn into memory.
    """
    torch.manual_seed(0)
    model = new_autoencoder()
    pixels, _ = draw_pictures(pictures, doodled=0.5)
    _fit_autoencoder(model, pixels, folder, minutes=minutes, learning_rate=1.2e-3)
    model.register_to_config(scaling_factor=latent_scale(model, draw_pictures(512)[0]))
    model.half().save_pretrained(folder / "vae")


def train_decoder(folder: Path, *, minutes: float, pictures: int = 6000) -> None:
    """Sharpen the base's autoencoder without moving its latents, so that a U-Net stays valid.

    Whole pictures, not crops: the decoder normalises over all that it sees, and a crop's mean and
    spread are not a picture's. Latents are encoded once, since the encoder does not change.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `vae/`.
        minutes: training time.
        pictures: number of pictures drawn into memory, others than the autoencoder saw.
    """
    model = AutoencoderKL.from_pretrained(BASE / "vae", dtype=torch.float32).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("encoder.", "quant_conv.")))
    pixels, _ = draw_pictures(pictures, world_seed=DECODER_WORLD, doodled=0.3)
    held_out, _ = draw_pictures(32, world_seed=HELD_OUT_WORLD)
    with torch.no_grad():
        parts = [model.encode(to_signed(p), return_dict=False)[0].mode() for p in pixels.split(16)]
    latents = torch.cat(parts)

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        which = torch.randint(len(pixels), (4,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = model.decode(latents[which], return_dict=False)[0]
        return reconstruction_loss(decoded.float(), to_signed(pixels[which]))

    for step, loss in fit(model, loss_of, folder, minutes=minutes, learning_rate=8e-4):
        shown = f", {psnr(model, held_out):.2f} dB" if step % 500 == 0 else ""
        print(f"decoder step {step}: loss {loss:.4f}{shown}", flush=True)
    print(f"decoder: {psnr(model, held_out):.2f} dB on unseen pictures")
    model.half().save_pretrained(folder / "vae")


def _fit_autoencoder(
    model: AutoencoderKL, pixels: Tensor, folder: Path, *, minutes: float, learning_rate: float
) -> None:
    held_out, _ = draw_pictures(32, world_seed=HELD_OUT_WORLD)

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        crops = random_crops(pixels, generator, batch=16, side=64)
        return autoencoder_loss(model, crops, generator)

    for step, loss in fit(model, loss_of, folder, minutes=minutes, learning_rate=learning_rate):
        shown = f", {psnr(model, held_out):.2f} dB" if step % 500 == 0 else ""
        print(f"autoencoder step {step}: loss {loss:.4f}{shown}", flush=True)
    print(f"autoencoder: {psnr(model, held_out):.2f} dB on unseen pictures")


def train_text(folder: Path, *, minutes: float, pictures: int = 20_000) -> None:
    """Train CLIP's text half by itself and write the CLIP, whose picture half is still untrained.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `text_encoder/` and `clip/`.
        minutes: training time.
        pictures: number of captions.
    """
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = new_clip(tokenizer)
    model.set_attn_implementation("eager")
    teacher = TextTeacher(model)
    captions = [caption(plan(TRAINING_WORLD, index, SQUARE)[0]) for index in range(pictures)]

    def loss_of(step: int) -> Tensor:
        rng = random.Random(f"text {step}")
        return teacher(tokenizer, rng.sample(captions, 64), rng)

    for step, loss in fit(teacher, loss_of, folder, minutes=minutes, learning_rate=1e-3):
        print(f"text step {step}: loss {loss:.4f}", flush=True)
    save_clip(model, folder)


def train_vision(folder: Path, *, minutes: float, pictures: int = 8000) -> None:
    """Train CLIP's picture half towards the base's text half, which stays as it is.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `text_encoder/` and `clip/`.
        minutes: training time.
        pictures: number of pictures drawn into memory.
    Source: Zhai et al. 2022, "LiT", arXiv 2111.07991: lock one half, teach the other.
    """
    torch.manual_seed(0)
    tokenizer, model = build_tokenizer(), load_clip(BASE).train()
    model.text_model.requires_grad_(False)
    model.text_projection.requires_grad_(False)
    model.set_attn_implementation("eager")  # three times as fast here as the fused kernel in bf16
    sizes = SQUARE * 3 + WORLD_SIZES
    pixels, captions = draw_pictures(pictures, sizes=sizes)
    held_out, held_out_captions = draw_pictures(256, world_seed=HELD_OUT_WORLD, sizes=sizes)

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        which = torch.randint(len(pixels), (64,), generator=generator)
        texts = [captions[index] for index in which.tolist()]
        shown = to_signed(pixels[which])
        return clip_loss(model, tokenizer, pixels=shown, captions=texts, step=step)

    for step, loss in fit(model, loss_of, folder, minutes=minutes, learning_rate=1e-3):
        accuracy = tag_accuracy(model, held_out, held_out_captions) if step % 200 == 0 else None
        shown = "" if accuracy is None else f", tags of unseen pictures {accuracy:.1%} right"
        print(f"vision step {step}: loss {loss:.4f}{shown}", flush=True)
    print(f"clip: {tag_accuracy(model, held_out, held_out_captions):.1%} of tags right")
    save_clip(model, folder)


def character_bars(folder: Path, *, count: int = 32) -> list[Bar]:
    """Train the preset's LoRA of the character, and count where it shows.

    Args:
        folder: gets the run.
        count: number of pictures with the trigger, and as many without.
    Returns:
        Seconds from its first step to its last, and in how many pictures the judge sees the
        character with and without the trigger in the prompt.
    """
    quiet = ["output.report=false", "validation.every_steps=none", "sampling.every_steps=none"]
    run = Run(Recipe.preset("critters").override(quiet), folder)
    at_s = [time.monotonic() for event in run.train() if isinstance(event, Progress)]
    pipeline = load_pipeline(BASE)
    pipeline.load_lora_weights(str(run.final_lora.parent), weight_name=run.final_lora.name)
    trigger = concept("character").trigger
    seen = unseen(count)
    asked = [(MOUTHS[a.mouth], SCENES[a.scene], f"{a.background} background") for a in seen]
    with_trigger = [", ".join((trigger, "critter", *tags)) for tags in asked]
    without = [caption(attributes) for attributes in seen]
    judge = load_judge()
    shown, leaked = (
        character_share(judge, list(generate(pipeline, prompts)))
        for prompts in (with_trigger, without)
    )
    return [
        Bar("LoRA of the character, training", at_s[-1] - at_s[0], 30, at_most=True, unit="s"),
        Bar("LoRA: character seen with the trigger", shown, 90),
        Bar("LoRA: character seen without it", leaked, 5, at_most=True),
    ]


def every_bar() -> Iterator[Bar]:
    """Mark the base, and what can be taught to it.

    Yields:
        Bars as they are measured.
    """
    yield from measure()
    with tempfile.TemporaryDirectory() as folder:
        yield from character_bars(Path(folder) / "character")


STAGES = {
    "autoencoder": train_autoencoder,
    "decoder": train_decoder,
    "text": train_text,
    "vision": train_vision,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one stage, or measure what the stages made.

    Args:
        arguments: command line; the process's own by default.
    Returns:
        Exit status: 1 if a quality bar is not met.
    """
    parser = argparse.ArgumentParser(prog="python -m workbench.pretrain", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("stage", nargs="?", choices=tuple(STAGES))
    what.add_argument("--measure", action="store_true", help="print the table of quality bars")
    parser.add_argument("--minutes", type=float, default=14, help="training time")
    parser.add_argument("--out", type=Path, help="folder of the stage's checkpoint and result")
    chosen = parser.parse_args(arguments)
    if not chosen.measure:
        if chosen.out is None:
            parser.error("a stage needs --out FOLDER")
        STAGES[chosen.stage](chosen.out, minutes=chosen.minutes)
        return 0
    met = []
    for bar in every_bar():
        print(bar, flush=True)
        met.append(bar.met)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
