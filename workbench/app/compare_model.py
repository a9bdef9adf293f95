"""The one model that the app's process may hold, to draw with: loaded, lent, given back."""

import contextlib
import gc
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from workbench.app.desk import loading
from workbench.app.words import text
from workbench.settings import SettingsError
from workbench.workspace import jobs
from workbench.workspace.device import DeviceBusy, borrowed
from workbench.workspace.folders import Workspace
from workbench.workspace.loras import Source, checkpoints

if TYPE_CHECKING:
    from workbench.evaluation.loading import Trained, Wanted

IDLE_S = 120.0  # afterwards the device is given back; at once where a training waits
MAX_PICTURES = 500
AT_ONCE = 2  # pictures of one batch: between batches it can be cancelled, and they are shown
GUESS_S = 4.0  # for a picture, before one was drawn
Job = tuple[str, int, float]  # prompt, seed, strength
Key = tuple[str, str, str, int, float]  # base, file and its time, then the job


@dataclass
class _Held:
    key: str
    trained: "Trained"
    given: contextlib.ExitStack
    used: float


@dataclass(frozen=True, slots=True)
class Advance:
    """How far drawing has come.

    Attributes:
        done: pictures that are there.
        total: pictures that were asked for.
        waits: why it waits; "" while it draws.
        pictures: what is there so far.
    """

    done: int
    total: int
    waits: str
    pictures: dict[Job, Image.Image]


_lock = threading.Lock()
_held: _Held | None = None
_pictures: OrderedDict[Key, Image.Image] = OrderedDict()
_seconds: dict[str, float] = {}


def known(source: Source, file: Path, asked: Sequence[Job]) -> dict[Job, Any]:
    """Pictures that need not be drawn: a run's own, and those drawn before.

    Args:
        source: whose.
        file: the LoRA file that acts.
        asked: which pictures.
    Returns:
        Those that are there.
    """
    from workbench.evaluation.compare import drawn_pictures

    wanted, found = wanted_of(source), {}
    if source.is_run and _is_final(source, file):
        found = {job: x for job, x in drawn_pictures(source.path).items() if job in set(asked)}
    for job in asked:
        if (key := _key(wanted, file, job)) in _pictures:
            found[job] = _pictures[key]
    return found


def estimate_s(source: Source, count: int) -> float:
    """Guess how long drawing will take.

    Args:
        source: with which model.
        count: pictures.
    Returns:
        Seconds, by what its pictures took last: here, or while it was trained.
    """
    each = _seconds.get(source.run or source.key)
    return count * (each if each is not None else _measured(source) or GUESS_S)


def drawing(
    workspace: Workspace, source: Source, asked: Sequence[Job], *, file: Path, base: str | None
) -> Iterator[Advance]:
    """Draw pictures a few at a time; a training is waited for, never disturbed.

    Args:
        workspace: whose device.
        source: a run or a file.
        asked: which pictures.
        file: the LoRA file that acts.
        base: where the base lies, if not where the source says.
    Yields:
        After each batch and each second of waiting; at last with all pictures.
    Raises:
        SettingsError: the memory does not suffice, or no base is known.
        FileRefused: the file is unsound, or does not fit its base.
    """
    wanted = wanted_of(source)
    found = known(source, file, asked)
    missing = [job for job in dict.fromkeys(asked) if job not in found]
    yield Advance(len(found), len(found) + len(missing), "", dict(found))
    total = len(found) + len(missing)
    while missing:
        strength = missing[0][2]
        batch = [job for job in missing if job[2] == strength][:AT_ONCE]
        try:
            drawn = _draw(workspace, source, file, batch, base=base)
        except DeviceBusy as busy:
            yield Advance(len(found), total, str(busy), dict(found))
            time.sleep(1)
            continue
        for job, image in drawn.items():
            found[job] = image
            _remember(_key(wanted, file, job), image)
        missing = [job for job in missing if job not in found]
        yield Advance(len(found), total, "", dict(found))


def wanted_of(source: Source) -> "Wanted":
    """What a source is drawn with: its recipe's prompts and sampling.

    Args:
        source: a run or a file.
    Returns:
        What is known of it without loading a model.
    Raises:
        FileRefused: the file is unsound.
    """
    from workbench.evaluation.loading import Wanted, wanted

    recipe = recipe_of(source)
    return wanted(recipe) if recipe is not None and recipe.data.subsets else Wanted()


def recipe_of(source: Source) -> Any:
    """The recipe that made a source.

    Args:
        source: a run or a file.
    Returns:
        The recipe; None for a file of another program.
    """
    from workbench.evaluation.loading import recorded_recipe
    from workbench.recipe import Recipe

    if source.is_run:
        return Recipe.load(source.path / "recipe.toml")
    return recorded_recipe(source.path)


def final_file(source: Source) -> Path:
    """The file that a source means by itself.

    Args:
        source: a run or a file.
    Returns:
        The run's last LoRA, which is that of its latest step where it was stopped; or the file.
    """
    if not source.is_run:
        return source.path
    final = source.path / "lora" / f"{recipe_of(source).name}.safetensors"
    if final.exists() or final.with_suffix("").exists():
        return final
    return next(reversed(checkpoints(source.path)), final)


def give_back() -> None:
    """Drop the model and let others have the device; at once, if nothing is being drawn."""
    with _lock:
        _release()


def _draw(
    workspace: Workspace, source: Source, file: Path, batch: Sequence[Job], *, base: str | None
) -> dict[Job, Image.Image]:
    """One batch of one strength."""
    import torch

    from workbench.records.sampling import draw

    with _lock:
        try:
            trained = _loaded(workspace, source, file, base)
            started = time.monotonic()
            with trained.adapter.strength(batch[0][2]):
                pairs = [(prompt, seed) for prompt, seed, _ in batch]
                drawn = [one.image for one in draw(trained.family, trained.sampling, pairs)]
        except (torch.OutOfMemoryError, MemoryError):
            _release()
            raise SettingsError(text("compare_memory")) from None
        assert _held is not None
        _held.used = time.monotonic()
        _seconds[source.run or source.key] = (_held.used - started) / len(batch)
    return dict(zip(batch, drawn, strict=True))


def _loaded(workspace: Workspace, source: Source, file: Path, base: str | None) -> "Trained":
    """The model, loaded unless it is there; another file of the same run takes its place."""
    global _held
    from workbench.evaluation.loading import open_lora, open_run, with_file

    key = f"{workspace.root}/{source.run or source.key}/{base or ''}"
    if _held is not None and _held.key == key:
        if _held.trained.path != file:
            trained, _held.trained = _held.trained, None  # type: ignore[assignment]
            try:
                _held.trained = with_file(trained, file)
            except Exception:
                _release()  # its base has no adapter any more
                raise
        return _held.trained
    _release()
    given = contextlib.ExitStack()
    given.enter_context(borrowed(workspace))
    try:
        with loading():
            if file.exists() and file.is_file():
                trained = open_lora(file, base=base or _base_of(source))
            else:
                trained = open_run(source.path, base=base)
    except BaseException:
        given.close()
        raise
    _held = _Held(key, trained, given, time.monotonic())
    threading.Thread(target=_watch, args=(workspace,), daemon=True).start()
    return trained


def _base_of(source: Source) -> str | None:
    """A run's file is loaded on the run's base, whatever the file says."""
    recipe = recipe_of(source) if source.is_run else None
    return recipe.base.path if recipe is not None else None


def _watch(workspace: Workspace) -> None:
    """Give the device back when nobody draws any more, sooner where a training waits."""
    while True:
        time.sleep(1)
        with _lock:
            if _held is None:
                return
            idle = time.monotonic() - _held.used
            waiting = any(job.state == "queued" for job in jobs.active(workspace.queue))
            if idle > IDLE_S or (waiting and idle > 2):
                _release()
                return


def _release() -> None:
    global _held
    if _held is None:
        return
    import torch

    given = _held.given
    _held = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    given.close()


def _key(wanted: "Wanted", file: Path, job: Job) -> Key:
    stamp = f"{file}@{file.stat().st_mtime_ns if file.exists() else 0}"
    prompt, seed, strength = job
    return str(hash(wanted.sampling.model_dump_json())), stamp, prompt, seed, strength


def _remember(key: Key, image: Image.Image) -> None:
    _pictures[key] = image
    while len(_pictures) > MAX_PICTURES:
        _pictures.popitem(last=False)


def _is_final(source: Source, file: Path) -> bool:
    return file == final_file(source)


def _measured(source: Source) -> float | None:
    """Seconds a picture, as the run's own samples took."""
    from workbench.evaluation.report import stage_seconds
    from workbench.records.events import Sampled
    from workbench.records.log import read

    if not source.is_run:
        return None
    events = read(source.path)
    count = sum(len(event.pictures) for event in events if isinstance(event, Sampled))
    spent = stage_seconds(events).get("sampling")
    return spent / count if spent and count else None
