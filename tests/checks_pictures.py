"""As much of a dataset as the rules look at."""

from collections.abc import Sequence
from types import SimpleNamespace

from workbench.data.buckets import Placement
from workbench.data.subsets import SetAside

SQUARE = (512, 512)


class Pictures:
    """Pictures that exist by their captions, sizes and repeats alone."""

    def __init__(
        self,
        captions: Sequence[str] = ("tag, one", "tag, two") * 5,
        *,
        subsets: Sequence[int] = (),
        repeats: Sequence[int] = (),
        buckets: Sequence[tuple[int, int]] = (),
        scale: float = 1.0,
        coverages: Sequence[float] = (),
        set_aside: Sequence[SetAside] = (),
        doubts: Sequence[str] = (),
    ):
        count = len(captions)
        places = subsets or [0] * (count - count // 2) + [1] * (count // 2)
        self.is_drawn = False
        self.set_aside, self.doubts = tuple(set_aside), tuple(doubts)
        shares = [*coverages, *[None] * (count - len(coverages))]
        self.masks = [
            None if share is None else SimpleNamespace(coverage=share) for share in shares
        ]
        self.repeats = repeats or (1,) * count
        self.records = [
            SimpleNamespace(subset=subset, caption=caption, name=f"{number}.png")
            for number, (subset, caption) in enumerate(zip(places, captions, strict=True))
        ]
        self.plain_caption = lambda index: self.records[index].caption
        self.placements = [
            Placement(bucket, bucket, (0, 0, *bucket), scale, 0.0)
            for bucket in buckets or (SQUARE,) * count
        ]
