"""Any state_dict survives the trip through safetensors and JSON, to the bit and the type."""

import json
import math
from collections import Counter, OrderedDict

import pytest
import torch
from bitwise import same

from workbench.records.bundle import Bundle, CheckpointRefused, flatten, unflatten


def trip(state):
    """Through real JSON; tensors keep."""
    tensors, skeleton = flatten(state)
    return unflatten(tensors, json.loads(json.dumps(skeleton)))


@pytest.mark.parametrize(
    "state",
    [
        None,
        True,
        1,
        2**70,
        0.1 + 0.2,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        math.inf,
        -math.inf,
        math.nan,
        "tensor",
        "naïve \U0001f600 \0 \n",
        [],
        (),
        {},
        [1, (2, [3.0, ()]), {"a": None}],
        {1: "int", "1": "str", -2: {"dict": [["k", 1]], "tensor": "x", "tuple": [1]}},
        {"betas": (0.9, 0.999), "params": [0, 1, 2], "foreach": None, "fused": False},
    ],
    ids=lambda state: repr(state)[:30],
)
def test_plain_values_come_back_with_type_and_order(state):
    assert same(trip(state), state)


DTYPES = ["float64", "float32", "float16", "bfloat16", "complex64"]
DTYPES += ["int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_dtype_and_of_no_dimension(dtype):
    state = [torch.tensor([3, 0, 1]).to(getattr(torch, dtype)), torch.tensor(1).to(torch.int64)]
    assert same(trip(state), state)


def test_keys_that_spell_the_same_path_do_not_collide():
    state = {0: torch.tensor(1.0), "0": torch.tensor(2.0), "a": {"b": torch.tensor(3.0)}}
    state["a/b"] = torch.tensor(4.0)
    assert len(flatten(state)[0]) == 4
    assert same(trip(state), state)


def test_ordered_dict_comes_back_as_a_dict():
    assert same(trip(OrderedDict(b=1, a=2)), {"b": 1, "a": 2})


@pytest.mark.parametrize(
    ("value", "named"),
    [({"a": [1, {2}]}, "state/a/1.*set"), ({"a": Counter()}, "Counter"), ({(1,): 2}, "key")],
)
def test_what_would_come_back_as_something_else_is_refused_by_path(value, named):
    with pytest.raises(TypeError, match=named):
        flatten(value)


def test_missing_tensor_is_named():
    _, skeleton = flatten({"exp_avg": torch.zeros(2)})
    with pytest.raises(CheckpointRefused, match="exp_avg"):
        unflatten({}, skeleton)


def test_bundle_keeps_parts_apart():
    states = {"adapter": {"a": torch.ones(2)}, "cursor": {"step": 3}, "empty": {}}
    bundle = Bundle.pack(states)
    assert list(bundle.tensors) == ["adapter"]
    assert same(bundle.unpack(), states)
