"""`python -m workbench.pretrain`: run one stage, or measure what the stages made.

Stages: `autoencoder`, `decoder`, `text`, `vision`; the U-Net is trained by the product's own loop.
Each stage draws its pictures itself, saves where it stands every two minutes, and goes on from
there when it is started again with the same folder.
"""

import argparse
import sys
from pathlib import Path

from workbench.pretrain.bars import contact_sheet, every_bar
from workbench.pretrain.stages import STAGES


def main(arguments: list[str] | None = None) -> int:
    """Run one stage, or measure what the stages made.

    Args:
        arguments: command line; the process's own by default.
    Returns:
        Exit status: 1 if a quality bar is not met.
    """
    parser = argparse.ArgumentParser(prog="python -m workbench.pretrain", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("stage", nargs="?", choices=tuple(STAGES))
    what.add_argument("--measure", action="store_true", help="print the table of quality bars")
    what.add_argument("--sheet", type=Path, help="picture file for what the base generates")
    parser.add_argument("--minutes", type=float, default=14, help="training time")
    parser.add_argument("--out", type=Path, help="folder of the stage's checkpoint and result")
    chosen = parser.parse_args(arguments)
    if chosen.sheet is not None:
        contact_sheet().save(chosen.sheet, quality=88)
        return 0
    if not chosen.measure:
        if chosen.out is None:
            parser.error("a stage needs --out FOLDER")
        STAGES[chosen.stage](chosen.out, minutes=chosen.minutes)
        return 0
    met = []
    for bar in every_bar():
        print(bar, flush=True)
        met.append(bar.met)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
