"""A blind vote that is drawn while one votes: the first pair at once, the others as they come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.evaluation.ballots import BASE, Ballot, Place, Shot, Slip, blind_prompts, slips
from workbench.evaluation.grid import saved_files
from workbench.evaluation.loading import Wanted, final_file, wanted
from workbench.evaluation.painter import Painter, Spot, content
from workbench.evaluation.votes import Tally, tally
from workbench.recipe import Recipe
from workbench.records.votes import Question, Sheet, Vote, save
from workbench.settings import SettingsError
from workbench.store import FileRefused

AHEAD = 4  # pairs


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are voted on.

    Attributes:
        file: the LoRA file; at strength 0 it is the base that draws.
        strength: of what was learned.
    """

    file: Path
    strength: float = 1.0

    @property
    def name(self) -> str:
        """What it is called in counts and in the run's record."""
        if not self.strength:
            return BASE
        return self.file.stem + (f" at {self.strength:g}" if self.strength != 1 else "")


def side(folder: str | Path, *, step: int | None = None, strength: float = 1.0) -> Side:
    """One side of a vote, from a run.

    Args:
        folder: the run folder.
        step: of the file that was saved there; the final one if left out.
        strength: of what was learned; 0 is the base.
    Returns:
        The side.
    Raises:
        FileRefused: no file of that step.
    """
    if step is None:
        return Side(final_file(folder), strength)
    files = saved_files(folder)
    if step not in files:
        there = ", ".join(map(str, files)) or "none"
        raise FileRefused(f"{folder}: no LoRA file of step {step}; there are: {there}")
    return Side(files[step], strength)


def question_of(sides: tuple[Side, Side]) -> Question:
    """What is asked of two sides, which must differ.

    Args:
        sides: what is voted on.
    Returns:
        "spoilt" where the base takes part, whose pictures nothing can have spoilt.
    Raises:
        SettingsError: both sides would draw the same pictures.
    """
    one, other = sides
    same_file = content(one.file) == content(other.file)
    if one.strength == other.strength and (not one.strength or same_file):
        raise SettingsError(
            f"a vote needs two different sides, got {one.name} twice; choose another checkpoint, "
            "strength or run"
        )
    if other.name == one.name:
        raise SettingsError(f"both sides are called {one.name}; rename one of the files")
    return "better" if one.strength and other.strength else "spoilt"


def contest_shots(known: Wanted, sides: tuple[Side, Side], seeds: Sequence[int]) -> list[Shot]:
    """The pairs that two sides may be voted on without giving themselves away.

    Args:
        known: the run's prompts and trigger.
        sides: what is voted on.
        seeds: of each prompt.
    Returns:
        Prompt and seed of each pair, one seed of every prompt first.
    Raises:
        SettingsError: no such prompt.
    """
    against_base = question_of(sides) == "spoilt"
    prompts = blind_prompts(known, against_base=against_base)
    return [(prompt, seed) for seed in seeds for prompt in prompts]


class Contest:
    """Two sides, pairs in an order by lot, and a painter that draws those that are looked at.

    Args:
        painter: with the base of both sides on it.
        sides: what is voted on.
        shots: prompt and seed of each pair.
        seed: of the lots.
        folder: the run folder that keeps the votes; None keeps none.
    """

    def __init__(
        self,
        painter: Painter,
        sides: tuple[Side, Side],
        shots: Sequence[Shot],
        *,
        seed: int = 0,
        folder: Path | None = None,
    ):
        self.painter, self.sides, self.folder = painter, sides, folder
        self.slips = slips(shots, seed=seed)
        self.question: Question = question_of(sides)

    @property
    def names(self) -> tuple[str, str]:
        """Of the two sides."""
        return self.sides[0].name, self.sides[1].name

    @classmethod
    def of_run(
        cls,
        folder: str | Path,
        sides: tuple[Side, Side],
        *,
        prompts: Sequence[str] = (),
        seeds: Sequence[int] = (0, 1, 2, 3),
        seed: int = 0,
        base: str | None = None,
    ) -> "Contest":
        """Prepare a vote on a run; nothing is drawn yet.

        Args:
            folder: the run folder.
            sides: what is voted on; `side` makes them.
            prompts: instead of the run's own; against the base the trigger is taken out.
            seeds: of each prompt.
            seed: of the lots.
            base: where the base lies, if not where it was.
        Returns:
            The contest.
        Raises:
            SettingsError: the sides are the same, or no prompt keeps them hidden.
        """
        known = wanted(Recipe.load(Path(folder) / "recipe.toml"))
        asked = tuple(prompts) or known.prompts
        known = Wanted(asked, known.sampling, known.trigger, known.class_word)
        shots = contest_shots(known, sides, seeds)
        painter = Painter.open(folder, base=base, prompts=asked)
        return cls(painter, sides, shots, seed=seed, folder=Path(folder))

    def ballot(self, number: int) -> Ballot:
        """Draw a pair, unless it is there.

        Args:
            number: from 0, in the order of `slips`.
        Returns:
            The pair with its sides hidden.
        """
        return next(self._drawn([self.slips[number]]))

    def ballots(self) -> tuple[Ballot, ...]:
        """Draw all pairs.

        Returns:
            In the order of `slips`.
        """
        return tuple(self._drawn(self.slips))

    def draw_ahead(self) -> None:
        """Draw the pairs in their order, a few with one side before the other takes its place."""
        for start in range(0, len(self.slips), AHEAD):
            list(self._drawn(self.slips[start : start + AHEAD]))

    def _drawn(self, asked: Sequence[Slip]) -> Iterator[Ballot]:
        one, other = self.sides
        spots = [
            (
                Spot(one.file, slip.prompt, slip.seed, one.strength),
                Spot(other.file, slip.prompt, slip.seed, other.strength),
            )
            for slip in asked
        ]
        found = self.painter.pictures([spot for pair in spots for spot in pair])
        for slip, (first, second) in zip(asked, spots, strict=True):
            yield Ballot(slip, found[first], found[second])

    def sheet(self, places: Sequence[Place | None], *, rater: str) -> Sheet:
        """What a rater voted, as it is kept.

        Args:
            places: one for each slip, or for the first of them.
            rater: their name.
        Returns:
            The sheet; pairs without a vote are left out.
        """
        votes = tuple(
            Vote(prompt=slip.prompt, seed=slip.seed, choice=slip.meant(place))
            for slip, place in zip(self.slips, places, strict=False)
            if place is not None
        )
        return Sheet(rater=rater, question=self.question, sides=self.names, votes=votes)

    def keep(self, places: Sequence[Place | None], *, rater: str) -> Tally:
        """Count votes and keep them in the run folder.

        Args:
            places: one for each slip, or for the first of them.
            rater: their name.
        Returns:
            This rater's count.
        """
        if self.folder is not None:
            save(self.folder, self.sheet(places, rater=rater))
        every = [*places, *[None] * (len(self.slips) - len(places))]
        return tally(self.slips, every, names=self.names, question=self.question)
