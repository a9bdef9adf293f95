"""The command line. `--help` stays quick: a command imports what it needs when it runs."""

import sys
from collections.abc import Sequence

import typer

from workbench.commands import app as page
from workbench.commands import (
    bundle,
    captions,
    choosing,
    datasets,
    demo,
    doctor,
    experiment,
    launching,
    loras,
    noise,
    pictures,
    prior,
    runs,
    training,
    voting,
    work,
)
from workbench.commands.terminal import complain, is_users_mistake

app = typer.Typer(
    name="workbench",
    help="Learn LoRA training for diffusion models, and do it.",
    epilog="Start with `workbench demo`: the whole journey, offline, in a minute.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(demo.demo, training.new, training.check, training.train, training.resume),
    *(captions.caption, datasets.buckets, prior.make_prior),
    *(pictures.sample, pictures.compare, choosing.choose, pictures.verify, experiment.experiment),
    *(loras.inspect, loras.convert, loras.merge, bundle.bundle),
    *(noise.noise, runs.runs, runs.diagnose, voting.votes, page.app, work.work, doctor.doctor),
):
    app.command()(command)
app.command(context_settings=launching.PASSES_ON)(launching.launch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave the process with its exit code.

    0: done. 1: failed. 2: the user's input is wrong. 130: stopped by the user. 143: SIGTERM.

    Args:
        arguments: what stands after `workbench`; the process's own by default.
    Raises:
        SystemExit: always; any other exception is a defect and shows its traceback.
    """
    try:
        app(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        if not is_users_mistake(error):
            raise
        complain(str(error))
        sys.exit(2)
    except OSError as error:
        from workbench.store import too_long

        said = too_long(error) or error.strerror
        complain(f"{error.filename}: {said}" if error.filename else str(error))
        sys.exit(1)
