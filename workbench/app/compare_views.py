"""Two pictures on one another: slider, blink, difference, loupe, each with what it is beside it."""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from workbench.app.compare_source import recipe_of
from workbench.app.desk import MISTAKES, loading, pictures
from workbench.app.words import text
from workbench.evaluation.page import data_uri
from workbench.workspace.loras import Source

if TYPE_CHECKING:
    from workbench.evaluation.copying import Known, Near

VIEWS = ("slider", "side", "blink", "difference", "loupe")
THUMBNAIL_PX = 160
_seen: "list[tuple[object, Known | None]]" = []  # of the source that was looked at last
# What moves is told once, for whatever page is shown later: the pictures come anew with each view.
SCRIPT = """
if (!window.workbenchViews) {
  window.workbenchViews = true;
  const at = (views, x, y) => {
    views.style.setProperty("--x", 100 * x + "%");
    views.style.setProperty("--y", 100 * y + "%");
    views.dataset.x = x;
    views.dataset.y = y;
  };
  document.addEventListener("input", (event) => {
    const views = event.target.closest?.(".views.slider");
    if (views) views.style.setProperty("--at", event.target.value + "%");
  });
  const look = (event) => {
    const lens = event.target.closest?.(".views.loupe .lens");
    if (!lens) return;
    const box = lens.getBoundingClientRect();
    const views = lens.closest(".views");
    at(views, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    views.classList.add("near");
  };
  document.addEventListener("pointermove", look);
  document.addEventListener("pointerdown", look);
  document.addEventListener("pointerout", (event) => {
    const views = event.target.closest?.(".views.loupe");
    if (views && !views.contains(event.relatedTarget)) views.classList.remove("near");
  });
  document.addEventListener("keydown", (event) => {
    const views = event.target.closest?.(".views.loupe");
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!views || !(way[event.key] || event.key === "Escape")) return;
    event.preventDefault();
    views.classList.toggle("near", event.key !== "Escape");
    const [x, y] = way[event.key] || [0, 0];
    const moved = (old, step) => Math.min(1, Math.max(0, Number(old ?? 0.5) + step / 16));
    at(views, moved(views.dataset.x, x), moved(views.dataset.y, y));
  });
}
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture and what it is: both leave together, so that no caption outlives its picture.

    Attributes:
        name: short, such as "Base".
        caption: source, step, strength, seed and prompt.
        image: the picture.
    """

    name: str
    caption: str
    image: Image.Image


def views(first: Shown, second: Shown, view: str, *, near: "Near | None" = None) -> str:
    """Lay two pictures on one another, or side by side.

    Args:
        first: below, or on the left.
        second: above, or on the right.
        view: one of `VIEWS`.
        near: the training picture that the second one is most like.
    Returns:
        HTML; the browser slides, blinks, subtracts and enlarges, so that nothing is sent anew.
    """
    lenses = "".join(
        f'<div class="lens"><img alt="{html.escape(one.caption)}" src="{data_uri(one.image)}">'
        f'<span class="tag">{html.escape(one.name)}</span></div>'
        for one in (first, second)
    )
    said = html.escape(text("compare_slider_said"))
    slider = f'<input type="range" min="0" max="100" value="50" aria-label="{said}">'
    captions = "".join(
        f"<p><b>{html.escape(one.name)}</b> {html.escape(one.caption)}</p>"
        for one in (first, second)
    )
    focus = ' tabindex="0"' if view in ("blink", "loupe") else ""
    return (
        f'<div class="views {view}"{focus}><div class="stage">{lenses}'
        f"{slider if view == 'slider' else ''}</div>"
        f'<div class="beside"><div>{captions}</div>{nearest(near)}</div></div>'
    )


def nearest(near: "Near | None") -> str:
    """A training picture as it stands beside a sample.

    Args:
        near: as `known_of` finds it.
    Returns:
        HTML; "" without one.
    """
    if near is None:
        return ""
    key = "compare_near_copy" if near.is_copy else "compare_near"
    said = text(key, name=near.name, value=f"{near.similarity:.2f}", features=near.features)
    alt = html.escape(said)
    return (
        f'<figure class="near-one"><img alt="{alt}" src="{data_uri(near.image, THUMBNAIL_PX)}">'
        f"<figcaption>{alt}</figcaption></figure>"
    )


def known_of(source: Source) -> "Known | None":
    """The training pictures of a source, as a judge sees them.

    Args:
        source: a run or a file.
    Returns:
        The pictures; None where they are not there, or are drawn without end.
    """
    from workbench.evaluation.copying import known_pictures

    recipe = recipe_of(source)
    if recipe is None:
        return None
    try:
        dataset = pictures(recipe)
        if dataset is None:
            return None
        with loading():  # its judge is a model like any other
            if not _seen or _seen[0][0] is not dataset.records:  # found anew when a file changes
                _seen[:] = [(dataset.records, known_pictures(dataset, recipe.base.path))]
            return _seen[0][1]
    except MISTAKES:  # they are no longer there: nothing can be said of them
        return None
