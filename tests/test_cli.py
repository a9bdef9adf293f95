"""The command line as a user meets it: speed of help, exit codes, clean errors."""

import os
import subprocess
import sys
import textwrap

import pace
import pytest
from commanding import run

pytestmark = pytest.mark.usefixtures("empty_folder")

COMMANDS = """demo new check train resume caption buckets make-prior sample compare verify
experiment inspect convert merge runs doctor""".split()  # noqa: SIM905


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command: str, capsys):
    assert run(*([command] if command else []), "--help") == 0
    output = capsys.readouterr().out
    assert "Usage" in output
    if not command:
        assert [name for name in COMMANDS if f" {name} " not in output] == []


def test_help_is_quick_since_it_loads_nothing_heavy():
    code = """
        import sys
        from workbench.cli import main
        try:
            main(["train", "--help"])
        finally:
            heavy = {"torch", "PIL", "numpy", "plotly", "diffusers"} & set(sys.modules)
            print("heavy:", sorted(heavy), file=sys.stderr)
    """
    used_s = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
        )
        after = os.times()
        assert done.stderr == "heavy: []\n"
        used_s.append(sum(after[2:4]) - sum(before[2:4]))
    # Processor time, which a busy machine stretches least in the best of several.
    assert min(used_s) <= 0.5 * pace.slower()


def test_a_defect_leaves_with_code_1_and_a_mistake_with_2():
    def code_of(statement: str) -> tuple[int, str]:
        program = f"from workbench import cli, store\ndef x(): {statement}\ncli.app = x\ncli.main()"
        program = program.replace("def x()", "def x(arguments)")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        return done.returncode, done.stderr

    code, output = code_of("1 / 0")
    assert code == 1
    assert "Traceback" in output
    code, output = code_of("store.read_text('nowhere.toml')")
    assert (code, output.count("\n")) == (2, 1)
    code, output = code_of("open('/nowhere/at/all')")
    assert (code, output) == (1, "/nowhere/at/all: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "nowhere.toml"], "nowhere.toml"),
        (["check", "critter"], "a .toml file or one of the presets critters"),
        (["check", "critters", "adapter.rnk=4"], "did you mean adapter.rank?"),
        (["check", "critters", "adapter.rank"], "key=value"),
        (["buckets", "nowhere"], "does not exist"),
        (["caption", "nowhere", "--rename", "a"], "does not exist"),
        (["caption", ".", "--trigger", ""], "--trigger must be a word on one line, got ''"),
        (["caption", ".", "--trigger", "a\nb"], "--trigger must be a word on one line"),
        (["buckets", "."], "no picture in .: put .png"),
        (["resume", "nowhere"], "nowhere is no run folder"),
        (["inspect", "x.ckpt"], "pickle"),
        (["inspect", "."], ".: a folder without a LoRA"),
        (["sample", "step=1", "--base", "x.ckpt"], "pickle"),  # a setting is taken for no file
        (["frobnicate"], "frobnicate"),
    ],
)
def test_the_users_mistakes_are_named_without_a_traceback(arguments, said, capsys):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err + captured.out


def test_other_processes_of_a_run_print_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "runs", "nowhere"],
        env=os.environ | {"RANK": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
