"""Thousands of steps with kills, pauses, samples and a full disk end with the undisturbed bits."""

import os

import pytest
from soak import both

from workbench import store


@pytest.mark.full
@pytest.mark.timeout(0)
def test_a_run_that_everything_happens_to_ends_as_one_that_nothing_happens_to(tmp_path):
    steps = int(os.environ.get("WORKBENCH_SOAK_STEPS", "10000"))
    calm, rough = both(tmp_path, steps, min(300, steps // 4))
    one, other = store.load_tensors(calm.final), store.load_tensors(rough.final)
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    assert rough.lives > 2 and sum(rough.disturbances.values()) > rough.lives
    assert max(calm.growth, rough.growth) < 0.05, (calm.memory, rough.memory)
