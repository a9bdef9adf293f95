"""What a report that is shown around leaves out: whose pictures these are, and where they lie.

Nothing is searched and blotted out on the finished page. The public report is made anew of what may
be shown, so that whatever is added to a report later stays out until it is named here.
"""

import contextlib
import getpass
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.evaluation.page import Notice, Report
from workbench.evaluation.results import Comparison, Pair, Proof, Strip, Verdict
from workbench.records.judgement import Judgement
from workbench.settings import Settings, SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.data.subsets import Record
    from workbench.recipe import Recipe

LEFT_OUT = "left out"
# A path from the root, the home or a drive; "1/2", "and/or" and "owner/model" are none.
_PATH = re.compile(r"(?<![\w.…)])(?:~?/[\w.~-]|[A-Za-z]:[\\/]|\\\\)")
_PLAIN_WORD = re.compile(r"[a-z]+")
_SHORTEST = 3  # letters of a name that is looked for as a word
_FEWEST_TAGS, _FEWEST_WORDS = 3, 4  # fewer than that are in a prompt by chance
# Settings whose text says how a run was made, by the last parts of their path.
_SHOWN_TEXT = (
    "name", "base.family", "trigger", "class_word", "captions.separator", "data.background",
    "blocks.match", "optimizer.path", "checks.allow",
)  # fmt: skip
_FILE_NAMES = ("base.path", "base.vae")
_CHANGE = re.compile(r"(?P<key>(?:from step \d+: )?[\w.]+): (?P<old>.*?) -> (?P<new>.*)", re.DOTALL)
_NUMBER = re.compile(r"(?:none|True|False|[-+.\de]+)")


@dataclass(frozen=True)
class Private:
    """What must not be seen.

    Attributes:
        captions: of the training pictures; None where they cannot be read, so that any prompt may
            be one.
        names: of people, machines, folders and files.
        words: trigger and class word, which say nothing about a caption.
    """

    captions: tuple[str, ...] | None = ()
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    _seen: dict[str, str] = field(default_factory=dict, compare=False)

    def prompt(self, text: str) -> str:
        """A prompt as it may be shown.

        Args:
            text: the prompt.
        Returns:
            The text; a number in its place where it is a caption of the training pictures.
        """
        if text not in self._seen:
            number = sum(shown != of for of, shown in self._seen.items()) + 1
            what = "a caption of the training pictures"
            self._seen[text] = f"prompt {number}, {what}" if self._is_caption(text) else text
        return self._seen[text]

    def sentence(self, text: str) -> str:
        """A sentence as it may be shown.

        Args:
            text: a remark that was made of numbers, or of the name of a file.
        Returns:
            The text; nothing of it where it holds a path or a private name.
        """
        return LEFT_OUT if self._tells(text) else text

    def _tells(self, text: str) -> bool:
        return bool(_PATH.search(text)) or any(_says(name, text) for name in self.names)

    def _is_caption(self, prompt: str) -> bool:
        if self.captions is None:
            return True
        tags, words = self._tags(prompt), self._plain(prompt)
        for caption in self.captions:
            own, said = self._tags(caption), self._plain(caption)
            if said and (said == words or own == tags):
                return True
            if len(own) >= _FEWEST_TAGS and own <= tags:
                return True
            if len(said.split()) >= _FEWEST_WORDS and said in words:
                return True
        return False

    def _tags(self, text: str) -> frozenset[str]:
        tags = (" ".join(tag.split()).casefold() for tag in text.split(","))
        return frozenset(tags) - {word.casefold() for word in self.words} - {""}

    def _plain(self, text: str) -> str:
        for word in self.words:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", " ", text, flags=re.IGNORECASE)
        return " ".join(re.sub(r"[\s,]+", " ", text).split()).casefold()


def _says(name: str, text: str) -> bool:
    """Whether a text names something; a plain word such as "images" only beside a slash."""
    if len(name) < _SHORTEST:
        return False
    whole = rf"(?<!\w){re.escape(name)}(?!\w)"
    if _PLAIN_WORD.fullmatch(name):
        whole = rf"[/\\]{re.escape(name)}(?!\w)|(?<!\w){re.escape(name)}[/\\]"
    return re.search(whole, text, re.IGNORECASE) is not None


def private_of(
    recipe: "Recipe | None",
    folders: Iterable[Path] = (),
    *,
    captions: tuple[str, ...] | None = None,
    names: tuple[str, ...] = (),
) -> Private:
    """Gather what a report must not show.

    Args:
        recipe: names the training pictures.
        folders: further places whose names are nobody's business.
        captions: of the training pictures, where no recipe says them; None hides every prompt.
        names: of further files.
    Returns:
        Captions and names.
    """
    places = [Path.home(), *folders]
    if recipe is None:
        return Private(captions, (*_people(places), *names))
    own = [Path(x.path) for x in recipe.data.subsets if not x.path.startswith("critters:")]
    words = {word for x in recipe.data.subsets for word in (x.trigger, x.class_word) if word}
    found = dict.fromkeys(_people([*places, *own]))
    from workbench.data.dataset import index

    try:
        dataset = index(recipe.data)
    except (SettingsError, FileRefused, OSError):
        return Private(None, tuple(found), tuple(words))
    brought = [] if dataset.is_drawn else list(_brought(dataset))
    for one in brought:
        found |= dict.fromkeys((Path(one.name).name, Path(one.name).stem))
    return Private(tuple({one.caption for one in brought}), tuple(found), tuple(words))


def _brought(dataset: "Dataset") -> "Iterator[Record]":
    """Pictures that somebody brought; those that the package draws are nobody's."""
    return (one for one in dataset.records if one.path is not None or one.member is not None)


def _people(places: Iterable[Path]) -> Iterator[str]:
    """Names of the user, the machine, and every folder on the way."""
    with contextlib.suppress(KeyError, OSError):  # a container's user without a name
        yield getpass.getuser()
    yield socket.gethostname()
    for place in places:
        yield from (part for part in place.resolve().parts[1:])
        yield place.stem


def public(report: Report, private: Private, recipe: "Recipe | None" = None) -> Report:
    """Make a report that may be shown around, of what may be shown.

    Args:
        report: with everything in it.
        private: what must not be seen.
        recipe: to be shown without texts that say whose it is, where the report shows one.
    Returns:
        Without training pictures, samples that hold parts of them, captions, paths, names, and the
        words of warnings.
    """
    if report.shows_training:
        report = replace(report, comparison=None, progress=())
    judged = None if report.judged is None else _judged(report.judged, private)
    from workbench.evaluation import tables

    return Report(
        name=report.name,
        verdict=_verdict(report.verdict, judged, private),
        subtitle=report.subtitle,
        facts=report.facts,
        origins=_origins(report.origins, recipe),
        comparison=None if report.comparison is None else _comparison(report.comparison, private),
        progress=tuple(_strip(one, private) for one in report.progress),
        drift=report.drift,
        judged=judged,
        intervals=tables.figures(judged) if judged else {},
        labels=report.labels if report.labels == ("base", "LoRA") else ("first", "second"),
        figures=report.figures,
        proof=None if report.proof is None else _proof(report.proof, private),
        timings=report.timings,
        warnings=_warnings(report.warnings),
        changes=tuple(_change(one, private) for one in report.changes),
        recipe=public_recipe(recipe, private).to_toml() if recipe and report.recipe else "",
        made=f"{report.made}, without training pictures, captions, folders and names".strip(),
    )


def _verdict(verdict: Verdict, judged: Judgement | None, private: Private) -> Verdict:
    """The sentence, and those lines below it that no fault brought: these may name a picture."""
    told = {line for one in verdict.faults for line in (*one.evidence, f"Fix: {one.fix}.")}
    evidence = tuple(private.sentence(x) for x in verdict.evidence if x not in told)
    if any(fault.id == "failed" for fault in verdict.faults):  # an error may say anything
        said = "It failed; the error is left out."
    else:
        said = private.sentence(judged.verdict if judged else verdict.sentence)
    return Verdict(said, verdict.tone, evidence=evidence)


def _judged(judged: Judgement, private: Private) -> Judgement:
    def cleaned(text: str) -> str:
        return private.sentence(text)

    answers = []
    for answer in judged.answers:
        intervals = tuple(
            one.model_copy(update={"name": _named(one.name, private)}) for one in answer.intervals
        )
        update = {"note": cleaned(answer.note), "clause": cleaned(answer.clause)}
        answers.append(answer.model_copy(update=update | {"intervals": intervals}))
    said = {"sentence": cleaned(judged.sentence), "verdict": cleaned(judged.verdict)}
    said["features"] = cleaned(judged.features)
    return judged.model_copy(update={"answers": tuple(answers), **said})


def _named(measure: str, private: Private) -> str:
    """A measure without its judge, where the judge's folder has a private name."""
    return measure if private.sentence(measure) == measure else measure.partition(" (")[0]


def _comparison(found: Comparison, private: Private) -> Comparison:
    return Comparison(
        pairs=tuple(_pair(one, private) for one in found.pairs),
        strengths=tuple(_strip(one, private) for one in found.strengths),
        leakage=tuple(_pair(one, private) for one in found.leakage),
        trigger=found.trigger,
        seconds=found.seconds,
    )


def _pair(pair: Pair, private: Private) -> Pair:
    return Pair(private.prompt(pair.prompt), pair.seed, pair.base, pair.trained)


def _strip(strip: Strip, private: Private) -> Strip:
    return Strip(private.prompt(strip.prompt), strip.seed, strip.cells)


def _proof(proof: Proof, private: Private) -> Proof:
    rows = (replace(x, explanation=private.sentence(x.explanation)) for x in proof.rows)
    return Proof(Path(proof.path).name, tuple(rows), proof.seconds)


def _warnings(warnings: Iterable[Notice]) -> tuple[Notice, ...]:
    """Which warnings there were, without their words, which name pictures, tags and folders."""
    times: dict[str, int] = {}
    for one in warnings:
        times[one.id or "other"] = times.get(one.id or "other", 0) + one.times
    return tuple(Notice(f"{name} (its words are left out)", "", n) for name, n in times.items())


def _change(change: str, private: Private) -> str:
    """A change on resume; of a text only which one it was."""
    found = _CHANGE.fullmatch(change)
    if found is None:
        return LEFT_OUT
    is_plain = _NUMBER.fullmatch(found["old"]) and _NUMBER.fullmatch(found["new"])
    return change if is_plain else f"{found['key']}: changed"


def _origins(found: Mapping[str, str], recipe: "Recipe | None") -> dict[str, str]:
    """The base by its file's name, and pictures by kind and number."""
    told = dict(found)
    if recipe is None:
        return {name: told[name] for name in told if name not in ("Base", "Pictures")}
    kinds = [_source(subset.path) for subset in recipe.data.subsets]
    number = told.get("Pictures", "").partition(" from ")[0]
    told["Base"] = _base(recipe.base.path)
    told["Pictures"] = f"{number} from " * number.isdigit() + ", ".join(dict.fromkeys(kinds))
    return told


def _source(path: str) -> str:
    if path.startswith("critters:"):
        return path
    return "a .zip that is not named" if path.endswith(".zip") else "a folder that is not named"


def _base(path: str) -> str:
    from workbench.models.source import BUILT_IN, is_remote

    return path if is_remote(path) or path in BUILT_IN else Path(path).name


def public_recipe(recipe: "Recipe", private: Private) -> "Recipe":
    """A recipe with every number and choice, and of its texts those that say how, not whose.

    Args:
        recipe: of the run.
        private: which prompts are captions.
    Returns:
        A recipe that reads as one; its folders have to be filled in.
    """
    return _cleaned(recipe, "", private)


def _cleaned(settings: Any, prefix: str, private: Private) -> Any:
    update: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value, path = getattr(settings, name), f"{prefix}{name}"
        if isinstance(value, Settings):
            update[name] = _cleaned(value, f"{path}.", private)
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            update[name] = tuple(_cleaned(one, f"{path}.", private) for one in value)
        elif isinstance(value, dict):
            update[name] = {k: v for k, v in value.items() if not isinstance(v, str | tuple)}
        elif value and _is_free_text(settings, name):
            update[name] = _text(value, path, private)
    return settings.model_copy(update=update)


def _is_free_text(settings: Settings, name: str) -> bool:
    from workbench.settings.fields import choices, plain_types

    annotation = type(settings).model_fields[name].annotation
    return str in plain_types(annotation) and not choices(annotation)


def _text(value: Any, path: str, private: Private) -> Any:
    if path.endswith(("sampling.prompts", "sampling.negative")):
        many = isinstance(value, tuple)
        return tuple(map(private.prompt, value)) if many else private.prompt(value)
    if path in _FILE_NAMES:
        return _base(value)
    if path.endswith(_SHOWN_TEXT) or (isinstance(value, str) and value.startswith("critters:")):
        return value
    return () if isinstance(value, tuple) else LEFT_OUT
