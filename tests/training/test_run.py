"""A run from recipe to file: its events, its folder, its ends."""

import threading
import time

import pytest
import torch

from workbench import store
from workbench.launch import resume
from workbench.recipe import Recipe
from workbench.records import checkpoint, events, history, log
from workbench.records.lock import RunLocked
from workbench.training.run import Run


def names(found: list[events.Event]) -> list[str]:
    return [e.event for e in found if e.event not in ("preparing", "validated", "measured")]


def test_a_run_tells_all_and_leaves_all(recipe):
    chosen = recipe('sampling.prompts=["{trigger}, red"]', "sampling.steps=2", "ema.decay=0.5")
    run = Run(chosen, run_folder(chosen))
    told = list(run.train())
    assert names(told) == [
        *("started", "sampled", "progress", "progress", "saved", "progress", "progress"),
        *("saved", "saved", "sampled", "finished"),
    ]
    assert log.read(run.folder) == told
    assert [e.seq for e in told] == list(range(1, len(told) + 1))
    assert Recipe.load(run.folder / "recipe.toml") == chosen
    assert sorted(p.name for p in (run.folder / "checkpoints").iterdir()) == [
        "step-000002",
        "step-000004",
    ]
    prompt = [e for e in told if e.event == "sampled"][-1].pictures[0].prompt
    assert prompt == "zib, red"
    assert len(list((run.folder / "samples").rglob("*.png"))) == 2
    metadata, _ = store.read_header(run.final_lora)
    assert (metadata["ss_steps"], metadata["ss_network_dim"]) == ("4", "4")
    assert metadata["ss_network_alpha"] == "2.0"
    assert history.state(run.folder) == "finished"


def run_folder(recipe: Recipe):
    from pathlib import Path

    return Path(recipe.output.folder) / recipe.name


def test_the_file_holds_the_moving_average(recipe):
    run = Run(recipe("ema.decay=0.5"), run_folder(recipe()))
    list(run.train())
    from workbench.adapters import read

    trainer = run.trainer
    with trainer.showing():
        shown = {name: layer.delta() for name, layer in trainer.adapter.layers().items()}
    raw = {name: layer.delta() for name, layer in trainer.adapter.layers().items()}
    stored = {name: layer.delta() for name, layer in read(run.final_lora).layers.items()}
    naming = {trainer.family.file_name(*name.split(".", 1)): name for name in shown}
    assert all(torch.equal(stored[key], shown[name]) for key, name in naming.items())
    assert not all(torch.equal(stored[key], raw[name]) for key, name in naming.items())


def test_leaving_early_saves_and_resume_goes_on(recipe):
    run = Run(recipe("length.steps=6", "training.checkpoint_every=100"), run_folder(recipe()))
    for event in run.train():
        if event.event == "progress" and event.step == 3:
            break
    loaded = checkpoint.newest_valid(run.folder)
    assert loaded.step == 3
    assert history.state(run.folder) == "stopped"
    told = list(resume(run.folder).train())
    assert [e.step for e in told if e.event == "progress"] == [4, 5, 6]
    assert [e.step for e in log.read(run.folder) if e.event == "progress"] == [1, 2, 3, 4, 5, 6]


def test_a_complete_run_says_how_to_extend_it_and_stays_complete(recipe):
    run = Run(recipe("output.report=false"), run_folder(recipe()))
    list(run.train())
    with pytest.raises(ValueError, match=r"already complete at step 4.*length\.steps=\+500"):
        list(resume(run.folder).train())
    assert history.state(run.folder) == "finished"
    told = list(resume(run.folder, ["length.steps=+2"]).train())
    assert [e.step for e in told if e.event == "progress"] == [5, 6]


def test_stop_and_pause_by_control_file(recipe):
    run = Run(recipe("length.steps=40", "training.checkpoint_every=1000"), run_folder(recipe()))
    told: list[events.Event] = []
    for event in run.train():
        told.append(event)
        if event.event == "progress" and event.step == 2:
            run.control.request("pause")
        if event.event == "paused":
            threading.Timer(0.3, lambda: run.control.clear("pause")).start()
            paused = time.monotonic()
        if event.event == "continued":
            assert time.monotonic() - paused > 0.2
            run.control.request("stop")
    assert told[-1] == told[-1].model_copy(update={"reason": "stopped"})
    last = told[-1].step
    assert (run.folder / "lora" / f"tiny-step{last:06d}.safetensors").exists()
    assert not run.final_lora.exists()
    assert checkpoint.newest_valid(run.folder).step == last


def test_sigterm_keeps_a_checkpoint_and_no_more(recipe):
    run = Run(recipe("length.steps=1000"), run_folder(recipe()))
    told = []
    for event in run.train():
        told.append(event)
        if event.event == "progress" and event.step == 3:
            run.stop("terminated")
    assert (told[-1].event, told[-1].reason) == ("finished", "terminated")
    assert checkpoint.newest_valid(run.folder).step == told[-1].step
    assert not (run.folder / "lora").exists()


def test_a_full_disk_pauses_the_run(recipe, monkeypatch):
    save, calls = checkpoint.save, []

    def full_once(folder, step, bundle, **rest):
        calls.append(step)
        if len(calls) == 1:
            raise checkpoint.DiskFull(folder, needed_bytes=1000, free_bytes=10)
        return save(folder, step, bundle, **rest)

    monkeypatch.setattr(checkpoint, "save", full_once)
    told = list(Run(recipe(), run_folder(recipe())).train())
    kinds = names(told)
    assert kinds[kinds.index("warned") :][:4] == ["warned", "paused", "continued", "saved"]
    warned = next(e for e in told if e.event == "warned")
    assert "needs 1,000 bytes and 10 are free" in warned.message


def test_two_trainers_in_one_folder_are_refused(recipe):
    first = Run(recipe("length.steps=50"), run_folder(recipe()))
    train = first.train()
    next(train)
    with pytest.raises(RunLocked, match="already being trained"):
        next(Run(recipe(), first.folder).train())
    train.close()


def test_failure_is_told_and_raised(recipe):
    run = Run(recipe('data.subsets.0.path="nowhere"'), run_folder(recipe()))
    with pytest.raises(ValueError, match="nowhere"):
        list(run.train())
    told = log.read(run.folder)
    assert told[-1].event == "failed"
    assert "nowhere" in told[-1].error
    assert history.state(run.folder) == "failed"


def test_a_time_is_an_end_and_needs_a_constant_rate(recipe):
    short = recipe("length.steps=none", "length.minutes=0.001")
    told = list(Run(short, run_folder(short)).train())
    assert told[-1].reason == "complete"
    assert 1 <= told[-1].step < 50
    with pytest.raises(ValueError, match=r"schedule\.kind = 'cosine' must know the run's end"):
        list(Run(short.override(["schedule.kind=cosine"]), run_folder(short) / "b").train())


def test_held_out_pictures_are_measured_apart(tiny_sd, tmp_path):
    from tiny_recipes import tiny_recipe, write_photos

    photos = write_photos(tmp_path / "many", 20)
    chosen = tiny_recipe(tiny_sd, photos, tmp_path / "runs")
    run = Run(chosen, run_folder(chosen))
    told = list(run.train())
    started = next(e for e in told if e.event == "started")
    assert (started.num_images, started.num_held_out) == (18, 2)
    assert {e.split for e in told if e.event == "validated"} == {"train", "held_out"}
    shown = {
        i.record
        for k in range(20)
        for m in run.trainer.loader.step(k).micro_batches
        for i in m.items
    }
    assert shown == set(run.trainer.train_records)
    assert not shown & set(run.trainer.held_out)


def test_a_run_is_begun_once_and_its_end_stays_an_end(recipe):
    run = Run(recipe("output.report=false"), run_folder(recipe()))
    for event in run.train():
        if event.event == "finished":
            break
    assert log.read(run.folder)[-1].reason == "complete"
    assert history.state(run.folder) == "finished"
    with pytest.raises(ValueError, match=r"begun already; go on with workbench\.resume"):
        next(run.train())


def test_what_a_resume_changed_holds_for_the_next(recipe):
    run = Run(recipe("output.report=false"), run_folder(recipe()))
    list(run.train())
    extended = resume(run.folder, ["length.steps=+8"])
    for event in extended.train():
        if event.event == "progress" and event.step == 6:
            break
    told = list(resume(run.folder).train())
    assert [e.step for e in told if e.event == "progress"] == [7, 8, 9, 10, 11, 12]


def test_a_run_that_ended_by_time_is_complete(recipe):
    short = recipe("length.steps=none", "length.minutes=0.001", "output.report=false")
    run = Run(short, run_folder(short))
    list(run.train())
    with pytest.raises(ValueError, match=r"already complete.*length\.minutes=\+10"):
        list(resume(run.folder).train())


def test_a_full_fine_tune_without_its_first_weights(recipe):
    """The base's pictures and losses come before the first step, when it is the base itself."""
    chosen = recipe(
        "adapter.kind=full",
        "adapter.keep_start=false",
        "base.dtype=bfloat16",
        "ema.decay=0.5",
        'sampling.prompts=["red"]',
        "sampling.steps=2",
    )
    run = Run(chosen, run_folder(chosen))
    told = list(run.train())
    assert [e.base for e in told if e.event == "sampled"] == [True, False]
    assert told[-1].reason == "complete"


def test_curves_reach_tensorboard(recipe):
    pytest.importorskip("tensorboard", reason="needs the extra `trackers`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(recipe("trackers=tensorboard"), run_folder(recipe()))
    told = [e.loss for e in run.train() if e.event == "progress"]
    (file,) = (run.folder / "trackers").rglob("events.out.*")
    written = EventAccumulator(str(file.parent)).Reload().Scalars("loss")
    assert [entry.value for entry in written] == pytest.approx(told)
