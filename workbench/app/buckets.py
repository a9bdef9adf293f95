"""The tab Buckets: which size each picture is trained at, and what that costs it."""

import html
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.app.desk import (
    AT_ONCE,
    LATER,
    MISTAKES,
    QUIETLY,
    Desk,
    pictures,
    same_as,
    saved_as,
    saying,
)
from workbench.app.form import form, mistake
from workbench.app.gallery import shelf
from workbench.app.words import label, text
from workbench.plots.buckets import counts, crop_overlay, scatter
from workbench.plots.theme import thin
from workbench.recipe import Recipe

if TYPE_CHECKING:
    from workbench.data.buckets import Placement
    from workbench.data.dataset import Dataset, Record

MAX_SHOWN = 1000  # pictures in the figure and the table; a spreadsheet takes all
SIDE_PX = 512  # of the picture with its crop
FIRST = ("resolution", "enabled")  # the other settings are folded away
COLUMNS = ("number", "name", "size", "bucket", "scale", "lost", "shows", "mask", "aside")


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    gr.Markdown(label("buckets_title"), elem_classes="tab-title")
    gr.Markdown(label("buckets_lead"), elem_classes="lead")
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            form(desk, lambda entry: _setting(entry.path) in FIRST)
            with gr.Accordion(label("buckets_more"), open=False):
                form(desk, lambda entry: _setting(entry.path) not in ("", *FIRST))
            facts = gr.HTML(elem_id="bucket-facts")
        with gr.Column(scale=5, min_width=320):
            points = gr.Plot(show_label=False, container=False, elem_id="bucket-points")
    bars = gr.Plot(show_label=False, container=False, elem_id="bucket-bars")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            on_show = shelf(desk, "buckets")
        with gr.Column(scale=2, min_width=300, elem_id="bucket-crop"):
            image = gr.Image(show_label=False, interactive=False, height=300, container=False,
                             buttons=[])  # fmt: skip
            said = gr.HTML()
    gr.Markdown(label("buckets_ledger"), elem_classes="part-title")
    table = gr.Dataframe(
        headers=[text(f"buckets_{name}") for name in COLUMNS],
        datatype=["number", "str", "str", "str", "number", "number", "number", "number", "str"],
        interactive=False, show_label=False, max_height=420, elem_id="bucket-ledger",
        column_widths=["60px", "220px", "110px", "110px", "90px", "110px", "90px", "110px",
                       "260px"],
    )  # fmt: skip
    with gr.Row():
        keep = gr.Button(label("buckets_keep"), size="sm", scale=0, min_width=200)
    csv = gr.Textbox(visible=False)
    same_as(desk, _python, _shell)

    seen, listed = gr.State((None, None)), gr.State(None)
    moved = [desk.moved.change, on_show.chosen.change]
    parts = [facts, points, bars, image, said, seen]
    gr.on(moved, _look, [desk.recipe, on_show.chosen, seen], parts, **AT_ONCE)
    desk.moved.change(_list, [desk.recipe, listed], [table, listed], js=LATER, **AT_ONCE)
    table.select(_choose, on_show.chosen, on_show.chosen, **QUIETLY)
    keep.click(saying(_csv), desk.recipe, csv, api_visibility="private").then(
        None, csv, None, js=saved_as("buckets.csv", "text/csv")
    )


def _setting(path: str) -> str:
    parts = path.split(".")
    return parts[2] if parts[:2] == ["data", "buckets"] else ""


def _choose(chosen: int, event: gr.SelectData) -> int:
    """A row's number finds its picture however the table is sorted; files set aside have none."""
    number = event.row_value[0]
    return int(number) - 1 if number else chosen


def _look(recipe: Recipe, chosen: int, seen: tuple[Any, Any]) -> tuple[Any, ...]:
    """All of the tab in one answer: each further question to the server costs as much again."""
    *shown, placed = show(recipe, chosen, seen[0])
    *crop, cut = show_crop(recipe, chosen, seen[1])
    kept = tuple(
        old if new == gr.skip() else new for new, old in zip((placed, cut), seen, strict=True)
    )
    return *shown, *crop, kept


def show(recipe: Recipe, chosen: int, seen: Any) -> tuple[Any, ...]:
    """Place the pictures.

    Args:
        recipe: what is being made.
        chosen: index of the picture that is marked.
        seen: what the page shows.
    Returns:
        Numbers, points, bars, and what is shown now; nothing where it is the same.
    """
    try:
        dataset = pictures(recipe) if recipe else None
    except MISTAKES as error:
        return mistake(str(error)), None, None, None
    if dataset is None or not len(dataset):
        return _empty(), None, None, None
    chosen = min(chosen, len(dataset) - 1)
    # The sequence of records is made anew with every reading, and only then.
    now = (id(dataset.records), recipe.data.buckets, recipe.training.batch_size, chosen)
    if now == seen:
        return tuple(gr.skip() for _ in range(4))
    drawn = _points(dataset, chosen)
    if seen and now[:3] == seen[:3]:  # another picture was chosen, and nothing else has changed
        return gr.skip(), drawn, gr.skip(), now
    batch_size = recipe.training.batch_size
    held = _held(dataset)
    return _facts(dataset), drawn, counts(held, batch_size=batch_size), now


def _empty() -> str:
    return f'<div class="empty"><b>{text("data_empty")}</b>{text("data_empty_info")}</div>'


def _shown(dataset: "Dataset") -> list[int]:
    return thin(len(dataset), MAX_SHOWN)


def _points(dataset: "Dataset", chosen: int) -> Any:
    from workbench.data.buckets import sizes

    places = sorted({*_shown(dataset), chosen})
    found = {}
    for index in places:
        record = dataset.records[index]
        found[_name(index, record)] = (
            (record.width, record.height),
            dataset.placements[index].bucket,
        )
    marked = _name(chosen, dataset.records[chosen])
    return scatter(found, sizes(dataset.settings.buckets), chosen=marked)


def _name(index: int, record: "Record") -> str:
    """Short, and no picture of another source has it too."""
    from workbench.data.sources import shown

    return f"{index + 1}: {shown(record.name)}"


def _held(dataset: "Dataset") -> dict[tuple[int, int], int]:
    """How many pictures each bucket holds; of worlds without end, how many of those shown."""
    every = _shown(dataset) if dataset.is_drawn else range(len(dataset))
    found: dict[tuple[int, int], int] = {}
    for index in every:
        bucket = dataset.placements[index].bucket
        found[bucket] = found.get(bucket, 0) + 1
    return found


def _facts(dataset: "Dataset") -> str:
    from workbench.data.buckets import sizes

    placed = [dataset.placements[index] for index in _shown(dataset)]
    lost = [one.lost for one in placed]
    pairs = [
        ("pictures", f"{len(dataset):,}"),
        ("used", f"{len(_held(dataset))} / {len(sizes(dataset.settings.buckets))}"),
        ("mean_lost", f"{sum(lost) / len(lost):.1%}"),
        ("most_lost", f"{max(lost):.1%}"),
        ("enlarged", f"{sum(one.scale > 1 for one in placed):,}"),
        ("set_aside", f"{len(dataset.set_aside):,}"),
    ]
    rows = "".join(
        f"<div><dt>{html.escape(text(f'buckets_{name}'))}</dt><dd>{value}</dd></div>"
        for name, value in pairs
    )
    more = len(dataset) - len(placed)
    note = f'<p class="lead">{text("buckets_thinned", count=f"{len(placed):,}")}</p>' * (more > 0)
    return f'<dl class="facts">{rows}</dl>{note}'


def _list(recipe: Recipe, listed: Any) -> tuple[Any, Any]:
    """The ledger, unless the same stands there; a long table takes a browser a while."""
    try:
        dataset = pictures(recipe)
    except MISTAKES:  # said above
        dataset = None
    now = None if dataset is None else (id(dataset.records), recipe.data.buckets)
    if dataset is None:
        return [], now
    return (gr.skip(), gr.skip()) if now == listed else (_rows(dataset), now)


def _rows(dataset: "Dataset") -> list[list[Any]]:
    """The ledger: pictures first, then what was set aside and why."""
    from workbench.data.sources import shown

    rows: list[list[Any]] = []
    for index in _shown(dataset):
        record, placement = dataset.records[index], dataset.placements[index]
        mask = dataset.masks[index]
        rows.append(
            [
                index + 1,
                shown(record.name),
                _said(record.width, record.height),
                _said(*placement.bucket),
                round(placement.scale, 3),
                round(100 * placement.lost, 1),
                record.repeats,
                round(100 * mask.coverage) if mask else None,
                "",
            ]
        )
    aside = dataset.set_aside[:MAX_SHOWN]
    return rows + [[None, shown(x.name), "", "", *[None] * 4, x.reason] for x in aside]


def _said(width: int, height: int) -> str:
    return f"{width} x {height}"


def show_crop(recipe: Recipe, chosen: int, seen: Any) -> tuple[Any, Any, Any]:
    """Show what of a picture is trained.

    Args:
        recipe: what is being made.
        chosen: index of the picture.
        seen: what the page shows.
    Returns:
        The picture with what is cut off darkened, a sentence, and what is shown now.
    """
    try:
        dataset = pictures(recipe) if recipe else None
        if dataset is None or not len(dataset):
            return None, "", None
        chosen = min(chosen, len(dataset) - 1)
        record, placement = dataset.records[chosen], dataset.placements[chosen]
        now = (id(dataset.records), placement, chosen)
        if now == seen:
            return gr.skip(), gr.skip(), gr.skip()
        whole = dataset.open(record)
    except MISTAKES as error:
        return None, mistake(str(error)), None
    whole.thumbnail((SIDE_PX, SIDE_PX))
    return crop_overlay(whole, placement.source_box(whole.size)), _sentence(record, placement), now


def _sentence(record: "Record", placement: "Placement") -> str:
    from workbench.data.sources import shown

    how = "same" if placement.scale == 1 else "larger" if placement.scale > 1 else "smaller"
    left, top, width, height = placement.crop
    right, below = placement.resized[0] - left - width, placement.resized[1] - top - height
    across = text("buckets_cut_across", left=left, right=right) if left + right else ""
    down = text("buckets_cut_down", top=top, below=below) if top + below else ""
    cut = " ".join(filter(None, (across, down))) or text("buckets_cut_nothing")
    said = text(
        "buckets_sentence",
        name=shown(record.name),
        size=_said(record.width, record.height),
        how=text(
            f"buckets_{how}", scale=f"{placement.scale:.2f}", resized=_said(*placement.resized)
        ),
        bucket=_said(*placement.bucket),
        lost=f"{placement.lost:.1%}",
    )
    return f"<p><b>{html.escape(said)}</b></p><p class='lead'>{html.escape(cut)}</p>"


def _csv(recipe: Recipe) -> str:
    from workbench.data.ledger import ledger
    from workbench.settings import SettingsError

    dataset = pictures(recipe)
    if dataset is None:
        raise SettingsError(text("data_empty"))
    if dataset.is_drawn:
        raise SettingsError(text("buckets_endless"))
    return ledger(dataset).to_csv()


def _python(recipe: Recipe) -> str:
    return (
        "from workbench.data.dataset import index\n"
        "from workbench.data.ledger import ledger\n\n"
        f'account = ledger(index(wb.Recipe.load("{recipe.name}.toml").data))\n'
        "print(account.to_csv())"
    )


def _shell(recipe: Recipe) -> str:
    import shlex

    path = recipe.data.subsets[0].path if recipe.data.subsets else "FOLDER"
    size = recipe.data.buckets.resolution
    return f"workbench buckets {shlex.quote(path)} resolution={size}"
