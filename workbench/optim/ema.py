"""A moving average of the weights, in fp32 and by name.

diffusers' `EMAModel` keeps the average in the weights' own dtype, where bf16 loses nine tenths of
a small move, and matches weights by position. This one follows its formula (the test compares the
two) without those traps.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from workbench.settings import Settings, setting

PIECE = 2**26  # bf16 weights that are widened at a time: 256 MiB in fp32
_COUNT = "num_updates"  # no weight is called so: their names hold dots


class EMASettings(Settings):
    """Average the weights over the last steps: less noise, and a lag."""

    decay: float = setting(
        0.99, ge=0, lt=1, help="memory; 0.99 averages about the last hundred steps"
    )

    def decay_at(self, num_updates: int) -> float:
        """The memory that applies at one update; young averages forget faster.

        Args:
            num_updates: updates made before, >= 0.
        Returns:
            0 at the first update, then min(decay, (1 + n) / (10 + n)).
        """
        if num_updates == 0:
            return 0.0
        return min(self.decay, (1 + num_updates) / (10 + num_updates))

    def full_after(self) -> int:
        """Number of steps before which `decay` has no effect: only the warm-up acts.

        Returns:
            Steps: 8,990 for a decay of 0.999.
        """
        return max(0, math.ceil((10 * self.decay - 1) / (1 - self.decay) - 1e-6))

    def build(self, params: Mapping[str, Tensor]) -> "Ema":
        """Start an average.

        Args:
            params: name to trainable weight, as an adapter's `trainables` holds them.
        Returns:
            The average, equal to the weights so far.
        """
        return Ema(self, params)


class Ema:
    """The moving average of named weights."""

    def __init__(self, settings: EMASettings, params: Mapping[str, Tensor]) -> None:
        """Copy the weights.

        Args:
            settings: the memory.
            params: name to weight; kept by reference, to follow and to swap.
        """
        self.settings = settings
        self.num_updates = 0
        self._params = dict(params)
        self._shadow = {
            name: p.detach().to(torch.float32, copy=True) for name, p in self._params.items()
        }
        self._swapped = False
        self._pieces = list(_pieces(self._params))

    @property
    def decay(self) -> float:
        """The memory that the next update will use, in [0, 1)."""
        return self.settings.decay_at(self.num_updates)

    @property
    def average(self) -> Mapping[str, Tensor]:
        """Name to average, fp32 on the weights' device; not to be changed."""
        return self._shadow

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in; call it after every optimizer step."""
        assert not self._swapped, "the average would take itself in"
        weight = 1 - self.decay
        for names in self._pieces:
            weights = [self._params[name].detach().to(torch.float32) for name in names]
            torch._foreach_lerp_([self._shadow[name] for name in names], weights, weight)
        self.num_updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Put the average in the weights' place, to sample or save it, and the weights back after.

        The same inside another `swapped()` changes nothing.
        """
        if self._swapped:
            yield
            return
        kept = {name: p.detach().clone() for name, p in self._params.items()}
        self._swapped = True
        try:
            self._put(self._shadow)
            yield
        finally:
            self._put(kept)
            self._swapped = False

    def distance(self) -> float:
        """How far the average lags behind the weights.

        Returns:
            Euclidean norm of their difference over all weights.
        """
        pairs = zip(self._params.values(), self._shadow.values(), strict=True)
        return math.sqrt(sum(float((p.detach() - s).square().sum()) for p, s in pairs))

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Everything a checkpoint needs.

        Args:
            copy: also of what lies on the CPU already; without, it changes with the next update.
        Returns:
            Name to average, fp32 on the CPU, and the number of updates.
        """
        tensors = {name: s.to("cpu", copy=copy) for name, s in self._shadow.items()}
        return tensors | {_COUNT: torch.tensor(self.num_updates)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a saved state.

        Args:
            state: what `state` returned.
        Raises:
            ValueError: other names or shapes than here; nothing is loaded then.
        """
        shapes = {name: s.shape for name, s in self._shadow.items()}
        saved = {name: s.shape for name, s in state.items() if name != _COUNT}
        if saved != shapes or _COUNT not in state:
            wrong = sorted(set(saved.items()) ^ set(shapes.items()))
            raise ValueError(f"the saved average does not fit these weights: {wrong[:8]}")
        for name, shadow in self._shadow.items():
            shadow.copy_(state[name])
        self.num_updates = int(state[_COUNT])

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, p in self._params.items():
            p.copy_(values[name])


def _pieces(params: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Split weights into pieces of about `PIECE`, so that no second copy of all is in memory."""
    piece: list[str] = []
    size = 0
    for name, p in params.items():
        piece.append(name)
        size += p.numel()
        if size >= PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
