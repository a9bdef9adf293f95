"""What is to be trained: one small file a job while it waits and works, then in its run folder."""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from workbench import store
from workbench.records.lock import Holder, holder
from workbench.settings import SettingsError

ENDED = "job.json"  # in the run folder
_SUFFIX = ".job.json"

State = Literal["queued", "running", "ended"]
Kind = Literal["train", "resume"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When a job has cost enough; it is then asked to stop, with everything saved.

    Attributes:
        minutes: of wall time since the job's process began, loading included; None: no limit.
        money: in the unit of the price; None: no limit.
        price_per_hour: of the machine; None where it costs nothing.
    """

    minutes: float | None = None
    money: float | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not 0 < value < float("inf"):
                raise SettingsError(f"budget.{name} must be a number > 0, got {value!r}")
        if self.money is not None and self.price_per_hour is None:
            raise SettingsError(
                f"budget.money = {self.money:g} needs a price: give budget.price_per_hour"
            )

    @property
    def seconds(self) -> float | None:
        """Wall time until the first limit; None without any."""
        limits = []
        if self.minutes is not None:
            limits.append(60 * self.minutes)
        if self.money is not None and self.price_per_hour is not None:
            limits.append(3600 * self.money / self.price_per_hour)
        return min(limits, default=None)

    @property
    def words(self) -> str:
        """The limits, for people."""
        minutes = None if self.minutes is None else f"{self.minutes:g} minutes"
        money = None if self.money is None else f"{self.money:g} at {self.price_per_hour:g} an hour"
        return " or ".join(filter(None, (minutes, money))) or "none"

    def cost(self, seconds: float) -> float | None:
        """What some time costs.

        Args:
            seconds: of wall time.
        Returns:
            Money; None without a price.
        """
        return None if self.price_per_hour is None else seconds * self.price_per_hour / 3600


@dataclass(frozen=True, slots=True)
class Job:
    """One training that was asked for.

    Attributes:
        id: orders jobs; nanoseconds since 1970, made to rise.
        folder: the run folder.
        kind: begin the run, or go on with it.
        recipe_hash: of the recipe; together with `kind` it makes two jobs the same.
        overrides: changes on resuming.
        accept: go on although those change what the run computes.
        budget: when it has cost enough.
        state: queued, running or ended.
        child: the trainer's process.
        seq: the run's latest event before the trainer was started; those after it are its own.
        started: Unix seconds of the trainer's start.
        ended: Unix seconds of its end.
        exit_code: of the trainer; negative for a signal, None where nobody was there to see it.
        stop: somebody asked it to stop.
        note: why it was stopped, or what else is to be said about its end.
    """

    id: int
    folder: Path
    kind: Kind = "train"
    recipe_hash: str = ""
    overrides: tuple[str, ...] = ()
    accept: bool = False
    budget: Budget = field(default_factory=Budget)
    state: State = "queued"
    child: Holder | None = None
    seq: int = 0
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    stop: bool = False
    note: str = ""

    @property
    def run(self) -> str:
        """Name of the run folder."""
        return self.folder.name

    @property
    def alive(self) -> bool:
        """Whether its trainer's process lives."""
        return self.child is not None and self.child.alive

    @property
    def seconds(self) -> float:
        """Wall time since its trainer was started, until now or its end."""
        if self.started is None:
            return 0.0
        return max(0.0, (self.ended or time.time()) - self.started)


def active(queue: Path) -> list[Job]:
    """What waits or works, in the order in which it will be done.

    Args:
        queue: the workspace's queue folder.
    Returns:
        Jobs; one whose trainer died while no worker looked on is said to have ended.
    Raises:
        FileRefused: a job's file was altered; it is named.
    """
    found = []
    for path in sorted(queue.glob(f"*{_SUFFIX}")):
        try:
            found.append(_read(path))
        except FileNotFoundError:  # it ended this moment
            continue
    return [_honest(job, queue) for job in found]


def ended(run_folder: Path) -> Job | None:
    """The latest job that ended in a run folder.

    Args:
        run_folder: the run folder.
    Returns:
        The job; None where a run was not started by a worker, or its first job still works.
    """
    path = Path(run_folder) / ENDED
    return _read(path) if path.exists() else None


def put(job: Job) -> Job:
    """Write a job down where its state belongs.

    Args:
        job: queued or running: into the queue; ended: into its run folder.
    Returns:
        The job.
    """
    waiting = _place(job)
    if job.state != "ended":
        store.write_json(waiting, _plain(job))
        return job
    if job.folder.is_dir():  # else the user has thrown the run away
        store.write_json(job.folder / ENDED, _plain(job))
    waiting.unlink(missing_ok=True)
    return job


def drop(job: Job) -> None:
    """Forget a job that was never begun.

    Args:
        job: a queued one.
    """
    _place(job).unlink(missing_ok=True)


def again(job: Job) -> Job | None:
    """Read a job anew.

    Args:
        job: as it was.
    Returns:
        The job as it stands in the queue; None when it is no longer there.
    """
    try:
        return _read(_place(job))
    except FileNotFoundError:
        return None


def _place(job: Job) -> Path:
    return job.folder.parents[1] / "queue" / f"{job.id:020d}{_SUFFIX}"


def _plain(job: Job) -> dict[str, object]:
    return {**asdict(job), "folder": str(job.folder)}


def _read(path: Path) -> Job:
    if not path.exists():
        raise FileNotFoundError(path)
    data = store.read_json(path)
    child = data.pop("child")
    return Job(
        **data
        | {
            "folder": Path(data["folder"]),
            "overrides": tuple(data["overrides"]),
            "budget": Budget(**data["budget"]),
            "child": Holder(**child) if child else None,
        }
    )


def _honest(job: Job, queue: Path) -> Job:
    """A worker that lives sees for itself when its trainer ends."""
    if job.state != "running" or job.alive:
        return job
    worker = holder(queue)
    return job if worker is not None and worker.alive else replace(job, state="ended")
