"""Every setting of a run as one frozen tree, composed of settings that live beside their code."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import model_validator

from workbench import settings, store
from workbench.adapters import Adapter, LoRA
from workbench.adapters.readers import Reader
from workbench.data.dataset import DataSettings
from workbench.diffusion.losses import L2, Loss
from workbench.diffusion.noise import Gaussian, Noise
from workbench.diffusion.timesteps import Timesteps, Uniform
from workbench.diffusion.weighting import Constant, Weighting
from workbench.models.base import BaseSettings
from workbench.models.source import BUILT_IN
from workbench.optim.ema import EMASettings
from workbench.optim.optimizers import AdamW, Optimizer
from workbench.optim.schedules import Constant as ConstantSchedule
from workbench.optim.schedules import Schedule
from workbench.records.sampling import SampleSettings
from workbench.records.validation import ValidationSettings
from workbench.settings import Settings, SettingsError, setting
from workbench.settings.foreign import answer_foreign

S = TypeVar("S", bound=Settings)
PRESETS = Path(__file__).with_name("presets")


class LengthSettings(Settings):
    """When the run ends: at the first of the limits that are given."""

    steps: int | None = setting(None, ge=1, basic=True, unit="steps", help="optimizer steps")
    epochs: int | None = setting(None, ge=1, help="times that every image was seen `repeats` times")
    minutes: float | None = setting(None, gt=0, unit="min", help="minutes of training")

    @model_validator(mode="after")
    def _some_end(self) -> "LengthSettings":
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("needs an end: give length.steps, length.epochs or length.minutes")
        return self

    def total_steps(self, steps_per_epoch: int) -> int | None:
        """Optimizer steps until the first limit, as far as it can be known beforehand.

        Args:
            steps_per_epoch: optimizer steps of one epoch.
        Returns:
            Steps; None when only a time is given.
        """
        limits = [self.steps, self.epochs and self.epochs * steps_per_epoch]
        return min((x for x in limits if x), default=None)


class TrainingSettings(Settings):
    """How the steps are taken."""

    batch_size: int = setting(4, ge=1, le=4096, basic=True, help="images in one forward pass")
    accumulation: int = setting(
        1, ge=1, le=1024, help="forward passes that are gathered into one optimizer step"
    )
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32", help="dtype of the forward pass; bfloat16 on recent GPUs, float32 on a CPU"
    )
    trainable_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", help="dtype of the weights that learn; bfloat16 takes half the memory"
    )
    stochastic_rounding: bool = setting(
        True,
        help="round bfloat16 weights that learn up or down at random, so that updates below their "
        "precision arrive on average; nothing changes for float32",
    )
    gradient_clip: float | None = setting(
        1.0, gt=0, help="largest gradient norm; longer gradients are shortened to it"
    )
    posterior: Literal["sample", "mean"] = setting(
        "sample", help="draw latents from the VAE's distribution anew each time, or take its mean"
    )
    seed: int = setting(0, ge=0, lt=2**31, help="names every random number of the run")
    preservation: float = setting(
        0.0,
        ge=0,
        lt=1,
        help="share of a concept's showings that lose their trigger and shall look as the base "
        "draws them: keeps the concept behind its trigger",
    )
    deterministic: bool = setting(
        False, help="only algorithms that repeat bit for bit on the same GPU; slower"
    )
    checkpoint_every: int | None = setting(
        None, ge=1, unit="steps", help="how often to save all that a resume needs; absent: 5 times"
    )
    keep_checkpoints: int = setting(2, ge=2, help="how many of the newest checkpoints stay on disk")
    lora_every: int | None = setting(
        None, ge=1, unit="steps", help="how often to save a LoRA file along the way"
    )
    lora_every_epochs: int | None = setting(
        None, ge=1, unit="epochs", help="the same, counted in epochs"
    )
    keep_loras: int | None = setting(
        None, ge=1, help="how many of the newest LoRA files along the way stay; absent: all"
    )

    @model_validator(mode="after")
    def _one_half_precision(self) -> "TrainingSettings":
        if self.trainable_dtype == "bfloat16" and self.precision == "float16":
            raise ValueError(
                "trainable_dtype must be float32 with precision = 'float16', whose scaled "
                "gradients bfloat16 weights cannot take; use precision = 'bfloat16'"
            )
        return self


class OutputSettings(Settings):
    """Where the results go."""

    folder: str = setting("runs", help="the run folder is made inside this folder")
    dtype: Literal["float32", "float16", "bfloat16"] = setting(
        "float16", help="dtype of the saved LoRA; float32 keeps every bit"
    )
    report: bool = setting(True, help="write the A/B report when the run ends")
    grace_s: float | None = setting(
        None,
        gt=0,
        unit="s",
        help="time that the machine gives between SIGTERM and the kill; check and the run warn "
        "where a step and a save take longer",
    )


class ChecksSettings(Settings):
    """Which rules the user takes responsibility for."""

    allow: tuple[str, ...] = setting((), help="ids of refused combinations to run all the same")


class Recipe(Settings):
    """Everything that decides what a run does; the same tree in file, form, code and metadata."""

    name: str = setting(
        "lora",
        basic=True,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        help="name of the run and of its files: letters, digits, dot, dash, underscore",
    )
    base: BaseSettings = setting(help="the model to start from")
    data: DataSettings = setting(help="the images and captions")
    adapter: Adapter = setting(LoRA(), help="which weights learn")
    length: LengthSettings = setting(LengthSettings(steps=1000), help="when the run ends")
    training: TrainingSettings = setting(TrainingSettings(), help="how the steps are taken")
    optimizer: Optimizer = setting(AdamW(), help="how gradients become updates")
    schedule: Schedule = setting(ConstantSchedule(), help="how the learning rate changes")
    ema: EMASettings | None = setting(None, help="a moving average of the weights; absent: none")
    noise: Noise = setting(Gaussian(), help="the noise added in training")
    timesteps: Timesteps = setting(Uniform(), help="which timesteps are trained")
    loss: Loss = setting(L2(), help="the distance between prediction and target")
    weighting: Weighting = setting(Constant(), help="how much each timestep counts")
    sampling: SampleSettings = setting(SampleSettings(), help="pictures to watch the training by")
    validation: ValidationSettings = setting(ValidationSettings(), help="the stable loss")
    output: OutputSettings = setting(OutputSettings(), help="where the results go")
    used_in: tuple[Reader, ...] = setting(
        (),
        help="programs that the file is for; check says what they do not read, or read wrongly",
    )
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = setting(
        (), help="further places for the curves; keys come from the environment alone"
    )
    checks: ChecksSettings = setting(ChecksSettings(), help="rules set aside on purpose")

    @classmethod
    def preset(cls, name: str) -> "Recipe":
        """A recipe that ships with the package.

        Args:
            name: one of `presets()`.
        Returns:
            The recipe.
        Raises:
            SettingsError: no preset of that name.
        """
        if name not in presets():
            raise SettingsError(f"preset must be one of {', '.join(presets())}, got {name!r}")
        path = PRESETS / f"{name}.toml"
        return settings.from_toml(cls, store.read_text(path), source=str(path))

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Read a recipe from a TOML file; relative paths are meant from the file's own folder.

        Args:
            path: the file.
        Returns:
            The recipe.
        Raises:
            FileRefused: no such file, or not text.
            SettingsError: a setting is unknown or out of bounds, or it is another trainer's file.
        """
        text = store.read_text(path)
        try:
            recipe = settings.from_toml(cls, text, source=str(path))
        except SettingsError:
            if answer := answer_foreign(text, source=str(path)):
                raise SettingsError(answer) from None
            raise
        return recipe.anchored(Path(path).parent)

    def anchored(self, folder: Path) -> "Recipe":
        """Make the paths that lead to something in a folder absolute, so that they hold anywhere.

        Args:
            folder: where relative paths may be meant from.
        Returns:
            A recipe; names of the Hub, `critters`, and what is not in the folder stay as they are.
        """
        return _anchored(self, folder)

    def override(self, assignments: Sequence[str]) -> "Recipe":
        """Change settings by `key=value` strings; see `workbench.settings.override`.

        Args:
            assignments: for example ["adapter.rank=4", "length.steps=+500"].
        Returns:
            A new recipe.
        Raises:
            SettingsError: a key is unknown or a value out of bounds.
        """
        return settings.override(self, assignments)

    def to_toml(self, *, comments: bool = True, notes: Mapping[str, str] | None = None) -> str:
        """The whole recipe as TOML.

        Args:
            comments: put each setting's help beside it.
            notes: path of a setting to what stands above it, such as why it was chosen.
        Returns:
            TOML text that `load` reads back to an equal recipe.
        """
        return settings.to_toml(self, comments=comments, notes=notes)

    def hash(self) -> str:
        """A short name for exactly these settings.

        Returns:
            64 hex digits.
        """
        return hashlib.sha256(
            json.dumps(settings.as_dict(self), sort_keys=True).encode()
        ).hexdigest()


# Settings that hold a path, wherever they stand; the dotted name of a class leads to no file.
_PATHS = frozenset({"path", "config", "vae", "start_from", "fill"})


def _anchored(tree: S, folder: Path) -> S:
    """See `Recipe.anchored`."""
    changes: dict[str, object] = {}
    for name in type(tree).model_fields:
        value = getattr(tree, name)
        if isinstance(value, Settings):
            changes[name] = _anchored(value, folder)
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            changes[name] = tuple(_anchored(one, folder) for one in value)
        elif name in _PATHS and isinstance(value, str) and value not in BUILT_IN:
            here = folder / Path(value).expanduser()
            changes[name] = str(here.absolute()) if here.exists() else value
    different = {name: new for name, new in changes.items() if new != getattr(tree, name)}
    return settings.replace(tree, **different) if different else tree


def presets() -> tuple[str, ...]:
    """Names of the recipes that ship with the package.

    Returns:
        Names for `Recipe.preset`, sorted.
    """
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))
