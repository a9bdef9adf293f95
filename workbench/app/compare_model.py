"""The one model that the app's process may hold, to draw with: loaded, lent, given back."""

import contextlib
import gc
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from workbench.app.compare_source import Brush, Job, final_file, recipe_of
from workbench.app.desk import loading
from workbench.app.words import text
from workbench.settings import SettingsError
from workbench.workspace import jobs
from workbench.workspace.device import DeviceBusy, borrowed
from workbench.workspace.folders import Workspace
from workbench.workspace.loras import Source

if TYPE_CHECKING:
    from workbench.evaluation.loading import Trained

IDLE_S = 120.0  # afterwards the device is given back; at once where a training waits
MAX_PICTURES = 500
AT_ONCE = 2  # pictures of one batch: between batches it can be cancelled, and they are shown
GUESS_S = 4.0  # for a picture, before one was drawn


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
_pictures: OrderedDict[tuple[object, ...], Image.Image] = OrderedDict()
_seconds: dict[str, float] = {}


def known(brush: Brush, asked: Sequence[Job]) -> dict[Job, Any]:
    """Pictures that need not be drawn: a run's own, and those drawn before.

    Args:
        brush: what draws.
        asked: which pictures.
    Returns:
        Those that are there.
    """
    from workbench.evaluation.compare import drawn_pictures

    source, found = brush.source, {}
    if source.is_run and brush.how is None and brush.base is None:
        final, wanted = brush.file == final_file(source), set(asked)
        own = drawn_pictures(source.path).items()
        found = {job: x for job, x in own if job in wanted and (final or not job[2])}
    for job in asked:
        if (key := brush.key(job)) in _pictures:
            found[job] = _pictures[key]
    return found


def estimate_s(brush: Brush, count: int) -> float:
    """Guess how long drawing will take.

    Args:
        brush: what draws.
        count: pictures.
    Returns:
        Seconds, by what its pictures took last: here, or while it was trained.
    """
    each = _seconds.get(brush.base_key)
    if each is not None:
        return count * each * brush.sampling.steps
    return count * (_measured(brush.source) or GUESS_S)


def drawing(workspace: Workspace, brush: Brush, asked: Sequence[Job]) -> Iterator[Advance]:
    """Draw pictures a few at a time; a training is waited for, never disturbed.

    Args:
        workspace: whose device.
        brush: what draws.
        asked: which pictures.
    Yields:
        After each batch and each second of waiting; at last with all pictures.
    Raises:
        SettingsError: the memory does not suffice, or no base is known.
        FileRefused: the file is unsound, or does not fit its base.
    """
    found = known(brush, asked)
    missing = [job for job in dict.fromkeys(asked) if job not in found]
    yield Advance(len(found), len(found) + len(missing), "", dict(found))
    total = len(found) + len(missing)
    while missing:
        strength = missing[0][2]
        batch = [job for job in missing if job[2] == strength][:AT_ONCE]
        try:
            found |= _draw_once(workspace, brush, batch)
        except DeviceBusy as busy:
            yield Advance(len(found), total, str(busy), dict(found))
            time.sleep(1)
            continue
        missing = [job for job in missing if job not in found]
        yield Advance(len(found), total, "", dict(found))


def give_back() -> None:
    """Drop the model and let others have the device; at once, if nothing is being drawn."""
    with _lock:
        _release()


def _draw_once(workspace: Workspace, brush: Brush, batch: Sequence[Job]) -> dict[Job, Image.Image]:
    """One batch of one strength, but for what another visitor drew in the meantime."""
    with _lock:
        keys = {job: brush.key(job) for job in batch}
        missing = [job for job in batch if keys[job] not in _pictures]
        drawn = _draw(workspace, brush, missing) if missing else {}
        found = {job: drawn.get(job) or _pictures[keys[job]] for job in batch}
        for job, image in drawn.items():
            _remember(keys[job], image)
    return found


def _draw(workspace: Workspace, brush: Brush, batch: Sequence[Job]) -> dict[Job, Image.Image]:
    import torch

    from workbench.evaluation.drawing import draw_jobs, missing

    try:
        trained = replace(_loaded(workspace, brush), sampling=brush.sampling)
        count = missing(trained, batch)
        started = time.monotonic()
        drawn = draw_jobs(trained, batch)
    except (torch.OutOfMemoryError, MemoryError):
        _release()
        raise SettingsError(text("compare_memory")) from None
    assert _held is not None
    _held.used = time.monotonic()
    if count:  # what the cache held says nothing of how long drawing takes
        _seconds[brush.base_key] = (_held.used - started) / count / brush.sampling.steps
    return drawn


def _loaded(workspace: Workspace, brush: Brush) -> "Trained":
    """The model, loaded unless it is there; another file for the same base takes its place."""
    global _held
    from workbench.evaluation.loading import open_lora, open_run, with_file

    source, file, base = brush.source, brush.file, brush.base
    key = f"{workspace.root} {brush.base_key}"
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


def _remember(key: tuple[object, ...], image: Image.Image) -> None:
    _pictures[key] = image
    while len(_pictures) > MAX_PICTURES:
        _pictures.popitem(last=False)


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
