"""What happens beside the steps, where a whole run would hide it."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch

from workbench.records.checkpoint import DiskFull
from workbench.training import moments


def test_a_full_device_costs_the_pictures_and_no_process_waits_for_ever(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(moments, "sample", full)
    reached = []
    trainer = SimpleNamespace(
        rank=0,
        family=None,
        showing=nullcontext,
        accelerator=SimpleNamespace(wait_for_everyone=lambda: reached.append(True)),
    )
    sampling = SimpleNamespace(prompts=("a",))
    run = SimpleNamespace(
        trainer=trainer,
        recipe=SimpleNamespace(sampling=sampling),
        prompts=lambda: ("a",),
        folder=Path("run"),
        step=5,
    )
    assert [event.id for event in moments.draw_samples(run)] == ["sampling-memory"]
    assert reached == [True]


def test_a_used_up_quota_is_waited_for_too(monkeypatch, tmp_path):
    """The disk shows free bytes then, so that only time can tell."""
    slept = []
    monkeypatch.setattr(moments.time, "sleep", slept.append)
    run = SimpleNamespace(
        trainer=SimpleNamespace(rank=0),
        control=SimpleNamespace(pending=frozenset),
        recipe=SimpleNamespace(length=SimpleNamespace(minutes=None)),
        asked=None,
        folder=tmp_path,
        step=5,
    )
    error = DiskFull(tmp_path, needed_bytes=10, free_bytes=1000)
    told = [event.event for event in moments._wait_for_space(run, error)]
    assert told == ["warned", "paused", "continued"]
    assert len(slept) == 1
