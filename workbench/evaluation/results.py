"""What an evaluation finds, as plain data: pictures, numbers and sentences; no torch."""

from dataclasses import dataclass, field
from typing import Any

from PIL import Image


@dataclass(frozen=True, slots=True)
class Pair:
    """The same prompt and seed drawn by the base and by what was trained."""

    prompt: str
    seed: int
    base: Image.Image
    trained: Image.Image


@dataclass(frozen=True, slots=True)
class Strip:
    """One prompt and seed in a row of pictures: rising strength, or rising training step.

    Attributes:
        prompt: the prompt of all of them.
        seed: the seed of all of them.
        cells: label ("0.5", "step 100") and picture.
    """

    prompt: str
    seed: int
    cells: tuple[tuple[str, Image.Image], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pictures of base and LoRA at the same prompts and seeds.

    Attributes:
        pairs: prompts as given, the trigger in them.
        strengths: strips of rising strength; 0 is the base.
        leakage: the same prompts without the trigger: base and LoRA should agree.
        trigger: the concept's word, if there is one.
        seconds: how long drawing took.
        leak: measured in the model, or why it was not; None where it was not asked for.
    """

    pairs: tuple[Pair, ...]
    strengths: tuple[Strip, ...] = ()
    leakage: tuple[Pair, ...] = ()
    trigger: str | None = None
    seconds: float = 0.0
    leak: "Leak | str | None" = None

    def show(self) -> Any:
        """Show the comparison in a notebook; anywhere else it is returned and nothing is shown.

        Returns:
            An object that a notebook cell draws.
        """
        from workbench.evaluation.page import Fragment

        return Fragment(self)

    def _repr_html_(self) -> str:
        return self.show()._repr_html_()


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One rung of the reload proof.

    Attributes:
        name: what is compared.
        value: the difference found; 0 is equality.
        limit: the largest difference that passes; None where it only informs.
        passed: whether the rung holds.
        explanation: a sentence; on failure it names the layer.
        warning: it holds, but something about it should be known.
    """

    name: str
    value: float
    limit: float | None
    passed: bool
    explanation: str
    warning: bool = False

    @property
    def sentence(self) -> str:
        """The rung as one line: mark, name, explanation."""
        mark = "✗" if not self.passed else "!" if self.warning else "✓"
        return f"{mark} {self.name}: {self.explanation}"

    @classmethod
    def from_sentence(cls, sentence: str, value: float) -> "ProofRow":
        """Read back what `sentence` wrote into an event.

        Args:
            sentence: one line.
            value: the difference found.
        Returns:
            The rung, without its limit.
        """
        mark, _, rest = sentence.partition(" ")
        name, _, explanation = rest.partition(": ")
        return cls(name, value, None, mark != "✗", explanation, warning=mark == "!")


@dataclass(frozen=True, slots=True)
class Proof:
    """Is the saved file what was trained? Rung by rung.

    Attributes:
        path: the file.
        rows: the rungs.
        seconds: how long the proof took.
        elsewhere: layer of a DoRA to how far ComfyUI and its kin are off, as a share of its change.
    """

    path: str
    rows: tuple[ProofRow, ...]
    seconds: float = 0.0
    elsewhere: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every rung holds."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def numbers(self) -> dict[str, float]:
        """The difference of each rung, by name."""
        return {row.name: row.value for row in self.rows}

    @property
    def findings(self) -> tuple[str, ...]:
        """One line a rung."""
        return tuple(row.sentence for row in self.rows)


@dataclass(frozen=True, slots=True)
class DriftRow:
    """How one measure of the pictures moved against the base, over prompts.

    Attributes:
        name: the measure, with its unit.
        base: its mean over the base's pictures.
        change: mean of the prompts' changes.
        low: lower end of its interval.
        high: upper end.
        values: the change of each prompt, its seeds averaged; empty where they are not known.
        seeds: pictures of a prompt, on average.
        few: prompts that are needed where there are fewer; 0 where there are enough.
        exploratory: one of many looks, whose 95 % interval leaves out zero by chance now and then.
    """

    name: str
    base: float
    change: float
    low: float
    high: float
    values: tuple[float, ...] = ()
    seeds: float = 0.0
    few: int = 0
    exploratory: bool = True

    @property
    def moved(self) -> bool:
        """Whether the interval leaves out zero, over enough prompts to say so."""
        return not self.few and (self.low > 0 or self.high < 0)

    @property
    def reading(self) -> str:
        """What the row says, in words."""
        if self.few:
            return f"too few to say: {len(self.values)} prompts, {self.few} are needed"
        return "moved" if self.moved else "no clear change"


@dataclass(frozen=True, slots=True)
class LeakAt:
    """Reach and leak at one range of the way to noise; see `leak`.

    Attributes:
        of: "concept" or "ordinary" pictures.
        low: first thousandth of the range.
        high: first one beyond it.
        reach: |d(with trigger)|^2 over the base's squared error.
        leak: share of d(with trigger) that is there without the trigger.
        unrelated: share of it that is there under an unrelated prompt.
    """

    of: str
    low: int
    high: int
    reach: float
    leak: float
    unrelated: float


@dataclass(frozen=True, slots=True)
class Leak:
    """How far a concept reaches, and how much of it is there without its trigger; see `leak`.

    Attributes:
        reach: at pictures of the concept, one value a prompt.
        concept: leak at pictures of the concept, the trigger taken out of their captions.
        ordinary: leak at ordinary pictures under their own captions; empty without any.
        unrelated: share under captions of other pictures, at all of them.
        places: by picture and place on the way to noise.
        seconds: how long measuring took.
    """

    reach: tuple[float, ...]
    concept: tuple[float, ...]
    ordinary: tuple[float, ...] = ()
    unrelated: tuple[float, ...] = ()
    places: tuple[LeakAt, ...] = ()
    seconds: float = 0.0

    @property
    def values(self) -> tuple[float, ...]:
        """Leak of each prompt: the mean over both kinds of pictures where there are both."""
        if not self.ordinary:
            return self.concept
        return tuple((a + b) / 2 for a, b in zip(self.concept, self.ordinary, strict=False))


@dataclass(frozen=True, slots=True)
class Fault:
    """Something with a name that is wrong with a run.

    Attributes:
        id: the name, such as "d_stuck".
        sentence: what is wrong, to follow "It does not learn:" or "But".
        fix: what to do, naming the setting.
        evidence: sentences with the numbers.
        grave: it alone keeps a run from learning.
    """

    id: str
    sentence: str
    fix: str
    evidence: tuple[str, ...] = ()
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A plain sentence on whether the run learned, and what it rests on.

    Attributes:
        sentence: the verdict.
        tone: "good", "unsure" or "bad".
        evidence: sentences with the numbers.
        fix: what to do about the most telling fault; "" without one.
        faults: all that was found wrong, the most telling first.
    """

    sentence: str
    tone: str = "unsure"
    evidence: tuple[str, ...] = ()
    fix: str = ""
    faults: tuple[Fault, ...] = ()
