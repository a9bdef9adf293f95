"""Every figure draws what its data hold: axes fit their values, and a browser shows each mark."""

import importlib
import itertools
import json
import math
import numbers
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import workbench
from workbench import plots
from workbench.evaluation import page
from workbench.plots import (
    buckets,
    captions,
    curves,
    intervals,
    noise,
    timesteps,
    together,
    tradeoff,
)
from workbench.plots.inline import curve_svg
from workbench.plots.intervals import Bar
from workbench.plots.still import figure_svg
from workbench.plots.theme import line_mode, shorten
from workbench.plots.tradeoff import Spot

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RNG = np.random.default_rng(0)
FIELD = RNG.standard_normal((2, 16, 16)).astype(np.float32)
STEPS = [1, 2, 3, 4]
FALLING = [4.0, 3.0, 2.0, 1.0]
BINS = (0, 500, 1000)
GAPS = [4.0, math.nan, 2.0, 1.0]
SPOTS = [
    Spot("step 83 at 0.75", (0.1, 0.05, 0.15), (0.0, -0.01, 0.01), "front"),
    Spot("last", (0.2, 0.15, 0.25), (-0.01, -0.02, 0.0), "chosen"),
    Spot("last, without its moving average", (0.1, 0.0, 0.2), (-0.05, -0.1, 0.0), "other"),
    Spot("base, the concept described", (0.02, -math.inf, math.inf), (0.0, -0.1, 0.1), "base"),
]
JUDGE = "(openai/clip-vit-large-patch14-336)"

FIGURES: dict[str, Callable[[], "Figure"]] = {
    "loss": lambda: curves.loss(STEPS, FALLING),
    "one step": lambda: curves.loss([1], [0.1]),
    "stable_loss": lambda: curves.stable_loss({"train": (STEPS, FALLING, 4.0)}),
    "several": lambda: curves.several(
        {f"a run with a long name, {k}": (STEPS, FALLING) for k in range(7)}
    ),
    "losses": lambda: curves.losses({"a": (STEPS, FALLING), "b": (STEPS, FALLING)}),
    "loss_by_timestep": lambda: curves.loss_by_timestep(BINS, {"train": ([0.5, 0.9], [1.0, 1.0])}),
    "lines": lambda: curves.lines(STEPS, {"lag": GAPS}, title="EMA", y="|EMA - raw| / |raw|"),
    "rates": lambda: curves.rates(STEPS, {"unet": FALLING}),
    "gradient_norm": lambda: curves.gradient_norm(STEPS, FALLING, clip=1.0),
    "gradients of nothing": lambda: curves.gradient_norm(STEPS, [0.0] * 4, clip=1.0),
    "weight_change": lambda: curves.weight_change(
        {f"text_encoder.text_model.encoder.layers.{k}": 0.01 * k for k in range(24)}
    ),
    "pictures": lambda: buckets.scatter(
        {"a": ((64, 80), (64, 64))}, [(64, 64), (80, 64)], chosen="a"
    ),
    "counts": lambda: buckets.counts({(64, 64): 5, (80, 64): 3}, batch_size=2),
    "lost": lambda: buckets.lost(
        {name: {f"IMG_2034_from_a_phone_{k}.png": 0.1 for k in range(6)} for name in ("a", "b")}
    ),
    "survival": lambda: captions.survival(
        {"mochi": 1.0, "a tag of very many words that somebody wrote": 0.6}, num_draws=10
    ),
    "together": lambda: together.together(
        ["mochi", "a tag of very many words"],
        {"mochi": 3, "a tag of very many words": 2},
        {("a tag of very many words", "mochi"): 1},
    ),
    "signal": lambda: timesteps.signal([100.0, 1.0, 0.01, 0.0], marked=1),
    "emphasis": lambda: timesteps.emphasis(density=[0.5, 0.5], weights=[1.0, 2.0]),
    "recent": lambda: timesteps.recent_losses(
        [(k, k + 100) for k in range(0, 1000, 100)], [0.2] * 10, [3] * 10
    ),
    "radial_power": lambda: noise.radial_power(
        {f"pyramid, discount 0.{k}": np.ones(9) for k in range(8)},
        published={"pyramid, discount 0.1": {0: 1.0, 4: 2.0}},
    ),
    "autocorrelation": lambda: noise.autocorrelation({"white": [1.0, 0.1, 0.0]}),
    "tradeoff": lambda: tradeoff.tradeoff(SPOTS),
    "intervals": lambda: intervals.intervals(
        [
            Bar(f"likeness to the training pictures {JUDGE}", 0.1, 0.05, 0.2),
            Bar(f"match with the prompt {JUDGE}", -0.1, -math.inf, math.inf),
            Bar("never measured", math.nan, math.nan, math.nan),
        ],
        title="Likeness, prompt following, diversity",
        x="change of the cosine against the base",
        margin=0.1,
        threshold=0.5,
    ),
    "leak_by_place": lambda: intervals.leak_by_place(
        [(kind, low, low + 500, 0.5, 0.2) for kind in ("concept", "ordinary") for low in (0, 500)]
    ),
    "histogram": lambda: noise.histogram({"white": FIELD}),
    "field": lambda: noise.field(FIELD),
    "power_spectrum": lambda: noise.power_spectrum(np.abs(FIELD[0])),
    "phase_spectrum": lambda: noise.phase_spectrum(FIELD[0]),
    "statistics": lambda: noise.statistics({"white": {"mean": 0.0}, "perlin": {"mean": 0.1}}),
    "noised": lambda: noise.noised(
        {name: {"t = 0": np.zeros((8, 8, 3), np.uint8)} for name in ("white", "perlin")}
    ),
}


def axes_of(figure: "Figure") -> Iterator[tuple[str, Any, list[Any]]]:
    """Each axis that holds something, with its layout and all its values."""
    for trace in figure.data:
        for letter in ("x", "y"):
            values = getattr(trace, letter, None)
            if values is not None:
                name = f"{letter}axis" + (trace[f"{letter}axis"] or letter)[1:]
                yield name, figure.layout[name], [v for v in values if v is not None]


def is_known(*values: Any) -> bool:
    """Whether a mark has its place: no gap, no NaN."""
    return all(v is not None and v == v for v in values)


def rows_of(trace: Any) -> int:
    """Marks that a trace should be drawn with: a pair of numbers or names, a cell, a picture."""
    if trace.type == "image":
        return 1
    if trace.type == "table":
        return len(trace.header.values) + sum(len(column) for column in trace.cells.values)
    if trace.type == "heatmap":
        return sum(is_known(value) for row in trace.z for value in row)
    return sum(is_known(*pair) for pair in itertools.zip_longest(trace["x"], trace["y"]))


@pytest.mark.parametrize("name", FIGURES)
def test_names_lie_on_axes_of_names_and_numbers_on_axes_of_numbers(name: str) -> None:
    for axis, layout, values in axes_of(FIGURES[name]()):
        if all(isinstance(value, numbers.Real) for value in values):
            assert layout.type in (None, "-", "linear", "log"), axis
            assert layout.type != "log" or all(value > 0 for value in values), axis
        else:
            assert layout.type == "category", f"{axis} holds names and is {layout.type}"


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_without_scripts_shows_a_mark_for_each_row(name: str) -> None:
    figure = FIGURES[name]()
    said = figure_svg(figure)
    drawn = [trace for trace in figure.data if trace.type in ("scatter", "bar")]
    assert (len(drawn) < len(figure.data)) is ("more in the notebook" in said)
    bars = sum(rows_of(trace) for trace in drawn if trace.type == "bar")
    legend = sum(trace.showlegend is not False and bool(trace.name) for trace in drawn)
    assert said.count("<rect") == 1 + bars + legend, "the page, bars, and the legend's colours"
    ends = sum(len(pair.split()) for pair in re.findall(r'points="([^"]+)"', said))
    points = sum(rows_of(trace) for trace in drawn if trace.type == "scatter")
    assert ends + said.count("<circle") == points


def test_no_figure_of_the_plots_is_left_out() -> None:
    called = set(itertools.chain.from_iterable(x.__code__.co_names for x in FIGURES.values()))
    made: set[str] = set()
    for found in pkgutil.iter_modules(plots.__path__):
        module = importlib.import_module(f"workbench.plots.{found.name}")
        made |= {
            name
            for name, function in vars(module).items()
            if getattr(function, "__module__", "") == module.__name__
            and not name.startswith("_")
            and "Figure" in str(getattr(function, "__annotations__", {}).get("return"))
        }
    assert made - {"new_figure"} == called & made and len(made) > 20


def test_figures_are_drawn_in_the_plots_alone() -> None:
    """What report, app and lessons show comes from functions that the tests here know."""
    project = Path(workbench.__file__).parents[1]
    files = [*project.glob("workbench/**/*.py"), *project.glob("tutorials/*.ipynb")]
    files += [*project.glob("notebooks/*.ipynb"), *project.glob("benchmarks/*.py")]
    assert len(files) > 300
    own = re.compile(r"\.add_(?:scatter|bar|heatmap|trace|table)\(|make_subplots|plotly\.express")
    drawing = [f for f in files if own.search(f.read_text(encoding="utf-8"))]
    assert {f.parent.name for f in drawing} == {"plots"}


def test_a_value_that_stands_alone_is_a_point() -> None:
    assert (
        line_mode([1.0, 2.0]) == line_mode([None, 1.0, 2.0, math.nan]) == line_mode([]) == "lines"
    )
    assert line_mode([1.0]) == line_mode([1.0, 2.0, None, 3.0]) == "lines+markers"
    assert "<circle" in curve_svg([1], [0.5], label="loss")
    assert "<circle" not in curve_svg([1, 2], [0.5, 0.4], label="loss")


def test_names_are_shortened_where_they_are_alike() -> None:
    assert shorten("short") == "short"
    assert shorten("a tag of many words", most=10) == "a tag of…"
    assert shorten("unet.down_blocks.1.attentions.0", most=10, end=True) == "…entions.0"


COUNT = """(name) => {
  const drawn = document.getElementById("plot-" + name);
  const of = (kind, k) => drawn.data.slice(0, k).filter((t) => t.type === kind).length;
  const nth = (where, kind, k) => drawn.querySelectorAll(where)[of(kind, k)];
  const marks = drawn.data.map((trace, k) => {
    const calc = drawn.calcdata[k];
    if (trace.type === "bar")
      return [...nth(".barlayer .trace.bars", "bar", k).querySelectorAll(".point path")]
        .filter((p) => p.getAttribute("d") && p.getAttribute("d") !== "M0,0Z").length;
    if (trace.type === "heatmap") {
      const image = nth(".heatmaplayer .hm image", "heatmap", k);
      return image && image.width.baseVal.value > 20
        ? calc[0].z.map((row) => [...row].filter((v) => v !== null && v === v && v !== undefined))
            .flat().length
        : 0;
    }
    if (trace.type === "image")
      return [nth(".imagelayer .im image", "image", k)].filter((x) => x?.width.baseVal.value > 20)
        .length;
    if (trace.type === "table") return drawn.querySelectorAll(".table .cell-text").length;
    const own = nth(".scatterlayer .trace.scatter", "scatter", k);
    const points = [...own.querySelectorAll(".points .point")].filter((p) => p.getAttribute("d"));
    if ((trace.mode || "lines").includes("markers")) return points.length;
    const line = [...own.querySelectorAll(".lines .js-line")].map((l) => l.getAttribute("d"));
    return line.some((d) => /^M.*[LHVC]/.test(d))
      ? calc.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y)).length : 0;
  });
  const errors = drawn.querySelectorAll(".errorbars path.xerror").length;
  const box = drawn.getBoundingClientRect();
  const words = [...drawn.querySelectorAll("text")].filter((t) => t.textContent.trim());
  const cut = words.filter((t) => {
    const own = t.getBoundingClientRect();
    return own.width && (own.left < box.left - 1 || own.right > box.right + 1 ||
      own.top < box.top - 1 || own.bottom > box.bottom + 1);
  }).map((t) => t.textContent);
  const title = drawn.querySelector(".gtitle")?.getBoundingClientRect();
  const over = [...drawn.querySelectorAll(".legendtext, .ytitle, .annotation-text")]
    .map((t) => [t.textContent, t.getBoundingClientRect()])
    .filter(([, b]) => title && b.top < title.bottom && b.left < title.right &&
      b.right > title.left && b.bottom > title.top).map(([text]) => text);
  const layout = drawn._fullLayout;
  return { marks, errors, cut, over, x: layout.xaxis?.type, y: layout.yaxis?.type };
}"""


@pytest.fixture(scope="module")
def seen(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Each figure, and what Chromium made of it on a phone."""
    from workbench.evaluation.results import Verdict

    figures = {name: build() for name, build in FIGURES.items()}
    report = page.Report("figures", Verdict("Every figure."), figures=figures)
    path = page.write(report, tmp_path_factory.mktemp("drawn") / "report.html")
    tab = browser.new_page(bypass_csp=True, viewport={"width": 390, "height": 844})
    tab.goto(path.as_uri())
    # the last one begins when those before it are done
    tab.wait_for_function(f"document.querySelector('#plot-{len(figures)} .main-svg') !== null")
    tab.wait_for_function("document.querySelectorAll('.plot p').length === 0")
    found = {
        name: (figure, tab.evaluate(COUNT, str(number)))
        for number, (name, figure) in enumerate(figures.items(), 1)
    }
    tab.close()
    return found


@pytest.mark.browser
def test_a_browser_draws_a_mark_for_each_row(seen: dict[str, tuple[Any, Any]]) -> None:
    for name, (figure, drawn) in seen.items():
        for trace, marks in zip(figure.data, drawn["marks"], strict=True):
            assert marks == rows_of(trace) > 0, (name, trace.name)
    assert seen["intervals"][1]["errors"] == 2


@pytest.mark.browser
def test_a_browser_takes_each_axis_for_what_it_is(seen: dict[str, tuple[Any, Any]]) -> None:
    for name, (figure, drawn) in seen.items():
        data = json.loads(figure.to_json())["layout"]
        for letter in ("x", "y"):
            wanted = data[f"{letter}axis"].get("type", "-")
            axis = drawn[letter] or "linear"  # a table has none
            assert axis == ("linear" if wanted == "-" else wanted), (name, letter)


@pytest.mark.browser
def test_on_a_phone_no_word_is_cut_off_and_none_lies_on_the_title(
    seen: dict[str, tuple[Any, Any]],
) -> None:
    assert {name: drawn["cut"] for name, (_, drawn) in seen.items() if drawn["cut"]} == {}
    assert {name: drawn["over"] for name, (_, drawn) in seen.items() if drawn["over"]} == {}
