"""A run's second home: whole copies only, and a run that goes on from there."""

from pathlib import Path

import pytest

from workbench.notebook import keeping
from workbench.store import FileRefused


def _run(folder: Path) -> Path:
    run = folder / "runs" / "mochi"
    for name in ("step-000010", "step-000020"):
        (run / "checkpoints" / name).mkdir(parents=True)
        (run / "checkpoints" / name / "adapter.safetensors").write_bytes(name.encode() * 50)
        (run / "checkpoints" / name / "manifest.json").write_text("{}")
    (run / "events.jsonl").write_text('{"seq":1}\n')
    (run / "lock.json").write_text("{}")
    (run / "checkpoints" / "step-000030.tmp").mkdir()
    (run / "checkpoints" / "step-000030.tmp" / "adapter.safetensors").write_bytes(b"half")
    return run


def _content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_all_is_there_but_what_belongs_to_the_process(tmp_path: Path):
    run, home = _run(tmp_path), tmp_path / "drive"
    made = keeping.keep(run, home)
    wanted = {k: v for k, v in _content(run).items() if k != "lock.json" and ".tmp" not in k}
    assert _content(home / "mochi") == wanted
    assert [path.name for path in made][-2:] == ["manifest.json"] * 2, "a manifest comes last"
    assert keeping.keep(run, home) == [], "what is there is not written twice"


def test_only_what_is_new_is_copied_and_what_was_dropped_goes(tmp_path: Path):
    run, home = _run(tmp_path), tmp_path / "drive"
    keeping.keep(run, home)
    with open(run / "events.jsonl", "a") as file:
        file.write('{"seq":2}\n')
    (run / "checkpoints" / "step-000010").rename(run / "checkpoints" / "step-000040")
    made = keeping.keep(run, home)
    assert {path.parent.name for path in made} == {"mochi", "step-000040"}
    names = {path.name for path in (home / "mochi" / "checkpoints").iterdir()}
    assert names == {"step-000020", "step-000040"}


def test_a_write_that_got_lost_is_noticed(tmp_path: Path, monkeypatch):
    run, home = _run(tmp_path), tmp_path / "drive"
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read(path)[:-1] if path.suffix == ".part" else read(path)
    )
    with pytest.raises(FileRefused, match="read back otherwise"):
        keeping.keep(run, home)
    assert _content(home / "mochi") == {}, "no part is left"


def test_a_run_comes_back_once(tmp_path: Path):
    run, home = _run(tmp_path), tmp_path / "drive"
    keeping.keep(run, home)
    other = tmp_path / "new machine" / "mochi"
    assert keeping.bring_back(other, home)
    assert _content(other) == _content(home / "mochi")
    assert not keeping.bring_back(other, home), "what is here stays"
    assert not keeping.bring_back(tmp_path / "unknown", home)
