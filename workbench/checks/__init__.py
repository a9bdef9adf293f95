"""The pitfalls of a recipe: rules that read settings and data, and refuse, warn or note.

A rule is a function from a recipe and what is known beside it to the values that its sentences
name, or None; its name is its id. Who wants to see a refused one happen, as a lesson does, puts its
id into `checks.allow`. docs/checks.md lists them all.
"""

# Each topic puts its rules into the table.
from workbench.checks import (
    adapters,
    bases,
    caption_syntax,
    captions,
    diffusion,
    found,
    images,
    inpainting,
    length,
    losses,
    machine,
    optimizers,
    readers,
    sampling,
    subsets,
)
from workbench.checks.findings import Finding, check, observe, require
from workbench.checks.rules import RULES, SEVERITIES, Facts, Rule, settings_path
from workbench.checks.table import markdown

TOPICS = (
    *(bases, optimizers, adapters, readers, length, found),
    *(images, captions, caption_syntax, subsets, inpainting),
    *(diffusion, losses, machine, sampling),
)

__all__ = [
    "RULES",
    "SEVERITIES",
    "TOPICS",
    "Facts",
    "Finding",
    "Rule",
    "check",
    "markdown",
    "observe",
    "require",
    "settings_path",
]
