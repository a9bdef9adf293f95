"""The stable loss never moves by itself, and compares with the base on the same draws."""

import pytest
import torch
from torch import Tensor

from workbench.process import DiscreteVP
from workbench.records.validation import StableLoss, ValidationSettings
from workbench.settings import SettingsError, from_toml

SETTINGS = ValidationSettings(num_images=4, num_bins=5, draws=3)


def process_of(count: int) -> DiscreteVP:
    return DiscreteVP(torch.linspace(0.999, 0.005, count), "epsilon")


PROCESS = process_of(1000)


def seen_draws(stable: StableLoss) -> dict[int, tuple[Tensor, Tensor]]:
    seen = {}

    def loss_of(record: int, timesteps: Tensor, generator: torch.Generator) -> Tensor:
        seen[record] = (timesteps, torch.randn(4, generator=generator))
        return timesteps.float()

    stable.measure(loss_of)
    return seen


def test_draws_are_fixed_by_seed_and_image_and_not_by_the_selection() -> None:
    one = seen_draws(StableLoss(SETTINGS, train=range(4), held_out=[9], process=PROCESS, seed=5))
    other = seen_draws(StableLoss(SETTINGS, train=[3, 9], process=PROCESS, seed=5))
    assert set(one) == {0, 1, 2, 3, 9}
    for record in (3, 9):
        assert one[record][0].equal(other[record][0])
        assert one[record][1].equal(other[record][1])
    assert not one[0][1].equal(one[1][1])
    moved = seen_draws(StableLoss(SETTINGS, train=range(4), process=PROCESS, seed=6))
    assert not one[0][1].equal(moved[0][1])


@pytest.mark.parametrize("num_timesteps", [1000, 7, 3])
def test_every_bin_gets_timesteps_inside_its_borders(num_timesteps: int) -> None:
    stable = StableLoss(SETTINGS, train=range(3), process=process_of(num_timesteps))
    width = 1000 / num_timesteps  # of a step, in thousandths
    for timesteps, _ in seen_draws(stable).values():
        assert timesteps.dtype == torch.int64
        assert (timesteps >= 0).all() and (timesteps < num_timesteps).all()
        for k, row in enumerate(timesteps.view(-1, SETTINGS.draws)):
            assert (row * width < stable.edges[k + 1]).all()
            assert ((row + 1) * width > stable.edges[k]).all()
    assert stable.edges == (0, 200, 400, 600, 800, 1000)


def test_images_are_spread_and_an_absent_split_is_absent() -> None:
    stable = StableLoss(SETTINGS, train=range(100, 200), process=PROCESS)
    assert stable.records == {"train": (100, 125, 150, 175)}


def test_gap_to_base_per_bin_and_in_all() -> None:
    stable = StableLoss(SETTINGS, train=range(4), held_out=[7, 8], process=PROCESS)
    base = stable.measure_base(lambda record, t, _: torch.ones(len(t)))
    half = stable.measure(lambda record, t, _: torch.where(t < 200, 0.5, 1.0))
    assert half["train"].bins == (0.5, 1, 1, 1, 1)
    assert base["train"].images == (1,) * 4
    train, held_out = stable.events(30, half)
    assert (train.split, held_out.split, train.step) == ("train", "held_out", 30)
    assert train.loss == pytest.approx(0.9) and train.base_loss == 1
    assert train.base_bin_losses == (1,) * 5
    assert train.image_losses == pytest.approx((0.9,) * 4) and train.base_image_losses == (1,) * 4
    assert train.timestep_edges == (0, 200, 400, 600, 800, 1000)


def test_a_loss_that_is_not_finite_names_the_image() -> None:
    stable = StableLoss(SETTINGS, train=[12], process=PROCESS)
    with pytest.raises(FloatingPointError, match="image 12"):
        stable.measure(lambda record, t, _: torch.full((len(t),), float("nan")))


def test_no_gradient_is_kept() -> None:
    weight = torch.ones(1, requires_grad=True)

    def loss_of(record: int, timesteps: Tensor, generator: torch.Generator) -> Tensor:
        assert not torch.is_grad_enabled()
        return timesteps * weight

    StableLoss(SETTINGS, train=[0], process=PROCESS).measure(loss_of)


def test_settings_are_bounded() -> None:
    with pytest.raises(SettingsError, match="num_images"):
        from_toml(ValidationSettings, "num_images = 0")
