"""What a base for inpainting fills in: files, random shapes, and the cache of masked pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.data.dataset import Dataset, DataSettings, index
from workbench.data.fills import FillCache, Fills
from workbench.data.inpainting import InpaintingSettings
from workbench.settings import SettingsError

SIZE = (96, 64)


def photo(folder: Path, name: str, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text("a photo")


def cover(folder: Path, name: str, box: tuple[int, int, int, int], size=SIZE, ground=0) -> None:
    mask = Image.new("L", size, ground)
    mask.paste(255, box)
    mask.save(folder / f"{name}-mask.png")


def read(path: Path, *, flip: bool = False, fills: bool = True, **inpainting) -> Dataset:
    chosen = {
        "subsets": [{"path": str(path)}],
        "buckets": {"resolution": 64, "step": 16},
        "augment": {"flip": 0.5 if flip else 0.0},
    }
    return index(
        DataSettings.model_validate(chosen | ({"inpainting": inpainting} if fills else {}))
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(2):
        photo(tmp_path / "p", str(number), number)
    cover(tmp_path / "p", "0", (0, 0, 48, 64))
    return tmp_path / "p"


class TestRandom:
    def test_the_same_mask_for_the_same_place_and_another_for_another(self):
        chosen = InpaintingSettings(full=0.0)
        one = chosen.draw((64, 96), seed=3, place=(5, 1))
        assert one.shape == (1, 64, 96) and set(one.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(one, chosen.draw((64, 96), seed=3, place=(5, 1)))
        assert not torch.equal(one, chosen.draw((64, 96), seed=3, place=(5, 2)))
        assert not torch.equal(one, chosen.draw((64, 96), seed=4, place=(5, 1)))

    @pytest.mark.parametrize("size", [(64, 64), (48, 96), (128, 32)])
    def test_something_is_hidden_and_something_is_left(self, size):
        chosen = InpaintingSettings(full=0.0)
        shares = [chosen.draw(size, seed=0, place=(k, 0)).mean().item() for k in range(300)]
        assert min(shares) > 0.005 and max(shares) < 0.97
        assert 0.2 < np.mean(shares) < 0.45

    def test_a_quarter_covers_all(self):
        chosen = InpaintingSettings()
        whole = [bool(chosen.draw((16, 16), seed=0, place=(k, 0)).all()) for k in range(1000)]
        assert 0.25 - 3 * 0.0137 < np.mean(whole) < 0.25 + 3 * 0.0137

    def test_all_three_shapes_occur(self):
        """A rectangle fills its box, an ellipse pi / 4 of it, a stroke little of it."""
        found = []
        for k in range(200):
            one = InpaintingSettings(full=0.0).draw((64, 64), seed=9, place=(k, 0))[0].numpy() > 0
            rows, columns = np.nonzero(one)
            inside = rows.min() > 0 and rows.max() < 63 and columns.min() > 0 and columns.max() < 63
            if inside:
                box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
                found.append(one.sum() / box)
        assert any(share > 0.99 for share in found), "a rectangle alone"
        assert any(abs(share - np.pi / 4) < 0.03 for share in found), "an ellipse alone"
        assert any(share < 0.35 for share in found), "a stroke alone"

    def test_its_name_tells_masks_apart(self):
        chosen, other = InpaintingSettings(full=0.1), InpaintingSettings(full=0.2)
        names = {
            chosen.name((8, 8), seed=0, place=(0, 0)),
            chosen.name((8, 8), seed=0, place=(0, 1)),
            chosen.name((8, 8), seed=1, place=(0, 0)),
            chosen.name((8, 16), seed=0, place=(0, 0)),
            other.name((8, 8), seed=0, place=(0, 0)),
        }
        assert len(names) == 5


class TestFiles:
    def test_white_is_filled_in_and_mirrored_with_its_picture(self, folder):
        fills = Fills(read(folder), seed=0)
        width, height = fills.dataset.placements[0].bucket
        mask = fills.mask(0, 0)
        assert mask.shape == (1, height, width) and fills.count(0) == 1
        assert mask[..., : width // 2 - 1].all() and not mask[..., width // 2 + 1 :].any()
        assert torch.equal(fills.mask(0, 0, flipped=True), mask.flip(-1))

    def test_a_picture_without_one_gets_random_ones(self, folder):
        fills = Fills(read(folder, masks=3, full=0.0), seed=7)
        assert fills.count(1) == 3
        size = fills.mask(1, 2).shape[1:]
        drawn = InpaintingSettings(masks=3, full=0.0).draw(tuple(size), seed=7, place=(1, 2))
        assert torch.equal(fills.mask(1, 2), drawn)

    def test_the_loss_counts_everywhere(self, folder):
        assert read(folder).mask(0) is None
        assert read(folder, fills=False).mask(0) is not None, (
            "without data.inpainting the same file weighs the loss"
        )

    def test_what_is_filled_in_is_said(self, folder):
        notes = " ".join(read(folder).notes)
        assert "1 of 2 pictures have one, and 50% of their area is to be filled in" in notes
        assert "those without one (1) get random masks" in notes

    def test_random_leaves_files_alone_and_says_so(self, folder):
        dataset = read(folder, source="random")
        assert Fills(dataset, seed=0).count(0) == 4
        said = "mask files (1) were left alone, since data.inpainting.source is random"
        assert said in dataset.notes

    def test_files_asks_one_of_each_picture(self, folder):
        dataset = read(folder, source="files")
        assert [record.name for record in dataset.records] == ["0.png"]
        [aside] = dataset.set_aside
        assert aside.name == "1.png" and "data.inpainting.source=both" in aside.reason

    def test_no_mask_at_all_is_refused(self, tmp_path):
        photo(tmp_path / "bare", "0")
        with pytest.raises(SettingsError, match="it has no mask"):
            read(tmp_path / "bare", source="files")

    @pytest.mark.parametrize(
        ("size", "box", "ground", "said"),
        [
            ((96, 64), (0, 0, 0, 0), 0, "nothing to fill in; paint white what is to be filled in"),
            ((64, 96), (0, 0, 9, 9), 0, "another shape than the 96 x 64 px of the picture"),
        ],
    )
    def test_a_mask_that_cannot_be_meant_is_named(self, folder, size, box, ground, said):
        cover(folder, "1", box, size, ground)
        [aside] = read(folder).set_aside
        assert aside.name == "1.png" and said in aside.reason and "1-mask.png" in aside.reason

    def test_all_white_is_said(self, folder):
        cover(folder, "1", (0, 0, 1, 1), ground=255)
        notes = " ".join(read(folder).notes)
        assert "all white keep nothing of their pictures (1): 1.png" in notes

    def test_transparency_cannot_weigh_the_loss_beside_it(self, folder):
        with pytest.raises(ValueError, match=r"masks\.source = 'alpha' weighs the loss"):
            DataSettings.model_validate({"masks": {"source": "alpha"}, "inpainting": {}})


def beside(pixels: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """What a family makes of both, as far as a cache can tell."""
    pool = torch.nn.functional.avg_pool2d
    return torch.cat([pool(masks, 8).round(), pool(pixels * (1 - masks), 8)], dim=1)


class TestCache:
    def test_it_holds_what_was_encoded(self, folder, tmp_path):
        dataset = read(folder, flip=True, masks=2)
        fills = Fills(dataset, seed=1)
        cache = FillCache(fills, folder=tmp_path / "cache", key="k")
        counts = list(cache.build(beside))
        assert counts[-1] == (6, 6), "one mask file and two random ones, each mirrored too"
        for record, number, flipped in ((0, 0, False), (1, 1, True), (1, 0, False)):
            pixels = dataset.pixels(record, flipped=flipped)[None]
            masks = fills.mask(record, number, flipped=flipped)[None]
            stored = cache.read(record, number, flipped=flipped)
            assert torch.equal(stored, beside(pixels, masks)[0].half().float())

    def test_nothing_is_encoded_twice(self, folder, tmp_path):
        fills = Fills(read(folder), seed=1)
        list(FillCache(fills, folder=tmp_path / "c", key="k").build(beside))
        [first] = list(FillCache(fills, folder=tmp_path / "c", key="k").build(_never))
        assert first == (5, 5)

    @pytest.mark.parametrize("change", ["seed", "key", "mask", "picture"])
    def test_what_it_was_made_of_decides(self, folder, tmp_path, change):
        def made(seed: int, key: str) -> tuple[int, int]:
            fills = Fills(read(folder, masks=1), seed=seed)
            return next(FillCache(fills, folder=tmp_path / "c", key=key).build(beside))

        fills = Fills(read(folder, masks=1), seed=1)
        list(FillCache(fills, folder=tmp_path / "c", key="k").build(beside))
        if change == "mask":
            cover(folder, "0", (0, 0, 20, 20))
        if change == "picture":
            photo(folder, "0", 77)
        done, total = made(2 if change == "seed" else 1, "other" if change == "key" else "k")
        assert total == 2 and done == {"key": 0}.get(change, 1)

    def test_a_latent_that_is_not_finite_is_named(self, folder, tmp_path):
        cache = FillCache(Fills(read(folder), seed=0), folder=tmp_path / "c", key="k")
        with pytest.raises(ValueError, match=r"0\.png: its masked latent is NaN"):
            list(cache.build(lambda pixels, masks: beside(pixels, masks) * float("nan")))


def _never(pixels: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    raise AssertionError("it was there")
