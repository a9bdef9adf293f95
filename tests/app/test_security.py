"""Passwords and tries at them, without a server."""

import pytest

from workbench.app.security import (
    MAX_FAILURES,
    MAX_FAILURES_OF_ALL,
    Account,
    Attempts,
)
from workbench.app.server import Door
from workbench.settings import SettingsError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_made_password_is_strong_and_new_each_time():
    first, second = Account.make(), Account.make()
    assert len(first.password) == 20
    assert first.password != second.password


def test_a_password_does_not_show_when_its_account_is_printed():
    assert "correct horse" not in repr(Account("ann", "correct horse"))


def test_an_account_is_read_with_colons_in_its_password():
    account = Account.parse("ann:a:long:password\n", source="--auth")
    assert (account.user, account.password) == ("ann", "a:long:password")
    assert account.matches("ann", "a:long:password")


@pytest.mark.parametrize(
    ("user", "password"),
    [("ann", "a-long-passworD"), ("Ann", "a-long-password"), ("", ""), ("ann", "\udcff")],
)
def test_only_both_right_match(user: str, password: str):
    assert not Account("ann", "a-long-password").matches(user, password)


@pytest.mark.parametrize("text", ["ann", "ann:", ":password-enough", "  :password-enough"])
def test_an_account_without_one_of_its_parts_is_refused(text: str):
    with pytest.raises(SettingsError, match="--auth must be USER:PASSWORD") as caught:
        Account.parse(text, source="--auth")
    assert "password-enough" not in str(caught.value)


def test_a_short_password_is_refused():
    with pytest.raises(SettingsError, match="at least 8 characters, got 5"):
        Account.parse("ann:12345", source="--auth")


@pytest.mark.parametrize(
    "door",
    [{"host": "0.0.0.0"}, {"host": "192.168.1.5"}, {"share": True}, {"root_path": "/lora"}],
)
def test_what_others_can_reach_gets_a_password(door: dict):
    account = Door(**door).account
    assert account is not None
    assert len(account.password) == 20


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.1.1", "::1"])
def test_this_machine_alone_needs_none(host: str):
    assert Door(host=host).account is None


@pytest.mark.parametrize("root_path", ["lora", "ftp://example.com", "//example.com/lora"])
def test_a_root_path_that_is_neither_path_nor_address_is_refused(root_path: str):
    with pytest.raises(SettingsError, match="--root-path must be"):
        Door(root_path=root_path)


def test_a_slash_at_the_end_of_a_root_path_does_not_matter():
    assert Door(root_path="https://example.com/lora/").root_path == "https://example.com/lora"


def test_each_failure_makes_the_next_answer_slower_until_there_is_none():
    clock = Clock()
    attempts = Attempts(clock)
    answers = [attempts.begin("a") for _ in range(MAX_FAILURES + 1)]
    assert [wait_s for _, wait_s in answers[:-1]] == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert answers[-1] == (False, 60.0)


def test_a_client_may_try_again_when_its_oldest_failure_is_a_minute_old():
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(MAX_FAILURES):
        attempts.begin("a")
        clock.now += 1
    clock.now += 54.9  # 59.9 s after the first
    assert not attempts.begin("a")[0]
    clock.now += 0.2
    assert attempts.begin("a")[0]


def test_other_clients_are_not_held_up_by_one_that_guesses():
    attempts = Attempts(Clock())
    for _ in range(MAX_FAILURES + 3):
        attempts.begin("a")
    assert attempts.begin("b") == (True, 0.0)


def test_many_clients_together_are_slowed_down_too():
    attempts = Attempts(Clock())
    admitted = [attempts.begin(f"client {i}")[0] for i in range(MAX_FAILURES_OF_ALL + 5)]
    assert sum(admitted) == MAX_FAILURES_OF_ALL


def test_strangers_do_not_lock_out_who_has_come_in_before():
    attempts = Attempts(Clock())
    attempts.begin("owner")
    attempts.succeeded("owner")
    for i in range(MAX_FAILURES_OF_ALL + 5):
        attempts.begin(f"client {i}")
    assert attempts.begin("somebody new")[0] is False
    assert attempts.begin("owner") == (True, 0.0)
    mine = [attempts.begin("owner")[0] for _ in range(MAX_FAILURES)]
    assert mine.count(True) == MAX_FAILURES - 1, "wrong ones of the owner's own count as ever"


def test_a_success_takes_the_tries_back():
    attempts = Attempts(Clock())
    for _ in range(MAX_FAILURES - 1):
        attempts.begin("a")
    attempts.succeeded("a")
    assert attempts.begin("a") == (True, 0.0)
