"""Why a run ended as it did, in a sentence: from its events, its process and what that printed."""

import re
import signal
from pathlib import Path

from workbench.records import events, history, log
from workbench.workspace import jobs

LOG = "worker.log"
MARK = "=== "  # begins the line above what one job's process printed
_TAIL_BYTES = 1 << 16
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def why(run_folder: str | Path) -> str:
    """Say why a run stands where it stands.

    Args:
        run_folder: the run folder.
    Returns:
        A sentence; "" when there is nothing to say.
    """
    folder = Path(run_folder)
    summary = history.summary(folder)
    job = jobs.ended(folder)
    if summary.state in ("running", "paused") or job is None:
        return summary.cause
    # What was said of an earlier job, before this one went on.
    waits = jobs.active(folder.parents[1] / "queue")
    note = "" if any(one.run == folder.name for one in waits) else job.note
    if summary.state == "crashed":
        cause = f"{killed(job.exit_code)} after step {summary.step}" if job.exit_code else ""
        parts = [note, cause or summary.cause, last_words(folder)]
    elif summary.state == "failed":
        parts = [summary.cause, _fix(folder), note]
    else:
        parts = [note or summary.cause]
    return "; ".join(dict.fromkeys(part for part in parts if part))


def killed(exit_code: int | None) -> str:
    """Say how a process ended.

    Args:
        exit_code: negative for a signal; None where nobody saw it.
    Returns:
        For example "its process was killed (SIGKILL)".
    """
    if exit_code is None:
        return "its process ended"
    if exit_code >= 0:
        return f"its process ended with code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    said = f"its process was killed ({name})"
    if name == "SIGKILL":
        said += ", by hand or by the system for want of memory,"
    return said


def last_words(run_folder: Path) -> str:
    """What the latest process of a run printed last: its error, if it had one.

    Args:
        run_folder: the run folder.
    Returns:
        A line; "" where nothing helps.
    """
    lines = printed(run_folder)
    start = next(
        (n for n in reversed(range(len(lines))) if lines[n].startswith("Traceback (most recent")),
        None,
    )
    if start is None:
        telling = [line for line in lines if re.match(r"(failed|error|fatal)\b", line, re.I)]
        return telling[-1] if telling else ""
    # The error stands at the first line after the frames that is not indented.
    return next((x for x in lines[start + 1 :] if x and not x[0].isspace()), "")


def printed(run_folder: Path) -> list[str]:
    """The lines that the latest process of a run printed, the last 64 KiB of them.

    Args:
        run_folder: the run folder.
    Returns:
        Lines without colours and control characters; empty ones left out.
    """
    path = run_folder / LOG
    if not path.exists():
        return []
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    _, mark, latest = text.rpartition(f"\n{MARK}")
    text = latest.partition("\n")[2] if mark else text
    # A progress bar redraws its line: what stands last is what was seen.
    lines = [_CONTROL.sub("", line.rpartition("\r")[2]).rstrip() for line in text.split("\n")]
    return [line for line in lines if line]


def _fix(folder: Path) -> str:
    failures = [e for e in log.read_milestones(folder) if isinstance(e, events.Failed)]
    return failures[-1].fix if failures else ""
