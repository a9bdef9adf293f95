"""Figures of buckets: which sizes there are, which pictures fall where, what the crop takes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from workbench.plots.theme import COLOURS, SERIES, new_figure, shorten

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Size = tuple[int, int]  # width, height in px
Box = tuple[float, float, float, float]  # left, top, right, bottom
# Plotly's own labels of a logarithmic axis leave zeros out: 200 would read 2.
TICKS = [side for k in range(4, 14) for side in (2**k, 3 * 2 ** (k - 1))]
NAMES = 3  # of the pictures that share a point
SHADE = 0.3  # light that is left of what the crop takes away


def scatter(
    pictures: Mapping[str, tuple[Size, Size]], buckets: Sequence[Size], *, chosen: str | None = None
) -> "Figure":
    """Draw buckets as squares, and sizes of pictures as points in the colour of their bucket's.

    Args:
        pictures: name to the picture's size and its bucket.
        buckets: all that there are; those without a picture are grey.
        chosen: a picture to mark, with a line to its bucket.
    Returns:
        The figure; both axes are logarithmic, so that one shape lies on one diagonal line.
    """
    figure = new_figure(title="Pictures and their buckets", x="width, px", y="height, px")
    used = sorted({bucket for _, bucket in pictures.values()})
    colours = {bucket: SERIES[k % len(SERIES)] for k, bucket in enumerate(used)}
    # Two traces and no legend: a browser takes its time for each.
    figure.add_scatter(
        x=[width for width, _ in buckets],
        y=[height for _, height in buckets],
        mode="markers",
        name="buckets",
        marker={
            "symbol": "square-open",
            "size": 13,
            "color": [colours.get(bucket, COLOURS["base"]) for bucket in buckets],
            "line": {"width": [3 if bucket in colours else 1 for bucket in buckets]},
        },
        hovertemplate="bucket %{x} x %{y}<extra></extra>",
    )
    alike: dict[tuple[Size, Size], list[str]] = {}
    for name, pair in pictures.items():
        alike.setdefault(pair, []).append(name)
    figure.add_scatter(
        x=[size[0] for size, _ in alike],
        y=[size[1] for size, _ in alike],
        text=list(map(_named, alike.values())),
        customdata=[_said(bucket) for _, bucket in alike],
        mode="markers",
        name="pictures",
        marker={"size": 9, "color": [colours[bucket] for _, bucket in alike]},
        hovertemplate="%{text}<br>%{x} x %{y}<extra>%{customdata}</extra>",
    )
    if chosen is not None:
        (width, height), (across, down) = pictures[chosen]
        line = {"color": COLOURS["held out"], "width": 2}
        figure.add_scatter(
            x=[width, across], y=[height, down], mode="lines", name=chosen, line=line
        )
    figure.update_xaxes(type="log", showgrid=True, tickvals=TICKS)
    figure.update_yaxes(type="log", tickvals=TICKS)
    figure.update_layout(height=420, hovermode="closest", showlegend=False)
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
    names = list(dict.fromkeys(name for shares in choices.values() for name in shares))
    ticks = [shorten(name, most=16, end=True) for name in names]
    figure.update_xaxes(type="category", tickvals=names, ticktext=ticks)
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


def _named(names: Sequence[str]) -> str:
    """Pictures of one size are one point."""
    first = ", ".join(names[:NAMES])
    return first if len(names) <= NAMES else f"{first} and {len(names) - NAMES} more"


def _said(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
