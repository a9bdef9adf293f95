"""What can be known of a base model before it is loaded, or even fetched."""

from dataclasses import dataclass
from pathlib import Path

from workbench import store
from workbench.models.family import BaseSettings
from workbench.models.source import locate
from workbench.settings import SettingsError
from workbench.store import FileRefused

_NATIVE_PX = {"sd": 512, "sdxl": 1024}
# Parts of published names; what is none of these stays unknown.
_NAMES = {
    "sdxl": ("xl", "pony", "illustrious", "noobai", "animagine"),
    "sd": ("stable-diffusion-v1", "stable-diffusion-2", "sd1", "sd-1", "v1-5", "sd15", "1.5"),
}


@dataclass(frozen=True, slots=True)
class Base:
    """A base model as far as its name, its configs and its headers tell.

    Attributes:
        family: "sd" or "sdxl"; None while unknown.
        native_px: side of the pictures it was made for; None while unknown.
        is_critters: it is the small one that ships with the package.
        prediction: "epsilon" or "v_prediction"; None while unknown.
        zero_terminal_snr: its last timestep is noise alone.
    """

    family: str | None = None
    native_px: int | None = None
    is_critters: bool = False
    prediction: str | None = None
    zero_terminal_snr: bool = False


def look(settings: BaseSettings) -> Base:
    """Recognise a base model; nothing is fetched, and no weight is read.

    Args:
        settings: which model.
    Returns:
        What is known of it.
    """
    critters = settings.path == "critters"
    if critters or Path(settings.path).expanduser().exists():
        try:
            source = locate(settings)
            config = store.read_json(source.config / "unet" / "config.json")
            schedule = store.read_json(source.config / "scheduler" / "scheduler_config.json")
        except (SettingsError, FileRefused, OSError):
            return Base(is_critters=critters)  # loading it says better what is wrong
        size = config.get("sample_size")
        side = max(size) if isinstance(size, list) else size
        native = side * 8 if isinstance(side, int) else _NATIVE_PX[source.family]
        schedule |= source.scheduler
        zero = settings.zero_terminal_snr
        return Base(
            source.family,
            native,
            critters,
            settings.prediction or schedule.get("prediction_type", "epsilon"),
            bool(schedule.get("rescale_betas_zero_snr")) if zero is None else zero,
        )
    family = None if settings.family == "auto" else settings.family
    if family is None:
        name = settings.path.lower()
        family = next((f for f, marks in _NAMES.items() if any(m in name for m in marks)), None)
    return Base(
        family,
        _NATIVE_PX.get(family or ""),
        prediction=settings.prediction,
        zero_terminal_snr=bool(settings.zero_terminal_snr),
    )
