"""What can be known of a base model before it is loaded, or even fetched."""

import re
from dataclasses import dataclass
from pathlib import Path

from workbench import store
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.source import Source, is_critters, is_remote
from workbench.settings import SettingsError
from workbench.store import FileRefused

# Names that makers give to models distilled to a few steps, as words of their own; diffusers'
# LCMScheduler is one too.
_FEW_STEPS = re.compile(
    r"(?<![a-z])(turbo|lightning|lcm|hyper|dmd2?|schnell|flash)(?![a-z])|LCM(?=Scheduler)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Base:
    """A base model as far as its name, its configs and its headers tell.

    Attributes:
        family: name of its family; None while unknown.
        native_px: side of the pictures it was made for; None while unknown.
        is_critters: it is the small one that ships with the package.
        prediction: "epsilon", "v_prediction" or "flow"; None while unknown.
        zero_terminal_snr: its last timestep is noise alone.
        said_prediction: what its files say of the prediction; None where they are silent.
        latent_px: pixels to a latent's side.
        side_multiple_px: both sides of a picture must be multiples of it.
        refused: why it cannot be trained as it is; "" where it can, or lies on the Hub.
        inpaints: it fills in masks, beside following a prompt.
        few_steps: the word by which it is known to draw in few steps, such as "turbo"; "" if none.
    """

    family: str | None = None
    native_px: int | None = None
    is_critters: bool = False
    prediction: str | None = None
    zero_terminal_snr: bool = False
    latent_px: int = 8
    side_multiple_px: int = 8
    refused: str = ""
    said_prediction: str | None = None
    few_steps: str = ""
    inpaints: bool = False


def look(settings: BaseSettings) -> Base:
    """Recognise a base model; nothing is fetched, and no weight is read.

    Args:
        settings: which model.
    Returns:
        What is known of it.
    """
    critters = is_critters(settings.path)
    if is_remote(settings.path):
        known = loading.named(settings)
        return Base(
            None if known is None else known.family,
            None if known is None else known.native_px,
            prediction=settings.prediction,
            zero_terminal_snr=bool(settings.zero_terminal_snr),
            few_steps=_few_steps(settings.path),
        )
    try:
        source = loading.locate(settings)
        said = loading.module(source.family).describe(source, settings)
    except (SettingsError, FileRefused, OSError) as error:
        return Base(is_critters=critters, refused=str(error))
    return Base(
        source.family,
        said.native_px,
        critters,
        said.prediction,
        said.zero_terminal_snr,
        said.latent_px,
        said.side_multiple_px,
        said_prediction=said.said_prediction,
        few_steps=_few_steps(settings.path, *_titles(source)),
        inpaints=source.inpaints,
    )


def _few_steps(path: str, *titles: str) -> str:
    """The word for a model of few steps in a base's name or in what its files say of it."""
    name = Path(path).stem if path.endswith(".safetensors") else Path(path).name
    found = (_FEW_STEPS.search(text) for text in (name, *titles))
    return next((match[0].lower() for match in found if match), "")


def _titles(source: Source) -> tuple[str, ...]:
    """Where the files of a base name it, or its sampler."""
    if source.is_file:
        return (store.read_header(source.path)[0].get("modelspec.title", ""),)
    path = source.path / "scheduler" / "scheduler_config.json"
    return (str(store.read_json(path).get("_class_name", "")),) if path.is_file() else ()
