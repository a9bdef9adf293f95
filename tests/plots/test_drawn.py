"""Every figure draws what its data hold: axes fit their values, and a browser shows each mark."""

import itertools
import json
import math
import numbers
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from workbench.evaluation import page
from workbench.plots import buckets, captions, curves, intervals, noise, timesteps, together
from workbench.plots.intervals import Bar

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RNG = np.random.default_rng(0)
FIELD = RNG.standard_normal((2, 16, 16)).astype(np.float32)
STEPS = [1, 2, 3, 4]
FALLING = [4.0, 3.0, 2.0, 1.0]
BINS = (0, 500, 1000)

FIGURES: dict[str, Callable[[], "Figure"]] = {
    "loss": lambda: curves.loss(STEPS, FALLING),
    "stable_loss": lambda: curves.stable_loss({"train": (STEPS, FALLING, 4.0)}),
    "several": lambda: curves.several({"a": (STEPS, FALLING), "b": (STEPS, FALLING)}),
    "losses": lambda: curves.losses({"a": (STEPS, FALLING), "b": (STEPS, FALLING)}),
    "loss_by_timestep": lambda: curves.loss_by_timestep(BINS, {"train": ([0.5, 0.9], [1.0, 1.0])}),
    "rates": lambda: curves.rates(STEPS, {"unet": FALLING}),
    "gradient_norm": lambda: curves.gradient_norm(STEPS, FALLING, clip=1.0),
    "weight_change": lambda: curves.weight_change({"unet.up_blocks.1": 0.02, "unet.mid": 0.01}),
    "pictures": lambda: buckets.scatter({"a": ((64, 80), (64, 64))}, [(64, 64), (80, 64)]),
    "counts": lambda: buckets.counts({(64, 64): 5, (80, 64): 3}, batch_size=2),
    "lost": lambda: buckets.lost({"one bucket": {"a": 0.2, "b": 0.0}, "two": {"a": 0.1, "b": 0.3}}),
    "survival": lambda: captions.survival({"mochi": 1.0, "hat": 0.6}, num_draws=10),
    "together": lambda: together.together(["a", "b"], {"a": 3, "b": 2}, {("a", "b"): 1}),
    "signal": lambda: timesteps.signal([100.0, 1.0, 0.01], marked=1),
    "emphasis": lambda: timesteps.emphasis(density=[0.5, 0.5], weights=[1.0, 2.0]),
    "recent": lambda: timesteps.recent_losses([(0, 500), (500, 1000)], [0.2, 0.1], [3, 4]),
    "radial_power": lambda: noise.radial_power({"white": np.ones(9)}),
    "autocorrelation": lambda: noise.autocorrelation({"white": [1.0, 0.1, 0.0]}),
    "intervals": lambda: intervals.intervals(
        [Bar("a", 0.1, 0.05, 0.2), Bar("b", -0.1, -math.inf, math.inf)],
        title="",
        x="",
        margin=0.1,
        threshold=0.5,
    ),
    "leak_by_place": lambda: intervals.leak_by_place(
        [(kind, low, low + 500, 0.5, 0.2) for kind in ("concept", "ordinary") for low in (0, 500)]
    ),
    "histogram": lambda: noise.histogram({"white": FIELD}),
}


def axes_of(figure: "Figure") -> Iterator[tuple[str, Any, list[Any]]]:
    """Each axis that holds something, with its layout and all its values."""
    for trace in figure.data:
        for letter in ("x", "y"):
            values = getattr(trace, letter, None)
            if values is not None:
                name = f"{letter}axis" + (trace[f"{letter}axis"] or letter)[1:]
                yield name, figure.layout[name], [v for v in values if v is not None]


def rows_of(trace: Any) -> int:
    """Marks that a trace should be drawn with: one for each pair of numbers or names."""
    pairs = itertools.zip_longest(trace["x"], trace["y"])
    return sum(all(v is not None and v == v for v in pair) for pair in pairs)


@pytest.mark.parametrize("name", FIGURES)
def test_names_lie_on_axes_of_names_and_numbers_on_axes_of_numbers(name: str) -> None:
    for axis, layout, values in axes_of(FIGURES[name]()):
        if all(isinstance(value, numbers.Real) for value in values):
            assert layout.type in (None, "-", "linear", "log"), axis
            assert layout.type != "log" or all(value > 0 for value in values), axis
        else:
            assert layout.type == "category", f"{axis} holds names and is {layout.type}"


def test_no_figure_of_the_plots_is_left_out() -> None:
    named = {function.__code__.co_names for function in FIGURES.values()}
    called = set(itertools.chain.from_iterable(named))
    drawn_as_pictures = {"field", "power_spectrum", "phase_spectrum", "statistics", "noised"}
    for module in (buckets, captions, curves, intervals, noise, timesteps, together):
        made = {
            name
            for name, function in vars(module).items()
            if getattr(function, "__module__", "") == module.__name__
            and not name.startswith("_")
            and getattr(function, "__annotations__", {}).get("return") in ("Figure", '"Figure"')
        }
        assert made and made - called - drawn_as_pictures - {"lines"} == set(), module.__name__


COUNT = """(name) => {
  const drawn = document.getElementById("plot-" + name);
  const marks = drawn.data.map((trace, k) => {
    if (trace.type === "bar") {
      const own = drawn.querySelectorAll(".barlayer .trace.bars")[
        drawn.data.slice(0, k).filter((t) => t.type === "bar").length];
      return [...own.querySelectorAll(".point path")]
        .filter((p) => p.getAttribute("d") && p.getAttribute("d") !== "M0,0Z").length;
    }
    if (trace.type === "heatmap") return -1;
    return drawn.calcdata[k].filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y)).length;
  });
  const layout = drawn._fullLayout;
  return { marks, x: layout.xaxis.type, y: layout.yaxis.type };
}"""


@pytest.mark.browser
def test_a_browser_draws_a_mark_for_each_row(browser: Any, tmp_path: Any) -> None:
    from workbench.evaluation.results import Verdict

    figures = {name: build() for name, build in FIGURES.items()}
    report = page.Report("figures", Verdict("Every figure."), figures=figures)
    path = page.write(report, tmp_path / "report.html")
    tab = browser.new_page(bypass_csp=True)
    tab.goto(path.as_uri())
    tab.wait_for_function(f"document.querySelectorAll('.main-svg').length >= {2 * len(figures)}")
    for number, (name, figure) in enumerate(figures.items(), 1):
        seen = tab.evaluate(COUNT, str(number))
        data = json.loads(figure.to_json())["layout"]
        for letter in ("x", "y"):
            wanted = data[f"{letter}axis"].get("type", "-")
            assert seen[letter] == ("linear" if wanted == "-" else wanted), (name, letter)
        for trace, marks in zip(figure.data, seen["marks"], strict=True):
            if marks >= 0:
                assert marks == rows_of(trace), (name, trace.name)
    tab.close()
