"""Losses by timestep are added up over the last steps, and older logs hold none."""

import pytest

from workbench.evaluation import curves
from workbench.records import events, log
from workbench.records.events import Progress, TimestepLoss
from workbench.records.timesteps import recent


def step(number: int, *found: TimestepLoss) -> Progress:
    return Progress(step=number, loss=0.5, timestep_losses=found)


LOW, HIGH = TimestepLoss(0, 100, 0.4, 1), TimestepLoss(900, 1000, 0.1, 3)


def test_means_are_weighted_by_samples_and_sorted():
    told = [step(1, HIGH), step(2, LOW, TimestepLoss(900, 1000, 0.5, 1)), step(3)]
    low, high = recent(told)
    assert low == LOW
    assert high == (900, 1000, pytest.approx(0.2), 4)
    assert recent(told, steps=2) == [LOW, TimestepLoss(900, 1000, 0.5, 1)]
    assert recent(told, steps=1) == [] == recent([])


def test_they_come_back_from_the_log_and_older_lines_have_none(tmp_path):
    with log.EventLog(tmp_path) as writer:
        writer.append(step(1, LOW, HIGH))
        writer.append(step(2, TimestepLoss(0, 100, float("inf"), 1)))
    path = tmp_path / log.FILE_NAME
    line = '{"seq":3,"time":0.0,"elapsed_s":0.0,"event":"progress","step":3,"loss":0.25}\n'
    path.write_text(path.read_text() + line)
    told = log.read(tmp_path)
    assert [e.timestep_losses for e in told] == [
        (LOW, HIGH),
        (TimestepLoss(0, 100, float("inf"), 1),),
        (),
    ]
    assert isinstance(told[0].timestep_losses[0], TimestepLoss)
    assert '"timestep_losses":[[0,100,0.4,1],[900,1000,0.1,3]]' in path.read_text()


def test_they_are_drawn_where_there_are_any():
    assert "recent_timesteps" in curves.figures([step(1, LOW)])
    assert "recent_timesteps" not in curves.figures([events.Progress(step=1, loss=0.5)])
