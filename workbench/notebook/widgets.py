"""Controls in a cell: sliders choose what a function draws; without widgets, a static grid."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from workbench.evaluation.results import Comparison, Pair
from workbench.notebook.shown import Shown, gallery, grid, show

Draw = Callable[..., Any]
_STATIC_VALUES = 5  # shown of each control where there are no widgets


class Range(NamedTuple):
    """A slider: from `low` to `high` in steps, beginning at `start`."""

    low: float
    high: float
    step: float = 1
    start: float | None = None


Control = Range | Sequence[Any] | bool


def has_widgets() -> bool:
    """Say whether controls can be shown: a kernel and ipywidgets; WORKBENCH_WIDGETS=0 says no.

    Returns:
        False where cells show static grids instead.
    """
    if os.environ.get("WORKBENCH_WIDGETS") == "0":
        return False
    try:
        import ipywidgets  # noqa: F401
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def explore(draw: Draw, **controls: Control) -> Any:
    """Let controls choose what a function draws.

    Args:
        draw: takes one keyword argument a control and returns something that a cell can show: a
            picture, a figure, a gallery. It must be pure: it is called again at every change.
        controls: name to a `Range` (slider), a list of choices, or a bool (checkbox).
    Returns:
        The controls above what is drawn; without widgets a static grid over their values.
    """
    if not has_widgets():
        return _static(draw, controls)
    import ipywidgets

    made = {name: _widget(name, control) for name, control in controls.items()}

    def redraw(**values: Any) -> None:
        show(draw(**values))

    output = ipywidgets.interactive_output(redraw, made)
    return ipywidgets.VBox([*made.values(), output])


def ab_slider(found: Comparison | Sequence[Pair]) -> Any:
    """Slide between the base's picture and that of what was trained.

    Args:
        found: a comparison, or pairs of pictures.
    Returns:
        A choice of the pair and a slider; without widgets both pictures and the middle.
    """
    every = list(found.pairs if isinstance(found, Comparison) else found)
    by_name = {f"{pair.prompt} (seed {pair.seed})": pair for pair in every}

    def draw(pair: str, trained_percent: float) -> Shown:
        one = by_name[pair]
        picture = split(one.base, one.trained, trained_percent / 100)
        label = "trained on the left, base on the right" if 0 < trained_percent < 100 else ""
        return gallery({label: picture}, width_px=320)

    return explore(draw, pair=list(by_name), trained_percent=Range(0, 100, 1, 50))


def split(base: Image.Image, trained: Image.Image, share: float) -> Image.Image:
    """Put two pictures of one prompt and seed into one, with a line where they meet.

    Args:
        base: the base's picture.
        trained: of the same size; it covers the left.
        share: width that it covers, in [0, 1].
    Returns:
        The picture.
    """
    joined, edge = base.convert("RGB"), round(share * base.width)
    joined.paste(trained.convert("RGB").crop((0, 0, edge, base.height)), (0, 0))
    if 0 < edge < base.width:
        ImageDraw.Draw(joined).line((edge, 0, edge, base.height), fill="white")
    return joined


def _widget(name: str, control: Control) -> Any:
    import ipywidgets

    label = {"description": name.replace("_", " "), "style": {"description_width": "initial"}}
    wide = {"layout": {"width": "420px"}}
    if isinstance(control, bool):
        return ipywidgets.Checkbox(value=control, **label)
    if isinstance(control, Range):
        whole = all(float(x).is_integer() for x in (control.low, control.high, control.step))
        kind, number = (ipywidgets.IntSlider, int) if whole else (ipywidgets.FloatSlider, float)
        limits = {"min": control.low, "max": control.high, "step": control.step}
        limits = {key: number(limit) for key, limit in limits.items()}
        return kind(value=number(_start(control)), **limits, **label, **wide)
    return ipywidgets.Dropdown(options=list(control), **label, **wide)


def _start(control: Control) -> Any:
    if isinstance(control, Range):
        return control.low if control.start is None else control.start
    return control if isinstance(control, bool) else control[0]


def _values(control: Control) -> list[Any]:
    """A few values of a control, its ends included."""
    if isinstance(control, bool):
        return [False, True]
    if not isinstance(control, Range):
        return list(control)[:_STATIC_VALUES]
    count = round((control.high - control.low) / control.step)
    places = sorted({round(k * count / (_STATIC_VALUES - 1)) for k in range(_STATIC_VALUES)})
    return [control.low + place * control.step for place in places]


def _static(draw: Draw, controls: Mapping[str, Control]) -> Any:
    """What the controls would show, a row for each of them with the others at their start."""
    start = {name: _start(control) for name, control in controls.items()}
    rows: dict[str, list[tuple[str, Any]]] = {}
    for name, control in controls.items():
        said = name.replace("_", " ")
        rows[said] = [
            (
                f"{value:g}" if isinstance(value, float) else str(value),
                draw(**start | {name: value}),
            )
            for value in _values(control)
        ]
    every = [thing for row in rows.values() for _, thing in row]
    if all(isinstance(thing, Image.Image) for thing in every):
        return grid(rows)
    if all(isinstance(thing, Shown) and len(thing.pictures) == 1 for thing in every):
        return _in_rows(rows)
    if all(isinstance(thing, Shown) for thing in every):
        return _stacked(rows)
    first = next(iter(rows.values()))
    for _, figure in (first[0], first[-1]):
        show(figure)
    where = f"{inspect.getdoc(draw) or 'drawn'}: first and last value of {next(iter(rows))}"
    return Shown(f"<p>{where}</p>", where)


def _in_rows(rows: Mapping[str, Sequence[tuple[str, Shown]]]) -> Shown:
    """Galleries of one picture side by side, its own label below its value where it has one."""
    return grid(
        {
            name: [
                (": ".join(filter(None, (label, one.pictures[0][0]))), one.pictures[0][1])
                for label, one in row
            ]
            for name, row in rows.items()
        }
    )


def _stacked(rows: Mapping[str, Sequence[tuple[str, Shown]]]) -> Shown:
    """Galleries and tables one below the other, each under its value."""
    import html

    parts = [(f"{name} = {label}", one) for name, row in rows.items() for label, one in row]
    markup = "".join(f"<p><b>{html.escape(head)}</b></p>{one.markup}" for head, one in parts)
    return Shown(markup, "\n".join(f"{head}\n{one.text}" for head, one in parts))
