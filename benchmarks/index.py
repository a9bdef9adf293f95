"""How long indexing and bucketing take: `python benchmarks/index.py [number of images]`.

Claims: 100,000 headers (half JPEG, half PNG, each with a caption) in at most 60 s and 300 MiB above
the interpreter with its imports, and ten times the images cost about ten times the time.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

MAX_SECONDS, MAX_MIB = 60, 300
NUM_MASTERS = 200  # the rest are hard links, of which a file system allows some thousands a file


def make_folder(folder: Path, num_images: int) -> None:
    """Fill a folder with small pictures of many sizes, linked so that it takes little disk."""
    rng = random.Random(0)
    masters = []
    for number in range(NUM_MASTERS):
        size = (rng.randrange(400, 1600), rng.randrange(400, 1600))
        suffix = (".jpg", ".png")[number % 2]
        master = folder.parent / f"master-{number}{suffix}"
        Image.linear_gradient("L").resize(size).convert("RGB").save(master)
        masters.append(master)
    caption = folder.parent / "caption.txt"
    caption.write_text("critter, blue body, star body, no ears, one eye, frown, stripes")
    for number in range(num_images):
        parent = folder / f"part-{number // 1000:04d}"
        parent.mkdir(parents=True, exist_ok=True)
        master = masters[number % NUM_MASTERS]
        os.link(master, parent / f"{number:07d}{master.suffix}")
        (parent / f"{number:07d}.txt").write_bytes(caption.read_bytes())


def measure(folder: Path) -> None:
    """Index and bucket a folder in this process; print number, seconds and MiB."""
    from workbench.data.dataset import DataSettings, Subset, index
    from workbench.data.ledger import ledger

    settings = DataSettings(subsets=(Subset(path=str(folder)),))
    before = peak_mib(psutil.Process())
    start = time.perf_counter()
    dataset = index(settings)
    buckets = ledger(dataset).buckets
    seconds = time.perf_counter() - start
    assert sum(row.num_images for row in buckets) + len(dataset.set_aside) == len(dataset)
    print(len(dataset), seconds, peak_mib(psutil.Process()) - before)


def peak_mib(process: psutil.Process) -> float:
    """The most memory this process has held so far."""
    if sys.platform == "win32":
        return process.memory_info().peak_wset / 2**20
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def run(num_images: int) -> tuple[float, float]:
    """Measure in a process of its own, so that one measurement leaves nothing to the next."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        make_folder(folder, num_images)
        command = [sys.executable, __file__, "--measure", str(folder)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count, seconds, mib = output.split()
    assert int(count) == num_images, f"{count} of {num_images} images were indexed"
    print(f"{num_images:>9,} images: {float(seconds):6.2f} s, {float(mib):6.1f} MiB")
    return float(seconds), float(mib)


def main() -> int:
    """Measure a tenth and the whole, and compare with the claims."""
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
        return 0
    num_images = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    small, _ = run(num_images // 10)
    seconds, mib = run(num_images)
    print(f"ratio of time for ten times the images: {seconds / small:.2f}")
    kept = seconds <= MAX_SECONDS and mib <= MAX_MIB
    print(f"at most {MAX_SECONDS} s and {MAX_MIB} MiB: {'kept' if kept else 'NOT KEPT'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
