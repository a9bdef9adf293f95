"""Does this checkout train bit for bit what another commit trains?

    python benchmarks/same_as.py COMMIT [--jobs NAME ...] [--except PATTERN ...] [--checkout PATH]
    python benchmarks/same_as.py --list

Runs small jobs with the code of COMMIT and with that of the checkout, uncommitted changes included,
each in a process of its own with one thread on the CPU, and compares SHA-256 of raw bytes: losses
and gradient norms of all steps, stable losses, weights, cached latents and texts, pictures, the
final file, its metadata and the last checkpoint. One row a
job; what differs first is named below. Exit code 0 if all is equal. Both sides read the same tiny
bases and pictures, which the checkout's tests build. The 24 jobs take about two minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from same_as_jobs import TABLE, jobs

HERE = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("steps", "validated", "weights", "caches"),
    *("pictures", "file", "metadata", "checkpoint"),
)
Items = dict[str, str]  # what is compared, by name: values or digests


class Refused(ValueError):
    """What was asked for does not exist."""


def chosen(names: Sequence[str] | None, all_jobs: dict[str, Any]) -> dict[str, Any]:
    """Some jobs by name, or all of them.

    Args:
        names: of the jobs; None for all.
        all_jobs: of `jobs`.
    Raises:
        Refused: no job of that name.
    """
    for name in names or ():
        if name not in all_jobs:
            raise Refused(f"--jobs must be names that --list shows, got {name!r}")
    return {name: job for name, job in all_jobs.items() if names is None or name in names}


def build_inputs(checkout: Path, inputs: Path) -> None:
    """Write the tiny bases and the pictures by the helpers of the checkout's tests.

    Args:
        checkout: root of the present code.
        inputs: an empty folder.
    """
    sys.path[:0] = [str(checkout), str(checkout / "tests")]
    from PIL import Image
    from tiny_models import build_sd, build_sdxl, to_single_file
    from tiny_recipes import write_photos

    to_single_file(build_sd(inputs / "sd"), inputs / "sd.safetensors")
    build_sd(inputs / "sd2", version=2)
    build_sdxl(inputs / "sdxl")
    write_photos(inputs / "plain")
    write_photos(inputs / "ordinary", 4)
    for number, path in enumerate(sorted(write_photos(inputs / "masked").glob("*.png"))):
        if number % 3 < 2:  # the rest is learnt whole
            with Image.open(path) as image:
                mask = Image.new("L", image.size)
                mask.paste(255, (0, 0, image.width // 2 + 6 * number, image.height))
            mask.save(path.with_name(f"{path.stem}-mask.png"))


@contextmanager
def worktree(commit: str, *, checkout: Path, folder: Path) -> Iterator[Path]:
    """A commit's files in a folder of their own, for as long as they are needed.

    Args:
        commit: anything that git takes for one.
        checkout: a folder of the repository.
        folder: where the files go.
    Raises:
        Refused: no such commit.
    """
    git = ("git", "-C", str(checkout))
    added = subprocess.run(
        [*git, "worktree", "add", "--detach", "--quiet", str(folder), commit],
        capture_output=True,
        text=True,
        check=False,
    )
    if added.returncode:
        why = added.stderr.strip()
        raise Refused(f"COMMIT must be a commit of {checkout}, got {commit!r}: {why}")
    try:
        yield folder
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(folder)], check=True)


def run(checkout: Path, job_file: Path, folder: Path) -> dict[str, Any]:
    """Run the jobs with the code of a checkout, in a process of its own.

    Args:
        checkout: root of the code.
        job_file: JSON of the jobs.
        folder: for runs and caches.
    Returns:
        Job to what it came to; see `same_as_child.py`.
    """
    folder.mkdir()
    settings = {
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    script = Path(__file__).with_name("same_as_child.py")
    command = [sys.executable, str(script), str(checkout), str(job_file), str(folder)]
    subprocess.run(command, cwd=folder, env=os.environ | settings, check=True)
    return json.loads((folder / "found.json").read_text())


def differences(there: Items, here: Items, *, apart: Sequence[str] = ()) -> list[str]:
    """What differs in a column, one line an item, in the order of the items.

    Args:
        there: what the code of the commit came to.
        here: what the code of the checkout came to.
        apart: patterns of items that may differ.
    """

    def compared(items: Items) -> Items:
        return {k: v for k, v in items.items() if not any(fnmatchcase(k, p) for p in apart)}

    there, here = compared(there), compared(here)
    lines = []
    for name in there | here:
        if name not in here or name not in there:
            lines.append(f"{name} is only {'there' if name in there else 'here'}")
        elif there[name] != here[name]:
            lines.append(f"{name}: {_short(there[name])} there, {_short(here[name])} here")
    if not lines and list(there) != list(here):
        moved = next(pair for pair in zip(there, here, strict=True) if pair[0] != pair[1])
        lines.append("another order, from {} there, {} here".format(*moved))
    return lines


def _short(digest: str) -> str:
    """A digest with its last word, the 64 digits, cut to eight."""
    *before, digits = digest.split()
    return " ".join([*before, digits[:8]])


def compare(
    there: dict[str, Any], here: dict[str, Any], *, apart: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Compare what one job came to on both sides.

    Args:
        there: column to items, with the code of the commit, or its "error".
        here: the same with the code of the checkout.
        apart: patterns of items that may differ.
    Returns:
        The cells of the table's row, and lines on what differs.
    """
    sides = {"there": there, "here": here}
    failed = [
        f"failed {side}: {found['error']}" for side, found in sides.items() if "error" in found
    ]
    if failed:
        return ["FAILED"] * len(COLUMNS), failed
    cells, lines = [], []
    for column in COLUMNS:
        found = differences(there[column], here[column], apart=apart)
        cells.append("DIFFERS" if found else "equal" if here[column] else "none")
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            lines.append(f"{column}: {found[0]}{more}")
    return cells, lines


def report(
    commit: str, checkout: Path, *, names: Sequence[str] | None, apart: Sequence[str]
) -> int:
    """Run the jobs on both sides and print how they compare.

    Args:
        commit: one side.
        checkout: root of the code of the other side.
        names: of the jobs; None for all.
        apart: patterns of items that may differ.
    Returns:
        0 if all jobs are equal, else 1.
    Raises:
        Refused: no such commit, checkout or job.
    """
    if not (checkout / "workbench" / "__init__.py").is_file():
        raise Refused(f"--checkout must hold the folder workbench, got {str(checkout)!r}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        selected = chosen(names, jobs(folder / "inputs"))
        with worktree(commit, checkout=checkout, folder=folder / "commit") as other:
            build_inputs(checkout, folder / "inputs")
            job_file = folder / "jobs.json"
            job_file.write_text(json.dumps(selected))
            print(f"there: {commit}", flush=True)
            there = run(other, job_file, folder / "there")
            print(f"here: {checkout}", flush=True)
            here = run(checkout, job_file, folder / "here")
    return show({job: compare(there[job], here[job], apart=apart) for job in selected})


def show(compared: dict[str, tuple[list[str], list[str]]]) -> int:
    """Print the table, what differs, and the verdict.

    Args:
        compared: job to its row's cells and lines on what differs.
    Returns:
        0 if all jobs are equal, else 1.
    """
    wide = max(map(len, compared)) + 2
    print("\n" + " " * wide + "".join(f"{column:<11}" for column in COLUMNS).rstrip())
    for job, (cells, _) in compared.items():
        print(f"{job:<{wide}}" + "".join(f"{cell:<11}" for cell in cells).rstrip())
    others = {job: lines for job, (_, lines) in compared.items() if lines}
    for job, lines in others.items():
        print("\n".join([f"\n{job}", *(f"  {line}" for line in lines)]))
    verdict = f"DIFFERS: {len(others)} of {len(compared)} jobs"
    print(f"\n{verdict if others else f'equal: {len(compared)} jobs'}")
    return 1 if others else 0


def main() -> int:
    """Run, compare and print; 0 if all jobs are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", help="what to compare with")
    parser.add_argument("--jobs", nargs="+", metavar="NAME", help="only these jobs")
    parser.add_argument(
        "--except",
        nargs="+",
        default=(),
        dest="apart",
        metavar="PATTERN",
        help="items that may differ, such as '*workbench.recipe data.new_setting'",
    )
    parser.add_argument("--checkout", type=Path, default=HERE, help="the present code")
    parser.add_argument("--list", action="store_true", help="print the jobs and end")
    options = parser.parse_args()
    if options.list:
        for name, row in zip(jobs(Path()), TABLE.strip().splitlines(), strict=True):
            print(name, " ".join(row.split()[2:]))
        return 0
    if options.commit is None:
        parser.error("COMMIT is missing: what to compare with, such as HEAD")
    try:
        return report(
            options.commit, options.checkout.resolve(), names=options.jobs, apart=options.apart
        )
    except Refused as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
