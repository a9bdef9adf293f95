"""A base model found, recognised by its family, and loaded."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch

from workbench.models import registry
from workbench.models.base import BaseSettings
from workbench.models.clip import MOST_TOKENS, WINDOW
from workbench.models.defaults import CRITTERS, CRITTERS_MASKS, USUAL, Machine, advice, completed
from workbench.models.family import CaptionTokens, Family
from workbench.models.source import Described, Peek, Source, is_critters, is_remote, peek
from workbench.models.strangers import refusal
from workbench.settings import SettingsError
from workbench.settings.advice import Advice

__all__ = [
    "FamilyModule",
    "Named",
    "caption_tokens",
    "defaults",
    "load",
    "locate",
    "module",
    "named",
    "tokens_for",
]


class FamilyModule(Protocol):
    """What the file of a family offers beside its class.

    Attributes:
        TITLE: its name for people.
        NATIVE_PX: side of the pictures that its published models were made for.
        NAMES: lower-case parts of the names of published models, by which one is known that is not
            fetched yet, and the side of the pictures that each was made for; the first counts.
    """

    TITLE: str
    NATIVE_PX: int
    NAMES: Mapping[str, int]

    def recognise(self, seen: Peek, settings: BaseSettings) -> Source | None:
        """Say whether a base is of this family.

        Args:
            seen: its headers and configs.
            settings: what else is known of it.
        Returns:
            What was found; None where it is no model of this family.
        Raises:
            FileRefused: it is one, but something is missing or cannot be trained.
        """
        ...

    def describe(self, source: Source, settings: BaseSettings) -> Described:
        """Say what the files of a base tell of it before it is loaded.

        Args:
            source: what `recognise` found.
            settings: what is chosen in place of what the files say.
        Returns:
            Resolution, prediction.
        """
        ...

    def defaults(self, title: str, native_px: int, machine: Machine) -> tuple[Advice, ...]:
        """Say which settings suit it.

        Args:
            title: of the base, for people.
            native_px: side of the pictures that it was made for.
            machine: that will train it.
        Returns:
            Settings with their reasons.
        """
        ...

    def tokens(self, source: Source | None, max_tokens: int) -> CaptionTokens | None:
        """Get what cuts captions into tokens, without loading the base.

        Args:
            source: what `recognise` found; None for a base that is not here yet.
            max_tokens: of a caption, where the family reads captions in windows.
        Returns:
            The same as a loaded family says; None where only the base's files could tell.
        """
        ...

    def load(
        self, source: Source, settings: BaseSettings, *, device: torch.device, max_tokens: int
    ) -> Family:
        """Load it, frozen and in eval mode.

        Args:
            source: what `recognise` found.
            settings: precision, attention, what else is chosen.
            device: where its modules go.
            max_tokens: of a caption, where the family reads captions in windows.
        Returns:
            The family.
        Raises:
            SettingsError, FileRefused: it cannot be loaded as asked.
        """
        ...


def module(name: str) -> FamilyModule:
    """The file of a family, imported when it is first asked for.

    Args:
        name: one of `registry.names()`.
    Returns:
        The module.
    """
    found = registry.FAMILIES[name]
    # A module that has the members of the protocol is one, but no type checker sees it by a name.
    return cast(FamilyModule, importlib.import_module(found) if isinstance(found, str) else found)


def defaults(settings: BaseSettings, machine: Machine) -> tuple[Advice, ...]:
    """Say which settings suit a base; nothing is fetched, and no weight is read.

    Args:
        settings: which base.
        machine: that will train it.
    Returns:
        Settings with their reasons, one for each setting that follows from a base; none where the
        family of a base on the Hub is not known.
    Raises:
        SettingsError, FileRefused: it is here, and cannot be trained.
    """
    if is_remote(settings.path):
        known = named(settings)
        if known is None:
            return ()
        family = module(known.family)
        masks = _masks(family.TITLE, inpaints="inpaint" in settings.path.lower())
        return completed(_completed(family, family.TITLE, known.native_px, machine), masks)
    source = locate(settings)
    if is_critters(settings.path):
        masks = _masks(source.title, inpaints=source.inpaints)
        return completed(CRITTERS, masks, CRITTERS_MASKS if source.inpaints else ())
    family = module(source.family)
    native_px = family.describe(source, settings).native_px
    masks = _masks(source.title, inpaints=source.inpaints)
    return completed(_completed(family, source.title, native_px, machine), masks)


def _masks(title: str, *, inpaints: bool) -> tuple[Advice, ...]:
    """Whether a base fills in masks."""
    if inpaints:
        why = "it fills in masks: files beside the pictures, or random ones"
        return (Advice("data.inpainting", {}, why),)
    why = f"{title} takes a prompt alone"
    names = ("data.inpainting", "sampling.fill")
    return tuple(Advice(name, None, why, accepted=(None,)) for name in names)


def _completed(
    family: FamilyModule, title: str, native_px: int, machine: Machine
) -> tuple[Advice, ...]:
    """A family's advice, and the usual about what it says nothing of."""
    usual = advice(title, native_px, USUAL, machine=machine)
    return completed(usual, family.defaults(title, native_px, machine))


@dataclass(frozen=True, slots=True)
class Named:
    """What the name of a base tells that is not here.

    Attributes:
        family: name of its family.
        native_px: side of the pictures that it was made for.
    """

    family: str
    native_px: int


def named(settings: BaseSettings) -> Named | None:
    """Guess what a base that is not here is from its name.

    Args:
        settings: which base, and perhaps its family.
    Returns:
        Its family and resolution; None where nothing is known.
    """
    name, chosen = settings.path.lower(), settings.family
    families = registry.names() if chosen == "auto" else (chosen,)
    for family in families:
        for mark, native_px in module(family).NAMES.items():
            if mark in name:
                return Named(family, native_px)
    return None if chosen == "auto" else Named(chosen, module(chosen).NATIVE_PX)


def locate(settings: BaseSettings) -> Source:
    """Find the base model on disk or the Hub, and recognise its family.

    Args:
        settings: which model.
    Returns:
        Where it is and what it is.
    Raises:
        SettingsError: not found, or another family than `settings.family`.
        FileRefused: a pickle, damaged, of no known family, or a part is missing.
    """
    seen = peek(settings)
    for name in registry.names():
        source = module(name).recognise(seen, settings)
        if source is None:
            continue
        if settings.family not in ("auto", name):
            raise SettingsError(
                f'base.family is "{settings.family}" ({module(settings.family).TITLE}), but '
                f"{source.path} is {module(name).TITLE}: {source.evidence}; set base.family to "
                f'"{name}" or "auto", or choose another base.path'
            )
        return source
    raise refusal(seen, [module(name).TITLE for name in registry.names()])


def caption_tokens(settings: BaseSettings, max_tokens: int) -> CaptionTokens | None:
    """Get what cuts captions into tokens for a base; nothing is fetched, no weight is read.

    Args:
        settings: which base.
        max_tokens: `data.captions.max_tokens`.
    Returns:
        The same as the loaded family says; None where it cannot be known.
    Raises:
        SettingsError, FileRefused: the base is here, and cannot be trained.
    """
    if is_remote(settings.path):
        known = named(settings)
        return None if known is None else module(known.family).tokens(None, max_tokens)
    source = locate(settings)
    return module(source.family).tokens(source, max_tokens)


def tokens_for(settings: BaseSettings, prompts: Iterable[str], *, at_least: int = WINDOW) -> int:
    """Choose how many tokens must be read so that prompts are read whole.

    Args:
        settings: which base; one that is not here yet is fetched.
        prompts: what is to be drawn.
        at_least: what the captions were trained with.
    Returns:
        A multiple of 75, at most 225, for `load`.
    """
    # A token has one byte or more, so short prompts need no tokenizer.
    long = [prompt for prompt in prompts if len(prompt.encode()) > at_least]
    source = locate(settings) if long else None
    tokens = None if source is None else module(source.family).tokens(source, at_least)
    if tokens is None or tokens.max_tokens != at_least:  # it does not read in windows
        return at_least
    longest = max(map(tokens.count_tokens, long))
    return min(MOST_TOKENS, max(at_least, -(-longest // WINDOW) * WINDOW))


def load(
    settings: BaseSettings, *, device: str | torch.device = "cpu", max_tokens: int = WINDOW
) -> Family:
    """Load a base model: frozen, in eval mode, and refused when it is not what it should be.

    Args:
        settings: which model and how.
        device: where its modules go.
        max_tokens: of a caption: `data.captions.max_tokens`.
    Returns:
        The family.
    Raises:
        SettingsError: no such model, another family than demanded, or a contradiction.
        FileRefused: a file is a pickle, damaged, of no known family, or lacks a part.
    """
    source = locate(settings)
    return module(source.family).load(
        source, settings, device=torch.device(device), max_tokens=max_tokens
    )
