"""Figures of buckets: which sizes there are, which pictures fall where, what the crop takes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from workbench.plots.theme import COLOURS, SERIES, new_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Size = tuple[int, int]  # width, height in px
Box = tuple[float, float, float, float]  # left, top, right, bottom
SHADE = 0.3  # light that is left of what the crop takes away


def scatter(
    pictures: Mapping[str, tuple[Size, Size]], buckets: Sequence[Size], *, chosen: str | None = None
) -> "Figure":
    """Draw pictures as points in the colour of their bucket, and the buckets as squares.

    Args:
        pictures: name to the picture's size and its bucket.
        buckets: all that there are.
        chosen: a picture to mark, with a line to its bucket.
    Returns:
        The figure; both axes are logarithmic, so that one shape lies on one diagonal line.
    """
    figure = new_figure(title="Pictures and their buckets", x="width, px", y="height, px")
    figure.add_scatter(
        x=[width for width, _ in buckets],
        y=[height for _, height in buckets],
        mode="markers",
        name="buckets",
        marker={"symbol": "square-open", "size": 11, "color": COLOURS["base"]},
        hovertemplate="bucket %{x} x %{y}<extra></extra>",
    )
    used = sorted({bucket for _, bucket in pictures.values()})
    for k, bucket in enumerate(used):
        names = [name for name, (_, own) in pictures.items() if own == bucket]
        figure.add_scatter(
            x=[pictures[name][0][0] for name in names],
            y=[pictures[name][0][1] for name in names],
            text=names,
            mode="markers",
            name=_said(bucket),
            marker={"size": 10, "color": SERIES[k % len(SERIES)]},
            hovertemplate="%{text}: %{x} x %{y}<extra>" + _said(bucket) + "</extra>",
        )
    if chosen is not None:
        (width, height), (across, down) = pictures[chosen]
        line = {"color": COLOURS["held out"], "width": 2}
        figure.add_scatter(
            x=[width, across], y=[height, down], mode="lines", name=chosen, line=line
        )
    figure.update_xaxes(type="log", showgrid=True, dtick="D2")
    figure.update_yaxes(type="log", dtick="D2")
    beside = {"orientation": "v", "x": 1.01, "y": 1, "xanchor": "left", "yanchor": "top"}
    figure.update_layout(height=420, hovermode="closest", legend=beside)
    return figure


def counts(buckets: Mapping[Size, int], *, batch_size: int | None = None) -> "Figure":
    """Draw how many pictures each bucket holds.

    Args:
        buckets: bucket to the number of its pictures.
        batch_size: the share of a bar above the last full batch is drawn paler.
    Returns:
        Bars, from tall to wide buckets.
    """
    figure = new_figure(title="Pictures in each bucket", x="bucket, width x height", y="pictures")
    order = sorted(buckets, key=lambda bucket: bucket[0] / bucket[1])
    left = {b: buckets[b] % batch_size if batch_size else 0 for b in order}
    parts = [("in full batches", "trained", {b: buckets[b] - left[b] for b in order})]
    if batch_size:
        parts.append(("in a short batch", "held out", left))
    for name, colour, values in parts:
        figure.add_bar(
            x=[_said(bucket) for bucket in order],
            y=[values[bucket] for bucket in order],
            name=name,
            marker={"color": COLOURS[colour], "cornerradius": 3},
            showlegend=len(parts) > 1,
        )
    figure.update_layout(barmode="stack", bargap=0.3)
    figure.update_xaxes(type="category")
    return figure


def lost(choices: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Draw which share of each picture the crop takes away, for several choices of buckets.

    Args:
        choices: what was chosen, to picture to share in [0, 1].
    Returns:
        Bars in percent, a group a picture.
    """
    figure = new_figure(title="Cut off", x="picture", y="share of the picture, %")
    for k, (name, shares) in enumerate(choices.items()):
        figure.add_bar(
            x=list(shares),
            y=[100 * share for share in shares.values()],
            name=name,
            marker={"color": SERIES[k % len(SERIES)], "cornerradius": 3},
            hovertemplate="%{y:.0f} %",
        )
    figure.update_layout(bargap=0.25, bargroupgap=0.05)
    figure.update_xaxes(type="category")
    return figure


def crop_overlay(picture: Image.Image, box: Box) -> Image.Image:
    """Darken what a crop takes away.

    Args:
        picture: the whole picture.
        box: what stays, in its px.
    Returns:
        A picture of the same size with the crop's frame.
    """
    whole = picture.convert("RGB")
    inner = (math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3]))
    shaded = whole.point([round(SHADE * value) for value in range(256)] * 3)
    shaded.paste(whole.crop(inner), inner[:2])
    width = max(1, min(whole.size) // 80)
    frame = (inner[0], inner[1], inner[2] - 1, inner[3] - 1)
    ImageDraw.Draw(shaded).rectangle(frame, outline=COLOURS["held out"], width=width)
    return shaded


def _said(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
