"""What happens beside the steps, where a whole run would hide it."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch

from workbench.training import moments


def test_a_full_device_costs_the_pictures_and_no_process_waits_for_ever(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(moments, "sample", full)
    reached = []
    trainer = SimpleNamespace(
        rank=0,
        family=SimpleNamespace(parts={"unet": torch.nn.Identity()}),
        showing=nullcontext,
        accelerator=SimpleNamespace(wait_for_everyone=lambda: reached.append(True)),
    )
    sampling, length = SimpleNamespace(prompts=("a",)), SimpleNamespace(minutes=None)
    run = SimpleNamespace(
        trainer=trainer,
        recipe=SimpleNamespace(sampling=sampling, length=length),
        prompts=lambda: ("a",),
        asked=None,
        control=SimpleNamespace(pending=frozenset),
        folder=Path("run"),
        step=5,
    )
    assert [event.id for event in moments.draw_samples(run)] == ["sampling-memory"]
    assert reached == [True]
