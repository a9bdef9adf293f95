"""What is voted on blind: pairs whose pictures do not give their side away, in an order by lot.

With the trigger in the prompt, base and LoRA are told apart at a glance. So the base is voted on
without it ("which one is spoilt?"), and with it only what was trained against what was trained.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image

from workbench.evaluation.results import Pair
from workbench.records.sampling import without_trigger
from workbench.records.votes import Choice
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.evaluation.loading import Wanted

Place = Literal["left", "right", "equal"]
Shot = tuple[str, int]  # prompt and seed
BASE = "base"  # what a side without a LoRA is called


@dataclass(frozen=True, slots=True)
class Slip:
    """What will be voted on, before its pictures are drawn.

    Attributes:
        prompt: of both pictures.
        seed: of both pictures.
        first_is_left: the secret.
    """

    prompt: str
    seed: int
    first_is_left: bool

    def meant(self, place: Place) -> Choice:
        """Which side a vote went to.

        Args:
            place: where the chosen picture stood.
        Returns:
            The side.
        Raises:
            ValueError: the place is none of the three.
        """
        if place not in ("left", "right", "equal"):
            raise ValueError(f"a vote must be left, right or equal, got {place!r}")
        if place == "equal":
            return "equal"
        return "first" if (place == "left") == self.first_is_left else "second"


@dataclass(frozen=True, slots=True)
class Ballot:
    """Two pictures of one prompt and seed, their sides hidden.

    Attributes:
        slip: prompt, seed and secret.
        first: the first side's picture.
        second: the second side's picture.
    """

    slip: Slip
    first: Image.Image
    second: Image.Image

    @property
    def prompt(self) -> str:
        """What was asked for."""
        return self.slip.prompt

    @property
    def left(self) -> Image.Image:
        """The picture on the left."""
        return self.first if self.slip.first_is_left else self.second

    @property
    def right(self) -> Image.Image:
        """The picture on the right."""
        return self.second if self.slip.first_is_left else self.first


def slips(shots: Sequence[Shot], *, seed: int = 0) -> tuple[Slip, ...]:
    """Draw by lot in which order pairs are voted on, and which side stands where.

    One seed of every prompt comes first: pictures of one prompt are alike, so a second one of the
    same prompt says less than one of another.

    Args:
        shots: prompt and seed of each pair; one that comes twice is voted on once.
        seed: of the lots; the same shots and seed give the same slips.
    Returns:
        The slips.
    """
    lots = random.Random(f"blind vote {seed}")
    rounds: dict[int, list[Shot]] = {}
    seen: Counter[str] = Counter()
    for shot in dict.fromkeys(shots):
        rounds.setdefault(seen[shot[0]], []).append(shot)
        seen[shot[0]] += 1
    drawn = [shot for _, part in sorted(rounds.items()) for shot in lots.sample(part, len(part))]
    return tuple(Slip(*shot, first_is_left=lots.random() < 0.5) for shot in drawn)


def ballots(source: Sequence[Pair], *, seed: int = 0) -> tuple[Ballot, ...]:
    """Hide which picture is whose, where all are drawn already.

    Args:
        source: pairs of pictures; `base` is the first side.
        seed: of the lots.
    Returns:
        The ballots in the order of `slips`.
    """
    by_shot = {(one.prompt, one.seed): one for one in source}
    found = []
    for slip in slips(list(by_shot), seed=seed):
        pair = by_shot[slip.prompt, slip.seed]
        found.append(Ballot(slip, pair.base, pair.trained))
    return tuple(found)


def blind_prompts(wanted: "Wanted", *, against_base: bool) -> tuple[str, ...]:
    """Say at which prompts a vote is blind.

    Args:
        wanted: the run's prompts and its trigger.
        against_base: one of the sides is the base; otherwise both were trained.
    Returns:
        Prompts to vote on: as they are, or without the trigger where the base takes part.
    Raises:
        SettingsError: no prompt is left at which a voter could not tell the sides apart.
    """
    if not wanted.prompts:
        raise SettingsError("a vote needs prompts, and this brings none; choose a run, not a file")
    if not against_base:
        return tuple(dict.fromkeys(wanted.prompts))
    if not wanted.trigger:
        raise SettingsError(
            "this run has no trigger, so each of its pictures shows what it learned and a vote "
            "against the base is not blind; vote between two checkpoints, strengths or runs"
        )
    words = {"trigger": wanted.trigger, "class_word": wanted.class_word}
    plain = dict.fromkeys(without_trigger(prompt, **words) for prompt in wanted.prompts)
    plain.pop("", None)
    if not plain:
        raise SettingsError(
            f"no prompt says more than the trigger {wanted.trigger!r}, so nothing is left to vote "
            "on against the base; add prompts, or vote between checkpoints or strengths"
        )
    return tuple(plain)
