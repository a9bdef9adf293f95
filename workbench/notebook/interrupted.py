"""Proof of the resume: one run is killed and goes on, one is left alone, their files compared."""

import time
from pathlib import Path

from workbench import launch, store
from workbench.recipe import Recipe
from workbench.records.events import Progress, Resumed, Saved
from workbench.records.log import read
from workbench.workspace.spawning import spawn

_LOOK_EVERY_S = 0.05
_LONGEST_S = 1800.0


def killed_and_resumed(recipe: Recipe) -> dict[str, str | int | bool]:
    """Train twice: once in a process that is killed and resumed, once undisturbed.

    Args:
        recipe: what to train; it must save a checkpoint well before its end.
    Returns:
        "killed after step", "resumed from step", "tensors" compared, and whether they are "equal
        bit for bit".
    Raises:
        RuntimeError: the process ended before it could be killed, or saved nothing for long.
    """
    home = Path(recipe.output.folder).resolve()
    home.mkdir(parents=True, exist_ok=True)
    killed = launch.free_folder(home / recipe.name)
    died_at = _killed(recipe, killed)
    for _ in launch.resume(killed).train():
        pass
    calm = launch.start(recipe, folder=launch.free_folder(home / f"{recipe.name}-undisturbed"))
    for _ in calm.train():
        pass
    resumed = [event.step for event in read(killed) if isinstance(event, Resumed)]
    files = (folder / "lora" / f"{recipe.name}.safetensors" for folder in (killed, calm.folder))
    ours, theirs = map(store.load_tensors, files)
    return {
        "killed after step": died_at,
        "resumed from step": resumed[-1],
        "tensors": len(theirs),
        "equal bit for bit": ours.keys() == theirs.keys()
        and all(ours[name].equal(tensor) for name, tensor in theirs.items()),
    }


def _killed(recipe: Recipe, folder: Path) -> int:
    """Train in a process of its own, kill it after its first checkpoint; its last step."""
    path, said = folder.with_suffix(".toml"), folder.with_suffix(".log")
    store.write_text(path, recipe.to_toml(comments=False))
    began = time.monotonic()
    with said.open("wb") as output:
        worker = spawn(["train", str(path), "--folder", str(folder)], output, folder=folder.parent)
        try:
            while not _is_past_a_checkpoint(folder):
                if worker.poll() is not None or time.monotonic() - began > _LONGEST_S:
                    raise RuntimeError(
                        f"{folder} ended before it could be killed (status {worker.poll()}); "
                        f"see {said}, or give it more steps after its first checkpoint"
                    )
                time.sleep(_LOOK_EVERY_S)
        finally:
            worker.kill()  # SIGKILL: no chance to save anything
            worker.wait()
    return max(event.step for event in read(folder) if isinstance(event, Progress))


def _is_past_a_checkpoint(folder: Path) -> bool:
    events = read(folder) if (folder / "events.jsonl").exists() else []
    saved = [e.step for e in events if isinstance(e, Saved) and e.what == "checkpoint"]
    return bool(saved) and any(isinstance(e, Progress) and e.step > saved[0] for e in events)
