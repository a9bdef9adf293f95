"""Folder and file names as kohya's sd-scripts mean them, and those that only look like it."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from workbench.data.augment import Box
from workbench.data.subsets import LeftOut
from workbench.store import FileRefused, shown

__all__ = ["KohyaFolders", "is_camera_folder", "kohya_box", "kohya_folder"]

MOST_REPEATS = 999  # four digits are a year: `2024_summer`
_BOX = re.compile(r"_(\d{4})_(\d{4})_(\d{4})_(\d{4})$")
# DCF: three digits and five capitals, digits or underscores, such as 100CANON.
_DCF = re.compile(r"[1-9]\d\d[A-Z0-9_]{5}")
_MAKERS = re.compile(
    r"[1-9]\d\d(_(PANA|FUJI|KODK|SONY|CASI|PENT|OLYM|RICO|LEIC|SAMS|GOPR|NIKO|CANO|MEDI)|_\d{4}|___\d\d)"
)


def kohya_folder(name: str) -> tuple[int, str] | None:
    """Read a kohya folder name such as `10_zib dog`.

    Args:
        name: of one folder, without its parents.
    Returns:
        Repeats and words, as sd-scripts reads them: `010_x` is 10, `3_` has no words, `0_x` is not
        shown; None for other names, for years (four digits) and for camera folders.
    Source: kohya sd-scripts `extract_dreambooth_params`.
        Differs: a number alone, without `_`, is a name; 1,000 repeats and more are one.
    """
    number, bar, words = name.partition("_")
    if not bar or is_camera_folder(name):
        return None
    try:
        repeats = int(number)
    except ValueError:
        return None
    return (max(0, repeats), words.strip()) if repeats <= MOST_REPEATS else None


def is_camera_folder(name: str) -> bool:
    """Recognise the folders of cameras, whose number counts folders.

    Args:
        name: of one folder, without its parents.
    Returns:
        True for `100CANON` and `100_PANA`; `100_MIKU` may be either, and is kohya's.
    """
    if not _DCF.fullmatch(name):
        return False
    return name[3] != "_" or bool(_MAKERS.fullmatch(name))


def kohya_box(name: str) -> Box | None:
    """Read the face that kohya's `detect_face_rotate` writes into a file name.

    Args:
        name: such as `mochi_0_0256_0120_0064_0080.png`: centre, width and height in px.
    Returns:
        The box; None for other names.
    """
    match = _BOX.search(PurePosixPath(name).stem)
    if match is None:
        return None
    x, y, width, height = map(int, match.groups())
    return (x - width / 2, y - height / 2, width, height) if width and height else None


class KohyaFolders:
    """Repeats and words of the folders of one subset.

    Args:
        names: of its pictures, relative, with forward slashes.
        root_name: name of the subset's own folder or zip.
        prefix: path of the subset's settings, for messages.
    """

    def __init__(self, names: Iterable[str], root_name: str, *, prefix: str) -> None:
        self.prefix = prefix
        self.counts: Counter[str] = Counter()  # pictures by the folder that numbers them
        self.doubts: list[str] = []
        self.notes: list[str] = []
        self._known: dict[str, tuple[int, str, str] | None] = {}
        root = kohya_folder(root_name)
        # Who names a folder of 0 repeats wants to see it.
        self._root = (*root, root_name) if root is not None and root[0] else None
        folders = {name.rpartition("/")[0] for name in names}
        every = {
            "/".join(steps[: n + 1])
            for x in folders
            for steps in [x.split("/")]
            for n in range(len(steps))
        }
        self._parents = {x.rpartition("/")[0] for x in every if kohya_folder(x.rpartition("/")[2])}
        self._look_at(sorted(every - {""}))

    def _look_at(self, folders: list[str]) -> None:
        """Name the folders whose number may mean something else."""
        own = [(folder, folder.rpartition("/")[2]) for folder in folders]
        cameras = [folder for folder, name in own if is_camera_folder(name)]
        if cameras:
            self.notes.append(
                f"folders named as cameras do ({_listed(cameras)}): their number is not taken for "
                f"repeats; set {self.prefix}.repeats if it is meant"
            )
        either = [x for x, name in own if _DCF.fullmatch(name) and kohya_folder(name)]
        if either:
            self.doubts.append(
                f"the number of {_listed(either)} is taken for repeats and the rest for a caption, "
                f"though cameras name folders so too; set {self.prefix}.kohya_folders=false if "
                "it is a camera's"
            )
        years = [x for x, name in own if re.match(r"\d{4,}_", name)]
        if years:
            self.notes.append(
                f"folders with a number of four digits or more ({_listed(years)}) are taken as "
                f"named, not as repeats; set {self.prefix}.repeats if they are meant"
            )

    def of(self, name: str) -> tuple[int, str]:
        """Repeats and words of the nearest folder named `10_name`.

        Args:
            name: of a picture.
        Returns:
            1 and "" without such a folder.
        Raises:
            LeftOut: its folder says 0 repeats.
            FileRefused: its folder has no number, and others beside it have one.
        """
        folder = name.rpartition("/")[0]
        if folder not in self._known:
            self._known[folder] = self._numbered(folder)
        found = self._known[folder]
        if found is None:
            return 1, ""
        repeats, words, numbered = found
        if repeats == 0:
            raise LeftOut(f"the number of its folder {shown(numbered)} means 0 repeats")
        self.counts[numbered] += 1
        return repeats, words

    def _numbered(self, folder: str) -> tuple[int, str, str] | None:
        steps = folder.split("/") if folder else []
        for step in reversed(steps):
            if found := kohya_folder(step):
                return (*found, step)
        if self._root is not None:
            return self._root
        loose = {"/".join(steps[:n]) for n in range(len(steps) + 1)} & self._parents
        kept = any(is_camera_folder(step) or re.match(r"\d{4,}_", step) for step in steps)
        if loose and not kept:
            raise FileRefused(
                "its folder has no number and those beside it have one, so sd-scripts leaves it "
                f"out; call it 1_name, or set {self.prefix}.kohya_folders=false"
            )
        return None


def _listed(folders: list[str]) -> str:
    more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
    return ", ".join(map(shown, folders[:3])) + more
