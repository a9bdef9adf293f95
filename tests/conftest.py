"""Fixtures for every room: tiny base models of the true classes, and caches out of the way."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # two processes with two threads each would share two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a relative path cannot hit the checkout; new processes still find the package."""
    import workbench

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(workbench.__file__).parents[1]))


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Stable Diffusion 1.x; 8x8 latents for 64 px."""
    from tiny_models import build_sd

    return build_sd(tmp_path_factory.mktemp("base") / "tiny-sd")


@pytest.fixture(scope="session")
def tiny_sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Stable Diffusion 2.x that predicts velocity."""
    from tiny_models import build_sd

    return build_sd(tmp_path_factory.mktemp("base") / "tiny-sd2", version=2)


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Stable Diffusion XL."""
    from tiny_models import build_sdxl

    return build_sdxl(tmp_path_factory.mktemp("base") / "tiny-sdxl")


@pytest.fixture(scope="session")
def tiny_sd_file(tiny_sd: Path) -> Path:
    """The same as `tiny_sd` in one .safetensors file; load it with base.config = tiny_sd."""
    from tiny_models import to_single_file

    return to_single_file(tiny_sd, tiny_sd.with_suffix(".safetensors"))


@pytest.fixture(scope="session")
def tiny_sd2_file(tiny_sd2: Path) -> Path:
    """The same as `tiny_sd2` in one file."""
    from tiny_models import to_single_file

    return to_single_file(tiny_sd2, tiny_sd2.with_suffix(".safetensors"))


@pytest.fixture(scope="session")
def tiny_sdxl_file(tiny_sdxl: Path) -> Path:
    """The same as `tiny_sdxl` in one file."""
    from tiny_models import to_single_file

    return to_single_file(tiny_sdxl, tiny_sdxl.with_suffix(".safetensors"))


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium; without it the test is skipped, but never where CI is set."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: pip install 'lora-workbench[dev]'")
    if chromium is None:
        _missing("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


def _missing(what: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)
