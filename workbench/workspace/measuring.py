"""What a run would need, measured by a process of its own, so that no memory of it stays here."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workbench import store
from workbench.recipe import Recipe
from workbench.workspace.device import borrowed
from workbench.workspace.folders import Workspace


def measure(
    workspace: Workspace, recipe: Recipe, *, price_per_hour: float | None = None
) -> Iterator[str]:
    """Do one step, samples and a save of a recipe, as `workbench check --measure` does.

    Args:
        workspace: where; its device is borrowed for the time.
        recipe: what would be trained.
        price_per_hour: of this machine, to say the cost.
    Yields:
        Lines as they are printed, the reason of a refusal among them.
    Raises:
        SettingsError: the device is at work, or the recipe's output lies elsewhere.
    """
    recipe = workspace.settle(recipe)
    with borrowed(workspace), tempfile.TemporaryDirectory(dir=workspace.cache) as folder:
        path = store.write_text(Path(folder) / "recipe.toml", recipe.to_toml())
        command = [sys.executable, "-m", "workbench", "check", str(path), "--measure"]
        if price_per_hour is not None:
            command += ["--price-per-hour", str(price_per_hour)]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=folder,
        ) as process:
            assert process.stdout is not None
            try:
                yield from (line.rstrip() for line in process.stdout)
            finally:  # who asked has gone away
                process.kill()
