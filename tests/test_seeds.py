"""Randomness is a function of its name alone, the same on every machine."""

import hashlib
import subprocess
import sys

import torch

from workbench import seeds


def test_derived_seed_is_the_documented_hash():
    digest = hashlib.sha256(b"7/noise/3/1").digest()
    assert seeds.derive(7, "noise", 3, 1) == int.from_bytes(digest[:8], "big") >> 1


def test_neighbouring_places_share_nothing():
    places = [
        (seed, purpose, index, rank)
        for seed in (0, 1, 11)
        for purpose in ("noise", "timesteps")
        for index in (0, 1, 11)
        for rank in (0, 1, 11)
    ]
    drawn = {tuple(torch.rand(4, generator=seeds.generator(*place)).tolist()) for place in places}
    assert len(drawn) == len(places)


def test_same_place_gives_the_same_numbers_in_another_process():
    script = (
        "from workbench import seeds; import torch;"
        "print(torch.randn(3, generator=seeds.generator(1, 'noise', 2)).tolist(),"
        "seeds.python_random(1, 'captions', 2, 3).random())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    here = torch.randn(3, generator=seeds.generator(1, "noise", 2)).tolist()
    assert printed.split("\n")[0] == f"{here} {seeds.python_random(1, 'captions', 2, 3).random()}"


def test_generators_leave_the_global_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    torch.rand(5, generator=seeds.generator(0, "noise"))
    assert torch.equal(before, torch.get_rng_state())


def test_global_reseed_names_the_place():
    def draw(*place):
        seeds.reseed_global(*place)
        return torch.rand(1).item()

    assert draw(0, 1) == draw(0, 1)
    assert len({draw(0, 1), draw(0, 2), draw(1, 1), draw(0, 1, 1)}) == 4
