"""The only list of model families; who is not in it cannot be trained.

Modules are named, not imported: a recipe is read without the seconds that diffusers takes.
"""

import difflib

__all__ = ["FAMILIES", "names", "require_known"]

# Name to module, in the order in which they are asked whether a base is theirs; see
# `loading.FamilyModule` for what a module must offer. A test may put an object here.
FAMILIES: dict[str, object] = {
    "sdxl": "workbench.models.sdxl",
    "sd": "workbench.models.sd",
    "zimage": "workbench.models.zimage",
}


def names() -> tuple[str, ...]:
    """Names of all families.

    Returns:
        What `base.family` may be, beside "auto".
    """
    return tuple(FAMILIES)


def require_known(name: str) -> str:
    """Refuse a family that is not there.

    Args:
        name: of a family, or "auto".
    Returns:
        The name.
    Raises:
        ValueError: there is none of that name; the nearest is named.
    """
    known = ("auto", *names())
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"must be one of {', '.join(map(repr, known))}, got {name!r}{meant}")
