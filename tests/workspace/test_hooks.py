"""Who is told when a job ends, and that their keys are told to nobody."""

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace_fakes import fake_spawn, queued, until

from workbench.records import history
from workbench.records.control import Control
from workbench.settings import SettingsError
from workbench.workspace import hooks, jobs, worker
from workbench.workspace.causes import why
from workbench.workspace.folders import Workspace
from workbench.workspace.hooks import Hooks, notify, run_command
from workbench.workspace.jobs import Budget
from workbench.workspace.queue import cancel

KEY = "T0KEN-of-the-webhook"


class Listener:
    """A webhook that keeps what it is told."""

    def __init__(self, statuses: list[int]):
        self.told: list[dict[str, object]] = []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                listener.told.append(json.loads(self.rfile.read(length)))
                self.send_response(statuses.pop(0) if statuses else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/hook?key={KEY}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(hooks, "_PAUSES_S", (0.0, 0.0))
    listener = Listener([])
    yield listener
    listener.server.shutdown()
    listener.server.server_close()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(worker, "spawn", fake_spawn)
    monkeypatch.setattr(worker, "_TICK_S", 0.05)
    return Workspace(tmp_path / "workspace")


def everything_under(folder: Path) -> str:
    return "\n".join(p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file())


def test_each_end_is_told_and_the_command_runs_once_at_the_end(
    workspace: Workspace, listener: Listener, tmp_path: Path
):
    short = queued(workspace, "short", budget=Budget(price_per_hour=3600))
    queued(workspace, "mistaken")
    code = f"open({str(tmp_path / 'ran')!r}, 'a').write('once')"
    command = f'{sys.executable} -c "{code}"'
    lines: list[str] = []
    worker.work(workspace, Hooks(listener.address, command), say=lines.append)
    first, second = listener.told
    ended = jobs.ended(short.folder)
    assert ended is not None
    assert (first["run"], first["state"], first["step"], first["total_steps"]) == (
        "short", "finished", 3, 3,
    )  # fmt: skip
    assert first["cost"] == pytest.approx(ended.seconds)  # a unit a second
    assert first["seconds"] == pytest.approx(ended.seconds, abs=0.06)
    assert (second["run"], second["state"]) == ("mistaken", "failed")
    assert "got -1" in str(second["cause"])
    assert (tmp_path / "ran").read_text() == "once"
    assert "ended with code 0" in lines[-1]
    assert KEY not in "\n".join(lines) + everything_under(workspace.root)


def test_a_webhook_that_fails_is_tried_again_and_then_said_beside_the_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hooks, "_PAUSES_S", (0.0, 0.0))
    patient, deaf = Listener([500, 503]), Listener([500, 500, 500])
    assert notify(Hooks(patient.address), {}) == ""
    assert len(patient.told) == 3
    job = queued(workspace, "short")
    lines: list[str] = []
    worker.work(workspace, Hooks(deaf.address), say=lines.append)
    assert history.state(job.folder) == "finished"
    assert "webhook at 127.0.0.1 could not be told (HTTPError 500)" in why(job.folder)
    assert KEY not in "\n".join(lines) + everything_under(workspace.root)
    for one in (patient, deaf):
        one.server.shutdown()
        one.server.server_close()
    assert "could not be told" in notify(Hooks(deaf.address), {})


def begun(job: jobs.Job) -> jobs.Job:
    until(lambda: (job.folder / "events.jsonl").exists() and history.summary(job.folder).step > 0)
    return job


def stopped_in_the_queue(job: jobs.Job) -> None:
    cancel(begun(job))


def stopped_by_its_control_folder(job: jobs.Job) -> None:
    Control(begun(job).folder).request("stop")


def stopped_while_it_prepared(job: jobs.Job) -> None:
    until((job.folder / "events.jsonl").exists)
    cancel(job)


@pytest.mark.parametrize("deaf_webhook", [False, True], ids=["", "webhook fails"])
@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("long", stopped_in_the_queue),
        ("long", stopped_by_its_control_folder),
        ("preparing", stopped_while_it_prepared),
    ],
)
def test_the_command_does_not_run_after_a_stop_by_hand(
    workspace: Workspace, tmp_path: Path, monkeypatch, name, stop, deaf_webhook
):
    """It may stop the machine under the hands of who sits before it."""
    monkeypatch.setattr(hooks, "_PAUSES_S", ())
    queued(workspace, "short")  # one that ended by itself does not change that
    job = queued(workspace, name)
    webhook = "http://127.0.0.1:9/" if deaf_webhook else None
    given = Hooks(webhook, f"touch '{tmp_path / 'ran'}'")
    worker_ = threading.Thread(
        target=worker.work, args=(workspace, given), kwargs={"say": lambda _: None}
    )
    worker_.start()
    stop(job)
    worker_.join(30)
    assert not worker_.is_alive() and jobs.ended(job.folder) is not None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "budget"),
    [("short", Budget()), ("broken", Budget()), ("long", Budget(minutes=0.01))],
    ids=["finished", "crashed", "budget used up"],
)
def test_the_command_runs_after_every_other_end(workspace: Workspace, tmp_path, name, budget):
    queued(workspace, name, budget=budget)
    worker.work(workspace, Hooks(on_finish=f"touch '{tmp_path / 'ran'}'"), say=lambda _: None)
    assert (tmp_path / "ran").exists()


def test_a_clock_that_jumps_uses_no_budget_up(workspace: Workspace, monkeypatch):
    """A machine that woke with a wrong clock, and has it set while it trains."""
    job = queued(workspace, "short", budget=Budget(minutes=10))
    honest = worker.time.time
    monkeypatch.setattr(jobs.time, "time", lambda: honest() + 86400 * ran)
    ran, alive = 0, worker._lives

    def lives(*args) -> bool:
        nonlocal ran
        ran = 1  # a day later at once
        return alive(*args)

    monkeypatch.setattr(worker, "_lives", lives)
    worker.work(workspace, Hooks(), say=lambda _: None)
    ended = jobs.ended(job.folder)
    assert ended is not None and ended.note == ""
    assert history.state(job.folder) == "finished"


def test_the_command_is_run_by_no_shell(tmp_path: Path):
    marked = tmp_path / "marked"
    assert "code 0" in run_command(
        Hooks(on_finish=f"echo hello; touch {marked} && $(touch {marked})")
    )
    assert not marked.exists()
    assert "code 3" in run_command(Hooks(on_finish=f"{sys.executable} -c 'raise SystemExit(3)'"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"webhook": "ftp://x/secret"}, "'ftp'"),
        ({"webhook": "file:///etc/secret"}, "'file'"),
        ({"webhook": "secret"}, "no scheme"),
        ({"on_finish": "no-such-program secret"}, "no-such-program"),
        ({"on_finish": "'secret"}, "command line"),
        ({"on_finish": ""}, "program"),
    ],
)
def test_wrong_hooks_are_refused_at_launch_without_being_shown(wrong: dict[str, str], said: str):
    with pytest.raises(SettingsError, match=said) as refused:
        Hooks(**wrong)
    assert "secret" not in str(refused.value)


def test_hooks_go_on_a_command_line_and_are_not_shown():
    given = Hooks("https://x/k", "echo -n stop")
    assert given.arguments() == ["--webhook=https://x/k", "--on-finish=echo -n stop"]
    assert "x/k" not in repr(given)
    assert Hooks().arguments() == []
