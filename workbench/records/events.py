"""What a run says while it works; `log.py` writes these events down and reads them.

Every face (command line, app, notebook) only reads events and draws them. Numbers that are not
finite become the strings "NaN", "Infinity" and "-Infinity" in JSON: any reader takes it, and the
number comes back as it was.
"""

from typing import Annotated, Literal, NamedTuple

import pydantic
from pydantic import Field


class Recorded(pydantic.BaseModel):
    """What every event carries; `log.EventLog.append` fills it in.

    Attributes:
        seq: position in the run's file, 1 for the first; 0 while not recorded.
        time: wall clock, Unix seconds; may jump, so order by `seq`.
        elapsed_s: seconds that the run's processes have lived; never falls, also over a resume.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    seq: int = 0
    time: float = 0.0
    elapsed_s: float = 0.0


class Started(Recorded):
    """A run begins at step 0: what it is and how long it will be.

    Attributes:
        run: name of the run.
        recipe_hash: SHA-256 of the resolved recipe.
        total_steps: optimizer steps planned; 0 where the length is given in minutes.
        steps_per_epoch: optimizer steps in which each training image is seen `repeats` times.
        num_images: images trained on.
        num_held_out: images kept for validation.
        device: torch device of rank 0.
        precision: dtype of the forward pass.
        num_processes: trainers that share the run.
        captions: how captions become embeddings: encoded once, drawn ahead, or in each step.
        versions: library name to version.
    """

    event: Literal["started"] = "started"
    run: str
    recipe_hash: str
    total_steps: int
    steps_per_epoch: int = 0
    num_images: int = 0
    num_held_out: int = 0
    device: str = "cpu"
    precision: str = "float32"
    num_processes: int = 1
    captions: str = ""
    versions: dict[str, str] = {}


class Preparing(Recorded):
    """A stage before the first step has done `done` of `total` units ("caching latents", 3, 40)."""

    event: Literal["preparing"] = "preparing"
    stage: str
    done: int
    total: int


class TimestepLoss(NamedTuple):
    """The mean loss of some samples in one range of timesteps, before any weight."""

    low: int  # first timestep of the range
    high: int  # first one beyond it
    loss: float
    samples: int


class Progress(Recorded):
    """One optimizer step is done.

    Attributes:
        step: optimizer steps done since the run began, from 1.
        epoch: epoch of this step, from 0.
        loss: mean loss of the step's samples.
        learning_rates: group name to rate.
        gradient_norm: 2-norm over all trainables before clipping; None where it was not read.
        steps_per_s: optimizer steps a second, recent.
        images_per_s: images a second, recent, all processes together.
        eta_s: seconds to the end, >= 0; None while unknown.
        traces: further curves by name, such as "d*lr" or "ema_lag".
        timestep_losses: loss of this step's samples by timestep, of all processes; ranges that no
            sample fell into are left out. `records.timesteps.recent` adds several steps up.
    """

    event: Literal["progress"] = "progress"
    step: int
    epoch: int = 0
    loss: float
    learning_rates: dict[str, float] = {}
    gradient_norm: float | None = None
    steps_per_s: float = 0.0
    images_per_s: float = 0.0
    eta_s: float | None = None
    traces: dict[str, float] = {}
    timestep_losses: tuple[TimestepLoss, ...] = ()


class Validated(Recorded):
    """The stable loss: fixed images, noise and timesteps, of the base and of what was trained.

    Attributes:
        step: optimizer steps done.
        split: which images were measured.
        loss: mean loss of what was trained.
        base_loss: mean loss of the base on the same draws.
        timestep_edges: borders of the timestep bins, one more than bins.
        bin_losses: loss in each bin.
        base_bin_losses: the base's loss in each bin.
        image_losses: loss of each image.
        base_image_losses: the base's loss of each image.
    """

    event: Literal["validated"] = "validated"
    step: int
    split: Literal["train", "held_out"] = "held_out"
    loss: float
    base_loss: float | None = None
    timestep_edges: tuple[float, ...] = ()
    bin_losses: tuple[float, ...] = ()
    base_bin_losses: tuple[float, ...] = ()
    image_losses: tuple[float, ...] = ()
    base_image_losses: tuple[float, ...] = ()


class Averaged(pydantic.BaseModel):
    """How the moving average stands to the weights, over a sample of them.

    Attributes:
        lag: distance from the weights to their average.
        distance: distance from the first weights to those now.
        decay: memory of the next update.
        full_decay: memory that the recipe asks for.
        full_after: steps after which it is reached.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    lag: float
    distance: float
    decay: float
    full_decay: float
    full_after: int


class Measured(Recorded):
    """How far the weights have come; made beside each measurement of the stable loss.

    Attributes:
        step: optimizer steps done.
        change: block such as "unet.down_blocks.1" to |dW| / |W| of what learns there.
        num_layers: layers that learn.
        num_unchanged: those whose dW is exactly zero: a LoRA's B that never moved.
        dtype: of the weights that learn.
        moved: share of them that differ from their first value, of a sample.
        updated: share of them that the latest step changed; None where it was not watched.
        update: root mean square of what it changed.
        spacing: median distance to the next number that the dtype can hold (one ulp).
        average: the moving average; None without one.
    """

    event: Literal["measured"] = "measured"
    step: int
    change: dict[str, float] = {}
    num_layers: int = 0
    num_unchanged: int = 0
    dtype: str = "float32"
    moved: float = 0.0
    updated: float | None = None
    update: float | None = None
    spacing: float = 0.0
    average: Averaged | None = None


class NearestPicture(pydantic.BaseModel):
    """A sample and the training picture that it resembles most; cosine similarity of features."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    path: str
    nearest: str
    similarity: float


class Likeness(Recorded):
    """How near the final samples come to training pictures: copies are nearer than those are.

    Attributes:
        step: optimizer steps done when the samples were drawn.
        features: what compares them.
        pictures: each sample with its nearest training picture.
        among_training: similarity of each training picture to the nearest other one.
    """

    event: Literal["likeness"] = "likeness"
    step: int
    features: str
    pictures: tuple[NearestPicture, ...] = ()
    among_training: tuple[float, ...] = ()


class Mark(NamedTuple):
    """A change against the base, and how sure it is."""

    name: str  # "likeness", "leak", "L*", "a*", "b*"
    value: float
    low: float
    high: float
    n: int  # prompts


class Watched(Recorded):
    """How the samples of a step compare with the base's.

    Attributes:
        step: optimizer steps done.
        marks: likeness to the training pictures and colours as changes, the leak as a share; what
            could not be measured is left out.
        alarms: names of those that left what chance explains.
    """

    event: Literal["watched"] = "watched"
    step: int
    marks: tuple[Mark, ...] = ()
    alarms: tuple[str, ...] = ()


class Saved(Recorded):
    """A checkpoint or a LoRA file is on disk, flushed; `path` is relative to the run folder."""

    event: Literal["saved"] = "saved"
    step: int
    path: str
    what: Literal["checkpoint", "lora"] = "checkpoint"
    final: bool = False
    num_bytes: int = 0
    seconds: float = 0.0


class SampledPicture(pydantic.BaseModel):
    """One sample on disk; `path` is relative to the run folder."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    prompt: str
    seed: int
    path: str


class Sampled(Recorded):
    """Pictures of the fixed prompts and seeds were drawn; `base` marks those without the LoRA."""

    event: Literal["sampled"] = "sampled"
    step: int
    pictures: tuple[SampledPicture, ...]
    base: bool = False
    seconds: float = 0.0


class Warned(Recorded):
    """Something the user should know; `id` is stable, `fix` says what to do about it.

    A `note` is worth knowing and needs nothing done.
    """

    event: Literal["warned"] = "warned"
    id: str
    message: str
    fix: str = ""
    step: int | None = None
    severity: Literal["warn", "note"] = "warn"


class Paused(Recorded):
    """The trainer waits after `step`: by request, or because it cannot go on (a full disk)."""

    event: Literal["paused"] = "paused"
    step: int
    reason: str = "asked"


class Continued(Recorded):
    """The trainer goes on after a pause, in the same process."""

    event: Literal["continued"] = "continued"
    step: int


class Resumed(Recorded):
    """A new process goes on after `step`; later steps recorded before this line no longer count.

    Attributes:
        step: optimizer steps that the loaded checkpoint had done.
        total_steps: optimizer steps planned now; 0 where the length is given in minutes.
        checkpoint: its folder, relative to the run folder.
        set_aside: checkpoints that were not valid, and where their remains lie.
        changes: settings that this resume changed, "key: old -> new".
    """

    event: Literal["resumed"] = "resumed"
    step: int
    total_steps: int = 0
    checkpoint: str = ""
    set_aside: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


class Proved(Recorded):
    """The saved file was put on the base in place of what was trained, and compared with it.

    Attributes:
        step: optimizer steps done when the file was saved.
        path: the file, relative to the run folder.
        passed: whether every rung of the ladder holds.
        findings: one sentence a rung.
        numbers: the largest difference of each rung, by name.
    """

    event: Literal["proved"] = "proved"
    step: int
    path: str
    passed: bool
    findings: tuple[str, ...] = ()
    numbers: dict[str, float] = {}


class Reported(Recorded):
    """The report is written; `verdict` is its one sentence on whether the run learned."""

    event: Literal["reported"] = "reported"
    path: str
    verdict: str | None = None


class Finished(Recorded):
    """The run ended in order, with everything saved.

    Attributes:
        step: optimizer steps done.
        reason: "complete" (the planned length), "stopped" (asked by the user), "terminated"
            (SIGTERM) or "left" (the caller broke out of the loop).
    """

    event: Literal["finished"] = "finished"
    step: int
    reason: Literal["complete", "stopped", "terminated", "left"] = "complete"


class Failed(Recorded):
    """The run ended in an error.

    Attributes:
        error: what happened.
        fix: what to change.
        cause: "nan-latent", "not-finite", "out-of-memory", or "" for any other.
        step: optimizer steps done.
    """

    event: Literal["failed"] = "failed"
    error: str
    fix: str = ""
    cause: str = ""
    step: int | None = None


Event = Annotated[
    Started
    | Preparing
    | Progress
    | Validated
    | Measured
    | Likeness
    | Watched
    | Saved
    | Sampled
    | Warned
    | Paused
    | Continued
    | Resumed
    | Proved
    | Reported
    | Finished
    | Failed,
    Field(discriminator="event"),
]
