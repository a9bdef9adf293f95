"""A vote with hidden sides: which picture is better, and what the count allows to say."""

import html
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.app.compare_look import announced, waiting
from workbench.app.compare_model import (
    drawing,
    estimate_s,
    final_file,
    give_back,
    known,
    wanted_of,
)
from workbench.app.desk import HIDDEN, MISTAKES, QUIETLY, Desk
from workbench.app.form import mistake
from workbench.app.words import label, text
from workbench.evaluation.page import data_uri
from workbench.settings import SettingsError
from workbench.workspace.loras import find

if TYPE_CHECKING:
    from workbench.evaluation.votes import Ballot

NUM_PAIRS = 20
CHOICES = ("left", "equal", "right")
# Arrow keys vote while the pictures are in sight and nothing is being typed.
_KEYS = """
const keys = {ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal"};
document.addEventListener("keydown", (event) => {
  const button = document.querySelector("#vote-" + keys[event.key]);
  const typing = event.target.closest("input, textarea, [role=tab], [role=slider], [role=listbox]");
  if (!button || button.offsetParent === null || button.disabled || typing) return;
  event.preventDefault();
  button.click();
});
"""


def build(desk: Desk, chosen: gr.Dropdown, base: gr.Textbox) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        chosen: what is compared.
        base: where the base lies, if not where the source says.
    """
    gr.Markdown(label("compare_vote_lead"), elem_classes="lead")
    ballots, votes = gr.State(()), gr.State(())
    with gr.Row():
        go = gr.Button(label("compare_vote_go"), elem_id="vote-go", min_width=160)
        stop = gr.Button(label("compare_stop"), min_width=120)
    said, shown = gr.HTML(elem_id="vote-said"), gr.HTML(elem_id="vote-pair", js_on_load=_KEYS)
    with gr.Row(elem_id="vote-buttons"):
        buttons = {
            choice: gr.Button(
                label(f"compare_vote_{choice}"), visible=False, min_width=100,
                elem_id=f"vote-{choice}",
            )
            for choice in CHOICES
        }  # fmt: skip

    def begin(*inputs: Any) -> Iterator[tuple[Any, ...]]:
        yield from _begin(desk, *inputs)

    outputs = [said, shown, ballots, votes, *buttons.values()]
    event = go.click(
        begin, [chosen, base], outputs, **HIDDEN, api_visibility="private",
        concurrency_id="compare", concurrency_limit=2,
    )  # fmt: skip
    stop.click(lambda: give_back(), None, None, cancels=[event], **QUIETLY)
    for choice, button in buttons.items():
        button.click(
            lambda found, given, choice=choice: _vote(found, (*given, choice)),
            [ballots, votes], [said, shown, votes, *buttons.values()], **QUIETLY,
        )  # fmt: skip


def _begin(desk: Desk, key: str | None, base: str) -> Iterator[tuple[Any, ...]]:
    """Draw twenty pairs, each prompt from as many seeds as that takes, and hide the sides."""
    from workbench.evaluation.results import Pair
    from workbench.evaluation.votes import ballots

    rest = [gr.skip()] * (3 + len(CHOICES))
    try:
        source = find(desk.workspace, key or "")
        wanted, file = wanted_of(source), final_file(source)
        if not wanted.prompts:
            raise SettingsError(text("compare_no_prompts"))
        pairs = [
            (wanted.prompts[k % len(wanted.prompts)], k // len(wanted.prompts))
            for k in range(NUM_PAIRS)
        ]
        asked = [(*pair, strength) for pair in pairs for strength in (0.0, 1.0)]
        count = len(asked) - len(known(source, file, asked))
        if count:
            yield announced(count, estimate_s(source, count)), *rest
        found: dict[Any, Any] = {}
        for now in drawing(desk.workspace, source, asked, file=file, base=base or None):
            found = now.pictures
            progress = text("compare_progress", done=now.done, total=now.total)
            yield waiting(now) if now.waits else f'<p class="lead">{progress}</p>', *rest
        drawn = [Pair(*one, base=found[*one, 0.0], trained=found[*one, 1.0]) for one in pairs]
        hidden = ballots(drawn, seed=random.SystemRandom().randrange(2**31))
        line, shown, votes, *buttons = _vote(hidden, ())
        yield line, shown, hidden, votes, *buttons
    except MISTAKES as error:
        yield mistake(str(error)), *rest


def _vote(found: "Sequence[Ballot]", given: tuple[str, ...]) -> tuple[Any, ...]:
    """The next pair; after the last one what the votes say."""
    from workbench.evaluation.votes import tally

    number = len(given)
    if number < len(found):
        line = text("compare_vote_number", number=number + 1, total=len(found))
        said = f'<p class="lead">{html.escape(line)}</p>'
        return said, _page(found[number]), given, *([gr.Button(visible=True)] * len(CHOICES))
    choices: Any = list(given[: len(found)])
    said = f'<div class="verdict">{html.escape(tally(found, choices).sentence)}</div>'
    return said, "", given, *([gr.Button(visible=False)] * len(CHOICES))


def _page(ballot: "Ballot") -> str:
    shown = "".join(
        f'<figure><img alt="{html.escape(text(f"compare_vote_{side}"))}" src="{data_uri(image)}">'
        "</figure>"
        for side, image in (("left", ballot.left), ("right", ballot.right))
    )
    return f'<p><b>{html.escape(ballot.prompt)}</b></p><div class="views side">{shown}</div>'
