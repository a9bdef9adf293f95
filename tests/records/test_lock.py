"""The lock: one trainer a folder, whatever became of the one before."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from workbench.records import lock
from workbench.records.lock import RunLock, RunLocked, holder

HOLD = "from workbench.records.lock import RunLock; import sys, time; RunLock({!r}).acquire(); {}"


def start_holder(folder, then="print('held', flush=True); time.sleep(60)"):
    """Start a process that takes the lock and says so."""
    code = HOLD.format(str(folder), then)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def forge(folder, **changes):
    """Leave the lock of a trainer that is gone."""
    folder.mkdir(exist_ok=True)
    content = {**lock._myself(), **changes}
    (folder / "lock.json").write_text(json.dumps(content))


def test_lock_is_held_inside_and_gone_after(tmp_path):
    with RunLock(tmp_path / "mochi"):
        owner = holder(tmp_path / "mochi")
        assert owner is not None
        assert owner.pid == os.getpid()
        assert owner.alive
        assert owner.silent_s < 10
    assert holder(tmp_path / "mochi") is None


def test_lock_is_given_back_when_training_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        _ = 1 / 0
    assert holder(tmp_path) is None


def test_second_trainer_in_this_process_is_refused(tmp_path):
    with RunLock(tmp_path), pytest.raises(RunLocked, match=f"this process \\({os.getpid()}\\)"):
        RunLock(tmp_path).acquire()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_second_trainer_is_refused_while_the_first_lives_and_takes_over_when_it_was_killed(
    tmp_path,
):
    process = start_holder(tmp_path)
    try:
        expected = f"{re.escape(str(tmp_path))} .*process {process.pid}"
        with pytest.raises(RunLocked, match=expected):
            RunLock(tmp_path).acquire()
        process.send_signal(signal.SIGKILL)
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        # Not waited for yet, as the app may not have: a zombie is dead.
        with RunLock(tmp_path):
            owner = holder(tmp_path)
            assert owner is not None
            assert owner.pid == os.getpid()
    finally:
        process.kill()
        process.wait()


def test_recycled_process_id_is_seen_by_its_start_time(tmp_path):
    forge(tmp_path, started="1")
    owner = holder(tmp_path)
    assert owner is not None
    assert psutil.pid_exists(owner.pid)
    assert not owner.alive
    with RunLock(tmp_path):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="start times are absolute elsewhere")
def test_lock_from_before_a_reboot_is_reclaimed(tmp_path):
    forge(tmp_path, boot="an earlier boot")
    with RunLock(tmp_path):
        pass


def test_lock_of_another_machine_counts_while_it_beats(tmp_path):
    forge(tmp_path, host="elsewhere")
    with pytest.raises(RunLocked, match="on elsewhere"):
        RunLock(tmp_path).acquire()
    os.utime(tmp_path / "lock.json", (1, time.time() - 11))
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", '{"pid": 1', "[]", '{"pid": 1}', "\0\0\0"])
def test_half_written_lock_counts_for_a_moment_only(tmp_path, text):
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises(RunLocked, match="this moment"):
        RunLock(tmp_path).acquire()
    os.utime(tmp_path / "lock.json", (1, time.time() - 11))
    with RunLock(tmp_path):
        pass


def test_lock_that_was_taken_over_is_not_removed_by_its_former_holder(tmp_path):
    mine = RunLock(tmp_path)
    mine.acquire()
    forge(tmp_path, pid=1, started="other")
    mine.release()
    assert (tmp_path / "lock.json").exists()


def test_lock_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with RunLock(tmp_path):
        os.utime(tmp_path / "lock.json", (1, 1))
        deadline = time.time() + 10
        while holder(tmp_path).silent_s > 5:  # type: ignore[union-attr]
            assert time.time() < deadline
            time.sleep(0.01)


def test_clock_that_jumped_back_gives_no_negative_silence(tmp_path):
    forge(tmp_path)
    os.utime(tmp_path / "lock.json", (1, time.time() + 1000))
    owner = holder(tmp_path)
    assert owner is not None
    assert owner.silent_s == 0
    assert owner.host == socket.gethostname()


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_of_many_that_find_a_dead_lock_one_takes_it(tmp_path):
    forge(tmp_path, started="1")
    code = (
        "import sys, time\n"
        "from workbench.records.lock import RunLock, RunLocked\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"lock = RunLock({str(tmp_path)!r})\n"
        "try:\n    lock.acquire()\n    print('took', flush=True)\n"
        "except RunLocked:\n    print('refused', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            bufsize=0,
        )
        for _ in range(6)
    ]
    try:
        assert all(racer.stdout.readline() == "ready\n" for racer in racers)  # type: ignore
        for racer in racers:
            racer.stdin.write("go\n")  # type: ignore[union-attr]
        answers = [racer.stdout.readline() for racer in racers]  # type: ignore[union-attr]
        assert sorted(answers) == ["refused\n"] * 5 + ["took\n"]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
