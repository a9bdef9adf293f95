"""What is encoded, what is found again, and what is refused."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from workbench.data.cache import LatentCache, TextCache
from workbench.data.dataset import Dataset, DataSettings, index
from workbench.store import FileRefused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate([(64, 64)] * 5 + [(96, 64)] * 3):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
    return path


def read(folder: Path, *, flip: float = 0.0) -> Dataset:
    return index(
        DataSettings.model_validate(
            {
                "subsets": [{"path": str(folder)}],
                "buckets": {"resolution": 64, "step": 16},
                "augment": {"flip": flip},
                "cache": {"vae_batch_size": 2},
            }
        )
    )


class Encoder:
    """Averages 8 x 8 px, and remembers the shapes it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shapes.append(tuple(pixels.shape))
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return mean, mean.abs() / 10


def build(dataset: Dataset, folder: Path, encode, key: str = "vae", **options):
    cache = LatentCache(dataset, folder=folder, key=key)
    return cache, list(cache.build(encode, **options))


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_hold_one_bucket_and_reads_give_what_was_encoded(
    folder, tmp_path, monkeypatch, ahead
):
    """Decoded one after the other, and ahead in threads as beside a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: ahead)
    dataset, encode = read(folder), Encoder()
    cache, progress = build(dataset, tmp_path / "cache", encode)
    square, wide = dataset.placements[0].bucket, dataset.placements[7].bucket
    sizes = sorted((shape[0], shape[3], shape[2]) for shape in encode.shapes)
    assert sizes == sorted([(2, *square), (2, *square), (1, *square), (2, *wide), (1, *wide)])
    assert progress[0] == (0, 8) and progress[-1] == (8, 8)
    for i in range(8):
        mean, std = cache.read(i)
        expected, _ = Encoder()(dataset.pixels(i)[None])
        assert mean.dtype == std.dtype == torch.float32
        torch.testing.assert_close(mean, expected[0], rtol=2**-11, atol=1e-7)
        torch.testing.assert_close(std, expected[0].abs() / 10, rtol=2**-11, atol=1e-7)
    assert len(list((tmp_path / "cache").iterdir())) == 1  # few files


def test_flips_are_encoded_from_mirrored_pixels(folder, tmp_path):
    dataset, encode = read(folder, flip=0.5), Encoder()
    cache, _ = build(dataset, tmp_path / "cache", encode)
    assert sum(shape[0] for shape in encode.shapes) == 16
    expected, _ = Encoder()(dataset.pixels(6).flip(-1)[None])
    torch.testing.assert_close(cache.read(6, True)[0], expected[0], rtol=2**-11, atol=1e-7)


def test_only_what_is_missing_is_encoded(folder, tmp_path):
    place = tmp_path / "cache"
    build(read(folder), place, Encoder(), indices=[0, 5])
    encode = Encoder()
    _, progress = build(read(folder), place, encode)
    assert progress[0] == (2, 8) and sum(shape[0] for shape in encode.shapes) == 6
    flips = Encoder()
    build(read(folder, flip=0.5), place, flips)
    assert sum(shape[0] for shape in flips.shapes) == 8  # the mirrored ones alone
    other = Encoder()
    build(read(folder), place, other, key="another vae")
    assert sum(shape[0] for shape in other.shapes) == 8


def test_an_interrupted_build_goes_on(folder, tmp_path):
    cache = LatentCache(read(folder), folder=tmp_path / "cache", key="vae")
    progress = cache.build(Encoder())
    while next(progress)[0] < 4:
        pass
    progress.close()
    encode = Encoder()
    build(read(folder), tmp_path / "cache", encode)
    assert sum(shape[0] for shape in encode.shapes) == 4


def test_a_renamed_picture_is_found_and_an_edited_one_encoded_again(folder, tmp_path):
    build(read(folder), tmp_path / "cache", Encoder())
    (folder / "0.png").rename(folder / "renamed.png")
    Image.new("RGB", (64, 64), "red").save(folder / "1.png")
    encode = Encoder()
    dataset = read(folder)
    cache, _ = build(dataset, tmp_path / "cache", encode)
    assert sum(shape[0] for shape in encode.shapes) == 1
    edited = next(i for i, record in enumerate(dataset.records) if record.name == "1.png")
    assert cache.read(edited)[0][:, 0, 0].tolist() == [1, -1, -1]


def test_equal_pictures_are_encoded_once(folder, tmp_path):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "copy.txt").write_text("other words, so that both are shown")
    encode = Encoder()
    cache, progress = build(read(folder), tmp_path / "cache", encode)
    assert sum(shape[0] for shape in encode.shapes) == 8 and progress[-1] == (9, 9)
    assert torch.equal(cache.read(0)[0], cache.read(8)[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_a_latent_that_is_not_finite_names_its_picture(folder, tmp_path, value):
    dataset = read(folder)
    bad = dataset.pixels(6)

    def encode(pixels):
        mean, std = Encoder()(pixels)
        for row, image in enumerate(pixels):
            if image.shape == bad.shape and torch.equal(image, bad):
                mean[row, 0, 0, 0] = value
        return mean, std

    with pytest.raises(FileRefused, match=r"6\.png: its latent .*float32 or bfloat16"):
        build(dataset, tmp_path / "cache", encode)


def test_a_nan_inside_the_cache_names_its_picture(folder, tmp_path):
    cache, _ = build(read(folder), tmp_path / "cache", Encoder())
    (path,) = (tmp_path / "cache").iterdir()
    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    for tensor in tensors.values():
        tensor[:] = float("nan")
    save_file(tensors, path, metadata)
    cache = LatentCache(read(folder), folder=tmp_path / "cache", key="vae")
    with pytest.raises(FileRefused, match=r"2\.png: its latent in .* is NaN or infinite$"):
        cache.read(2)


def test_a_damaged_shard_is_said_and_made_again(folder, tmp_path):
    build(read(folder), tmp_path / "cache", Encoder())
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    encode = Encoder()
    cache, _ = build(read(folder), tmp_path / "cache", encode)
    assert sum(shape[0] for shape in encode.shapes) == 8
    assert len(cache.notes) == 1 and path.name in cache.notes[0]


def encode_text(texts: list[str]) -> list[dict[str, torch.Tensor]]:
    lengths = torch.tensor([float(len(text)) for text in texts])
    return [{"hidden": one.expand(7, 3), "pooled": one[None] / 3} for one in lengths]


def test_texts_are_encoded_once_and_come_back(tmp_path):
    calls: list[str] = []

    def encode(texts):
        calls.extend(texts)
        return encode_text(texts)

    cache = TextCache(folder=tmp_path, key="clip")
    texts = ["a", "", "bbb", "a", "<script>", "猫\n"]
    assert list(cache.build(texts, encode, batch_size=2))[-1] == (5, 5)
    assert calls == ["a", "", "bbb", "<script>", "猫\n"]
    again = TextCache(folder=tmp_path, key="clip")
    assert list(again.build(texts, encode)) == [(5, 5)]
    assert again.read("bbb")["hidden"].shape == (7, 3)
    assert again.read("bbb")["pooled"].item() == 1
    assert "bbb" in again and "cc" not in again
    assert again.read("")["hidden"].abs().max() == 0
    with pytest.raises(KeyError):
        TextCache(folder=tmp_path, key="other clip").read("a")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_text_comes_back_bit_for_bit(tmp_path, dtype):
    values = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    cache = TextCache(folder=tmp_path, key="clip")
    list(cache.build(["a", "b", "c"], lambda texts: [{"hidden": row} for row in values]))
    for text, row in zip("abc", values, strict=True):
        found = TextCache(folder=tmp_path, key="clip").read(text)["hidden"]
        assert found.dtype == dtype and torch.equal(found, row)


def test_an_embedding_that_is_not_finite_names_its_caption(tmp_path):
    def encode(texts):
        return [{"hidden": torch.full((2,), float("nan" if t == "b" else 1))} for t in texts]

    with pytest.raises(FileRefused, match="caption 'b': its embedding is NaN"):
        list(TextCache(folder=tmp_path, key="clip").build(["a", "b"], encode))


def test_only_converted_pictures_have_other_keys_than_before(folder, tmp_path):
    """A key is the hash of what it was made from; its parts of before are written out here."""
    source = Path(__file__).parents[1] / "pictures" / "p3.png"
    (folder / "p3.png").write_bytes(source.read_bytes())
    dataset = read(folder)
    cache = LatentCache(dataset, folder=tmp_path / "cache", key="vae")

    def before(index: int) -> str:
        content = hashlib.sha256(dataset.records[index].path.read_bytes()).hexdigest()
        place = dataset.placements[index]
        parts = ["1", "latent", content, place.resized, place.crop, "vae", False]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    changed = [r.name for i, r in enumerate(dataset.records) if cache._key(i, False) != before(i)]
    assert changed == ["p3.png"]
    green = dataset.settings.model_copy(update={"background": "#00ff00"})
    other = LatentCache(index(green), folder=tmp_path / "cache", key="vae")
    assert all(other._key(i, False) != before(i) for i in range(len(dataset)))


def test_a_picture_replaced_with_its_times_kept_is_encoded_again(folder, tmp_path):
    path = folder / "0.png"
    build(read(folder), tmp_path / "cache", Encoder())
    status = path.stat()
    with Image.open(path) as image:
        other = Image.eval(image.convert("RGB"), lambda level: 255 - level)
    other.save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    encode = Encoder()
    build(read(folder), tmp_path / "cache", encode)
    assert sum(shape[0] for shape in encode.shapes) == 1
