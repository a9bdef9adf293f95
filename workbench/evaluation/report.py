"""The report of a run: what its folder holds, and the comparison with its base, on one page."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import store
from workbench.evaluation import beside, curves, diagnosis, page, tables
from workbench.evaluation.origins import file_hashes, origins, run_hashes
from workbench.evaluation.page import Notice, Report, duration
from workbench.evaluation.results import Comparison, Proof, ProofRow, Strip, Verdict
from workbench.records import judgement
from workbench.records.events import (
    Event,
    Finished,
    Preparing,
    Progress,
    Proved,
    Resumed,
    Sampled,
    Saved,
    Started,
    Warned,
)
from workbench.records.log import read
from workbench.settings import SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:
    from workbench.recipe import Recipe
    from workbench.records.judgement import Judgement
    from workbench.training.run import Run

# Strips of the samples along the way hold at most so many pictures.
MAX_STRIP = 8
NUM_STRIPS = 2


def write_report(
    source: "Run | str | Path",
    *,
    comparison: Comparison | None = None,
    proof: Proof | None = None,
    base: str | None = None,
    judge: str | Path | None = None,
    out: str | Path | None = None,
    public: bool = False,
) -> Path:
    """Compare with the base, gather what the run recorded, and write `report.html`.

    Args:
        source: a run whose model is still loaded (nothing is loaded again), a run folder, or a
            LoRA file.
        comparison: pictures made before; otherwise they are drawn now.
        proof: the proof made before; otherwise what the run's events say of it.
        base: where the base lies, if not where it was.
        judge: folder of a CLIP, SigLIP or DINOv2 that judges pictures.
        out: the page, with JSON and CSV of the same name beside it; `report.html` in the run
            folder, or beside the LoRA file, `report-public.html` for one to show around.
        public: leave out training pictures, their captions and names, paths, and who and where.
    Returns:
        The page.
    Raises:
        FileRefused: there is nothing to compare.
        SettingsError: there are no prompts, or no base is known.
    """
    started = time.monotonic()
    place = Path(source) if isinstance(source, str | Path) else source.folder
    if comparison is None:
        from workbench.evaluation.compare import CompareSettings, compare

        comparison = compare(source, base=base, settings=CompareSettings(in_model=True))
    from workbench.evaluation import verdict  # it reads pictures, which `gather` does not need

    if place.is_dir():
        verdict.judge(place, comparison, judge=judge, leak=comparison.leak)
        report = gather(place, comparison=comparison, proof=proof, started=started, judge=judge)
        target = place / ("report-public.html" if public else "report.html")
    else:
        judged = verdict.judge_file(place, comparison, judge=judge)
        report = _of_file(place, judged, comparison, proof)
        target = place.with_name(f"{place.stem}-public.html" if public else f"{place.stem}.html")
    if public:
        report = _public(place, report)
    return _write(report, Path(out or target))


def _of_file(
    path: Path, judged: "Judgement", comparison: Comparison, proof: Proof | None
) -> Report:
    from workbench.evaluation.loading import recorded_recipe

    recipe = recorded_recipe(path)
    return Report(
        path.stem,
        Verdict(judged.verdict, judged.tone),
        origins=origins(recipe, file_hashes(path)) if recipe else {},
        comparison=comparison,
        proof=proof,
        drift=_drift(comparison),
        judged=judged,
        intervals=tables.figures(judged),
    )


def _public(place: Path, report: Report) -> Report:
    """The same without what is nobody's business; the recipe says what that is."""
    from workbench.evaluation.loading import recorded_recipe
    from workbench.evaluation.private import private_of, public

    recipe = _recipe(place) if place.is_dir() else recorded_recipe(place)
    return public(report, private_of(recipe, [place.parent]), recipe)


def _recipe(folder: Path) -> "Recipe | None":
    """A run's recipe; None where there is none that this version understands."""
    from workbench.recipe import Recipe

    try:
        return Recipe.load(folder / "recipe.toml")
    except (SettingsError, FileRefused):
        return None


def _write(report: Report, path: Path) -> Path:
    """The page, and what it says as data beside it."""
    tables.write_beside(path, report.judged, report.drift, origins=report.origins)
    return page.write(report, path)


def gather(
    folder: str | Path,
    *,
    comparison: Comparison | None = None,
    proof: Proof | None = None,
    started: float | None = None,
    judge: str | Path | None = None,
) -> Report:
    """Gather a run folder's events, recipe and samples into a report, without a model.

    Args:
        folder: the run folder.
        comparison: pictures of base and LoRA.
        proof: the reload proof; otherwise what the events say of it.
        started: `time.monotonic()` when the comparison began, for the timings.
        judge: what finds the nearest training picture of each sample; the one at hand without.
    Returns:
        The report.
    """
    folder = Path(folder)
    events = read(folder)
    timings = stage_seconds(events)
    if comparison is not None and started is not None:
        timings["comparison"] = time.monotonic() - started
    recipe = folder / "recipe.toml"
    judged = judgement.load(folder, step=diagnosis.last_measured(events))
    return Report(
        name=folder.resolve().name,
        verdict=diagnosis.diagnose(folder),
        judged=judged,
        intervals=tables.figures(judged) if judged else {},
        subtitle=_subtitle(events),
        facts=_facts(events),
        origins=_origins(folder, events),
        comparison=comparison,
        progress=_progress(folder, events),
        drift=_drift(comparison),
        figures=curves.figures(events),
        proof=proof or _recorded_proof(events),
        timings=timings,
        warnings=_notices(events),
        changes=_changes(events),
        recipe=store.read_text(recipe) if recipe.exists() else "",
        made=time.strftime("on %Y-%m-%d"),
        **beside.fields(folder, events, comparison, judge=judge),
    )


def _drift(comparison: Comparison | None) -> tuple:
    """Colours over the prompts without the concept, whose own colours would count as drift."""
    if comparison is None:
        return ()
    from workbench.evaluation.drift import drift

    return drift(comparison.leakage or comparison.pairs)


def _last(events: Sequence[Event], kind: type) -> Event | None:
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


def _subtitle(events: Sequence[Event]) -> str:
    finished = _last(events, Finished)
    if not isinstance(finished, Finished):
        return "still running or cut off"
    return {"complete": "complete", "stopped": "stopped early"}.get(finished.reason, "interrupted")


def _facts(events: Sequence[Event]) -> dict[str, str]:
    facts: dict[str, str] = {}
    started, progress = _last(events, Started), _last(events, Progress)
    if isinstance(progress, Progress):
        facts["Steps"] = f"{progress.step:,}"
    if isinstance(started, Started):
        held = f" + {started.num_held_out} held out" if started.num_held_out else ""
        facts["Images"] = f"{started.num_images:,}{held}"
        facts["Device"] = f"{started.device}, {started.precision}"
    if isinstance(progress, Progress):
        facts["Training"] = duration(stage_seconds(events).get("training", 0.0))
        facts["Speed"] = f"{progress.images_per_s:.1f} images/s"
    files = [e for e in events if isinstance(e, Saved) and e.what == "lora" and e.num_bytes]
    if files:
        facts["File"] = f"{files[-1].num_bytes / 2**20:.1f} MiB"
    return facts


def stage_seconds(events: Sequence[Event]) -> dict[str, float]:
    """Seconds by stage: what passed before each event belongs to the stage that it ends.

    An event of a stage's begin (`Preparing` with 0 done) opens the time until the next event.

    Args:
        events: of a run.
    Returns:
        "training", "sampling", "saving" and so on, to seconds; what took no time is left out.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    stage, before = "starting", 0.0
    for event in events:
        passed = max(0.0, event.elapsed_s - before)
        before = max(before, event.elapsed_s)
        spent[_stage(event) or stage] += passed
        stage = event.stage if isinstance(event, Preparing) else "training"
    return {name: seconds for name, seconds in spent.items() if seconds >= 0.05}


def _stage(event: Event) -> str | None:
    """The work that an event reports; None for one that reports none."""
    names = {"saved": "saving", "sampled": "sampling", "validated": "validation", "proved": "proof"}
    return "training" if isinstance(event, Progress) else names.get(event.event)


def _notices(events: Sequence[Event]) -> tuple[Notice, ...]:
    """Each warning once, with how often it came."""
    warned = [event for event in events if isinstance(event, Warned)]
    times = Counter((event.message, event.fix, event.id) for event in warned)
    return tuple(Notice(message, fix, count, id) for (message, fix, id), count in times.items())


def _changes(events: Sequence[Event]) -> tuple[str, ...]:
    """What each resume changed, and after which step."""
    resumed = [event for event in events if isinstance(event, Resumed)]
    return tuple(f"from step {e.step + 1}: {change}" for e in resumed for change in e.changes)


def _origins(folder: Path, events: Sequence[Event]) -> dict[str, str]:
    recipe = _recipe(folder)
    started = _last(events, Started)
    if recipe is None:
        return {}
    number = started.num_images + started.num_held_out if isinstance(started, Started) else 0
    return origins(recipe, run_hashes(folder), num_images=number)


def _progress(folder: Path, events: Sequence[Event]) -> tuple[Strip, ...]:
    """For the first prompts, the picture of the first seed at every sampled step."""
    sampled = [event for event in events if isinstance(event, Sampled)]
    if len({event.step for event in sampled if not event.base}) < 2:
        return ()
    first = sampled[0].pictures
    keys = {picture.prompt: picture.seed for picture in reversed(first)}
    strips = []
    for prompt in list(dict.fromkeys(picture.prompt for picture in first))[:NUM_STRIPS]:
        cells = {}
        for event in sampled:
            label = "base" if event.base else f"step {event.step}"
            for picture in event.pictures:
                file = folder / picture.path
                if (picture.prompt, picture.seed) == (prompt, keys[prompt]) and file.is_file():
                    with store.open_image(file) as image:
                        cells[label] = image.convert("RGB")
        labels = list(cells)
        if len(labels) > MAX_STRIP:  # the first, the last, and an even spread between them
            labels = [labels[k * (len(labels) - 1) // (MAX_STRIP - 1)] for k in range(MAX_STRIP)]
        strips.append(Strip(prompt, keys[prompt], tuple((name, cells[name]) for name in labels)))
    return tuple(strips)


def _recorded_proof(events: Sequence[Event]) -> Proof | None:
    """The proof as the events tell it."""
    proved = _last(events, Proved)
    if not isinstance(proved, Proved):
        return None
    names = [finding.partition(": ")[0][2:] for finding in proved.findings]
    values = [proved.numbers.get(name, 0.0) for name in names]
    return Proof(proved.path, tuple(map(ProofRow.from_sentence, proved.findings, values)))
