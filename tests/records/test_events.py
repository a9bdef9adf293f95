"""Events: each kind is what it says, frozen, and the same after a trip through JSON."""

from typing import get_args

import pydantic
import pytest

from workbench.records import events
from workbench.records.events import Event

KINDS = get_args(get_args(Event)[0])
PARSER = pydantic.TypeAdapter(Event)
PICTURE = events.SampledPicture(prompt='<b>a "critter"</b>\n', seed=1, path="samples/base/x.png")
AVERAGED = events.Averaged(lag=0.1, distance=1.0, decay=0.5, full_decay=0.99, full_after=890)
NEAREST = events.NearestPicture(path="samples/x.png", nearest="00.png", similarity=0.9)
EXAMPLES = [
    events.Started(run="mochi", recipe_hash="ab", total_steps=9, versions={"torch": "2.13"}),
    events.Preparing(stage="caching latents", done=3, total=40),
    events.Progress(step=1, loss=float("inf"), learning_rates={"unet": 1e-4}, traces={"d": 0.1}),
    events.Validated(step=1, loss=0.1, base_loss=0.2, timestep_edges=(0, 500, 1000)),
    events.Measured(step=1, change={"unet.mid_block": 0.01}, average=AVERAGED),
    events.Likeness(step=1, features="pixels", pictures=(NEAREST,), among_training=(0.5,)),
    events.Watched(step=1, marks=(events.Mark("leak", 0.2, 0.1, 0.3, 8),), alarms=("leak",)),
    events.Saved(step=1, path="checkpoints/step-000001"),
    events.Sampled(step=1, pictures=(PICTURE,)),
    events.Warned(id="d-stuck", message="d did not move", fix="raise d0"),
    events.Paused(step=1, reason="disk full"),
    events.Continued(step=1),
    events.Resumed(step=1, total_steps=9, set_aside=("step-000002.bad",)),
    events.Proved(step=1, path="lora/mochi.safetensors", passed=True, numbers={"output": 0.0}),
    events.Reported(path="report.html", verdict="it learned"),
    events.Finished(step=1, reason="terminated"),
    events.Failed(error="no", fix="yes"),
]


def test_there_is_an_example_of_every_kind():
    assert [type(example) for example in EXAMPLES] == list(KINDS)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.event)
def test_kind_comes_back_from_json(event):
    assert PARSER.validate_json(event.model_dump_json()) == event
    assert type(event).__doc__


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.event)
def test_kind_is_frozen_and_refuses_unknown_fields(event):
    with pytest.raises(pydantic.ValidationError):
        event.seq = 3
    with pytest.raises(pydantic.ValidationError):
        type(event)(**{**event.model_dump(), "stepp": 2})
