"""What a study asks for: a run's own prompts first, then captions, then new mixtures of their tags.

Prompts are the units of every statement, so a study wants many different ones. A mixture asks for
what no training picture shows together.
"""

import itertools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.evaluation.copying import kinds
from workbench.evaluation.loading import Trained, Wanted
from workbench.records.sampling import without_trigger

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

_TRIES = 200  # mixtures looked at; tags of few pictures soon repeat


def called_prompts(
    trained: Trained | Wanted, dataset: "Dataset | str", count: int
) -> tuple[str, ...]:
    """Gather prompts that call the concept.

    Args:
        trained: whose prompts come first.
        dataset: the training pictures, or why they are not to be had.
        count: how many are wanted.
    Returns:
        Distinct prompts; fewer where captions are whole sentences and there are few of them.
    """
    own = [prompt for prompt in trained.prompts if calls(prompt, trained)]
    if isinstance(dataset, str):
        return tuple(dict.fromkeys(own))[:count]
    concept, _ = kinds(dataset)
    captions = [dataset.plain_caption(record) for record in concept]
    found = list(dict.fromkeys([*own, *captions]))[:count]
    if len(found) < count:
        separator = dataset.settings.captions.separator
        found += _mixtures(captions, separator, count - len(found), known=found)
    return tuple(found)


def enough_seeds(own: Sequence[int], count: int, *, taken: Sequence[int] = ()) -> tuple[int, ...]:
    """Fill seeds up to a number.

    Args:
        own: those that come first.
        count: how many are wanted.
        taken: those that are not to be used.
    Returns:
        Distinct seeds, `own` whole even if there are more.
    """
    free = (seed for seed in itertools.count() if seed not in own and seed not in taken)
    return (*own, *itertools.islice(free, max(0, count - len(own))))


def calls(prompt: str, trained: Trained | Wanted) -> bool:
    """Say whether a prompt calls the concept.

    Args:
        prompt: as it is sampled.
        trained: knows the trigger.
    Returns:
        True where there is no trigger, too.
    """
    words = {"trigger": trained.trigger, "class_word": trained.class_word}
    return trained.trigger is None or without_trigger(prompt, **words) != prompt


def described(prompt: str, trained: Trained | Wanted, description: str) -> str:
    """Ask the base for the concept in words that it knows.

    Args:
        prompt: calls the concept.
        trained: knows the trigger.
        description: of the concept, put in the trigger's place.
    Returns:
        The prompt.
    """
    plain = without_trigger(prompt, trigger=trained.trigger, class_word=trained.class_word)
    word = trained.class_word
    head, _, rest = plain.partition(", ")
    if word and head == word:  # "critter, white body, ..., smile": what it is comes first
        return ", ".join(filter(None, (word, description, rest)))
    return ", ".join(filter(None, (description, plain)))


def _mixtures(
    captions: Sequence[str], separator: str, count: int, *, known: Sequence[str]
) -> list[str]:
    """Captions whose latter half comes from another picture; only tags can be mixed."""
    split = [caption.split(separator) for caption in captions]
    tags = [one for one in split if len(one) >= 4]
    if len(tags) < 2:
        return []
    rng, found = random.Random("mixtures"), list[str]()
    for _ in range(_TRIES):
        first, second = rng.sample(tags, 2)
        head = first[: (len(first) + 1) // 2]
        mixed = [*head, *(tag for tag in second[len(second) // 2 :] if tag not in head)]
        prompt = separator.join(mixed)
        if prompt not in (*known, *found):
            found.append(prompt)
        if len(found) == count:
            break
    return found
