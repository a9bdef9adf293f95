"""What all optimizers share: a rate for each half of the model, curves, and a resume."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from workbench.settings import Settings, SettingsError, setting

Groups = Sequence[dict[str, Any]]


class OptimizerSettings(Settings):
    """What all optimizers share: one rate for each half of the model.

    Attributes:
        found: keys of a parameter group that hold what the optimizer found, and not a setting.
        package: what must be installed besides the package's own needs.
        one_rate: all groups have the same rate; another one is refused.
        own_schedule: it replaces a schedule, so that only a constant one goes with it.
        apart: a weight's update depends on that weight alone, so that a step may be taken in
            pieces.
    """

    found: ClassVar[frozenset[str]] = frozenset()
    package: ClassVar[str | None] = None
    one_rate: ClassVar[bool] = False
    own_schedule: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    learning_rate: float = setting(
        1e-4, gt=0, le=10, basic=True, help="learning rate of the denoiser's weights"
    )
    text_encoder_learning_rate: float | None = setting(
        None, gt=0, le=10, help="learning rate of the text encoders' weights; absent: the same"
    )

    @property
    def state_name(self) -> str:
        """Whose state it can go on from: that of an optimizer of the same name."""
        return getattr(self, "kind")  # noqa: B009

    def rate(self, part: str) -> float:
        """The learning rate of one part of the model.

        Args:
            part: "unet", "text_encoder", "text_encoder_2".
        Returns:
            Its rate.
        """
        if part.startswith("text_encoder") and self.text_encoder_learning_rate is not None:
            return self.text_encoder_learning_rate
        return self.learning_rate

    def groups(
        self,
        parameters: Mapping[str, Sequence[torch.Tensor]],
        factors: Mapping[str, float] | None = None,
    ) -> list[dict[str, Any]]:
        """Give the parameters of each group their rate.

        Args:
            parameters: group to parameters, as an adapter's `groups()` returns them; a group's
                name begins with its part of the model.
            factors: group to factor on its part's rate, where that is not 1.
        Returns:
            Groups {"params", "lr", "name"} for `build`; those without parameters are left out.
        """
        factors = factors or {}
        return [
            {"params": list(params), "lr": self.rate(name) * factors.get(name, 1.0), "name": name}
            for name, params in parameters.items()
            if params
        ]

    def traces(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Numbers of the optimizer's own that are worth a curve.

        Args:
            optimizer: what `build` returned.
        Returns:
            Name to value; empty for most optimizers.
        """
        return {}

    def stuck(self, optimizer: torch.optim.Optimizer) -> tuple[str, str] | None:
        """Say that the optimizer has not found its way, some fifty steps after the warm-up.

        Args:
            optimizer: what `build` returned.
        Returns:
            What is wrong and what to do about it; None where all is well.
        """
        return None

    def chosen(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """What of a parameter group the recipe decides, and not the training so far.

        Args:
            group: a group of the optimizer that `build` returned.
        Returns:
            Those of its entries that a resume takes from the recipe.
        """
        return {key: group[key] for key in group if key not in {"params", *self.found}}

    def loaded(self, optimizer: torch.optim.Optimizer) -> None:
        """Mend what `load_state_dict` leaves undone.

        Args:
            optimizer: what `build` returned, its state just loaded.
        """
        for group in optimizer.param_groups:
            device = group["params"][0].device
            for key, value in group.items():
                if isinstance(value, torch.Tensor):  # torch moves the weights' state only
                    group[key] = value.to(device)

    def require_one_rate(self, groups: Groups) -> None:
        """Refuse groups of several rates.

        Args:
            groups: what `groups` returned.
        Raises:
            SettingsError: the rates differ.
        """
        rates = {group.get("lr", self.learning_rate) for group in groups}
        if len(rates) > 1:
            raise SettingsError(
                "optimizer.text_encoder_learning_rate must equal learning_rate for "
                f"{self.state_name}, which finds one rate for all, got {sorted(rates)}; leave it "
                "out, and the adapter's factors on rates too"
            )


def library(name: str, kind: str) -> Any:
    """Import what an optimizer needs, or say what to do.

    Args:
        name: module to import, such as "bitsandbytes".
        kind: the optimizer's kind.
    Returns:
        The module.
    Raises:
        SettingsError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise SettingsError(
            f"optimizer.kind {kind!r} needs {package}, which cannot be imported ({error}); "
            f"`pip install {package}`, or choose adamw"
        ) from error
