"""What starting the app spares: Gradio reads its own source only to write stubs beside it."""

import subprocess
import sys

CODE = """
import ast, inspect
found = inspect.getfile
def fail(*_):
    raise AssertionError("Gradio writes stubs")
ast.get_source_segment = fail
from workbench.app.server import _import_gradio
_import_gradio()
import gradio
assert inspect.getfile is found and gradio.Slider
"""


def test_gradio_is_imported_without_writing_stubs() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
