"""A vote with hidden sides: the first pair at once, the others drawn while one votes."""

import functools
import html
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from workbench.app.compare_look import announced, waiting
from workbench.app.compare_model import drawing, estimate_s, give_back, known
from workbench.app.compare_source import Brush, Job, final_file, wanted_of
from workbench.app.desk import HIDDEN, MISTAKES, QUIETLY, Desk
from workbench.app.form import mistake
from workbench.app.words import label, text
from workbench.evaluation.page import data_uri
from workbench.settings import SettingsError
from workbench.workspace.loras import Source, checkpoints, find, sources

if TYPE_CHECKING:
    from workbench.evaluation.ballots import Place, Slip
    from workbench.evaluation.contest import Side
    from workbench.evaluation.votes import Tally
    from workbench.records.votes import Question, Sheet

NUM_PAIRS = 20
AHEAD = 4  # pairs drawn with one file before the other takes its place
CHOICES: "tuple[Place, ...]" = ("left", "equal", "right")
STRENGTHS = (1.0, 0.75, 0.5, 1.25)
# Arrow keys vote while the pictures are in sight and nothing is being typed.
_KEYS = """
const keys = {ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal"};
document.addEventListener("keydown", (event) => {
  const button = document.querySelector("#vote-" + keys[event.key]);
  const typing = event.target.closest(
    "input, textarea, .views.loupe, [role=tab], [role=slider], [role=listbox]");
  if (!button || button.offsetParent === null || button.disabled || typing) return;
  event.preventDefault();
  button.click();
});
"""


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote as one visitor's page holds it; the pictures stay with the model.

    Attributes:
        sides: the two brushes and strengths.
        names: of the sides.
        slips: what is voted on.
        question: which is better, or which one is spoilt.
        source: the run that keeps the votes.
        rater: who votes.
        places: votes so far.
    """

    sides: tuple[tuple[Brush, float], tuple[Brush, float]]
    names: tuple[str, str]
    slips: "tuple[Slip, ...]"
    question: "Question"
    source: Source
    rater: str
    places: "tuple[Place, ...]" = ()


def build(desk: Desk, chosen: gr.Dropdown, base: gr.Textbox) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        chosen: what is compared.
        base: where the base lies, if not where the source says.
    """
    gr.Markdown(label("compare_vote_lead"), elem_classes="lead")
    vote = gr.State(None)
    with gr.Row(equal_height=True):
        first, second = (
            gr.Dropdown([], label=label(f"compare_vote_{name}"), min_width=220,
                        elem_id=f"vote-side-{name}")
            for name in ("first", "second")
        )  # fmt: skip
        rater = gr.Textbox(label=label("compare_vote_rater"), max_length=60, min_width=160,
                           info=label("compare_vote_rater_info"), elem_id="vote-rater")  # fmt: skip
    with gr.Row():
        go = gr.Button(label("compare_vote_go"), elem_id="vote-go", min_width=160)
        end = gr.Button(label("compare_vote_end"), elem_id="vote-end", min_width=120)
        stop = gr.Button(label("compare_stop"), min_width=120)
    said, shown = gr.HTML(elem_id="vote-said"), gr.HTML(elem_id="vote-pair", js_on_load=_KEYS)
    with gr.Row(elem_id="vote-buttons"):
        buttons: dict[Place, gr.Button] = {
            choice: gr.Button(
                label(f"compare_vote_{choice}"), visible=False, min_width=100,
                elem_id=f"vote-{choice}",
            )
            for choice in CHOICES
        }  # fmt: skip
    ready = gr.HTML(elem_id="vote-ready")

    def begin(*inputs: Any) -> Iterator[tuple[Any, ...]]:
        yield from _begin(desk, *inputs)

    def go_on(now: Any, choice: "Place") -> Iterator[tuple[Any, ...]]:
        yield from _vote(desk, now, choice)

    outputs = [said, shown, vote, *buttons.values()]
    event = go.click(
        begin, [chosen, base, first, second, rater], [*outputs, ready], **HIDDEN,
        api_visibility="private", concurrency_id="compare", concurrency_limit=2,
    )  # fmt: skip
    cleared = ("", "", None, *_buttons(visible=False), "")  # given votes are kept already
    chosen.change(
        lambda key: (*_offer(desk, key), *cleared), chosen, [first, second, *outputs, ready],
        cancels=[event], **QUIETLY,
    )  # fmt: skip
    stop.click(lambda: give_back(), None, None, cancels=[event], **QUIETLY)
    end.click(
        lambda now: (*(_counted(now) if now else _still()), ""), vote, [*outputs, ready],
        cancels=[event], **QUIETLY,
    )  # fmt: skip
    for choice, button in buttons.items():
        button.click(functools.partial(go_on, choice=choice), vote, outputs, **QUIETLY)


def _offer(desk: Desk, key: str | None) -> tuple[Any, Any]:
    """The sides of a source, and the last files of other runs; a checkpoint meets another."""
    try:
        among = _sides(desk, find(desk.workspace, key or ""))
    except MISTAKES:  # what is wrong with it is said when it is to be drawn
        among = []
    values = [value for _, value in among]
    other = next((v for v in values[1:] if v.startswith("file/") and v.endswith("@1")), None)
    first = values[0] if values else None
    return gr.Dropdown(among, value=first), gr.Dropdown(
        among, value=other or next(iter(values[1:2]), None)
    )


def _sides(desk: Desk, source: Source) -> list[tuple[str, str]]:
    """Label and value, "key@strength": its own strengths first, its files, the base, other runs."""
    from workbench.evaluation.painter import content

    final = final_file(source)
    found = [
        (text("compare_vote_at", name=final.stem, strength=f"{at:g}"), f"{source.key}@{at:g}")
        for at in STRENGTHS
    ]
    files = reversed(checkpoints(source.path)) if source.is_run else ()
    same = content(final)  # the last step's file holds what the final one does
    others = [path for path in files if content(path) != same]
    found += [(path.stem, f"file/{source.run}/{path.name}@1") for path in others]
    found.append((text("compare_vote_base"), f"{source.key}@0"))
    runs = [one for one in sources(desk.workspace) if one.is_run and one.key != source.key]
    return found + [(text("compare_run", name=one.run), f"{one.key}@1") for one in runs]


def _side(desk: Desk, value: str | None, base: str) -> "tuple[Brush, Side]":
    from workbench.evaluation.contest import Side

    key, _, strength = (value or "").rpartition("@")
    if not re.fullmatch(r"\d(\.\d+)?", strength):
        raise SettingsError(text("compare_vote_choose"))
    source = find(desk.workspace, key)
    brush = Brush(source, final_file(source), base or None)
    return brush, Side(brush.file, float(strength))


def _begin(desk: Desk, key: str | None, base: str, *given: Any) -> Iterator[tuple[Any, ...]]:
    """Show the first pair as soon as it is drawn, then draw the others while one votes."""
    first, second, rater = given
    rest = [gr.skip()] * (3 + len(CHOICES))
    try:
        vote = _prepared(desk, key, base, sides=(first, second), rater=rater)
        asked = _asked(vote, vote.slips)
        count = sum(len(jobs) - len(known(brush, jobs)) for brush, jobs in asked.items())
        if count:
            one = next(iter(asked))
            yield announced(count, estimate_s(one, count)), *rest[1:], ""
        for line in _drawn(desk, vote, vote.slips[:1]):
            yield line, *rest[1:], ""
        yield *_pair(vote), ""
        for k in range(1, len(vote.slips), AHEAD):
            for line in _drawn(desk, vote, vote.slips[k : k + AHEAD]):
                yield *rest, line
            yield *rest, _ready(min(k + AHEAD, len(vote.slips)), len(vote.slips))
        yield *rest, ""
    except MISTAKES as error:
        yield mistake(str(error)), *rest[1:], ""


def _prepared(
    desk: Desk, key: str | None, base: str, *, sides: tuple[Any, Any], rater: str
) -> Vote:
    from workbench.evaluation.ballots import slips
    from workbench.evaluation.contest import contest_shots, question_of

    source = find(desk.workspace, key or "")
    wanted = wanted_of(source)
    if not wanted.prompts:
        raise SettingsError(text("compare_no_prompts"))
    (one, first), (other, second) = (_side(desk, value, base) for value in sides)
    both = first, second
    question = question_of(both)
    each = len(contest_shots(wanted, both, (0,)))
    shots = contest_shots(wanted, both, range(-(-NUM_PAIRS // each)))[:NUM_PAIRS]
    # Two runs are drawn alike, whatever their recipes say: the files alone shall differ.
    how = None if one.source.run == other.source.run else wanted.sampling
    brushes = (Brush(x.source, x.file, x.base, how) for x in (one, other))
    lots = random.SystemRandom()
    name = rater.strip() or f"rater {lots.randrange(10**6):06}"
    return Vote(
        sides=tuple(zip(brushes, (first.strength, second.strength), strict=True)),  # type: ignore[arg-type]
        names=(first.name, second.name),
        slips=slips(shots, seed=lots.randrange(2**31)),
        question=question,
        source=source,
        rater=name,
    )


def _asked(vote: Vote, slips: "Sequence[Slip]") -> dict[Brush, list[Job]]:
    found: dict[Brush, list[Job]] = {}
    for brush, strength in vote.sides:
        jobs = [(slip.prompt, slip.seed, strength) for slip in slips]
        found.setdefault(brush, []).extend(jobs)
    return found


def _drawn(desk: Desk, vote: Vote, slips: "Sequence[Slip]") -> Iterator[str]:
    """Draw pairs that are not there yet; yields why it waits, where it does."""
    for brush, jobs in _asked(vote, slips).items():
        for now in drawing(desk.workspace, brush, jobs):
            if now.waits:
                yield waiting(now)


def _vote(desk: Desk, vote: Vote | None, choice: "Place") -> Iterator[tuple[Any, ...]]:
    """Keep a vote and show the next pair, which is drawn now where it is not there yet."""
    if vote is None or len(vote.places) >= len(vote.slips):  # an arrow key too many
        yield _still()
        return
    vote = replace(vote, places=(*vote.places, choice))
    if len(vote.places) == len(vote.slips):
        yield _counted(vote)
        return
    _keep(vote)
    try:
        number = len(vote.places)
        slips = vote.slips[number : number + 1]
        if any(len(known(b, jobs)) < len(jobs) for b, jobs in _asked(vote, slips).items()):
            line = f'<p class="lead">{html.escape(text("compare_vote_drawing"))}</p>'
            yield line, "", vote, *_buttons(visible=False)
        for line in _drawn(desk, vote, slips):
            yield line, "", vote, *_buttons(visible=False)
        yield _pair(vote)
    except MISTAKES as error:
        yield mistake(str(error)), "", vote, *_buttons(visible=False)


def _pair(vote: Vote) -> tuple[Any, ...]:
    number = len(vote.places)
    slip = vote.slips[number]
    values = {"number": number + 1, "total": len(vote.slips)}
    line = text(f"compare_vote_{vote.question}", **values)
    said = f'<p class="lead">{html.escape(line)}</p>'
    if _tally(vote).winner is not None:
        said += f'<p class="lead">{html.escape(text("compare_vote_decided"))}</p>'
    pictures = [
        known(brush, [job := (slip.prompt, slip.seed, at)])[job] for brush, at in vote.sides
    ]
    left, right = pictures if slip.first_is_left else pictures[::-1]
    return said, _page(slip.prompt, left, right), vote, *_buttons(visible=True)


def _counted(vote: Vote) -> tuple[Any, ...]:
    """What the votes say: this rater's, and all raters' of the run where there are more."""
    from workbench.evaluation.votes import counted
    from workbench.records.votes import of_contest

    _keep(vote)
    own = _tally(vote)
    lines, sheets = [own.sentence], of_contest(_sheets(vote), vote.question, vote.names)
    if len(sheets) > 1:
        every = counted(sheets, contests=own.contests)
        lines.append(text("compare_vote_raters", said=every.sentence))
        lines += [every.agreement.sentence] if every.agreement else []
    said = "".join(f'<div class="verdict">{html.escape(line)}</div>' for line in lines)
    return said, "", None, *_buttons(visible=False)


def _sheets(vote: Vote) -> "tuple[Sheet, ...]":
    from workbench.records.votes import load

    return load(vote.source.path)[0] if vote.source.is_run else ()


def _keep(vote: Vote) -> None:
    """Write down what was voted so far, so that a page that is closed loses nothing."""
    if not vote.source.is_run or not vote.places:
        return
    from workbench.records import votes

    given = tuple(
        votes.Vote(prompt=slip.prompt, seed=slip.seed, choice=slip.meant(place))
        for slip, place in zip(vote.slips, vote.places, strict=False)
    )
    sheet = votes.Sheet(rater=vote.rater, question=vote.question, sides=vote.names, votes=given)
    votes.save(vote.source.path, sheet)


def _tally(vote: Vote) -> "Tally":
    """This rater's count; it shares the chance of a false alarm with the run's other contests."""
    from workbench.evaluation.votes import tally

    places = [*vote.places, *[None] * (len(vote.slips) - len(vote.places))]
    count = tally(vote.slips, places, names=vote.names, question=vote.question)
    others = {(one.question, one.sides) for one in _sheets(vote)}
    others.add((vote.question, (min(vote.names), max(vote.names))))
    return replace(count, contests=len(others))


def _still() -> tuple[Any, ...]:
    return tuple([gr.skip()] * (3 + len(CHOICES)))


def _buttons(*, visible: bool) -> list[Any]:
    return [gr.Button(visible=visible)] * len(CHOICES)


def _ready(done: int, total: int) -> str:
    said = text("compare_vote_ready", done=done, total=total)
    return f'<p class="lead">{html.escape(said)}</p>'


def _page(prompt: str, left: Image.Image, right: Image.Image) -> str:
    shown = "".join(
        f'<figure><img alt="{html.escape(text(f"compare_vote_{side}"))}" src="{data_uri(image)}">'
        "</figure>"
        for side, image in (("left", left), ("right", right))
    )
    stage = f'<div class="views side"><div class="stage">{shown}</div></div>'
    return f"<p><b>{html.escape(prompt)}</b></p>{stage}"
