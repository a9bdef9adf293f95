"""The pitfalls of a recipe: rules that read settings and data, and refuse, warn or note.

A rule is a function from a recipe (and, where it is known, its dataset) to a problem or None; its
name is its id. Each problem comes with its reason and a fix. Who wants to see a refused one happen,
as a lesson does, puts its id into `checks.allow`.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workbench.recipe import Recipe
from workbench.records.events import Event, Started, Warned
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.training.run import Run

__all__ = ["RULES", "Finding", "check", "observe", "require"]

Severity = Literal["refuse", "warn", "note"]
SEVERITIES: tuple[Severity, ...] = ("refuse", "warn", "note")
# Fewer pixels than this a side, and SDXL draws what it learnt from cropped thumbnails.
SDXL_SIDE_PX = 768


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a recipe and what to do about it."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the recipe alone does not say.

    Attributes:
        num_images: images trained on, repeats counted; None before the dataset is read.
        cuda: whether there is a CUDA device.
    """

    num_images: int | None
    cuda: bool

    def steps_per_epoch(self, recipe: Recipe) -> int | None:
        """Optimizer steps that show every image once, at least 1; None while unknown."""
        if self.num_images is None:
            return None
        images_per_step = recipe.training.batch_size * recipe.training.accumulation
        return max(1, -(-self.num_images // images_per_step))


Condition = Callable[[Recipe, Facts], Problem | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One pitfall.

    Attributes:
        id: what `checks.allow` names.
        severity: how bad it is.
        source: where it is known from.
        condition: gives the problem where it applies.
        allowable: `checks.allow` can set it aside; otherwise it cannot run at all.
    """

    id: str
    severity: Severity
    source: str
    condition: Condition
    allowable: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that applies to a recipe, and whether the user takes it on with `checks.allow`."""

    rule: Rule
    reason: str
    fix: str
    allowed: bool

    @property
    def stops(self) -> bool:
        """Whether the recipe must not run."""
        return self.rule.severity == "refuse" and not self.allowed


RULES: dict[str, Rule] = {}


def rule(
    severity: Severity, *, source: str, allowable: bool = True
) -> Callable[[Condition], Condition]:
    """Put a function among the rules, under its own name.

    Args:
        severity: refuse: it cannot end well; warn: it rarely does; note: worth knowing.
        source: where this is known from.
        allowable: `checks.allow` can set it aside; otherwise it cannot run at all.
    Returns:
        A decorator that hands the function back.
    """

    def register(condition: Condition) -> Condition:
        name = getattr(condition, "__name__").strip("_")  # noqa: B009
        RULES[name] = Rule(name, severity, source, condition, allowable)
        return condition

    return register


def check(recipe: Recipe, *, dataset: "Dataset | None" = None) -> list[Finding]:
    """Find the pitfalls of a recipe.

    Args:
        recipe: what is to run.
        dataset: its images, where they were read already; some rules need their number.
    Returns:
        Findings, the worst first.
    Raises:
        SettingsError: `checks.allow` names no rule.
    """
    import torch

    unknown = [name for name in recipe.checks.allow if name not in RULES]
    if unknown:
        raise SettingsError(f"checks.allow: {unknown[0]!r} is no rule; they are {', '.join(RULES)}")
    num_images = None if dataset is None else sum(dataset.repeats)
    facts = Facts(num_images=num_images, cuda=torch.cuda.is_available())
    allowed = set(recipe.checks.allow)
    found = [
        Finding(r, problem.reason, problem.fix, r.allowable and r.id in allowed)
        for r in RULES.values()
        if (problem := r.condition(recipe, facts)) is not None
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.rule.severity))


def require(recipe: Recipe, *, dataset: "Dataset | None" = None) -> list[Finding]:
    """Refuse a recipe that cannot end well, before anything is loaded for it.

    Args:
        recipe: what is to run.
        dataset: see `check`.
    Returns:
        What remains to be said: warnings, notes, and what was allowed.
    Raises:
        SettingsError: one line for each refused combination.
    """
    findings = check(recipe, dataset=dataset)
    refused = [finding for finding in findings if finding.stops]
    if refused:
        raise SettingsError("\n".join(f"{x.reason}; {x.fix}{_way_round(x)}" for x in refused))
    return findings


def _way_round(finding: Finding) -> str:
    return f" (or allow it: checks.allow={finding.rule.id})" if finding.rule.allowable else ""


def observe(run: "Run", event: Event) -> Iterator[Warned]:
    """Say a run's pitfalls in its events, right after it has started.

    Args:
        run: the run.
        event: its latest event.
    Yields:
        One warning for each finding.
    """
    if isinstance(event, Started):
        for finding in require(run.recipe, dataset=run.trainer.dataset):
            yield Warned(id=finding.rule.id, message=finding.reason, fix=finding.fix)


# ------------------------------------------------------------------------------------ optimizers


@rule("refuse", source="prodigyopt's README: leave lr at 1")
def prodigy_rate(recipe: Recipe, facts: Facts) -> Problem | None:
    """Prodigy multiplies the rate it finds by the rate it is given."""
    rate = recipe.optimizer.learning_rate
    if recipe.optimizer.kind != "prodigy" or rate >= 0.1:
        return None
    return Problem(
        f"prodigy multiplies the rate it finds by optimizer.learning_rate, and {rate:g} leaves "
        "next to nothing of it",
        "set optimizer.learning_rate=1",
    )


@rule("refuse", source="prodigyopt: one estimate for all groups", allowable=False)
def prodigy_two_rates(recipe: Recipe, facts: Facts) -> Problem | None:
    """Prodigy finds one rate for everything."""
    rate = recipe.optimizer.text_encoder_learning_rate
    if recipe.optimizer.kind != "prodigy" or rate in (None, recipe.optimizer.learning_rate):
        return None
    return Problem(
        f"prodigy finds one rate for all weights, and optimizer.text_encoder_learning_rate is "
        f"{rate:g}",
        "set optimizer.text_encoder_learning_rate=none",
    )


@rule("refuse", source="the library's import", allowable=False)
def missing_8bit_library(recipe: Recipe, facts: Facts) -> Problem | None:
    """8-bit AdamW is bitsandbytes'."""
    if recipe.optimizer.kind != "adamw8bit" or importlib.util.find_spec("bitsandbytes"):
        return None
    return Problem(
        "optimizer.kind='adamw8bit' needs the package bitsandbytes, which is not installed",
        "pip install bitsandbytes, or set optimizer.kind=adamw",
    )


@rule("note", source="Chen et al. 2023, arXiv 2302.06675, section 5")
def lion_rate(recipe: Recipe, facts: Facts) -> Problem | None:
    """Lion moves every weight by the whole rate in every step."""
    rate = recipe.optimizer.learning_rate
    if recipe.optimizer.kind != "lion" or rate <= 1e-4 or recipe.base.path == "critters":
        return None
    return Problem(
        f"lion moves every weight by the whole learning rate in each step, and {rate:g} is more "
        "than AdamW's usual 1e-4",
        "take a third to a tenth of AdamW's rate",
    )


@rule("note", source="bitsandbytes: tensors below min_8bit_size stay in 32 bits")
def small_for_8bit(recipe: Recipe, facts: Facts) -> Problem | None:
    """A small LoRA gains no memory from 8-bit averages."""
    if recipe.optimizer.kind != "adamw8bit" or recipe.adapter.kind != "lora":
        return None
    if recipe.adapter.rank * 320 >= recipe.optimizer.min_8bit_size:
        return None
    return Problem(
        f"the narrowest matrices of rank {recipe.adapter.rank} hold fewer than "
        f"{recipe.optimizer.min_8bit_size} weights and keep 32-bit averages",
        "adamw does the same here; 8 bits pay for full fine-tunes",
    )


@rule("warn", source="the average's weight of its start, decay^steps")
def ema_unreachable(recipe: Recipe, facts: Facts) -> Problem | None:
    """An average longer than the run still holds mostly the untrained weights."""
    steps = recipe.length.total_steps(facts.steps_per_epoch(recipe) or 0)
    if recipe.ema is None or steps is None or recipe.ema.full_after() <= steps:
        return None
    return Problem(
        f"ema.decay={recipe.ema.decay:g} has its effect only after {recipe.ema.full_after()} "
        f"steps, and the run has {steps}",
        "a decay of 1 - 10 / steps suits the length, or leave `ema` out",
    )


# ------------------------------------------------------------------------------- data and batches


@rule("warn", source="the loader: an epoch ends with the step that showed its last image")
def accumulation_over_epoch(recipe: Recipe, facts: Facts) -> Problem | None:
    """One optimizer step that needs more images than there are."""
    training = recipe.training
    images_per_step = training.batch_size * training.accumulation
    if facts.num_images is None or images_per_step <= facts.num_images:
        return None
    return Problem(
        f"one step gathers {training.accumulation} x {training.batch_size} images, and an epoch "
        f"has {facts.num_images}: every step is a whole epoch",
        f"set training.accumulation={max(1, facts.num_images // training.batch_size)} or lower",
    )


@rule("warn", source="SDXL is trained at 1024 px; small crops were its thumbnails")
def sdxl_resolution(recipe: Recipe, facts: Facts) -> Problem | None:
    """SDXL at 512 px learns the look of small pictures."""
    resolution = recipe.data.buckets.resolution
    if recipe.base.family != "sdxl" or resolution >= SDXL_SIDE_PX:
        return None
    return Problem(
        f"SDXL is made for 1024 px; at {resolution} px its style shifts to that of thumbnails",
        "set data.buckets.resolution=1024",
    )


@rule("note", source="SD 1.x is trained at 512 px")
def resolution_over_native(recipe: Recipe, facts: Facts) -> Problem | None:
    """SD 1.x far above its size repeats heads and limbs."""
    resolution = recipe.data.buckets.resolution
    if recipe.base.family != "sd" or resolution <= 768:
        return None
    return Problem(
        f"SD 1.x is made for 512 px and SD 2.x for 768 px; at {resolution} px they repeat parts",
        "set data.buckets.resolution=512 or 768",
    )


@rule("note", source="kohya's guide to captions")
def no_trigger(recipe: Recipe, facts: Facts) -> Problem | None:
    """Without a word to call it, a LoRA acts on every prompt."""
    if recipe.adapter.kind != "lora" or any(s.trigger for s in recipe.data.subsets):
        return None
    return Problem(
        "no subset has a trigger, so that the LoRA acts on every prompt",
        "set data.subsets.0.trigger to a rare word, unless that is what you want",
    )


@rule("warn", source="the caption pipeline: what is flexible is shuffled and dropped")
def dropout_takes_all(recipe: Recipe, facts: Facts) -> Problem | None:
    """Every flexible tag dropped leaves the trigger alone."""
    if recipe.data.captions.tag_dropout < 0.9:
        return None
    return Problem(
        f"data.captions.tag_dropout={recipe.data.captions.tag_dropout:g} leaves hardly a tag",
        "0.2 to 0.5 suits a style, 0 a character",
    )


# ------------------------------------------------------------------------------ precision, length


@rule("refuse", source="torch: the loss scaler of float16 needs CUDA", allowable=False)
def half_on_cpu(recipe: Recipe, facts: Facts) -> Problem | None:
    """float16 needs a GPU."""
    if facts.cuda or "float16" not in (recipe.training.precision, recipe.base.dtype):
        return None
    return Problem(
        "float16 training needs a CUDA device, and there is none",
        "set training.precision=float32 and base.dtype=float32",
    )


@rule("refuse", source="the schedule: it would still be rising at the end", allowable=False)
def warmup_over_run(recipe: Recipe, facts: Facts) -> Problem | None:
    """A warm-up as long as the run."""
    steps = recipe.length.total_steps(facts.steps_per_epoch(recipe) or 0)
    warmup = recipe.schedule.warmup
    if steps is None or warmup < max(1, steps):
        return None
    return Problem(
        f"schedule.warmup={warmup:g} steps is no shorter than the run of {steps} steps",
        "give it as a share of the run, such as schedule.warmup=0.05",
    )


@rule("note", source="the report is made from the samples")
def no_prompts(recipe: Recipe, facts: Facts) -> Problem | None:
    """No prompt, no picture to compare with the base."""
    if recipe.sampling.prompts != ():
        return None
    return Problem(
        "sampling.prompts is empty, so that the report has no pictures of its own choosing",
        "name two prompts, one with the trigger and one without",
    )
