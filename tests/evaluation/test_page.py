"""The page is one file, holds all it was given as text, and asks no network for anything."""

import base64
import gzip
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from workbench.evaluation import page
from workbench.evaluation.page import Notice, Report, duration
from workbench.evaluation.results import Comparison, DriftRow, Pair, Proof, ProofRow, Strip, Verdict
from workbench.plots import curves

EVIL = "<script>alert('&')</script>\"'"


def picture(colour: str, size: tuple[int, int] = (16, 12)) -> Image.Image:
    return Image.new("RGB", size, colour)


def full_report() -> Report:
    pair = Pair(f"mochi, {EVIL}", 1, picture("red"), picture("blue"))
    row = ProofRow(EVIL, 0.5, 0.1, False, EVIL)
    return Report(
        name=EVIL,
        verdict=Verdict(EVIL, "bad", (EVIL,)),
        subtitle=EVIL,
        facts={EVIL: EVIL},
        origins={EVIL: EVIL},
        comparison=Comparison((pair,), (Strip(EVIL, 0, ((EVIL, picture("red")),)),), (pair,), EVIL),
        progress=(Strip(EVIL, 0, ((EVIL, picture("red")),)),),
        drift=(DriftRow(EVIL, 50, -2, -3, -1),),
        figures={EVIL: curves.rates([1, 2], {EVIL: [1.0, 2.0], "a": [0.0, 0.0]})},
        proof=Proof(EVIL, (row,)),
        timings={EVIL: 3.0},
        warnings=(Notice(EVIL, EVIL, 2),),
        changes=(EVIL,),
        recipe=f'name = "{EVIL}" # {EVIL}',
        made=EVIL,
    )


class Elements(HTMLParser):
    """Start tags with their attributes, and the text between."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def rendered() -> str:
    return page.render(full_report())


@pytest.fixture(scope="module")
def elements(rendered: str) -> Elements:
    parser = Elements()
    parser.feed(rendered)
    return parser


def test_everything_is_text(elements: Elements) -> None:
    scripts = [attributes for tag, attributes in elements.tags if tag == "script"]
    assert [script.get("id") for script in scripts] == ["figures", "plotly", None]
    assert elements.text.count(EVIL) >= 18
    assert all(not key.startswith("on") for _, attributes in elements.tags for key in attributes)


def test_nothing_is_asked_of_a_network(rendered: str, elements: Elements) -> None:
    assert "http:" not in rendered and "https:" not in rendered
    assert "url(" not in rendered and "@import" not in rendered
    for _, attributes in elements.tags:
        for key in ("src", "href", "srcset", "action"):
            assert (attributes.get(key) or "data:").startswith("data:")
    policy = next(a["content"] for _, a in elements.tags if a.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'")


def test_plotly_is_whole_and_the_figures_are_json(rendered: str) -> None:
    packed = re.search(r'id="plotly">([^<]*)<', rendered)
    figures = re.search(r'id="figures">([^<]*)<', rendered)
    assert packed and figures
    assert b"plotly.js v" in gzip.decompress(base64.b64decode(packed[1]))[:300]
    drawn = json.loads(figures[1])
    assert drawn["1"]["data"][0]["name"] == EVIL
    assert len(rendered) < 2.3e6, "plotly.js is embedded once and packed"


def test_every_picture_is_there_with_words_for_those_who_cannot_see_it(elements: Elements) -> None:
    images = [attributes for tag, attributes in elements.tags if tag == "img"]
    assert len(images) == 6
    assert all(image["alt"] for image in images)
    source = images[0]["src"]
    assert source is not None
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert image.size == (16, 12) and image.getpixel((3, 3))[0] > 240  # type: ignore[index]
    sliders = [a for tag, a in elements.tags if tag == "input" and a["type"] == "range"]
    assert len(sliders) == 2 and all(slider["aria-label"] for slider in sliders)


def test_large_pictures_are_scaled_down_and_the_original_is_left() -> None:
    image = picture("red", (2000, 1000))
    data = base64.b64decode(page.data_uri(image).partition(",")[2])
    with Image.open(io.BytesIO(data)) as small:
        assert small.size == (768, 384)
    assert image.size == (2000, 1000)


def test_a_hundred_pictures_of_photographs_fit_in_ten_megabytes() -> None:
    # 1 / f noise is as hard to compress as photographs full of detail
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(1024), np.fft.rfftfreq(1024), indexing="ij"))
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft2(rng.standard_normal((3, 1024, 1024))) / np.maximum(frequency, 1e-3)
    field = np.fft.irfft2(spectrum)
    levels = np.clip(127 + 60 * field / field.std(), 0, 255).astype(np.uint8)
    photo = Image.fromarray(np.moveaxis(levels, 0, -1))
    alone = page.data_uri(photo)
    assert len(alone) * 100 > 10e6, "as they are, a hundred of them would not fit"
    with_99_others = page.data_uri(photo, max_bytes=page._PICTURES_BYTES // 100)
    page_bytes = 100 * len(with_99_others) + len(page.packed_plotly())
    assert page_bytes < 9.5e6
    with Image.open(io.BytesIO(base64.b64decode(with_99_others.partition(",")[2]))) as small:
        assert max(small.size) >= 384, "and are still worth seeing"
    assert page._count(full_report()) == 6


def test_an_empty_report_is_a_page_without_plotly() -> None:
    text = page.render(Report("x", Verdict("Nothing yet.")))
    assert "Nothing yet." in text and len(text) < 40_000


def test_fragment_for_a_notebook_is_one_frame() -> None:
    comparison = full_report().comparison
    assert comparison is not None
    parser = Elements()
    parser.feed(comparison.show()._repr_html_())
    ((tag, attributes),) = parser.tags
    assert tag == "iframe" and attributes["srcdoc"] is not None
    inner = Elements()
    inner.feed(attributes["srcdoc"])
    assert sum(tag == "img" for tag, _ in inner.tags) == 5
    assert 'id="plotly"' not in attributes["srcdoc"]


def test_trigger_is_marked_and_comments_are_dimmed() -> None:
    assert page._marked("a <mochi>, mochila", "mochi") == ("a &lt;<mark>mochi</mark>&gt;, mochila")
    assert page._toml('a = "x # y" # <z>') == "a = &#34;x # y&#34; <i># &lt;z&gt;</i>"
    assert page._toml('b = "unclosed') == "b = &#34;unclosed"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
