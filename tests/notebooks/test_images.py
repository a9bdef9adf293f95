"""Wheels for the images of Colab and Kaggle: all that the package needs, beside what they hold.

pip resolves for another Python and installs nothing, so this needs an index and no image.
"""

import itertools
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from notebooks.reading import ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
# What the images hold of what a kernel has imported when the first cell runs. They change.
HELD = {"psutil": "5.9.5", "ipykernel": "6.17.1", "ipywidgets": "7.7.1", "rich": "13.9.4"}
PYTHONS = {"3.12": HELD | {"numpy": "2.0.2", "pillow": "11.3.0"}, "3.13": HELD}
GLIBC = range(35, 4, -1)  # Ubuntu 22.04's and older: pip knows only its own machine's


@pytest.mark.parametrize("python", PYTHONS)
def test_wheels_are_found_beside_what_the_image_holds(python: str, tmp_path: Path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]
    held, report = tmp_path / "held.txt", tmp_path / "report.json"
    held.write_text("".join(f"{name}=={number}\n" for name, number in PYTHONS[python].items()))
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC] + ["manylinux2014_x86_64"]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary=:all:", "--target", str(tmp_path / "nowhere"), "-c", str(held)]
    command += ["--python-version", python, "--implementation", "cp", "--report", str(report)]
    command += itertools.chain(*(("--platform", one) for one in platforms))
    done = subprocess.run([*command, *lines], capture_output=True, text=True, check=False)
    if done.returncode and "onnection" in done.stderr:  # pip retries, and says so
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    found = {
        one["metadata"]["name"].lower(): one["metadata"]["version"]
        for one in json.loads(report.read_text())["install"]
    }
    assert {name: found[name] for name in PYTHONS[python]} == PYTHONS[python]
    assert {"torch", "diffusers", "gradio"} <= found.keys()
    assert not (tmp_path / "nowhere").exists(), "nothing is installed"
