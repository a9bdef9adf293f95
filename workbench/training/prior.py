"""Pictures of the class, drawn by the base itself, to be shown beside those of a concept.

What the base draws is what it knows: shown again with its own prompts, it holds the base to it, so
that a concept changes what its trigger calls and little else.

Source: Ruiz et al. 2022, arXiv 2208.12242, section 3.3, where all prompts are "a <class>". Differs:
the prompts are the concept's own captions without the trigger, or drawn from their tags, since a
single prompt keeps a single picture.
"""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from workbench import __version__, seeds, settings, store
from workbench.data import dataset as data
from workbench.data.captions import CaptionSettings, split_tags
from workbench.data.sources import MADE_BY
from workbench.models import loading as models
from workbench.models.family import Identity
from workbench.recipe import Recipe
from workbench.records.sampling import draw, without_trigger
from workbench.settings import Settings, SettingsError, setting

__all__ = ["PriorSettings", "Prompted", "make_prior", "prior_prompts"]


class PriorSettings(Settings):
    """Which pictures of the class are drawn."""

    count: int = setting(
        200, ge=1, le=100_000, unit="pictures", basic=True, help="how many; 100 to 300 are usual"
    )
    seed: int = setting(0, ge=0, lt=2**31, help="of the prompts; picture n starts from seed + n")
    prompts: Literal["captions", "tags", "class"] = setting(
        "captions",
        help="captions: those of the concept without its trigger, whole at first, then parts of "
        "them; tags: drawn anew from their tags by how often each stands there; class: the class "
        "word alone, as DreamBooth does",
    )


@dataclass(frozen=True, slots=True)
class Prompted:
    """One picture to draw."""

    file: str
    prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class _Words:
    """What a concept's picture is called without its trigger."""

    class_word: str | None
    tags: tuple[str, ...]

    def prompt(self, tags: Sequence[str], separator: str) -> str:
        """Tags as one text, the class word first unless it is said already."""
        text = separator.join(tags)
        word = self.class_word
        said = word is None or re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
        return text if said else separator.join([str(word), *tags])


def prior_prompts(dataset: data.Dataset, chosen: PriorSettings) -> list[Prompted]:
    """Make a prompt for each picture.

    Args:
        dataset: the concept's pictures; those of a prior among them are left out, and those without
            a trigger where others have one.
        chosen: how many, and what they are made of.
    Returns:
        One for each picture; the first ones stay what they are where `count` grows.
    Raises:
        SettingsError: no word is known to prompt with.
    """
    separator = dataset.settings.captions.separator
    words = _words(dataset)
    table = Counter(tag for one in words for tag in dict.fromkeys(one.tags))
    made = []
    for number in range(chosen.count):
        rng = seeds.python_random(chosen.seed, "prior", number)
        one = words[number % len(words)]
        tags = _choose(chosen.prompts, one.tags, table, first=number < len(words), rng=rng)
        prompt = one.prompt(tags, separator)
        made.append(Prompted(f"prior-{number:05d}.png", prompt, chosen.seed + number))
    if not all(one.prompt for one in made):
        raise SettingsError(
            "there is no word to draw the class by: give data.subsets.0.class_word, or captions to "
            "the pictures"
        )
    return made


def _words(dataset: data.Dataset) -> list[_Words]:
    """The words of every concept picture, in an order that mixes subsets."""
    subsets, captions = dataset.settings.subsets, dataset.settings.captions
    triggers = [subset.trigger for subset in subsets if subset.trigger]
    found = []
    for record in dataset.records:
        subset = subsets[record.subset]
        if subset.is_prior or (triggers and not subset.trigger):
            continue  # no concept's
        text = record.caption
        for trigger in triggers:
            text = without_trigger(text, trigger=trigger, class_word=subset.class_word)
        found.append(_Words(subset.class_word, tuple(_split(text, captions))))
    if not found:
        raise SettingsError("the recipe has no concept: all its subsets have is_prior = true")
    seeds.python_random(0, "prior order").shuffle(found)
    return found


def _split(text: str, captions: CaptionSettings) -> list[str]:
    return list(dict.fromkeys(split_tags(text, captions)))


def _choose(
    kind: str, own: Sequence[str], table: Counter[str], *, first: bool, rng: random.Random
) -> list[str]:
    """The tags of one prompt."""
    if kind == "class":
        return []
    if kind == "tags":
        # The largest of u^(1 / count): a draw without replacement, weighted by the counts.
        keys = {tag: rng.random() ** (1 / count) for tag, count in table.items()}
        return sorted(table, key=lambda tag: -keys[tag])[: len(own)]
    if first:
        return list(own)
    count = rng.randint(math.ceil(len(own) / 2), len(own))
    kept = sorted(rng.sample(range(len(own)), count))
    return [own[place] for place in kept]


def make_prior(
    recipe: Recipe,
    folder: Path,
    chosen: PriorSettings,
    *,
    device: str | torch.device = "cpu",
) -> Iterator[tuple[int, int]]:
    """Draw the pictures, each with its prompt as caption; what is there already stays.

    Args:
        recipe: gives the base, the concept's data, and in `sampling` how to draw.
        folder: where the pictures go; it may hold the beginning of the same set.
        chosen: how many, and of what.
        device: where the base draws.
    Yields:
        Pictures done and in total, at the start and after each.
    Raises:
        SettingsError: the base is from scratch, no word is known, or the folder holds other files.
    """
    if recipe.base.from_scratch is not None:
        raise SettingsError(
            "base.from_scratch: an untrained base has no prior to keep; name a trained one"
        )
    jobs = prior_prompts(data.index(recipe.data), chosen)
    _claim(folder, recipe, chosen)
    missing = [job for job in jobs if not (folder / job.file).exists()]
    done = len(jobs) - len(missing)
    yield done, len(jobs)
    if missing:
        family = models.load(recipe.base, device=device, max_tokens=recipe.data.captions.max_tokens)
        _write_made_by(folder, recipe, chosen, jobs=jobs, base=family.identity)
        whole = settings.replace(recipe.sampling, fill=None)
        pictures = draw(family, whole, [(job.prompt, job.seed) for job in missing])
        for job, picture in zip(missing, pictures, strict=True):
            path = folder / job.file
            store.write_text(path.with_suffix(".txt"), job.prompt + "\n")
            store.write_bytes(path, store.png(picture.image))  # last: it says that both are there
            done += 1
            yield done, len(jobs)


def _made_how(recipe: Recipe, chosen: PriorSettings) -> dict[str, Any]:
    """What two sets must share to be one; `count` may grow."""
    unused = ("prompts", "seeds", "every_steps", "batch_size", "fill")
    sampling = settings.as_dict(recipe.sampling)
    return {
        "base": settings.as_dict(recipe.base),
        "prior": {k: v for k, v in settings.as_dict(chosen).items() if k != "count"},
        "sampling": {k: v for k, v in sampling.items() if k not in unused},
    }


def _claim(folder: Path, recipe: Recipe, chosen: PriorSettings) -> None:
    """Refuse a folder that holds something else."""
    path = folder / MADE_BY
    if path.exists():
        made, now = store.read_json(path), _made_how(recipe, chosen)
        before = made.get("how") if isinstance(made, dict) else None
        for name, wanted in now.items():
            if not isinstance(before, dict) or before.get(name) != wanted:
                found = json.dumps(before.get(name)) if isinstance(before, dict) else "unknown"
                raise SettingsError(
                    f"{store.shown(folder)} holds pictures made with another {name} ({found}); "
                    "give another --out"
                )
    elif folder.exists() and any(folder.iterdir()):
        raise SettingsError(
            f"{store.shown(folder)} holds files that were not made here; give another --out"
        )


def _write_made_by(
    folder: Path,
    recipe: Recipe,
    chosen: PriorSettings,
    *,
    jobs: Sequence[Prompted],
    base: Identity,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "made_by": f"workbench make-prior, version {__version__}",
        "how": _made_how(recipe, chosen),
        "identity": base,
        "pictures": [{"file": x.file, "prompt": x.prompt, "seed": x.seed} for x in jobs],
    }
    store.write_json(folder / MADE_BY, content)
