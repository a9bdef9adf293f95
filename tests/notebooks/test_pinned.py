"""The first cells beside what Colab's image holds of a kernel: its versions, on this Python.

The pins are installed into an environment of their own; what they leave open, torch first, comes
from the one that runs the tests. The first cell installs the project itself. About five minutes.
"""

import copy
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from notebooks import reading
from notebooks.test_images import HELD

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
VERSIONS = f"""# Versions
import importlib.metadata, json
import ipykernel, ipywidgets, psutil, rich
print(json.dumps({{name: importlib.metadata.version(name) for name in {[*HELD]}}}))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the pins in front of everything else; gives Jupyter's folder of it."""
    home = tmp_path_factory.mktemp("image")
    venv.create(home, symlinks=os.name != "nt")
    own = next(home.glob("[Ll]ib/**/site-packages"))
    pins = [f"{name}=={number}" for name, number in HELD.items()]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(own), *pins]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode and "onnection" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    (own / "rest.pth").write_text(sysconfig.get_paths()["purelib"])
    program = next(path for path in home.glob("*/python*") if path.stem == "python")
    kernel = home / "jupyter" / "kernels" / "pinned"
    kernel.mkdir(parents=True)
    launch = [str(program), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": launch, "display_name": "pinned", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    return home / "jupyter"


@pytest.mark.parametrize(
    ("name", "number"),
    [("tutorials/00_first_lora", 3), ("tutorials/03_noise", 4), ("notebooks/colab_train", 4)],
)
def test_the_first_cells_run_beside_colabs_pins(
    name: str, number: int, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WORKBENCH_TINY", "1")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("WORKBENCH_SOURCE", str(reading.ROOT))  # the first cell installs it
    monkeypatch.setenv("JUPYTER_PATH", str(image))
    book = copy.deepcopy(reading.read(reading.ROOT / f"{name}.ipynb"))
    code = [cell for cell in book.cells if cell.cell_type == "code"][:number]
    book.cells = [*code, nbformat.v4.new_code_cell(VERSIONS)]
    (tmp_path / "work").mkdir()
    where = {"metadata": {"path": str(tmp_path / "work")}}
    client = nbclient.NotebookClient(book, timeout=900, kernel_name="pinned", resources=where)
    client.comm_open_handlers.clear()
    client.execute()
    *cells, versions = book.cells
    assert json.loads(versions.outputs[-1].text) == HELD, "nothing was installed over them"
    assert all(cell.outputs for cell in cells)
    shown = json.dumps([cell.outputs for cell in cells])
    assert "restart" not in shown.lower() and "Traceback" not in shown
