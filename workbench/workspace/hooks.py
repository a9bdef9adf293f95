"""Who is told when a job ends: a webhook for each, and one command once nothing is left to do.

Both are given by whoever starts the app or the worker, never by a page.
"""

import json
import shlex
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from workbench.settings import SettingsError

TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 600.0
_PAUSES_S = (1.0, 4.0)  # before a second and a third try


@dataclass(frozen=True, slots=True)
class Hooks:
    """What happens when jobs end.

    Attributes:
        webhook: http(s) address that gets a JSON object by POST when a job ends; None: none. It
            may hold a key, so it is never shown.
        on_finish: a command line, run without a shell when the queue is empty; None: none.
    """

    webhook: str | None = field(default=None, repr=False)
    on_finish: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.webhook is not None:
            parts = urlsplit(self.webhook)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise SettingsError(
                    "--webhook must be an address that begins with https:// or http://, got one "
                    f"of {len(self.webhook)} characters that begins with "
                    f"{parts.scheme or 'no scheme'!r}"
                )
        if self.on_finish is not None:
            program = next(iter(_words(self.on_finish)), "")
            if shutil.which(program) is None:
                raise SettingsError(
                    f"--on-finish must begin with a program that is there, got {program!r}; give "
                    "its full path"
                )

    def arguments(self) -> list[str]:
        """The same hooks for the command line of `workbench work`.

        Returns:
            Arguments.
        """
        given = {"--webhook": self.webhook, "--on-finish": self.on_finish}
        return [f"{name}={value}" for name, value in given.items() if value is not None]


def notify(hooks: Hooks, message: dict[str, object]) -> str:
    """Tell the webhook, if there is one; try three times.

    Args:
        hooks: holds the address.
        message: JSON-able.
    Returns:
        Why it could not be told, without the address; "" when it was, or there is none.
    """
    if hooks.webhook is None:
        return ""
    request = urllib.request.Request(
        hooks.webhook,
        data=json.dumps(message).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "lora-workbench"},
        method="POST",
    )
    reason = ""
    for pause_s in (0.0, *_PAUSES_S):
        time.sleep(pause_s)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return ""
        except (OSError, ValueError) as error:  # also HTTP errors and time-outs
            reason = f"{type(error).__name__} {getattr(error, 'code', '')}".strip()
    return f"the webhook at {urlsplit(hooks.webhook).hostname} could not be told ({reason})"


def run_command(hooks: Hooks) -> str:
    """Run the command for an empty queue, if there is one.

    Args:
        hooks: holds the command line.
    Returns:
        What became of it in a sentence; "" where there is none. Its arguments are not shown: they
        may hold a key.
    """
    if hooks.on_finish is None:
        return ""
    words = _words(hooks.on_finish)
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"the command {words[0]} was ended after {COMMAND_TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"the command {words[0]} could not be run ({error.strerror})"
    return f"the command {words[0]} ended with code {done.returncode}"


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SettingsError(
            f"--on-finish must be a command line ({error}), got one of {len(command)} characters"
        ) from None
