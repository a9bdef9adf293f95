"""Still pictures beside plotly's figures, for pages that run no scripts."""

from typing import Any

from workbench.plots.still import figure_svg

NAME = "still"


def keep_stills() -> None:
    """Let every figure that a cell shows carry an SVG as well.

    A page that draws plotly's figures takes those; nbconvert and GitHub show the SVG.
    """
    import plotly.io as pio
    from plotly.graph_objects import Figure
    from plotly.io.base_renderers import MimetypeRenderer

    class Still(MimetypeRenderer):
        def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, str]:
            return {"image/svg+xml": figure_svg(Figure(fig_dict))}

    if NAME in str(pio.renderers.default).split("+"):
        return
    pio.renderers[NAME] = Still()
    pio.renderers.default = "+".join(filter(None, (str(pio.renderers.default or ""), NAME)))
