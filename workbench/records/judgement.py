"""What a run was judged to be: six answers and one sentence, in `verdict.json` of its folder.

Every face (train's last line, report, `compare`, app, notebooks) reads this file, so all of them
say the same. A later comparison with more pictures replaces it.
"""

import json
from pathlib import Path
from typing import Literal

import pydantic

from workbench import store

FILE_NAME = "verdict.json"
Question = Literal["learn", "look like", "follow", "leak", "diversity", "colours"]
Reply = Literal["yes", "no", "undecided", "not measured"]
Word = Literal["better", "worse", "unchanged", "moved", "undecided", "not measured"]
# What each question asks, in full.
ASKED: dict[Question, str] = {
    "learn": "Did it learn?",
    "look like": "Does it look like the concept?",
    "follow": "Does it still follow the prompt?",
    "leak": "Does the concept leak where it is not called?",
    "diversity": "Did it lose diversity, or copy?",
    "colours": "Did colours drift?",
}


class _Plain(pydantic.BaseModel):
    """Frozen data; numbers that are not finite become strings."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Interval(_Plain):
    """One measure of an answer.

    Attributes:
        name: the measure, with its unit.
        value: change against the base, or the measure itself.
        low: lower end of its interval, Bonferroni's within the family of questions.
        high: upper end.
        limit: beyond it the change counts; a margin on both sides of 0, or a threshold.
        values: of each prompt or image.
    """

    name: str
    value: float
    low: float
    high: float
    limit: float | None = None
    values: tuple[float, ...] = ()


class Answer(_Plain):
    """One of the six questions, answered.

    Attributes:
        question: which.
        reply: yes, no, undecided, or not measured.
        word: what moved where.
        clause: the answer inside the verdict's sentence, or why it is undecided; "" where the word,
            or the note, says it.
        note: why it is undecided or was not measured, and what would change that.
        intervals: what it rests on, the deciding measure first.
        n: independent units.
        unit: "prompts" or "images".
        seeds: pictures of a prompt, on average.
        p: corrected for the number of questions (Holm); None where nothing was tested.
    """

    question: Question
    reply: Reply
    word: Word
    clause: str = ""
    note: str = ""
    intervals: tuple[Interval, ...] = ()
    n: int = 0
    unit: str = "prompts"
    seeds: float = 0.0
    p: float | None = None


class LeakRecord(_Plain):
    """The leak in the model as it was measured; see `evaluation.leak`."""

    reach: tuple[float, ...]
    concept: tuple[float, ...]
    ordinary: tuple[float, ...] = ()
    unrelated: tuple[float, ...] = ()
    places: tuple[tuple[str, int, int, float, float, float], ...] = ()
    seconds: float = 0.0


class Judgement(_Plain):
    """Is it better than the base?

    Attributes:
        step: optimizer steps that the judged weights had done.
        sentence: made of the answers.
        verdict: the sentence with the run's most telling fault, if it has one: what faces show.
        tone: "good", "unsure" or "bad".
        answers: one a question.
        features: what likeness and prompts were judged by.
        leak: the raw numbers, so that a later comparison need not measure them again.
    """

    step: int
    sentence: str
    verdict: str = ""
    tone: Literal["good", "unsure", "bad"]
    answers: tuple[Answer, ...]
    features: str = ""
    leak: LeakRecord | None = None

    def answer(self, question: Question) -> Answer:
        """The answer to one question.

        Args:
            question: which.
        Returns:
            The answer.
        """
        return next(one for one in self.answers if one.question == question)


def save(folder: str | Path, judgement: Judgement) -> Path:
    """Write a run's judgement, whole or not at all.

    Args:
        folder: the run folder.
        judgement: what was found.
    Returns:
        The file.
    """
    return store.write_text(Path(folder) / FILE_NAME, judgement.model_dump_json(indent=2) + "\n")


def load(folder: str | Path, *, step: int | None = None) -> Judgement | None:
    """Read a run's judgement.

    Args:
        folder: the run folder.
        step: the judgement must be of this step, if given: a run that went on is judged anew.
    Returns:
        The judgement; None without one, or where another version wrote it.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        found = Judgement.model_validate(json.loads(store.read_text(path)))
    except (pydantic.ValidationError, json.JSONDecodeError):
        return None
    return found if step is None or found.step == step else None
