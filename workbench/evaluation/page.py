"""The A/B report: one HTML file with all in it, that opens without a network and is worth seeing.

plotly.js (4.8 MB) is embedded once, gzipped and in base64: 1.9 MB that the browser unpacks itself
once the pictures are shown. Plotly's own `include_plotlyjs` would embed all 4.8 MB, and its
smaller bundles do not come with the Python package.
"""

import base64
import functools
import gzip
import html
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from PIL import Image

from workbench import store
from workbench.evaluation import tables, vote_page
from workbench.evaluation.results import Comparison, DriftRow, Proof, Strip, Verdict
from workbench.records.judgement import Judgement
from workbench.records.votes import Question

if TYPE_CHECKING:
    from jinja2 import Template
    from plotly.graph_objects import Figure

    from workbench.evaluation.copying import Near
    from workbench.evaluation.several import Several
    from workbench.evaluation.votes import Tally

MAX_SIDE_PX = 768
# A page with plotly.js (1.9 MB) stays below 10 MB: the text that its pictures may take together,
# and how they are made smaller until they do: longest side in px, quality.
_PICTURES_BYTES = 7_400_000
_SMALLER = ((768, 92), (768, 84), (640, 80), (512, 76), (448, 68), (384, 60), (256, 50))


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning of the run.

    Attributes:
        message: what happened.
        fix: what to do about it.
        times: how often it came.
        id: of the warning.
    """

    message: str
    fix: str = ""
    times: int = 1
    id: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What the page shows; whatever is empty is left out.

    Attributes:
        name: the run or the file.
        verdict: its sentence is the page's head line.
        subtitle: a few words beside the name.
        evidence: what the verdict's evidence is called.
        facts: short names to short values.
        origins: what it was made of: base, its licence and SHA-256, pictures.
        comparison: pictures of base and LoRA.
        progress: strips of the samples made while training.
        drift: colour drift, exploratory.
        judged: the six answers.
        intervals: title to figure, of the answers with their intervals.
        labels: what the two sides of a pair are called.
        figures: title to plotly figure.
        proof: the reload proof.
        timings: stage to seconds.
        warnings: what the run warned about.
        changes: settings that a resume changed, "from step 6: key: old -> new".
        recipe: TOML text.
        made: when, in words.
        source: what drew the trained pictures: file, step and strength.
        nearest: prompt and seed to the training picture that the sample is most like.
        given: seed to what a base for inpainting filled in, striped.
        shows_training: the pictures hold parts of training pictures.
        votes: the run's blind votes, counted.
        refused: why files of votes were not counted.
        offer: names of the two sides that the page can be voted on; None offers no vote.
        question: what that vote asks: which is spoilt, of the prompts without the trigger, or which
            is better, of those with it.
        several: runs side by side.
    """

    name: str
    verdict: Verdict
    subtitle: str = ""
    evidence: str = "What the losses and weights say"
    facts: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    progress: tuple[Strip, ...] = ()
    drift: tuple[DriftRow, ...] = ()
    judged: Judgement | None = None
    intervals: Mapping[str, "Figure"] = field(default_factory=dict)
    labels: tuple[str, str] = ("base", "LoRA")
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    proof: Proof | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[Notice, ...] = ()
    changes: tuple[str, ...] = ()
    recipe: str = ""
    made: str = ""
    source: str = ""
    nearest: Mapping[tuple[str, int], "Near"] = field(default_factory=dict)
    given: Mapping[int, Image.Image] = field(default_factory=dict)
    shows_training: bool = False
    votes: tuple["Tally", ...] = ()
    refused: tuple[str, ...] = ()
    offer: tuple[str, str] | None = None
    question: Question = "spoilt"
    several: "Several | None" = None


def write(report: Report, path: str | Path) -> Path:
    """Write the report, whole or not at all.

    Args:
        report: what it shows.
        path: for example `runs/mochi/report.html`.
    Returns:
        The path.
    """
    return store.write_text(path, render(report))


def render(report: Report, *, whole: bool = True) -> str:
    """Make the page.

    Args:
        report: what it shows; every text in it is escaped.
        whole: False leaves only the pictures, for a notebook cell.
    Returns:
        HTML that needs nothing beside itself.
    """
    from markupsafe import Markup

    every = (*report.intervals.values(), *report.figures.values())
    figures = dict(enumerate(every, 1)) if whole else {}
    drawn = ",".join(f'"{k}":{figure.to_json()}' for k, figure in figures.items())
    ends = (abs(x) for row in report.drift for x in (row.low, row.high))
    reach = max(filter(math.isfinite, ends), default=1) or 1
    return template("report.html.j2").render(
        r=report,
        whole=whole,
        css=Markup(asset("report.css") + asset("looking.css")),
        js=Markup(asset("report.js") + asset("looking.js")),
        vote_rows=Markup(vote_page.rows(report.votes, report.refused)),
        vote_data=Markup(inside_script(vote_page.data(report))),
        figures=Markup("{" + inside_script(drawn) + "}"),
        plotly=Markup(packed_plotly() if figures else ""),
        uri=functools.partial(data_uri, max_bytes=_PICTURES_BYTES // max(1, _count(report))),
        marked=_marked,
        toml=_toml,
        duration=duration,
        file_name=lambda path: PurePath(path).name,
        place=lambda change: round(50 + 48 * max(-1.0, min(1.0, change / reach)), 2),
        said=tables.said,
        asked=tables.asked,
    )


class Fragment:
    """The pictures of a comparison, as a notebook shows them.

    Args:
        comparison: what to show.
    """

    def __init__(self, comparison: Comparison):
        self.comparison = comparison

    def _repr_html_(self) -> str:
        page = render(Report("", Verdict(""), comparison=self.comparison), whole=False)
        return framed(page, title="LoRA against base")


def framed(page: str, *, title: str = "LoRA against base") -> str:
    """Put a page into a frame, so that it and a notebook's own styles leave each other alone.

    Args:
        page: HTML.
        title: for those who cannot see it.
    Returns:
        One element.
    """
    size = "width: 100%; height: 640px; border: 0; resize: vertical"
    shown = f'title="{html.escape(title)}" style="{size}" srcdoc="{html.escape(page)}"'
    return f"<iframe {shown}></iframe>"


def _count(report: Report) -> int:
    """Pictures of a report: two of each pair, and each cell of a strip."""
    found = report.comparison or Comparison(())
    strips = (*found.strengths, *report.progress)
    cells = sum(len(strip.cells) for strip in strips)
    return 2 * (len(found.pairs) + len(found.leakage)) + cells


def data_uri(
    image: Image.Image, max_side_px: int = MAX_SIDE_PX, *, max_bytes: int | None = None
) -> str:
    """Turn a picture into text that a page can hold; nothing but its pixels goes along.

    Args:
        image: any size.
        max_side_px: larger ones are scaled down to it.
        max_bytes: of the text; the picture becomes smaller and coarser until it fits, or as small
            as is still worth seeing.
    Returns:
        A `data:` URI, WebP of high quality.
    """
    image = image.convert("RGB").copy()
    image.info.clear()  # WebP would take a colour profile along, whose text may name its maker
    step, text = 0, ""
    while step < len(_SMALLER):
        side_px, quality = _SMALLER[step]
        side_px = min(side_px, max_side_px)
        if max(image.size) > side_px:
            image.thumbnail((side_px, side_px))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=2)
        text = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        if max_bytes is None or len(text) <= max_bytes:
            break
        step += 2 if len(text) > 3 * max_bytes and step < len(_SMALLER) - 2 else 1
    return text


def duration(seconds: float) -> str:
    """Say a time as people do.

    Args:
        seconds: >= 0.
    Returns:
        "0.4 s", "12 s", "3 min 20 s", "2 h 5 min".
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


@functools.cache
def template(name: str) -> "Template":
    """Load a page's template; whatever it is given is escaped, and nothing may be missing.

    Args:
        name: file in `evaluation/templates`.
    Returns:
        The template.
    """
    import jinja2

    loader = jinja2.PackageLoader("workbench.evaluation", "templates")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


@functools.cache
def asset(name: str) -> str:
    """Read a style or script that goes into a page.

    Args:
        name: file in `evaluation/templates`.
    Returns:
        Its text.
    """
    folder = resources.files("workbench.evaluation") / "templates"
    return (folder / name).read_text(encoding="utf-8")


@functools.cache
def packed_plotly() -> str:
    """plotly.js, gzipped and in base64, as a page embeds it.

    Returns:
        1.9 MB of text.
    """
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def inside_script(text: str) -> str:
    """JSON that cannot end the script element it stands in.

    Args:
        text: JSON.
    Returns:
        The same data, spelt without <, > and &.
    """
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _marked(prompt: str, trigger: str | None) -> Any:
    """The prompt, escaped, with its trigger marked."""
    from markupsafe import Markup, escape

    if not trigger:
        return escape(prompt)
    pieces = re.split(rf"((?<!\w){re.escape(trigger)}(?!\w))", prompt)
    marked = [Markup("<mark>{}</mark>").format(x) if x == trigger else escape(x) for x in pieces]
    return Markup("").join(marked)


def _toml(text: str) -> Any:
    """TOML, escaped, its comments dimmed."""
    from markupsafe import Markup, escape

    lines = []
    for line in text.splitlines():
        code, comment = re.fullmatch(r"((?:[^\"#]|\"(?:\\.|[^\"\\])*\"|\")*?)(#.*)?", line).groups()  # type: ignore[union-attr]
        lines.append(escape(code) + (Markup("<i>{}</i>").format(comment) if comment else ""))
    return Markup("\n").join(lines)
