"""A blind vote in a cell: one pair at a time, the next ones drawn while one looks."""

import html
import threading
from typing import TYPE_CHECKING, Any

from workbench.notebook.shown import Shown, gallery, grid, show
from workbench.notebook.widgets import has_widgets

if TYPE_CHECKING:
    from workbench.evaluation.ballots import Place
    from workbench.evaluation.contest import Contest

ASKED = {
    "better": "which is better, and follows the prompt better?",
    "spoilt": "which one is spoilt?",
}
_LABELS: "tuple[tuple[Place, str], ...]" = (
    ("left", "‹ Left"), ("equal", "No difference"), ("right", "Right ›"),
)  # fmt: skip


def vote(contest: "Contest", *, rater: str = "me") -> Any:
    """Vote on pairs whose sides are hidden; each vote is kept in the run at once.

    Args:
        contest: what is voted on, such as `Contest.of_run(run.folder, sides)`.
        rater: your name: of several raters a pair has one vote, by majority.
    Returns:
        Buttons above a pair; without widgets all pairs, numbered, to be voted on by
        `contest.keep(["left", "equal", ...], rater=...)`.
    """
    if not has_widgets():
        rows = {
            f"{k}. {one.prompt}": [("left", one.left), ("right", one.right)]
            for k, one in enumerate(contest.ballots(), 1)
        }
        return grid(rows, width_px=192)
    return Booth(contest, rater).widget()


class Booth:
    """The state of one rater's vote.

    Args:
        contest: what is voted on.
        rater: who votes.
    """

    def __init__(self, contest: "Contest", rater: str):
        self.contest, self.rater = contest, rater
        self.places: list[Place] = []

    @property
    def is_done(self) -> bool:
        """Whether every pair was voted on."""
        return len(self.places) == len(self.contest.slips)

    def cast(self, place: "Place") -> None:
        """Vote on the pair in sight.

        Args:
            place: where the chosen picture stands.
        """
        if not self.is_done:
            self.places.append(place)
            self.contest.keep(self.places, rater=self.rater)

    def heading(self) -> str:
        """What is asked, or what the votes say.

        Returns:
            One line.
        """
        if self.is_done:
            return self.count()
        total = len(self.contest.slips)
        return f"Pair {len(self.places) + 1} of {total}: {ASKED[self.contest.question]}"

    def count(self) -> str:
        """What the votes say so far.

        Returns:
            The sentence.
        """
        return self.contest.keep(self.places, rater=self.rater).sentence

    def pair(self) -> Shown:
        """The pair in sight, drawn now if it is not there.

        Returns:
            Two pictures.
        """
        one = self.contest.ballot(len(self.places))
        return gallery([(one.prompt, one.left), ("", one.right)], width_px=300)

    def ahead(self) -> threading.Thread:
        """Draw the other pairs while this one is looked at.

        Returns:
            The thread, running; it ends with the last pair.
        """
        thread = threading.Thread(target=self.contest.draw_ahead, daemon=True)
        thread.start()
        return thread

    def widget(self) -> Any:
        """Buttons above the pair.

        Returns:
            An ipywidgets box.
        """
        import ipywidgets

        said, output = ipywidgets.HTML(), ipywidgets.Output()
        buttons = [ipywidgets.Button(description=words) for _, words in _LABELS]
        stop = ipywidgets.Button(description="Count now")

        def redraw() -> None:
            said.value = f"<b>{html.escape(self.heading())}</b>"
            for button in buttons:
                button.disabled = self.is_done
            output.clear_output(wait=True)
            with output:
                show(Shown("", "") if self.is_done else self.pair())

        def chosen(place: "Place") -> Any:
            def act(_: Any) -> None:
                self.cast(place)
                redraw()

            return act

        for (place, _), button in zip(_LABELS, buttons, strict=True):
            button.on_click(chosen(place))
        stop.on_click(lambda _: setattr(said, "value", f"<b>{html.escape(self.count())}</b>"))
        redraw()
        self.ahead()
        return ipywidgets.VBox([said, ipywidgets.HBox([*buttons, stop]), output])
