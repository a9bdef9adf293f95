"""What can be known of a base model before it is loaded, or even fetched."""

from dataclasses import dataclass

from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.source import is_remote
from workbench.settings import SettingsError
from workbench.store import FileRefused


@dataclass(frozen=True, slots=True)
class Base:
    """A base model as far as its name, its configs and its headers tell.

    Attributes:
        family: name of its family; None while unknown.
        native_px: side of the pictures it was made for; None while unknown.
        is_critters: it is the small one that ships with the package.
        prediction: "epsilon", "v_prediction" or "flow"; None while unknown.
        zero_terminal_snr: its last timestep is noise alone.
        latent_px: pixels to a latent's side.
        side_multiple_px: both sides of a picture must be multiples of it.
        refused: why it cannot be trained as it is; "" where it can, or lies on the Hub.
    """

    family: str | None = None
    native_px: int | None = None
    is_critters: bool = False
    prediction: str | None = None
    zero_terminal_snr: bool = False
    latent_px: int = 8
    side_multiple_px: int = 8
    refused: str = ""


def look(settings: BaseSettings) -> Base:
    """Recognise a base model; nothing is fetched, and no weight is read.

    Args:
        settings: which model.
    Returns:
        What is known of it.
    """
    critters = settings.path == "critters"
    if is_remote(settings.path):
        family = loading.named(settings)
        return Base(
            family,
            None if family is None else loading.module(family).NATIVE_PX,
            prediction=settings.prediction,
            zero_terminal_snr=bool(settings.zero_terminal_snr),
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
    )
