"""Any state_dict as tensors and JSON: what checkpoints are made of instead of pickles."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


class CheckpointRefused(ValueError):
    """A checkpoint is missing or damaged: nothing of it was loaded."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that a run needs to go on as if it had never stopped.

    Attributes:
        tensors: part name ("adapter", "optimizer", ...) to named tensors; one file a part.
        data: JSON-able rest; NaN and infinity are allowed.
    """

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def pack(cls, states: Mapping[str, Any]) -> "Bundle":
        """Make a bundle of state_dicts.

        Args:
            states: part name to anything `flatten` takes.
        Returns:
            The bundle; tensors are not copied.
        """
        bundle = cls()
        for name, state in states.items():
            tensors, bundle.data[name] = flatten(state)
            if tensors:
                bundle.tensors[name] = tensors
        return bundle

    def unpack(self) -> dict[str, Any]:
        """Give back what `pack` was given.

        Returns:
            Part name to state.
        """
        return {
            name: unflatten(self.tensors.get(name, {}), data) for name, data in self.data.items()
        }


def flatten(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Take the tensors out of a state_dict, so that they go to safetensors and the rest to JSON.

    Args:
        state: nested dicts (str or int keys), lists and tuples of tensors, bool, int, float, str
            and None: any optimizer's, scheduler's or scaler's state_dict.
    Returns:
        Tensors by path, and a JSON-able skeleton that refers to them.
    Raises:
        TypeError: a value of another type, with its path.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _flatten(state, "state", tensors)


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = path
        while name in tensors:  # {0: a, "0": b}
            name += "'"
        tensors[name] = value
        return {"tensor": name}
    # A subclass (Counter, deque, a named tuple) would come back as something else.
    if type(value) in (dict, OrderedDict):
        if wrong := [key for key in value if not isinstance(key, str | int)]:
            raise TypeError(f"{path}: key {wrong[0]!r} is neither str nor int; it cannot be saved")
        return {"dict": [[k, _flatten(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if type(value) in (list, tuple):
        items = [_flatten(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    raise TypeError(f"{path}: a value of type {type(value).__name__} cannot be saved")


def unflatten(tensors: Mapping[str, Tensor], skeleton: Any) -> Any:
    """Put a state_dict together again; the inverse of `flatten`.

    Args:
        tensors: tensors by path.
        skeleton: as `flatten` gave it.
    Returns:
        The state_dict, with the types and numbers it had.
    Raises:
        CheckpointRefused: a tensor is missing.
    """
    if isinstance(skeleton, list):
        return [unflatten(tensors, item) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "dict":
        return {key: unflatten(tensors, value) for key, value in content}
    if kind == "tuple":
        return tuple(unflatten(tensors, item) for item in content)
    assert kind == "tensor", kind
    if content not in tensors:
        raise CheckpointRefused(f"tensor {content} of the saved state is missing")
    return tensors[content]
