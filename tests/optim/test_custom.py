"""An installed optimizer that a recipe names: its options, and what cannot be built."""

import pytest
import torch
from optim_bowl import weights

from workbench.optim.optimizers import (
    Custom,
)
from workbench.settings import SettingsError, from_dict, from_toml, override, to_toml


def test_any_installed_optimizer_can_be_named() -> None:
    settings = from_dict(
        Custom,
        {"path": "torch.optim.RMSprop", "options": {"alpha": 0.9, "centered": True}},
    )
    params = weights()
    optimizer = settings.build(settings.groups(params))
    assert type(optimizer) is torch.optim.RMSprop
    assert optimizer.param_groups[0]["alpha"] == 0.9
    assert settings.problem() == ""


def test_custom_options_survive_toml_and_overrides() -> None:
    settings = Custom(path="torch.optim.Adamax", options={"betas": (0.8, 0.9), "eps": 1e-6})
    assert from_toml(Custom, to_toml(settings)) == settings
    changed = override(settings, ["options.betas=[0.5, 0.6]", "options.foreach=true"])
    assert changed.options == {"betas": (0.5, 0.6), "eps": 1e-6, "foreach": True}
    assert changed.problem() == ""


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("torch.optim.Nadam", {}, r"cannot be found .* must be package\.Class"),
        ("nowhere.at.All", {}, "cannot be found"),
        ("os.system", {"command": "false"}, r"must name a class of torch\.optim\.Optimizer"),
        ("subprocess.Popen", {"args": "false"}, "which is type 'Popen'"),
        ("torch.optim.SGD", {"momentun": 0.9}, r"momentun.*it takes momentum, dampening"),
        ("torch.optim.SGD", {"momentum": -1.0}, "Invalid momentum value"),
        ("torch.optim.SGD", {"lr": 1.0}, "multiple values"),
    ],
)
def test_what_cannot_be_built_is_told(path: str, options: dict, said: str) -> None:
    settings = Custom(path=path, options=options)  # reading a recipe imports and calls nothing
    with pytest.raises(SettingsError, match=said):
        settings.build(settings.groups(weights()))
    assert settings.problem()


def test_a_path_is_no_code() -> None:
    with pytest.raises(SettingsError, match="path must match"):
        Custom(path="os; import shutil")
