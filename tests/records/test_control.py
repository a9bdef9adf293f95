"""Control files: a face writes, the trainer reads and clears."""

import time

import pytest

from workbench.records.control import REQUESTS, Control


def test_nothing_is_pending_before_anyone_asked(tmp_path):
    control = Control(tmp_path)
    assert control.pending() == frozenset()
    assert not control.wants("stop")
    control.clear()


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_one_process_asks_another_sees_until_it_clears_it(tmp_path, request_):
    face, worker = Control(tmp_path), Control(tmp_path)
    face.request(request_)
    face.request(request_)
    assert worker.wants(request_)
    assert worker.pending() == {request_}
    worker.clear(request_)
    assert not face.wants(request_)
    worker.clear(request_)


def test_clear_without_names_takes_all_back_and_leaves_other_files(tmp_path):
    control = Control(tmp_path)
    for request_ in REQUESTS:
        control.request(request_)
    (tmp_path / "control" / ".DS_Store").touch()
    assert control.pending() == set(REQUESTS)
    control.clear()
    assert control.pending() == frozenset()
    assert (tmp_path / "control" / ".DS_Store").exists()


@pytest.mark.parametrize("name", ["../lock.json", "/etc/passwd", "", "Stop", "stop/../pause"])
def test_a_name_that_is_no_request_touches_no_file(tmp_path, name):
    (tmp_path / "lock.json").touch()
    control = Control(tmp_path)
    for action in (control.request, control.clear, control.wants):
        with pytest.raises(ValueError, match="must be one of"):
            action(name)
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]


def test_polling_is_cheap(tmp_path):
    control = Control(tmp_path)
    control.request("pause")
    started = time.process_time()
    for _ in range(200):
        control.pending()
    assert (time.process_time() - started) / 200 < 1e-3
