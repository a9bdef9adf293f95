"""Links to an app that runs beside the notebook, as its first lines name them."""

import html
import importlib
import re
from collections.abc import Iterable

from workbench.notebook.environment import place
from workbench.notebook.shown import Shown

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ADDRESS = re.compile(r"https?://[^\s`'\"<>]+")


def addresses(said: str) -> list[str]:
    """Find the addresses in what a program said, whatever colours it put around them.

    Args:
        said: its output; rich 13.9 colours it even where FORCE_COLOR is set and empty.
    Returns:
        In their order, each once.
    """
    return list(dict.fromkeys(_ADDRESS.findall(_COLOURS.sub("", said))))


def links(lines: Iterable[str]) -> Shown:
    """Show links that open an app from where the reader is.

    Args:
        lines: what the app said when it started.
    Returns:
        A list of links; on Colab, whose machine is elsewhere, the address through its own proxy.
    """
    found = [_reachable(one) for one in addresses("".join(lines))]
    body = "".join(
        f'<li><a href="{html.escape(one)}" target="_blank">{html.escape(one)}</a></li>'
        for one in found
    )
    return Shown(f"<ul>{body}</ul>", "\n".join(found))


def _reachable(address: str) -> str:
    port = re.fullmatch(r"http://(?:127\.0\.0\.1|localhost):(\d+)/?", address)
    if port is None or place() != "Colab":
        return address
    output = importlib.import_module("google.colab.output")
    return output.eval_js(f"google.colab.kernel.proxyPort({port[1]})")
