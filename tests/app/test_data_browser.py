"""Data and captions in a real browser: sent, looked at, edited, taken back, painted on."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("files")
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (300, 200), colour).save(folder / f"{number}.jpg")
    (folder / "0.txt").write_text("red <script>alert(1)</script>, square")
    (folder / "fake.png").write_text("no picture")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        picture = io.BytesIO()
        Image.new("RGB", (200, 300), "white").save(picture, "PNG")
        archive.writestr("white.png", picture.getvalue())
        archive.writestr("read.me", "x")
    return sorted(str(path) for path in folder.iterdir())


def go_to(page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).first.click()


def test_pictures_are_sent_used_edited_and_painted_on(app, open_page, files):
    page = open_page(app)
    go_to(page, "Data")
    page.locator("#data-gallery button").nth(31).wait_for()  # the built-in concept at first
    page.get_by_role("tab", name="Upload", exact=True).click()
    page.locator("#upload-name").get_by_role("textbox").fill("squares")
    page.locator("#upload-zone input[type=file]").set_input_files(files)
    page.locator(".drop[data-state=done]").wait_for()
    sent = page.locator("#upload-zone").inner_text()
    assert "5 of 6 are there, 1 refused" in sent and "fake.png: not an image" in sent
    page.locator("#use-upload").click()
    page.locator("#data-facts dd", has_text="4").first.wait_for()
    page.wait_for_function("document.querySelectorAll('#data-gallery button').length === 4")

    go_to(page, "Captions")
    words = page.locator("#caption-words").get_by_role("textbox")
    page.locator("#captions-gallery button").nth(0).click()
    page.wait_for_function(
        "document.querySelector('#caption-words textarea').value.includes('<script>')"
    )
    assert "<script>" in page.locator("#draws").inner_text()  # text, everywhere
    words.fill("red, square, bow")
    page.locator("#caption-save").click()
    page.locator("#draws .tag", has_text="bow").first.wait_for()
    folder = Path(app.workspace) / "data" / "squares"
    assert (folder / "0.txt").read_text() == "red, square, bow\n"
    page.locator("#caption-undo").click()
    page.wait_for_function("!document.querySelector('#draws').innerText.includes('bow')")
    assert "<script>" in (folder / "0.txt").read_text()

    go_to(page, "Data")
    page.locator("#data-gallery button").nth(1).click()
    page.locator("#masks button").first.click()
    page.locator("#mask-take").click()
    canvas = page.locator("#mask-editor canvas").first
    canvas.wait_for()
    page.wait_for_timeout(2000)  # the picture is laid on the canvas
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=10)
    page.mouse.up()
    page.wait_for_timeout(1000)  # the stroke is sent
    page.locator("#mask-save").click()
    page.locator("#mask-said", has_text="has a mask").wait_for()
    with Image.open(folder / "1-mask.png") as mask:
        assert mask.size == (300, 200)
        share = sum(mask.histogram()[128:]) / (300 * 200)
        assert 0.01 < share < 0.5


def test_a_changed_recipe_reaches_every_tab(app, open_page):
    """All listeners of the recipe hear of a change, those of forms made anew among them."""
    page = open_page(app)
    go_to(page, "Data")
    page.get_by_role("tab", name="Built in", exact=True).click()
    page.get_by_label("Style: any creature as a print in two inks").check()
    page.locator("#use-built-in").click()
    page.wait_for_function("document.querySelectorAll('#data-gallery button').length === 36")
    trigger = page.locator("#tab-data").get_by_label("subsets 1 trigger").first
    expect(trigger).to_have_value("risoka", timeout=30_000)
    trigger.fill("inky")
    trigger.press("Enter")
    go_to(page, "Captions")
    page.locator("#draws .tag.first", has_text="inky").first.wait_for()
    go_to(page, "Start")
    page.get_by_role("radio", name="Scene").check()
    go_to(page, "Data")
    expect(page.get_by_label("Place: a red plain under a low moon")).to_be_checked()
    expect(trigger).to_have_value("arsia")


def test_a_zip_in_the_workspace_is_unpacked_and_used(app, open_page):
    """Somebody has copied it there, past the page."""
    archive = Path(app.workspace) / "data" / "holiday.zip"
    archive.parent.mkdir(exist_ok=True)
    picture = io.BytesIO()
    Image.new("RGB", (256, 256), "orange").save(picture, "PNG")
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("beach/one.png", picture.getvalue())
        packed.writestr("beach/one.txt", "orange, beach")
        packed.writestr("notes.md", "x")
    page = open_page(app)
    go_to(page, "Data")
    page.get_by_role("tab", name="A folder of the workspace").click()
    choice = page.locator("#folder-choice input")
    choice.click()
    page.get_by_role("option", name="holiday.zip").click()
    page.locator("#unpack-zip").click()
    page.locator(".toast-body", has_text="holiday").wait_for()
    expect(choice).to_have_value("holiday (pictures: 1)", timeout=30_000)
    expect(page.locator("#unpack-zip")).to_be_hidden()
    page.locator("#use-folder").click()
    page.wait_for_function("document.querySelectorAll('#data-gallery button').length === 1")
    assert (archive.parent / "holiday/beach/one.txt").read_text() == "orange, beach"
