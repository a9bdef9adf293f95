"""`python -m workbench.pretrain`: run one stage, or measure what the stages made.

Stages: `autoencoder`, `decoder`, `text`, `vision`; the U-Net is trained by the product's own loop.
Each stage draws its pictures itself, saves where it stands every two minutes, and goes on from
there when it is started again with the same folder.

The base that fills in: `pictures` writes what it learns from and `widen` what it begins as;
`workbench train` trains it by critters-inpainting-base.toml beside this file; `pack` takes what
ships from its folder.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from workbench.critters import inpainting
from workbench.critters.measure import Bar
from workbench.pretrain import filled, filling
from workbench.pretrain.bars import contact_sheet, every_bar
from workbench.pretrain.stages import STAGES

FILLING: dict[str, Callable[[Path], object]] = {
    "pictures": filling.write_pictures,
    "widen": filling.begin,
    "pack": filling.pack,
}
BASES = ("critters", "critters-inpainting")


def _bars(base: str) -> Iterator[Bar]:
    if base == "critters":
        yield from every_bar()
    else:
        yield from filled.filling_bars(inpainting.folder())


def _sheet(base: str) -> Image.Image:
    return contact_sheet() if base == "critters" else filled.filling_sheet(inpainting.folder())


def main(arguments: list[str] | None = None) -> int:
    """Run one stage, or measure what the stages made.

    Args:
        arguments: command line; the process's own by default.
    Returns:
        Exit status: 1 if a quality bar is not met.
    """
    parser = argparse.ArgumentParser(prog="python -m workbench.pretrain", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("stage", nargs="?", choices=(*STAGES, *FILLING))
    what.add_argument("--measure", action="store_true", help="print the table of quality bars")
    what.add_argument("--sheet", type=Path, help="picture file for what the base generates")
    parser.add_argument("--base", choices=BASES, default=BASES[0], help="what is measured")
    parser.add_argument("--minutes", type=float, default=14, help="training time")
    parser.add_argument("--out", type=Path, help="folder of the stage's checkpoint and result")
    chosen = parser.parse_args(arguments)
    if chosen.sheet is not None:
        _sheet(chosen.base).save(chosen.sheet, quality=88)
        return 0
    if not chosen.measure:
        if chosen.out is None:
            parser.error("a stage needs --out FOLDER")
        if chosen.stage in FILLING:
            FILLING[chosen.stage](chosen.out)
        else:
            STAGES[chosen.stage](chosen.out, minutes=chosen.minutes)
        return 0
    met = []
    for bar in _bars(chosen.base):
        print(bar, flush=True)
        met.append(bar.met)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
