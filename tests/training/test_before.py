"""A run that an earlier commit began goes on here and ends with the bits it would have had.

`make_before.py` made it.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bitwise import same

import workbench
from workbench import store

BEFORE = Path(__file__).with_name("before")


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """As the run began: sums of floats depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def begun(tiny_sd: Path, photos: Path, tmp_path: Path) -> Path:
    """A copy of the run, with the base and the pictures in their places."""
    folder = shutil.copytree(BEFORE / "run", tmp_path / "run")
    recipe = folder / "recipe.toml"
    text = recipe.read_text()
    places = {"base": tiny_sd, "photos": photos, "runs": tmp_path / "runs"}
    for name, place in places.items():
        assert text.count(f"/inputs/{name}") == 1
        text = text.replace(f"/inputs/{name}", place.as_posix())
    recipe.write_text(text)
    return folder


@pytest.mark.usefixtures("_one_thread")
def test_a_run_of_an_earlier_commit_ends_with_the_same_bits(begun):
    run = workbench.resume(begun)
    run.observers = []
    told = list(run.train())
    assert [e.step for e in told if e.event in ("resumed", "progress")] == [3, 4, 5, 6]
    assert told[-1].event == "finished"
    twin, found = (
        store.load_tensors(BEFORE / "twin.safetensors"),
        store.load_tensors(run.final_lora),
    )
    assert list(found) == list(twin)
    here = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    made = store.read_header(BEFORE / "twin.safetensors")[0]
    if made != here:
        pytest.skip(f"made with {made}, and here is {here}: other kernels give other bits")
    assert [e for e in told if e.event == "warned" and e.id == "other-base"] == []
    assert same(found, twin)
