"""Length, schedule, moving average, and when things are saved and measured."""

import re
from pathlib import Path

from workbench.checks.rules import Facts, Found, applies, images_per_step, rule
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Progress, Saved


@rule(
    "refuse",
    "schedule.warmup",
    reason="schedule.warmup={warmup:g} steps is no shorter than the run of {steps} steps",
    fix="give it as a share of the run, such as schedule.warmup=0.05",
    source="the schedule: it would still be rising at the end",
    allowable=False,
)
def warmup_over_run(recipe: Recipe, facts: Facts) -> Found:
    """A warm-up as long as the run."""
    steps, warmup = facts.total_steps(recipe), recipe.schedule.warmup
    if steps is None:
        return None
    return applies(warmup >= max(1, steps), warmup=warmup, steps=steps)


@rule(
    "warn",
    "schedule.warmup",
    reason="{share:.0%} of the run passes before the rate is reached",
    fix="set schedule.warmup=0.05",
    source="diffusers' and kohya's recipes: 0 to 10 % of the run",
)
def warmup_long(recipe: Recipe, facts: Facts) -> Found:
    """A warm-up of a third of the run or more."""
    steps, warmup = facts.total_steps(recipe), recipe.schedule.warmup
    share = warmup if warmup < 1 else warmup / steps if steps else 0.0
    return applies(1 / 3 <= share < 1, share=share)


@rule(
    "refuse",
    "schedule.kind",
    reason="schedule.kind={kind!r} must know where the run ends, and length gives only minutes",
    fix="set length.steps too, or schedule.kind=constant",
    source="the schedule: its rate is a function of the share of the run that is done",
    allowable=False,
)
def schedule_without_end(recipe: Recipe, facts: Facts) -> Found:
    """A falling schedule over a run whose steps are not known."""
    timed = recipe.length.steps is None and recipe.length.epochs is None
    kind: str = recipe.schedule.kind
    return applies(timed and kind != "constant", kind=kind)


@rule(
    "refuse",
    "schedule.warmup",
    reason="schedule.warmup={warmup:g} is a share of the run's steps, and length gives only "
    "minutes",
    fix="give whole steps, such as schedule.warmup=100",
    source="the schedule: a share of an unknown number of steps",
    allowable=False,
)
def warmup_without_end(recipe: Recipe, facts: Facts) -> Found:
    """A warm-up as a share of a run whose steps are not known."""
    timed = recipe.length.steps is None and recipe.length.epochs is None
    warmup = recipe.schedule.warmup
    constant = recipe.schedule.kind == "constant"  # another schedule is refused as a whole
    return applies(timed and constant and 0 < warmup < 1, warmup=warmup)


@rule(
    "refuse",
    "schedule.decay",
    reason="warm-up and fall together are longer than the run of {steps} steps",
    fix="set schedule.decay=0.2",
    source="the schedule: the fall would begin before the warm-up ends",
    allowable=False,
)
def decay_over_run(recipe: Recipe, facts: Facts) -> Found:
    """A warm-up and a final fall that do not fit into the run."""
    steps, schedule = facts.total_steps(recipe), recipe.schedule
    if schedule.kind != "warmup_stable_decay" or steps is None:
        return None
    rise = schedule.warmup * steps if schedule.warmup < 1 else schedule.warmup
    fall = schedule.decay * steps if schedule.decay < 1 else schedule.decay
    return applies(rise < steps and round(rise) + max(1, round(fall)) > steps, steps=steps)


@rule(
    "warn",
    "ema.decay",
    reason="ema.decay={decay:g} has its effect only after {after} steps, and the run has {steps}: "
    "until then the memory is shorter",
    fix="set ema.decay={suits:g}, or leave `ema` out",
    source="the average's warm-up: min(decay, (1 + n) / (10 + n)) after n steps",
)
def ema_unreachable(recipe: Recipe, facts: Facts) -> Found:
    """A moving average whose decay the planned steps do not reach."""
    steps = facts.total_steps(recipe)
    if recipe.ema is None or steps is None:
        return None
    after, suits = recipe.ema.full_after(), round(max(0.0, 1 - 10 / max(steps, 11)), 4)
    decay = recipe.ema.decay
    return applies(after > steps, decay=decay, after=after, steps=steps, suits=suits)


@rule(
    "warn",
    "training.{knob}",
    reason="one step gathers {accumulation} x {batch} images, and an epoch has {images}: every "
    "step is a whole epoch",
    fix="set {fix}",
    source="the loader: an epoch ends with the step that showed its last image",
)
def accumulation_over_epoch(recipe: Recipe, facts: Facts) -> Found:
    """One optimizer step that asks for more images than there are."""
    training, images = recipe.training, facts.num_showings
    if images is None:
        return None
    batch, accumulation = training.batch_size, training.accumulation
    smaller = [f"training.batch_size={images}"] if batch > images else []
    if accumulation > 1:
        smaller.insert(0, f"training.accumulation={max(1, images // batch)}")
    return applies(
        images_per_step(recipe) > images,
        knob="accumulation" if accumulation > 1 else "batch_size",
        fix=" and ".join(smaller) or "training.accumulation=1",
        accumulation=accumulation,
        batch=batch,
        images=images,
    )


@rule(
    "warn",
    "length.steps",
    reason="every picture is shown {times:.1f} times, which is too few to learn it",
    fix="set length.steps={enough}",
    source="custom: about a hundred showings a picture; a style of many pictures needs fewer",
)
def few_showings(recipe: Recipe, facts: Facts) -> Found:
    """A LoRA that sees each picture less than five times."""
    steps, images = facts.total_steps(recipe), len(facts.captions)
    if steps is None or not 0 < images <= 1000 or recipe.adapter.kind == "full":
        return None
    times = steps * images_per_step(recipe) / images
    enough = -(-50 * images // images_per_step(recipe))
    return applies(times < 5, times=times, enough=enough)


@rule(
    "note",
    "length.steps",
    reason="every picture is shown {times:.0f} times: a LoRA of few pictures knows them by heart "
    "long before",
    fix="set length.steps={enough}, and look at the samples on the way",
    source="custom: about a hundred showings a picture",
)
def many_showings(recipe: Recipe, facts: Facts) -> Found:
    """A LoRA that sees each picture more than a thousand times."""
    steps, images = facts.total_steps(recipe), len(facts.captions)
    if steps is None or not images or recipe.adapter.kind == "full":
        return None
    times = steps * images_per_step(recipe) / images
    enough = -(-200 * images // images_per_step(recipe))
    return applies(times > 1000, times=times, enough=enough)


@rule(
    "note",
    "training.checkpoint_every",
    reason="the first checkpoint comes after {every} steps and the run has {steps}: a crash before "
    "the end loses everything",
    fix="leave training.checkpoint_every out, which saves five times a run",
    source="a resume starts at the newest checkpoint",
)
def no_checkpoint_on_the_way(recipe: Recipe, facts: Facts) -> Found:
    """The first checkpoint planned after the end."""
    steps, every = facts.total_steps(recipe), recipe.training.checkpoint_every
    late = steps is not None and every is not None and every > steps
    return applies(late, every=every, steps=steps)


@rule(
    "warn",
    "output.grace_s",
    reason="in {run} a step took {step_s:.1f} s and the save after it {save_s:.1f} s, more than "
    "the {grace_s:g} s between SIGTERM and the kill: a run that is told to end may lose what came "
    "after its latest checkpoint",
    fix="set training.checkpoint_every low enough that little is lost; a faster disk, fewer "
    "weights that learn or an 8-bit optimizer make the save shorter",
    source="the events of the latest run of this name",
)
def save_over_grace(recipe: Recipe, facts: Facts) -> Found:
    """A step and a save that took longer than `output.grace_s`."""
    grace_s = recipe.output.grace_s
    found = None if grace_s is None else latest_save(recipe)
    if grace_s is None or found is None:
        return None
    run, step_s, save_s = found
    return applies(
        step_s + save_s > grace_s, run=run, step_s=step_s, save_s=save_s, grace_s=grace_s
    )


def latest_save(recipe: Recipe) -> tuple[str, float, float] | None:
    """How long a recipe's latest run took for its last step and its last checkpoint.

    Args:
        recipe: names the run and the folder of runs.
    Returns:
        The run's folder, seconds of the step, seconds of the save; None before the first save.
    """
    home, name = Path(recipe.output.folder).expanduser(), recipe.name
    numbered = re.compile(re.escape(name) + r"(-\d+)?")
    logs = [one for one in home.glob(f"*/{log.FILE_NAME}") if numbered.fullmatch(one.parent.name)]
    for path in sorted(logs, key=lambda one: -one.stat().st_mtime):
        seen = log.read_milestones(path.parent)
        saves = [e.seconds for e in seen if isinstance(e, Saved) and e.what == "checkpoint"]
        rates = [e.steps_per_s for e in seen if isinstance(e, Progress) and e.steps_per_s > 0]
        if saves:
            return str(path.parent), 1 / rates[-1] if rates else 0.0, saves[-1]
    return None


@rule(
    "note",
    "training.lora_every",
    reason="a LoRA file every {every} steps makes {files} files",
    fix="set training.lora_every={fewer}",
    source="disk: each file is as large as the final one",
)
def many_files(recipe: Recipe, facts: Facts) -> Found:
    """More than fifty LoRA files along the way."""
    steps, every = facts.total_steps(recipe), recipe.training.lora_every
    if steps is None or every is None:
        return None
    return applies(steps // every > 50, every=every, files=steps // every, fewer=-(-steps // 10))


@rule(
    "note",
    "validation.every_steps",
    reason="the stable loss is measured every {every} steps and the run has {steps}: a single "
    "point at the end cannot show which step was the best",
    fix="leave validation.every_steps out, which measures ten times a run",
    source="the best step lies near the minimum of the held-out loss",
)
def measured_once(recipe: Recipe, facts: Facts) -> Found:
    """The stable loss measured only at the end."""
    steps, every = facts.total_steps(recipe), recipe.validation.every_steps
    late = steps is not None and every is not None and every > steps
    return applies(late, every=every, steps=steps)
