"""Pictures from fixed prompts and seeds, so that two sets differ only by what was trained.

Each picture's noise comes from a CPU generator of its own seed: neither the device, nor the batch
it happens to sit in, nor the pictures before it change what it starts from.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models.family import Condition, SampleOptions, SizeInfo
from workbench.models.memory import give_back
from workbench.records import filling
from workbench.settings import Settings, setting

if TYPE_CHECKING:
    from workbench.models.family import Family

__all__ = [
    "Interrupted",
    "Picture",
    "SampleSettings",
    "draw",
    "evaluating",
    "fill_prompt",
    "filled_prompts",
    "heed",
    "interruptible",
    "sample",
    "stream",
    "without_trigger",
]


class SampleSettings(Settings):
    """Which pictures are made to see what the training does, and how."""

    prompts: tuple[str, ...] | None = setting(
        None,
        help="what to draw, {trigger} and {class} standing for the first subset's words; absent: "
        "captions of three training pictures; [] draws nothing",
        basic=True,
    )
    negative: str = setting("", help="what to steer away from; used when guidance is above 1")
    seeds: tuple[int, ...] = setting(
        (0,), help="every prompt is drawn once from each seed", min_length=1
    )
    every_steps: int | None = setting(
        None,
        help="how often to sample during training; left out: at a quarter, half and three "
        "quarters; 0: only at the end",
        ge=0,
        basic=True,
    )
    steps: int = setting(25, help="denoising steps of one picture", ge=1, le=1000)
    guidance: float = setting(
        4.0,
        help="how strongly the prompt is followed; 1 is no guidance, SD 1.5 likes 7",
        ge=1,
        le=30,
    )
    guidance_rescale: float | None = setting(
        None,
        help="pulls overexposed pictures back; left out: 0.7 for zero terminal SNR, otherwise 0",
        ge=0,
        le=1,
    )
    scheduler: Literal["ddim", "euler", "euler_a", "dpmpp_2m"] = setting(
        "ddim", help="the solver that turns noise into a picture"
    )
    spacing: Literal["trailing", "leading", "linspace"] = setting(
        "trailing", help="which timesteps are visited; trailing starts at pure noise"
    )
    width: int | None = setting(
        None, help="left out: the size the base was made for", unit="px", ge=8, le=8192
    )
    height: int | None = setting(
        None, help="left out: the size the base was made for", unit="px", ge=8, le=8192
    )
    batch_size: int = setting(8, help="pictures drawn at once; lower it to save memory", ge=1)
    fill: str | None = setting(
        None,
        help="for a base for inpainting: folder of pictures with masks (NAME-mask.png), of which "
        "seed 0 fills in the first, seed 1 the second and so on; absent: pictures of data.subsets",
    )

    def due(self, step: int, total_steps: int | None) -> bool:
        """Say whether samples are drawn after a step that is not the last.

        Args:
            step: optimizer steps done.
            total_steps: planned; None where only a time is given, and samples that are left open
                are drawn every 500 steps.
        Returns:
            Whether it is time.
        """
        if self.every_steps is None and total_steps is not None:
            return step in {total_steps * k // 4 for k in (1, 2, 3)}
        every = 500 if self.every_steps is None else self.every_steps
        return every > 0 and step > 0 and step % every == 0


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and what it was made from."""

    prompt: str
    seed: int
    image: Image.Image


def fill_prompt(prompt: str, *, trigger: str | None = None, class_word: str | None = None) -> str:
    """Put the words of a concept into a prompt.

    Args:
        prompt: may hold `{trigger}` and `{class}`.
        trigger: the concept's word; None or empty leaves its place out.
        class_word: the kind of thing it is.
    Returns:
        The prompt; a place left empty takes its separator with it.
    """
    for place, word in (("{trigger}", trigger), ("{class}", class_word)):
        prompt = prompt.replace(place, word or "\0")
    return _close_gaps(prompt)


def filled_prompts(
    settings: SampleSettings, trigger: str | None, class_word: str | None
) -> tuple[str, ...]:
    """The prompts of a recipe with a concept's words in place.

    Args:
        settings: `prompts` may be absent.
        trigger: the concept's word.
        class_word: the kind of thing it is.
    Returns:
        Prompts as they are sampled.
    """
    words = {"trigger": trigger, "class_word": class_word}
    return tuple(fill_prompt(prompt, **words) for prompt in settings.prompts or ())


def without_trigger(prompt: str, *, trigger: str | None, class_word: str | None = None) -> str:
    """Take the trigger out of a prompt, to see how much of the concept leaks into the rest.

    Args:
        prompt: as it is sampled, `{trigger}` allowed.
        trigger: the concept's word.
        class_word: put in its place, unless the prompt says it already.
    Returns:
        The prompt without the trigger; the same text when it does not hold the trigger.
    """
    prompt = prompt.replace("{class}", class_word or "\0").replace("{trigger}", "\0")
    if trigger:
        prompt = _word(trigger).sub("\0", prompt)
    if class_word and not _word(class_word).search(prompt):
        prompt = prompt.replace("\0", class_word, 1)
    return _close_gaps(prompt)


def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")


def _close_gaps(prompt: str) -> str:
    """Drop the marks of empty places, with the comma or space that held them."""
    prompt = re.sub(r"^\s*\0\s*,?\s*|\s*,\s*\0\s*(?=,|$)|\s*\0(?=\s|,|$)", "", prompt)
    return prompt.replace("\0", "").strip()


def sample(
    family: "Family",
    settings: SampleSettings,
    *,
    prompts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Picture]:
    """Draw every prompt from every seed with the weights as they are now.

    Args:
        family: the model, adapter attached or not.
        settings: how to draw.
        prompts: instead of the settings' own.
        seeds: instead of the settings' own.
    Returns:
        Pictures, all seeds of the first prompt first.
    """
    return list(stream(family, settings, prompts=prompts, seeds=seeds))


def stream(
    family: "Family",
    settings: SampleSettings,
    *,
    prompts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Iterator[Picture]:
    """Draw as `sample` does, and hand out each picture as soon as its batch is done.

    Between two pictures the modules are in the mode they were found in.

    Args:
        family: the model, adapter attached or not.
        settings: how to draw.
        prompts: instead of the settings' own.
        seeds: instead of the settings' own.
    Returns:
        Pictures one after another, all seeds of the first prompt first.
    """
    prompts = settings.prompts or () if prompts is None else prompts
    seeds = settings.seeds if seeds is None else seeds
    return draw(family, settings, [(prompt, seed) for prompt in prompts for seed in seeds])


def draw(
    family: "Family", settings: SampleSettings, jobs: Sequence[tuple[str, int]]
) -> Iterator[Picture]:
    """Draw any pairs of prompt and seed.

    Args:
        family: the model, adapter attached or not.
        settings: how to draw; its own prompts and seeds are not looked at.
        jobs: prompt and seed of each picture.
    Yields:
        Pictures, in the order of the jobs.
    """
    with family.using("codec"):
        for start in range(0, len(jobs), settings.batch_size):
            batch = jobs[start : start + settings.batch_size]
            images = _draw(family, settings, batch)
            give_back()
            for (prompt, seed), image in zip(batch, images, strict=True):
                yield Picture(prompt, seed, image)


@contextlib.contextmanager
def evaluating(family: "Family") -> Iterator[None]:
    """Hold a model in evaluation mode, dropout off and no gradients, and put back what was.

    Args:
        family: its denoiser, codec and text encoders are switched.
    Yields:
        Nothing.
    """
    codec = family.codec.module
    parts: list[nn.Module] = [*family.parts.values(), *([codec] if codec is not None else [])]
    training = [module for part in parts for module in part.modules() if module.training]
    try:
        for part in parts:
            part.eval()
        # autocast of a caller would round weights that training itself never rounds
        with torch.no_grad(), torch.autocast(family.device.type, enabled=False):
            yield
    finally:
        for module in training:
            module.training = True


_ASKED: list[Callable[[], bool]] = []  # whether to end, of each stretch that is interruptible


class Interrupted(Exception):
    """The model was to be called although the run is to end."""


@contextlib.contextmanager
def interruptible(family: "Family", asked: Callable[[], bool]) -> Iterator[None]:
    """Let a long stretch of model calls end at the next one, or where `heed` is called.

    Args:
        family: its denoiser's calls are watched.
        asked: whether to end.
    Raises:
        Interrupted: in the place of a call, once `asked` says so.
    """
    _ASKED.append(asked)
    denoiser = next(iter(family.parts.values()))
    hook = denoiser.register_forward_pre_hook(lambda *_: heed())
    try:
        yield
    finally:
        hook.remove()
        _ASKED.remove(asked)


def heed() -> None:
    """Come to an end where a stretch of work is `interruptible` and was asked to end.

    Raises:
        Interrupted: it was.
    """
    if any(asked() for asked in _ASKED):
        raise Interrupted


def _draw(
    family: "Family", settings: SampleSettings, jobs: Sequence[tuple[str, int]]
) -> list[Image.Image]:
    """One batch, every picture from a generator of its own."""
    width, height = settings.width or family.native_px, settings.height or family.native_px
    generators = tuple(torch.Generator().manual_seed(seed) for _, seed in jobs)
    shape = (family.codec.channels, *family.codec.shape(width, height))
    noise = torch.stack([torch.randn(shape, generator=one) for one in generators])
    options = SampleOptions(
        width_px=width,
        height_px=height,
        steps=settings.steps,
        guidance=settings.guidance,
        guidance_rescale=settings.guidance_rescale,
        scheduler=settings.scheduler,
        spacing=settings.spacing,
        generators=generators,
    )
    given = None
    if family.inpaints:
        given = filling.given(settings.fill, [seed for _, seed in jobs], (width, height))
    with evaluating(family):
        wanted = _condition(family, [prompt for prompt, _ in jobs], options, given)
        negative = None
        if settings.guidance > 1:
            negative = _condition(family, [settings.negative], options).repeated(len(jobs))
            negative = replace(negative, beside=wanted.beside)
        latents = family.sample_latents(noise, wanted, negative=negative, options=options)
        give_back()  # decoding needs the most memory of all
        images = to_images(family.codec.decode(latents))
    return images if given is None else given.pasted(images)


def _condition(
    family: "Family",
    prompts: Sequence[str],
    options: SampleOptions,
    given: "filling.Given | None" = None,
) -> Condition:
    """What the prompts tell the model, encoded as in training (clip skip included)."""
    beside = None
    if given is not None:
        with family.using("codec"):
            beside = family.beside(given.pixels, given.masks)
    sizes = (SizeInfo.whole(options.width_px, options.height_px),) * len(prompts)
    return Condition(family.collate(family.encode_text(prompts)), sizes, beside)


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Turn decoded pixels into pictures.

    Args:
        pixels: (B, 3, H, W) in [0, 1].
    Returns:
        RGB pictures.
    """
    stored = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(one.permute(1, 2, 0).cpu().numpy()) for one in stored]
