"""Events: recorded once, in order, and read back whatever happened to the process in between."""

import errno
import json
import math
import os
import time

import pytest

from workbench.records import log as log_file
from workbench.records.events import Failed, Finished, Progress, Resumed, Saved, Started
from workbench.records.log import EventLog, current, read

STARTED = Started(run="mochi", recipe_hash="ab", total_steps=9)


def record(folder, *steps):
    with EventLog(folder) as log:
        return [log.append(Progress(step=step, loss=1 / step)) for step in steps]


def test_what_is_written_is_read(tmp_path):
    with EventLog(tmp_path) as log:
        written = [log.append(STARTED)]
        written += [log.append(Progress(step=1, loss=0.1, learning_rates={"unet": 1e-4}))]
        written += [log.append(Finished(step=1))]
    assert read(tmp_path) == written
    assert [event.seq for event in written] == [1, 2, 3]
    assert all(abs(event.time - time.time()) < 60 for event in written)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, 0.1 + 0.2])
def test_any_float_survives_and_every_line_is_strict_json(tmp_path, loss):
    with EventLog(tmp_path) as log:
        log.append(Progress(step=1, loss=loss, traces={"d": loss}))
    (event,) = read(tmp_path)
    assert isinstance(event, Progress)
    assert repr(event.loss) == repr(loss) == repr(event.traces["d"])

    def refuse(constant):
        raise AssertionError(constant)

    json.loads((tmp_path / "events.jsonl").read_text(), parse_constant=refuse)


@pytest.mark.parametrize("torn", [b'{"seq":3,"ti', b'{"seq":3}', b"\0\0\0\0", b"\xff\xfe"])
def test_a_torn_last_line_is_skipped_and_never_glued_to_the_next(tmp_path, torn):
    record(tmp_path, 1, 2)
    with open(tmp_path / "events.jsonl", "ab") as file:
        file.write(torn)
    assert [event.seq for event in read(tmp_path)] == [1, 2]
    record(tmp_path, 3)
    assert [event.seq for event in read(tmp_path)] == [1, 2, 3]
    assert (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 3


def test_a_file_cut_at_any_byte_goes_on(tmp_path):
    record(tmp_path, 1, 2)
    whole = (tmp_path / "events.jsonl").read_bytes()
    for length in range(whole.index(b"\n") - 1, len(whole) + 1):
        (tmp_path / "events.jsonl").write_bytes(whole[:length])
        record(tmp_path, 7)
        kept = whole[:length].count(b"\n")
        assert [event.seq for event in read(tmp_path)] == list(range(1, kept + 2))


def test_a_garbled_line_inside_costs_only_itself(tmp_path):
    record(tmp_path, 1)
    with open(tmp_path / "events.jsonl", "ab") as file:
        file.write(b"\0\0\0\n" + b'{"seq": 2, "elapsed_s": 1.0, "event": "from a later version"}\n')
    record(tmp_path, 2)
    assert [event.seq for event in read(tmp_path)] == [1, 3]


def test_resumed_takes_later_steps_back(tmp_path):
    record(tmp_path, 1, 2, 3, 4)
    with EventLog(tmp_path) as log:
        log.append(Saved(step=4, path="checkpoints/step-000004"))
        log.append(Resumed(step=2, total_steps=9))
        log.append(Progress(step=3, loss=0.5))
    seen = read(tmp_path)
    assert [getattr(event, "step", None) for event in seen] == [1, 2, 2, 3]
    assert seen[-1].seq == 7
    known = read(tmp_path, after=0)[:2]
    assert current(known + read(tmp_path, after=2)) == seen


@pytest.mark.parametrize("after", [0, 1, 499, 998, 999, 1000, 5000])
def test_tailing_gives_exactly_what_is_new(tmp_path, after):
    record(tmp_path, *range(1, 1001))
    assert [event.seq for event in read(tmp_path, after=after)] == list(range(after + 1, 1001))


def test_tailing_reads_the_end_only(tmp_path, monkeypatch):
    record(tmp_path, *range(1, 3001))
    parsed = []
    parse = log_file._parse
    monkeypatch.setattr(log_file, "_parse", lambda line: parsed.append(line) or parse(line))
    assert len(read(tmp_path, after=2999)) == 1
    assert len(parsed) < 200


def test_no_file_is_no_events(tmp_path):
    assert read(tmp_path / "nowhere") == []


def test_elapsed_time_never_falls_when_the_clock_jumps_back(tmp_path, monkeypatch):
    first = record(tmp_path, 1, 2)
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    second = record(tmp_path, 3)
    elapsed = [event.elapsed_s for event in first + second]
    assert elapsed == sorted(elapsed)
    assert [event.seq for event in read(tmp_path)] == [1, 2, 3]


def test_only_rank_0_writes(tmp_path):
    log = EventLog(tmp_path / "run", rank=1)
    assert log.append(STARTED) == STARTED
    assert not (tmp_path / "run").exists()


def test_full_disk_leaves_no_half_event_and_loses_none(tmp_path):
    log = EventLog(tmp_path)
    log.append(STARTED)
    before = log.path.read_bytes()

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, line):
            return self.file.write(line[:5])

    real = log._file
    log._file = Full(real)  # type: ignore[assignment]
    waiting = [log.append(STARTED), log.append(STARTED)]
    assert log.path.read_bytes() == before and log.num_waiting == 2
    log._file = real
    last = log.append(STARTED)
    assert [event.seq for event in waiting] == [2, 3] and last.seq == 4
    assert read(tmp_path)[1:] == [*waiting, last] and log.num_waiting == 0


def test_a_disk_that_was_away_is_written_to_again(tmp_path):
    """The handle of an unplugged drive stays dead: the file is opened anew."""
    log = EventLog(tmp_path)
    real = log._file

    class Dead:
        def __getattr__(self, name):
            return getattr(real, name)

        def seek(self, *args):
            raise OSError(errno.ESTALE, "Stale file handle")

    log._file = Dead()  # type: ignore[assignment]
    first = log.append(STARTED)
    assert log.num_waiting == 1
    assert read(tmp_path) == []
    second = log.append(STARTED)
    assert read(tmp_path) == [first, second]


def test_what_has_nothing_to_do_with_room_is_raised(tmp_path):
    log = EventLog(tmp_path)
    log.close()
    log._file = open(log.path, "rb", buffering=0)  # noqa: SIM115
    with pytest.raises(OSError):
        log.append(STARTED)


def test_one_write_an_event_and_a_flush_where_it_counts(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with EventLog(tmp_path) as log:
        log.append(Progress(step=1, loss=1.0))
        assert not flushed
        log.append(Saved(step=1, path="x"))
        log.append(Finished(step=1))
        log.append(Failed(error="x"))
    assert len(flushed) == 3


def test_appending_is_cheap(tmp_path):
    with EventLog(tmp_path) as log:
        started = time.process_time()
        for step in range(500):
            log.append(Progress(step=step, loss=0.1, learning_rates={"unet": 1e-4}))
        assert (time.process_time() - started) / 500 < 1e-3
