"""What a report shows beside its pictures: what drew them, the nearest training picture, votes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from workbench.records import votes as records
from workbench.records.events import Event, Saved
from workbench.settings import SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:
    from PIL.Image import Image

    from workbench.evaluation.copying import Near
    from workbench.evaluation.results import Comparison
    from workbench.evaluation.votes import Tally


class Fields(TypedDict):
    """Of `page.Report`."""

    source: str
    nearest: "dict[tuple[str, int], Near]"
    given: "dict[int, Image]"
    shows_training: bool
    votes: "tuple[Tally, ...]"
    refused: tuple[str, ...]
    offer: tuple[str, str] | None


def fields(
    folder: Path,
    events: Sequence[Event],
    comparison: "Comparison | None",
    *,
    judge: str | Path | None = None,
) -> Fields:
    """Gather what stands beside a run's pictures.

    Args:
        folder: the run folder.
        events: the run's.
        comparison: whose pictures they are.
        judge: folder of a judge, or "critters"; the one at hand without.
    Returns:
        Fields of the report; a public one leaves `nearest` empty.
    """
    from workbench.evaluation.ballots import BASE
    from workbench.evaluation.votes import tallies
    from workbench.records import filling

    saved = [e for e in events if isinstance(e, Saved) and e.final and e.what == "lora"]
    name = Path(saved[-1].path).stem if saved else folder.name
    drawn_by = f"{name} at step {saved[-1].step}, strength 1" if saved else ""
    sheets, refused = records.load(folder)
    can_vote = comparison is not None and bool(comparison.leakage)
    return Fields(
        source=drawn_by,
        nearest=nearest(folder, comparison, judge=judge) if comparison is not None else {},
        given=given(folder, comparison),
        shows_training=filling.shows_training(folder),
        votes=tallies(sheets),
        refused=refused,
        offer=(BASE, name) if can_vote else None,
    )


def given(folder: Path, comparison: "Comparison | None") -> "dict[int, Image]":
    """What the pictures of a base for inpainting began as.

    Args:
        folder: the run folder.
        comparison: the pictures.
    Returns:
        Seed to picture, stripes over what was filled in; empty for any other base.
    """
    from workbench.records import filling

    place = folder / filling.FOLDER
    if comparison is None or not place.is_dir():
        return {}
    sizes = {one.seed: one.trained.size for one in (*comparison.pairs, *comparison.leakage)}
    try:
        return {
            seed: filling.given(str(place), [seed], size).hatched[0] for seed, size in sizes.items()
        }
    except (SettingsError, FileRefused):  # the folder was emptied
        return {}


def nearest(
    folder: Path, comparison: "Comparison", *, judge: str | Path | None = None
) -> "dict[tuple[str, int], Near]":
    """Find the training picture that each picture of the trained model is most like.

    Args:
        folder: the run folder, whose recipe says where the training pictures lie.
        comparison: the pictures.
        judge: folder of a judge; the one at hand without.
    Returns:
        Prompt and seed to training picture; empty where they are not to be had.
    """
    from workbench.data.dataset import index
    from workbench.evaluation.copying import known_pictures
    from workbench.recipe import Recipe

    try:
        recipe = Recipe.load(folder / "recipe.toml")
        known = known_pictures(index(recipe.data), recipe.base.path, judge=judge)
    except (SettingsError, FileRefused):  # the report's answers say what is missing
        return {}
    if known is None:
        return {}
    found = known.nearest([one.trained for one in comparison.pairs])
    return {(one.prompt, one.seed): near for one, near in zip(comparison.pairs, found, strict=True)}
