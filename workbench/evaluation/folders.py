"""Two folders of pictures made anywhere, compared pair by pair."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from workbench import store
from workbench.evaluation import tables
from workbench.evaluation.drift import drift
from workbench.evaluation.features import Features, at_hand
from workbench.evaluation.page import Notice, Report, write
from workbench.evaluation.private import Private, private_of
from workbench.evaluation.private import public as shown_around
from workbench.evaluation.results import Comparison, Pair, Verdict
from workbench.evaluation.study import missing
from workbench.evaluation.verdict import answer_all, assembled
from workbench.records.judgement import Answer, Judgement, Question
from workbench.settings import SettingsError
from workbench.store import FileRefused

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_SHOWN = 100  # pairs on the page; all of them are measured


@dataclass(frozen=True, slots=True)
class Folders:
    """What two folders have in common.

    Attributes:
        pairs: pictures of one name in both; their prompt, where they carry one, else their name.
        notes: what was left out, with the fix.
        has_prompts: whether every pair's prompt is known.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[Notice, ...]
    has_prompts: bool


def pair_up(first: Path, second: Path) -> Folders:
    """Pair the pictures of two folders by their names.

    Args:
        first: what counts as the base.
        second: what is compared with it.
    Returns:
        The pairs, by name.
    Raises:
        FileRefused: no folder, or nothing in common.
    """
    a, b = _pictures(first), _pictures(second)
    common = sorted(a.keys() & b.keys())
    if not common:
        raise FileRefused(
            f"{store.shown(first)} and {store.shown(second)} share no name ({len(a)} and {len(b)} "
            "pictures); call the pictures of one prompt and seed alike in both"
        )
    pairs, sizes, known = [], [], True
    for number, name in enumerate(common):
        before, prompt = _read(a[name])
        after, other = _read(b[name])
        known &= bool(prompt or other)
        if before.size != after.size:
            sizes.append(name)
            after = after.resize(before.size, Image.Resampling.LANCZOS)
        pairs.append(Pair(prompt or other or name, number, before, after))
    notes = []
    alone = sorted(a.keys() ^ b.keys())
    if alone:
        notes.append(Notice(f"{len(alone)} pictures lie in one folder only: {_some(alone)}"))
    if sizes:
        said = f"{len(sizes)} pairs have two sizes and were scaled to the first's: {_some(sizes)}"
        notes.append(Notice(said, "draw both at one size"))
    return Folders(tuple(pairs), tuple(notes), known)


def compare_folders(
    first: Path,
    second: Path,
    *,
    judge: str | Path | None = None,
    training: Path | None = None,
    out: Path | None = None,
    public: bool = False,
) -> tuple[Path, Judgement]:
    """Say what changed between two folders of pictures, and write the page.

    Args:
        first: what counts as the base.
        second: what is compared with it.
        judge: folder of a CLIP, SigLIP or DINOv2, or "critters".
        training: pictures of the concept, for likeness.
        out: the page; `report.html` in the second folder when left out.
        public: leave out the names of folders and pictures, and prompts that are captions of
            `training`; the page is then `report-public.html`.
    Returns:
        The page, and what was found.
    Raises:
        FileRefused: a folder is missing, or the two share no name.
        SettingsError: the judge cannot be used, or both folders are one.
    """
    if first.resolve() == second.resolve():
        raise SettingsError(f"--images needs two folders, got {store.shown(first)} twice")
    found = pair_up(first, second)
    features = at_hand("", judge=judge)
    answers = _answers(found, features, training)
    names = (
        ("first", "second") if public else (first.name or str(first), second.name or str(second))
    )
    judged = assembled(
        answers, features=features.name, learned=f"{names[1]} against {names[0]}"
    )  # fmt: skip
    report = Report(
        f"{names[0]} and {names[1]}",
        Verdict(judged.verdict, "unsure"),
        comparison=Comparison(found.pairs[:MAX_SHOWN]),
        drift=drift(found.pairs),
        judged=judged,
        intervals=tables.figures(judged),
        labels=names,
        warnings=found.notes,
    )
    if public:
        report = shown_around(report, _private((first, second, training), found))
    path = out or second / ("report-public.html" if public else "report.html")
    tables.write_beside(path, report.judged, report.drift)
    return write(report, path), judged


def _answers(found: Folders, features: Features, training: Path | None) -> list[Answer]:
    """Answers to what pictures alone can tell."""
    known = [_read(path)[0] for path in _pictures(training).values()] if training else []
    answers = answer_all(Comparison(found.pairs), (), features=features, known=known)
    skipped: dict[Question, str] = {"learn": "", "leak": ""}
    if training is None and features.judges:
        skipped["look like"] = "give the concept's pictures: --training FOLDER"
    if not found.has_prompts and features.judges:
        skipped["follow"] = "not all pictures carry a prompt (in the PNG, or in NAME.txt)"
    return [
        missing(one.question, skipped[one.question]) if one.question in skipped else one
        for one in answers
    ]


def _private(folders: tuple[Path | None, ...], found: Folders) -> Private:
    """Names of folders and pictures, which are prompts too where there is none, and captions."""
    training = folders[-1]
    paths = [path for folder in folders if folder for path in _pictures(folder).values()]
    beside = [path.with_suffix(".txt") for path in paths if path.parent == training]
    captions = [store.read_text(path).strip() for path in beside if path.is_file()]
    names = [name for path in paths for name in (path.name, path.stem)]
    unnamed = [pair.prompt for pair in found.pairs if pair.prompt in names]
    return private_of(
        None, [x for x in folders if x], captions=(*captions, *unnamed), names=tuple(names)
    )


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileRefused(f"{store.shown(folder)} is no folder of pictures")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def _read(path: Path) -> tuple[Image.Image, str]:
    """A picture and its prompt: ours, A1111's `parameters`, or of a text beside it; else ""."""
    with store.open_image(path) as image:
        told = image.info.get("prompt") or str(image.info.get("parameters") or "").split("\n")[0]
        picture, _ = store.to_rgb(image, name=store.shown(path))
    beside = path.with_suffix(".txt")
    if not told and beside.is_file():
        told = store.read_text(beside).strip()
    # ComfyUI keeps its whole graph under this name
    return picture, "" if str(told).lstrip().startswith("{") else str(told).strip()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
