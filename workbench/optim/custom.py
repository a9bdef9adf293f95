"""Any optimizer that is installed, by its dotted path."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch

from workbench.optim.base import Groups, OptimizerSettings
from workbench.settings import SettingsError, setting

Option = bool | int | float | str | tuple[bool | int | float | str, ...]
_OURS = frozenset({"params", "lr"})


class Custom(OptimizerSettings):
    """Any optimizer that is installed, by its dotted path, with options of its own."""

    kind: Literal["custom"] = "custom"
    path: str = setting(
        "torch.optim.NAdam",
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        basic=True,
        help="package.Class of the optimizer, such as pytorch_optimizer.Adan",
    )
    options: dict[str, Option] = setting(
        {}, help="its further arguments, such as {weight_decay = 0.01, betas = [0.9, 0.99]}"
    )

    @property
    def state_name(self) -> str:
        """The path: one custom optimizer cannot go on from another's state."""
        return self.path

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Make the optimizer; set to train where it knows that from evaluation.

        Nothing is imported before: a recipe may come out of a stranger's LoRA file, and reading it
        must not run what it names. What is no optimizer is never called.

        Args:
            groups: what `groups` returned.
        Returns:
            An instance of the class.
        Raises:
            SettingsError: no such class, or it does not take these options.
        """
        chosen = self._class()
        try:
            optimizer = chosen(list(groups), lr=self.learning_rate, **self.options)
        except (TypeError, ValueError, AssertionError) as error:
            raise SettingsError(
                f"optimizer.options do not fit {self.path}: {error}; it takes {_takes(chosen)}"
            ) from error
        if callable(getattr(optimizer, "train", None)):
            optimizer.train()
        return optimizer

    def problem(self) -> str:
        """Try to build it for one weight.

        Returns:
            Why that cannot be done; empty where it can.
        """
        weight = torch.nn.Parameter(torch.zeros(2, 2))
        try:
            self.build(self.groups({"unet": [weight]}))
        except SettingsError as error:
            return str(error)
        return ""

    def traces(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """The rate found so far, of optimizers that find one.

        Args:
            optimizer: what `build` returned.
        Returns:
            "d" and "d*lr" where the first group has a "d".
        """
        group = optimizer.param_groups[0]
        if not isinstance(group.get("d"), int | float | torch.Tensor):
            return {}
        return {"d": float(group["d"]), "d*lr": float(group["d"] * group["lr"])}

    def chosen(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Rate and options; what else a group holds may be what the optimizer found.

        Args:
            group: see `OptimizerSettings.chosen`.
        Returns:
            See there.
        """
        ours = {"lr", "initial_lr", "name", *self.options}
        return {key: group[key] for key in group if key in ours}

    def _class(self) -> Any:
        module, _, name = self.path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise SettingsError(
                f"optimizer.path {self.path!r} cannot be found ({error}); it must be package.Class "
                "of something installed here"
            ) from error
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            raise SettingsError(
                f"optimizer.path must name a class of torch.optim.Optimizer, got {self.path!r}, "
                f"which is {type(found).__name__} {getattr(found, '__name__', '')!r}"
            )
        return found


def _takes(chosen: Any) -> str:
    """The options that a class names."""
    names = [name for name in inspect.signature(chosen).parameters if name not in _OURS]
    return ", ".join(names) or "none"
