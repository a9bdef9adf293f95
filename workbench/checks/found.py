"""Pictures and captions as they were found: what is lost, doubtful or left out."""

from collections import Counter

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.data.captioning import named
from workbench.recipe import Recipe
from workbench.store import shown


@rule(
    "warn",
    "data.subsets.0.path",
    reason="{count} files of pictures are not used: {examples}",
    fix="mend or remove them; `workbench buckets FOLDER` lists every one with its reason",
    source="the ledger: every file is used or set aside by name",
)
def pictures_set_aside(recipe: Recipe, facts: Facts) -> Found:
    """Pictures that cannot be read, are too small, or whose caption or mask is damaged."""
    aside = () if facts.dataset is None else facts.dataset.set_aside
    lost = [f"{shown(item.name)} ({item.reason})" for item in aside if not item.spare]
    return applies(lost, count=len(lost), examples=_few(lost))


@rule(
    "note",
    "data.subsets.0.keep_copies",
    reason="{count} pictures are left out on purpose: {examples}",
    fix="nothing, if that is right; each says how it is kept",
    source="the ledger: every file is used or set aside by name",
)
def pictures_spared(recipe: Recipe, facts: Facts) -> Found:
    """Exact copies, thumbnails, sync tools' leftovers, folders of 0 repeats."""
    aside = () if facts.dataset is None else facts.dataset.set_aside
    spare = [f"{shown(item.name)} ({item.reason})" for item in aside if item.spare]
    return applies(spare, count=len(spare), examples=_few(spare))


@rule(
    "warn",
    "data.subsets.0.path",
    reason="{doubts}",
    fix="put right what is not meant; nothing else happens by itself",
    source="names and bytes alone: what they mean is the user's to say",
)
def data_doubted(recipe: Recipe, facts: Facts) -> Found:
    """Captions that no picture took, and names that may mean something else."""
    doubts = () if facts.dataset is None else facts.dataset.doubts
    return applies(doubts, doubts="; ".join(doubts))


@rule(
    "note",
    "data.subsets.{index}.missing_caption",
    reason="{count} of {total} pictures of subset {index} have no caption and are learned with "
    "{words!r} alone",
    fix="write captions (workbench caption), or set data.subsets.{index}.missing_caption=exclude",
    source="what a caption does not name is learned as part of the trigger",
)
def captions_missing(recipe: Recipe, facts: Facts) -> Found:
    """Some pictures of a subset without a caption, and others with one."""
    total = Counter(subset for subset, _ in facts.captions)
    bare = Counter(subset for subset, caption in facts.captions if not caption.strip())
    for index, count in bare.items():
        words = recipe.data.subsets[index].trigger or recipe.data.subsets[index].class_word
        if words and count < total[index]:
            return applies(True, index=index, count=count, total=total[index], words=words)
    return None


def _few(items: list[str]) -> str:
    """The first three, and how many more there are."""
    return named(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
