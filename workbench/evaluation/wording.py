"""The six answers in words: one sentence that every face shows, and its tone."""

from collections.abc import Mapping, Sequence
from typing import Literal

from workbench.records.judgement import Answer, Question

Tone = Literal["good", "unsure", "bad"]
# What each answer says in the sentence; what is not named has no place in it.
CLAUSES: Mapping[tuple[Question, str], str] = {
    ("look like", "better"): "looks like the concept",
    ("look like", "worse"): "looks less like the concept than the base does",
    ("look like", "unchanged"): "looks no more like the concept than the base does",
    ("follow", "better"): "follows the prompt better",
    ("follow", "unchanged"): "follows the prompt as before",
    ("follow", "worse"): "follows the prompt worse",
    ("leak", "worse"): "leaks into pictures that do not call it",
    ("leak", "better"): "stays behind its trigger",
    ("diversity", "worse"): "is less diverse",
    ("diversity", "unchanged"): "is as diverse as before",
    ("diversity", "better"): "is more diverse",
    ("colours", "moved"): "shifts colours",
    ("colours", "unchanged"): "keeps its colours",
}
BAD = {
    ("look like", "worse"), ("look like", "unchanged"), ("follow", "worse"), ("leak", "worse"),
    ("diversity", "worse"), ("colours", "moved"),
}  # fmt: skip
NAMES: Mapping[Question, str] = {
    "learn": "learning",
    "look like": "likeness",
    "follow": "prompt following",
    "leak": "leak",
    "diversity": "diversity",
    "colours": "colours",
}


def sentence(answers: Sequence[Answer], *, learned: str = "") -> str:
    """Make the verdict's one sentence.

    Args:
        answers: to the six questions.
        learned: what the losses say in more words, such as where it was best; "" says it shortly.
    Returns:
        What it learned, what is good, what is lost, what is undecided, and what was not measured.
    """
    by = {one.question: one for one in answers}
    head = _head(by["learn"], learned)
    said = [(one, _clause(one)) for one in answers if one.question != "learn"]
    good = [clause for one, clause in said if clause and not _is_bad(one)]
    bad = [clause for one, clause in said if clause and _is_bad(one)]
    parts = [head]
    if good or bad:
        parts.append("it " + ", but ".join(filter(None, (_listed(good), _listed(bad)))))
    for reply in ("undecided", "not measured"):
        groups: dict[str, list[str]] = {}
        for one in answers:
            if one.reply != reply or (one.question == "learn" and reply in head):
                continue
            if reply == "undecided" or one.note:  # without a note it was not asked
                why = (one.clause or one.note) if reply == "undecided" else ""
                groups.setdefault(why, []).append(NAMES[one.question])
        if groups:
            told = (_listed(names) + (f" ({why})" if why else "") for why, names in groups.items())
            also = "also " if by["learn"].reply == reply else ""
            parts.append(f"{also}{reply}: {', '.join(told)}")
    return "; ".join(parts) + "."


def tone(answers: Sequence[Answer]) -> Tone:
    """Say how the verdict is to be coloured.

    Args:
        answers: to the six questions.
    Returns:
        "bad" where nothing of use was learned, "good" where it learned and nothing was lost or left
        open about the leak, otherwise "unsure".
    """
    by = {one.question: one for one in answers}
    if by["learn"].reply == "no" or by["look like"].reply == "no":
        return "bad"
    lost = any(map(_is_bad, answers))
    return (
        "good" if by["learn"].reply == "yes" and by["leak"].reply == "no" and not lost else "unsure"
    )


def _head(answer: Answer, learned: str) -> str:
    if answer.reply == "undecided":
        return f"Whether it learned is undecided{f' ({answer.note})' if answer.note else ''}"
    if learned:
        return learned
    if answer.reply == "not measured":
        return "Whether it learned was not measured"
    words = {"better": "It learned", "worse": "It got worse than its base"}
    return words.get(answer.word, "It learned nothing")


def _clause(answer: Answer) -> str:
    if answer.reply not in ("yes", "no"):
        return ""
    return answer.clause or CLAUSES.get((answer.question, answer.word), "")


def _is_bad(answer: Answer) -> bool:
    return answer.reply in ("yes", "no") and (answer.question, answer.word) in BAD


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
