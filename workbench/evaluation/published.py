"""Which published structure a LoRA file was made for, by the names and shapes of its layers."""

from typing import TYPE_CHECKING

from workbench.adapters.files import Format, LoraFile, resolve
from workbench.adapters.naming import is_sdxl
from workbench.models.structures import TITLES, structure
from workbench.settings import SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:
    from workbench.models.structures import Structure

__all__ = ["structure_of"]


def structure_of(file: LoraFile, *, to: Format) -> "Structure | None":
    """Find the structure that a file's layers fit, so that they can be named without the base.

    Args:
        file: what `read` returned.
        to: the format that its layers are to be named in.
    Returns:
        One that ships; None where it fits none, but its names are those of SD 1.x and 2.x, which
        tell everything by themselves.
    Raises:
        SettingsError: the names of SDXL, and no structure that ships; or it fits several that name
            layers differently.
    """
    fitting = [found for found in map(structure, TITLES) if _fits(file, found)]
    kinds = {found.version == "sdxl" for found in fitting}
    if len(kinds) > 1 and to == "kohya":
        titles = ", ".join(TITLES[found.version] for found in fitting)
        raise SettingsError(
            f"{file.path}: its {len(file.layers)} layers fit {titles}, which name layers "
            "differently in kohya's format; name the base model with --base"
        )
    if not fitting and any(map(is_sdxl, file.layers)):
        raise SettingsError(
            f"{file.path}: its layers have SDXL's names, but fit no structure that ships "
            f"({', '.join(TITLES.values())}); name the base model with --base"
        )
    return fitting[0] if fitting else None


def _fits(file: LoraFile, structure: "Structure") -> bool:
    try:
        resolve(file, structure.parts, name_of=structure.file_name)
    except FileRefused:
        return False
    return True
