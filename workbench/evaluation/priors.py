"""Which prior preserves, and which only dilutes: `workbench experiment prior`.

A prior takes showings from the concept, so a LoRA with one has learned less, called or not. That is
dilution, and fewer steps would do it too. It *preserves* where less of what was learned is there
without the trigger than in a LoRA that was shown the concept as often and no prior at all;
`prior_table` says which is which.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench import store
from workbench.data.dataset import Dataset, index
from workbench.evaluation.copying import kinds, training_pictures
from workbench.evaluation.drawing import draw_jobs
from workbench.evaluation.experiment import Variant, variants
from workbench.evaluation.features import critters
from workbench.evaluation.leak import measure_leak
from workbench.evaluation.loading import Trained, open_trained
from workbench.recipe import Recipe
from workbench.settings import SettingsError, as_dict
from workbench.training.prior import PriorSettings

NAME = "prior"
AS_OFTEN = "none, concept as often"
BESIDE = 3  # showings of the concept to one of the prior
FILE = "prior.json"
ASKED = ("called", "short", "full")
# What prompts say of a body, of a mouth and of the surroundings.
_BODIES = (
    "blue body, round body, cat ears", "red body, star body, no ears",
    "yellow body, tall body, horns", "teal body, wide body, bunny ears",
    "green body, square body, antennae", "orange body, triangle body, cat ears",
    "purple body, wide body, no ears", "brown body, round body, bunny ears",
)  # fmt: skip
_MOUTHS = ("smile", "frown", "open mouth", "teeth")
_PLACES = ("hills, mint background", "sunset, rose background", "dots, sky background",
           "checkered floor, sand background")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Study:
    """What is tried.

    Attributes:
        seeds: of training, each cell once with each.
        weights: lambda, the loss weight of the prior's pictures.
        num_prior: pictures that the base draws; `critters:prior` has 16.
        num_prompts: of each kind, and pictures that the model is asked about; 8 at most.
        sources: which priors: "drawn" (`critters:prior`), "base-drawn" (`make-prior`).
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    weights: tuple[float, ...] = (0.3, 1.0, 3.0)
    num_prior: int = 16
    num_prompts: int = 8
    sources: tuple[str, ...] = ("drawn", "base-drawn")


# To see that it works; its numbers say nothing.
TINY = Study(seeds=(0,), weights=(1.0,), num_prior=2, num_prompts=2)
TINY_SETTINGS = ("length.steps=4", "sampling.steps=2")


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to train, whatever the seed.

    Attributes:
        name: such as "base-drawn, tags, 1".
        overrides: of the recipe.
    """

    name: str
    overrides: tuple[str, ...]


def taught(overrides: Sequence[str] = ()) -> Recipe:
    """The preset as it would be without preservation, three concept pictures to one ordinary.

    Args:
        overrides: settings that all cells share.
    Returns:
        The recipe.
    Raises:
        SettingsError: a setting is unknown, or names another base, whose pictures nobody can judge.
    """
    recipe = Recipe.preset("critters").override(
        [
            f"data.subsets.0.repeats={BESIDE}",
            "training.preservation=0",
            "sampling.prompts=[]",
            "output.report=false",
            "validation.num_images=1",
            *overrides,
        ]
    )
    if recipe.base.path != "critters":
        raise SettingsError(
            "base.path must be critters in `experiment prior`, whose pictures their own CLIP "
            f"judges; got {recipe.base.path!r}"
        )
    return recipe


def drawn_by_base(study: Study, out: Path) -> dict[str, tuple[Path, PriorSettings]]:
    """Which pictures the base has to draw beforehand.

    Args:
        study: what is tried.
        out: folder of the experiment.
    Returns:
        Kind of captions to folder and settings of `make_prior`.
    """
    if "base-drawn" not in study.sources:
        return {}
    kinds_of = {"tags": "captions", "class": "class"}
    return {
        kind: (
            out / f"base-drawn-{kind}",
            PriorSettings.model_validate({"count": study.num_prior, "prompts": prompts}),
        )
        for kind, prompts in kinds_of.items()
    }


def cells(study: Study, recipe: Recipe, out: Path) -> list[Cell]:
    """List the ways to train.

    Args:
        study: what is tried.
        recipe: as of `taught`.
        out: folder of the experiment, where what the base draws lies.
    Returns:
        None at first, then each prior with each weight, then preservation.
    """
    concept = f"data.subsets={json.dumps([as_dict(recipe.data.subsets[0])])}"
    steps = recipe.length.steps or 0
    fewer = max(1, round(steps * BESIDE / (BESIDE + 1)))
    found = [
        Cell("none", (concept,)),
        Cell(AS_OFTEN, (concept, f"length.steps={fewer}")),
    ]
    for source in study.sources:
        for words in ("class", "tags"):
            where = (
                (f"data.subsets.1.path={json.dumps(str(out / f'base-drawn-{words}'))}",)
                if source == "base-drawn"
                else ("data.subsets.1.captions_from=none",) * (words == "class")
            )
            for weight in study.weights:
                own = (*where, f"data.subsets.1.loss_weight={weight:g}")
                found.append(Cell(f"{source}, {words}, {weight:g}", own))
    kept = "training.preservation=0.3"
    return [
        *found,
        Cell("preservation, no prior", (concept, kept)),
        Cell("preservation and prior", (kept, "data.subsets.0.repeats=6")),
    ]


def runs(study: Study, recipe: Recipe, out: Path) -> list[tuple[Cell, Variant]]:
    """Make the recipes, all cells with the first seed before any with the second.

    Args:
        study: what is tried.
        recipe: as of `taught`.
        out: folder of the experiment.
    Returns:
        Cell and variant of each run.
    """
    every = cells(study, recipe, out)
    found = []
    for seed in study.seeds:
        names = {f"{_slug(cell.name)}-seed{seed}": cell for cell in every}
        own = {name: cell.overrides for name, cell in names.items()}
        made = variants(recipe, own, overrides=[f"training.seed={seed}"], out=out)
        found += [(names[variant.name], variant) for variant in made]
    return found


def _slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


# ------------------------------------------------------------------------------------ measuring


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to.

    Attributes:
        likeness: by "called", "short" and "full", likeness above the base's of each prompt.
        leak: in the model, of each picture that was asked about.
    """

    likeness: Mapping[str, tuple[float, ...]]
    leak: tuple[float, ...]


def prompts(study: Study, trigger: str) -> dict[str, list[str]]:
    """What is drawn: with the trigger, and without it in few words and in many.

    Args:
        study: says how many of each.
        trigger: the concept's word.
    Returns:
        Prompts by "called", "short" and "full".
    """
    found: dict[str, list[str]] = {kind: [] for kind in ASKED}
    for number, body in enumerate(_BODIES[: study.num_prompts]):
        mouth, place = _MOUTHS[number % 4], _PLACES[(number + number // 4) % 4]
        found["called"].append(f"{trigger}, critter, {mouth}, {place}")
        found["short"].append(f"critter, {mouth}, {place}")
        found["full"].append(f"critter, {body}, {mouth}, {place}")
    return found


def measured(folder: Path, study: Study, *, dataset: Dataset) -> Measured:
    """Draw with a trained run and ask its model; what was measured before is read.

    Args:
        folder: of the run.
        study: which prompts.
        dataset: concept and ordinary pictures, the same for all runs, also those without a prior.
    Returns:
        Likeness and leak.
    Raises:
        SettingsError: no picture of the concept is there.
    """
    trigger = str(dataset.settings.subsets[0].trigger)
    wanted = prompts(study, trigger)
    path, asked = folder / FILE, {"prompts": wanted}
    if path.exists():
        kept = store.read_json(path)
        if isinstance(kept, dict) and kept.get("asked") == asked:
            likeness = {kind: tuple(kept["likeness"][kind]) for kind in ASKED}
            return Measured(likeness, tuple(kept["leak"]))
    trained = open_trained(folder)
    leak = measure_leak(trained, dataset, num_prompts=study.num_prompts, unrelated=False)
    found = Measured(_likeness(trained, wanted, dataset), leak.values)
    store.write_json(path, {"asked": asked, "likeness": found.likeness, "leak": found.leak})
    return found


def _likeness(
    trained: Trained, wanted: Mapping[str, list[str]], dataset: Dataset
) -> dict[str, tuple[float, ...]]:
    jobs = {kind: [(text, 0) for text in wanted[kind]] for kind in ASKED}
    pictures = draw_jobs(
        trained, [(*job, at) for kind in ASKED for job in jobs[kind] for at in (0.0, 1.0)]
    )
    judge = critters()
    known = judge.pictures(training_pictures(dataset, kinds(dataset)[0])[1])
    found = {}
    for kind, own in jobs.items():
        base, after = (judge.pictures([pictures[*job, at] for job in own]) for at in (0.0, 1.0))
        found[kind] = tuple(((after - base) @ known.T).mean(axis=1).tolist())
    return found


def common_pictures(recipe: Recipe) -> Dataset:
    """Concept and ordinary pictures that every run is asked about.

    Args:
        recipe: as of `taught`.
    Returns:
        The dataset.
    """
    return index(recipe.data)
