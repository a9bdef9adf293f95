"""The whole way in a real browser: pictures, captions, noise, a training, and whether it helped.

Trains the critters for some dozens of steps with pictures of two sampling steps: what is proved is
that every part of the page does its work and that nothing is lost, not that it learns well.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from app_servers import App, start_app

from workbench import store
from workbench.recipe import Recipe
from workbench.records import log, votes
from workbench.records.events import Progress
from workbench.workspace.folders import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

SLOW_MS = 300_000  # two cores that do other work load models and train
NUM_STEPS = 60


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory):
    workspace = Workspace(tmp_path_factory.mktemp("journey") / "workspace")
    quick = [
        *(f"length.steps={NUM_STEPS}", "training.batch_size=1", "training.checkpoint_every=10"),
        *("validation.every_steps=20", "validation.num_images=1", "validation.num_bins=2"),
        *("sampling.seeds=[0]", "sampling.steps=2", "sampling.every_steps=30", "name=journey"),
        "output.report=false",
    ]
    workspace.save_draft(Recipe.preset("critters").override(quick))
    app = start_app(workspace.root)
    yield app
    app.end()


def test_from_pictures_to_a_lora_that_was_voted_on(app: App, open_page):
    page = open_page(app)
    page.context.set_default_timeout(SLOW_MS)
    _choose_pictures(page)
    _edit_a_caption(page, app)
    _look_at_buckets_and_noise(page)
    _go_to(page, "Train")
    page.locator("#start").click()
    _state(page, "trains")
    page.locator("#samples img").first.wait_for()
    page.close()

    page = open_page(app)
    page.context.set_default_timeout(SLOW_MS)
    _see_the_history_stop_and_resume(page, app)
    _look_at_pairs(page)
    _draw_the_grid(page)
    _measure(page, app)
    _vote(page, app)
    _bring_a_file(page, app)


def _go_to(page: Any, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).first.click()
    page.locator(f"#tab-{tab.lower()}").wait_for(state="visible")


def _state(page: Any, word: str) -> None:
    page.locator("#run-head .pill", has_text=word).wait_for()


def _choose_pictures(page: Any) -> None:
    _go_to(page, "Data")
    page.locator("#data-gallery button").nth(31).wait_for()
    page.locator("#data-facts dd", has_text="32").first.wait_for()


def _edit_a_caption(page: Any, app: App) -> None:
    """The built-in pictures are copied, one caption is edited, and its draws have the new word."""
    _go_to(page, "Captions")
    page.locator("#caption-copy").click()
    words = page.locator("#caption-words textarea")
    page.wait_for_function("!document.querySelector('#caption-words textarea').disabled")
    before = words.input_value()
    page.locator("#captions-gallery button").nth(2).click()
    page.wait_for_function(
        "old => document.querySelector('#caption-words textarea').value !== old", arg=before
    )
    words.fill(f"{words.input_value()}, zigzag")
    page.locator("#caption-save").click()
    page.locator("#draws .tag", has_text="zigzag").first.wait_for()
    page.locator("#survival .js-plotly-plot").get_by_text("zigzag").first.wait_for()
    files = (Path(app.workspace) / "data").rglob("*.txt")
    assert sum("zigzag" in path.read_text() for path in files) == 1


def _look_at_buckets_and_noise(page: Any) -> None:
    _go_to(page, "Buckets")
    page.locator("#bucket-points .js-plotly-plot").wait_for()
    page.locator("#bucket-crop img").wait_for()
    facts = page.locator("#bucket-facts").inner_text()
    size = page.locator("#tab-buckets").get_by_label("buckets resolution").first
    size.fill("96")
    size.press("Enter")
    page.wait_for_function(
        "old => document.querySelector('#bucket-facts').innerText !== old", arg=facts
    )
    size.fill("128")
    size.press("Enter")
    _go_to(page, "Noise")
    page.locator("#noise-pictures img").nth(1).wait_for()
    page.locator("#noise-numbers td").first.wait_for()
    before = page.locator("#noise-pictures img").first.get_attribute("src")
    page.locator("#noise-timestep input[type=range]").press("Home")
    page.wait_for_function(
        "old => document.querySelector('#noise-pictures img').src !== old", arg=before
    )


def _see_the_history_stop_and_resume(page: Any, app: App) -> None:
    run = Path(app.workspace) / "runs" / "journey"
    _go_to(page, "Train")
    page.locator("#tab-train .js-plotly-plot").first.wait_for()
    page.locator("#samples img").first.wait_for()
    page.locator("#ask-stop").click()
    _state(page, "stopped")
    done = max(_steps(run))
    assert done < NUM_STEPS
    # The curve holds the steps that were made while no page was open.
    first = page.evaluate(
        "Math.min(...[...document.querySelectorAll('#tab-train .js-plotly-plot')]"
        ".flatMap(plot => plot.data.flatMap(one => Array.from(one.x || []))).map(Number))"
    )
    assert first <= 1
    _go_to(page, "Runs")
    named = page.locator("#runs-table").get_by_text("journey", exact=True)
    named.locator("visible=true").first.click()
    page.get_by_role("button", name="Resume").click()
    _state(page, "finished")
    assert _steps(run) == list(range(1, NUM_STEPS + 1)), "no step twice, none missing"


def _steps(run: Path) -> list[int]:
    return [event.step for event in log.read(run) if isinstance(event, Progress)]


def _look_at_pairs(page: Any) -> None:
    """What the run has drawn is there at once; another strength is drawn."""
    _go_to(page, "Compare")
    shown = page.locator("#compare-page")
    shown.locator(".views.slider img").nth(1).wait_for()
    shown.get_by_text("strength 1 · seed 0").first.wait_for()
    shown.get_by_text("Nearest training picture: ").wait_for()
    slider = shown.locator("input[type=range]")
    slider.focus()
    slider.press("Home")
    assert shown.locator(".views").evaluate("x => x.style.getPropertyValue('--at')") == "0%"
    for name, kind in (("Blink", "blink"), ("Difference", "difference"), ("Side by side", "side")):
        page.locator("#compare-view").get_by_text(name, exact=True).click()
        shown.locator(f".views.{kind} img").nth(1).wait_for()
    _look_through_the_loupe(page)
    page.locator("#compare-view").get_by_text("Slider", exact=True).click()
    shown.locator(".views.slider img").first.wait_for()
    strength = page.locator("#compare-strength input[type=number]")
    strength.fill("0.5")
    strength.press("Enter")
    strength.blur()
    shown.get_by_text("strength 0.5 · seed 0").first.wait_for()
    page.locator("#compare-prompt input").fill("mochi, critter, a prompt of my own")
    page.locator("#compare-prompt input").press("Enter")
    shown.get_by_text("2 sampling steps · mochi, critter, a prompt of my own").first.wait_for()


def _look_through_the_loupe(page: Any) -> None:
    """Both pictures are enlarged about the same point, by mouse and by keys."""
    page.locator("#compare-view").get_by_text("Loupe", exact=True).click()
    views = page.locator("#compare-page .views.loupe")
    views.locator("img").nth(1).wait_for()
    views.locator(".near-one").wait_for()  # the page that stays
    box = views.locator(".lens").first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    page.locator("#compare-page .views.near").wait_for()
    scales = views.locator(".lens img").evaluate_all(
        "all => all.map(image => getComputedStyle(image).transform)"
    )
    assert scales == ["matrix(4, 0, 0, 4, 0, 0)"] * 2
    assert abs(float(views.get_attribute("data-x")) - 0.25) < 0.02
    views.focus()
    page.keyboard.press("ArrowRight")
    assert abs(float(views.get_attribute("data-x")) - 0.3125) < 0.02


def _draw_the_grid(page: Any) -> None:
    """One that is stopped draws no further and keeps nothing from the next."""
    page.get_by_text("A grid over any two settings").click()
    strengths = page.locator("#compare-columns-values textarea")
    strengths.wait_for()  # what is folded away is made when it is opened
    page.wait_for_function(
        "document.querySelector('#compare-columns-values textarea').value.includes('1.25')"
    )
    usual = strengths.input_value()
    strengths.fill("2, 2.2, 2.4, 2.6, 2.8, 3")
    page.locator("#compare-grid-go").click()
    page.locator("#compare-grid img").first.wait_for()
    page.locator("#compare-grid-stop").click()
    page.wait_for_timeout(3000)  # what was being drawn may come to its end
    waiting = page.locator("#compare-grid .pending").count()
    page.wait_for_timeout(4000)
    assert waiting == page.locator("#compare-grid .pending").count() > 0
    strengths.fill(usual)
    page.locator("#compare-plain input").check()
    page.locator("#compare-grid-go").click()
    page.locator("#compare-grid thead th", has_text="without the trigger").wait_for()
    page.wait_for_function("!document.querySelector('#compare-grid .pending')")
    assert page.locator("#compare-grid thead th").all_inner_texts()[1:] == [
        "strength 0.5", "strength 0.75", "strength 1", "strength 1.25", "without the trigger",
    ]  # fmt: skip


def _measure(page: Any, app: App) -> None:
    """Numbers with intervals; the report and the LoRA are taken home."""
    page.get_by_text("All prompts, numbers and the report").click()
    page.locator("#compare-measure-go").click()
    numbers = page.locator("#compare-numbers")
    numbers.get_by_text("likeness to the training pictures").wait_for()
    assert len(re.findall(r"[+-]?\d\.\d{3} … [+-]?\d\.\d{3}", numbers.inner_text())) == 3
    links = page.locator("#compare-files a")
    links.nth(1).wait_for()
    addresses = [link.evaluate("link => link.href") for link in links.all()]
    report, lora = (page.context.request.get(address) for address in addresses)
    assert report.ok and b"data:image" in report.body()
    kept = next((Path(app.workspace) / "runs/journey/lora").glob("journey.safetensors"))
    assert lora.body() == kept.read_bytes() and store.read_header(kept)
    with page.expect_download() as download:
        links.nth(1).click()
    assert download.value.suggested_filename == "journey.safetensors"


def _vote(page: Any, app: App) -> None:
    """Two strengths, whose pictures give nothing away; the count stays in the run."""
    page.get_by_text("Blind vote", exact=True).click()
    page.locator("#vote-rater input, #vote-rater textarea").first.fill("Ann")
    page.locator("#vote-side-second input").click()
    page.get_by_role("option", name="journey at strength 0.5").click()
    page.locator("#vote-go").click()
    for number in range(1, 21):
        page.locator("#vote-said", has_text=f"Pair {number} of 20").wait_for()
        if number % 2:
            page.locator("#vote-left").click()
        else:
            page.locator("body").press("ArrowRight")
    verdict = page.locator("#vote-said .verdict").first
    verdict.wait_for()
    assert re.search(r"journey( at 0.5)? won \d+ of 20 votes against", verdict.inner_text())
    [sheet], _ = votes.load(Path(app.workspace) / "runs" / "journey")
    assert (sheet.rater, sheet.sides, len(sheet.votes)) == (
        "Ann",
        ("journey", "journey at 0.5"),
        20,
    )


def _bring_a_file(page: Any, app: App) -> None:
    """A LoRA from elsewhere is compared too; what is no LoRA is refused with a sentence."""
    kept = Path(app.workspace) / "runs/journey/lora/journey.safetensors"
    brought = Path(app.workspace).parent / "brought.safetensors"
    brought.write_bytes(kept.read_bytes())
    _upload(page, brought)
    page.wait_for_function(
        "document.querySelector('#compare-source input').value.startsWith('brought')"
    )
    page.locator("#compare-page").get_by_text("brought · step").first.wait_for()
    wrong = brought.with_name("wrong.safetensors")
    with zipfile.ZipFile(wrong, "w") as archive:
        archive.writestr("no.txt", "no LoRA")
    _upload(page, wrong)
    page.locator(".toast-body", has_text="wrong.safetensors").wait_for()


def _upload(page: Any, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#compare-upload").click()
    chooser.value.set_files(str(path))
