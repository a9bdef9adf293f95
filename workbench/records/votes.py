"""Blind votes on a run's pictures: one file a rater and contest, in `votes/` of the run folder.

Files are written whole and no two raters share one, so votes can be given at the same time; what a
report page exported is put into the folder, or brought there by `workbench votes`.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pydantic

from workbench import store
from workbench.store import FileRefused

FOLDER = "votes"
Choice = Literal["first", "second", "equal"]
Question = Literal["better", "spoilt"]
_OTHER: dict[Choice, Choice] = {"first": "second", "second": "first", "equal": "equal"}
_HELP = "it must be what a report page exported, or a file of a run's votes folder"


class Vote(pydantic.BaseModel):
    """One vote on one pair.

    Attributes:
        prompt: of both pictures.
        seed: of both pictures.
        choice: the side that was chosen, or neither.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    prompt: str = pydantic.Field(max_length=10_000)
    seed: int
    choice: Choice


class Sheet(pydantic.BaseModel):
    """What one rater voted in one contest.

    Attributes:
        rater: who voted; a name of their choice.
        question: which picture is better, or which one is spoilt.
        sides: what the two sides are, such as a checkpoint's name.
        votes: at most one a pair.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    rater: str = pydantic.Field(min_length=1, max_length=80)
    question: Question = "better"
    sides: tuple[str, str]
    votes: tuple[Vote, ...] = pydantic.Field(max_length=5000)

    def in_order(self) -> "Sheet":
        """The same with the sides in alphabetical order, and one vote a pair: its latest.

        Returns:
            The sheet, as it is stored.
        """
        turned = self.sides[0] > self.sides[1]
        latest = {(one.prompt, one.seed): one for one in self.votes}
        votes = tuple(
            one.model_copy(update={"choice": _OTHER[one.choice]}) if turned else one
            for one in latest.values()
        )
        sides = (self.sides[1], self.sides[0]) if turned else self.sides
        return self.model_copy(update={"sides": sides, "votes": votes})


def save(folder: str | Path, sheet: Sheet) -> Path:
    """Add a rater's votes to a run; a pair that they voted on before counts as voted now.

    Args:
        folder: the run folder.
        sheet: the votes.
    Returns:
        The file.
    """
    sheet = sheet.in_order()
    path = Path(folder) / FOLDER / _name(sheet)
    if path.is_file():
        before = read_sheet(path)
        sheet = sheet.model_copy(update={"votes": (*before.votes, *sheet.votes)}).in_order()
    return store.write_json(path, sheet.model_dump(mode="json"))


def read_sheet(path: str | Path) -> Sheet:
    """Read votes.

    Args:
        path: a file of `votes/`, or one that a report page exported.
    Returns:
        The sheet, sides in order.
    Raises:
        FileRefused: the file holds no votes.
    """
    try:
        return Sheet.model_validate(json.loads(store.read_text(path))).in_order()
    except json.JSONDecodeError as error:
        raise FileRefused(f"{store.shown(path)} is no JSON ({error}); {_HELP}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise FileRefused(
            f"{store.shown(path)} holds no votes: {where}: {first['msg']}; {_HELP}"
        ) from None


def load(folder: str | Path) -> tuple[tuple[Sheet, ...], tuple[str, ...]]:
    """Read all votes of a run.

    Args:
        folder: the run folder.
    Returns:
        The sheets, one a rater and contest, and why files that lie there were left out.
    """
    sheets: dict[tuple[str, str, tuple[str, str]], Sheet] = {}
    refused = []
    for path in sorted((Path(folder) / FOLDER).glob("*.json")):
        try:
            sheet = read_sheet(path)
        except FileRefused as error:
            refused.append(str(error))
            continue
        key = (sheet.rater, sheet.question, sheet.sides)
        if key in sheets:  # the same rater's export, put beside what was stored
            votes = (*sheets[key].votes, *sheet.votes)
            sheet = sheet.model_copy(update={"votes": votes}).in_order()
        sheets[key] = sheet
    return tuple(sheets.values()), tuple(refused)


def of_contest(
    sheets: Sequence[Sheet], question: Question, sides: tuple[str, str]
) -> tuple[Sheet, ...]:
    """Pick the sheets of one contest.

    Args:
        sheets: of a run.
        question: what was asked.
        sides: in any order.
    Returns:
        One a rater.
    """
    wanted = tuple(sorted(sides))
    return tuple(one for one in sheets if (one.question, one.sides) == (question, wanted))


def _name(sheet: Sheet) -> str:
    key = json.dumps([sheet.rater, sheet.question, *sheet.sides])
    words = re.sub(r"[^a-z0-9]+", "-", sheet.rater.lower()).strip("-")[:40] or "rater"
    return f"{words}-{hashlib.sha256(key.encode()).hexdigest()[:10]}.json"
