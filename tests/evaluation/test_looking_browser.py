"""The report page in a browser: the loupe enlarges both pictures, and a vote leaves as a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from workbench.evaluation import page as pages
from workbench.evaluation.page import Report
from workbench.evaluation.results import Comparison, Pair, Verdict
from workbench.evaluation.statistics import anytime_interval
from workbench.evaluation.vote_page import renew
from workbench.records.votes import read_sheet, save

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
NUM_PAIRS = 8


def _pair(number: int) -> Pair:
    def picture(red: int) -> Image.Image:
        return Image.new("RGB", (64, 64), (red, 10 * number, 0))

    return Pair(f"critter {number}", 3, base=picture(0), trained=picture(250))


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def page(request, browser: "Browser", tmp_path: Path) -> "Iterator[Page]":
    pairs = tuple(_pair(k) for k in range(NUM_PAIRS))
    shown = Comparison(pairs[:2], leakage=pairs, trigger="mochi")
    report = Report("run", Verdict("It learned."), comparison=shown, offer=("base", "mochi"))
    pages.write(report, tmp_path / "report.html")
    context = browser.new_context(
        viewport={"width": request.param, "height": 900}, accept_downloads=True
    )
    context.set_default_timeout(15_000)
    found, wrong = context.new_page(), []
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    found.goto((tmp_path / "report.html").as_uri())
    yield found
    context.close()
    assert wrong == []


def _is_trained(page: "Page", side: str) -> bool:
    """By the picture's own red: what a voter sees, and nothing else."""
    return page.locator(f"#vote-{side}").evaluate(
        """async image => {
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 1;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0, 1, 1);
            return context.getImageData(0, 0, 1, 1).data[0] > 128;
        }"""
    )


def test_a_vote_leaves_as_a_file_that_a_run_counts(page: "Page", tmp_path: Path):
    page.locator("#vote-open").click()
    lefts = []
    for number in range(1, NUM_PAIRS + 1):
        page.get_by_text(f"Pair {number} of {NUM_PAIRS}: which one is spoilt?").wait_for()
        lefts.append(left := _is_trained(page, "left"))
        assert _is_trained(page, "right") is not left
        page.keyboard.press("ArrowLeft" if left else "ArrowRight")
    said = page.locator("#vote-said").inner_text()
    assert said.startswith("mochi was called spoilt in 8 of 8 votes against base")
    assert "interval 52 % to 100 %" in said and "mochi is spoilt more often" in said
    page.locator("#vote-rater").fill("Ann B")
    with page.expect_download() as saved:
        page.locator("#vote-save").click()
    assert saved.value.suggested_filename == "votes-ann-b.json"
    saved.value.save_as(tmp_path / "exported.json")
    sheet = read_sheet(tmp_path / "exported.json")
    assert (sheet.rater, sheet.question, sheet.sides) == ("Ann B", "spoilt", ("base", "mochi"))
    assert sorted(one.prompt for one in sheet.votes) == [f"critter {k}" for k in range(NUM_PAIRS)]
    assert {(one.seed, one.choice) for one in sheet.votes} == {(3, "second")}
    save(tmp_path, sheet)
    assert renew(tmp_path)
    page.reload()
    page.locator("#votes li").get_by_text("mochi was called spoilt in 8 of 8 votes").wait_for()


def test_the_page_counts_as_the_workbench_does(page: "Page"):
    counts = [(0, 0), (8, 8), (7, 7), (0, 8), (5, 9), (65, 100), (14, 20)]
    for level in (0.95, 0.975):
        found = page.evaluate("([c, level]) => c.map(([w, n]) => interval(w, n, level))",
                              [counts, level])  # fmt: skip
        for count, pair in zip(counts, found, strict=True):
            assert pair == pytest.approx(anytime_interval(*count, level=level), abs=1e-6)


def test_the_loupe_enlarges_both_pictures_about_one_point(page: "Page"):
    page.get_by_text("Loupe", exact=True).click()
    frame = page.locator(".frame").first
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    shown = frame.locator("img").evaluate_all(
        """all => all.map(image => {
            const style = getComputedStyle(image);
            const [x, y] = style.transformOrigin.split(" ").map(parseFloat);
            return [style.scale, x / image.offsetWidth, y / image.offsetHeight];
        })"""
    )
    assert [one[0] for one in shown] == ["4", "4"]
    for _, x, y in shown:
        assert (x, y) == pytest.approx((0.5, 0.25), abs=0.02)
    page.mouse.move(0, 0)
    page.wait_for_function("!document.querySelector('.frame.near')")
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    assert frame.evaluate("frame => frame.style.getPropertyValue('--x')") == "56.25%"


def test_nothing_is_wider_than_the_screen(page: "Page"):
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    bar = page.locator(".views").bounding_box()
    assert bar is not None and bar["x"] + bar["width"] <= width
