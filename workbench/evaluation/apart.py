"""Do variants of an experiment shift colours apart? Each is compared with the first, by prompt.

Against the base nearly every LoRA moves the mean colour, so a test against the base marks all
variants alike and tells none from another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.evaluation.drift import AXES
from workbench.evaluation.experiment import Outcome
from workbench.evaluation.statistics import LEVEL, MIN_PROMPTS, holm, hotelling


@dataclass(frozen=True, slots=True)
class Apart:
    """How far a variant's mean colour lies from that of the first variant.

    Attributes:
        distance: between the mean changes, in L*a*b*.
        p: of one test over the three axes, corrected for the number of variants; 1 where prompts
            are too few.
        n: prompts, the independent units.
    """

    distance: float
    p: float
    n: int

    @property
    def said(self) -> str:
        """The distance, with a star for more than chance and a question mark for few prompts."""
        mark = "*" if self.p < LEVEL else "?" if self.n < MIN_PROMPTS else ""
        return f"{self.distance:.1f}{mark}"


def apart(outcomes: Sequence[Outcome]) -> dict[str, Apart]:
    """Compare the colours of variants with those of the first one, on the same prompts and seeds.

    Args:
        outcomes: of an experiment, that with which others are compared first.
    Returns:
        Name to distance, for all but the first that drew the same number of prompts.
    Source: Hotelling 1931 for the three axes, Holm 1979 for the variants; see `statistics`.
    """
    first, *others = [(one.name, _moves(one)) for one in outcomes]
    differ = {name: moves - first[1] for name, moves in others if 0 < len(moves) == len(first[1])}
    enough = [name for name, values in differ.items() if len(values) >= MIN_PROMPTS]
    p = dict(zip(enough, holm([hotelling(differ[name]) for name in enough]), strict=True))
    return {
        name: Apart(float(np.linalg.norm(values.mean(axis=0))), p.get(name, 1.0), len(values))
        for name, values in differ.items()
    }


def sentence(outcomes: Sequence[Outcome]) -> str:
    """Say in a line how far each variant's colours lie from the first one's.

    Args:
        outcomes: of an experiment.
    Returns:
        "" where there is nothing to compare.
    """
    found = apart(outcomes) if outcomes else {}
    if not found:
        return ""
    listed = ", ".join(f"{name} {one.said}" for name, one in found.items())
    n = next(iter(found.values())).n
    few = f" ? is fewer than {MIN_PROMPTS} prompts." if n < MIN_PROMPTS else ""
    return (
        f"Colours against {outcomes[0].name}, over {n} prompts: {listed}. * is more than the "
        f"choice of prompts explains; another seed of the same variant may differ as much.{few}"
    )


def _moves(outcome: Outcome) -> np.ndarray:
    """Change of the mean L*, a* and b* of each prompt, (P, 3)."""
    return np.array([row.values for row in outcome.drift if row.name in AXES]).T
