"""Signs in captions that mean something to other programs, and are plain text to the model."""

import re

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe

_WEIGHT = re.compile(r"(?<!\\)\([^()]+:\d*\.?\d+\)|(?<!\\)\(\([^()]+\)\)|\[\[?[^\[\]|]+\]\]?")
_ESCAPED = re.compile(r"\\[()\[\]]")
_NETWORK = re.compile(r"<(?:lora|lyco|hypernet|ti|embedding):[^<>]+>", re.IGNORECASE)
_HTML = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d+);|</?[a-z][a-z0-9]*\s*/?>", re.IGNORECASE)
_UNDERSCORE = re.compile(r"\b[^\W_]{2,}(?:_[^\W_]{2,})+")
_FILE = re.compile(r"__[\w/ -]+__")
_COMMENT = re.compile(r"^\s*(?:#+\s|//).*\w.*", re.MULTILINE)


def _holds(facts: Facts, pattern: re.Pattern[str]) -> Found:
    """How many captions hold something, with an example."""
    found = [match[0] for _, caption in facts.captions if (match := pattern.search(caption))]
    return applies(found, count=len(found), text=found[0].strip() if found else "")


@rule(
    "warn",
    "data.captions",
    reason="{count} captions hold weights as prompts do, such as {text!r}; the model learns the "
    "brackets and numbers as text",
    fix="take them out of the captions: workbench caption FOLDER --rename",
    source="weights are read by A1111 and ComfyUI when they draw, and by no text encoder",
)
def prompt_weights(recipe: Recipe, facts: Facts) -> Found:
    """Captions with (word:1.2), ((word)) or [word]."""
    return _holds(facts, _WEIGHT)


@rule(
    "warn",
    "data.captions",
    reason="{count} captions escape their brackets, such as {text!r}; the backslash is learned, "
    "and prompts lose theirs before they are encoded",
    fix="write brackets without backslashes in captions, and with them in prompts",
    source="A1111's prompt parser takes escapes away; taggers write them for prompts",
)
def brackets_escaped(recipe: Recipe, facts: Facts) -> Found:
    """Captions with backslashes before brackets."""
    return _holds(facts, _ESCAPED)


@rule(
    "warn",
    "data.captions",
    reason="{count} captions call other networks, such as {text!r}, which is plain text here",
    fix="take it out: the picture was drawn with it, and is not described by it",
    source="A1111's extra networks",
)
def networks_in_captions(recipe: Recipe, facts: Facts) -> Found:
    """Captions with <lora:name:1>."""
    return _holds(facts, _NETWORK)


@rule(
    "note",
    "data.captions",
    reason="{count} captions hold signs of web pages, such as {text!r}, which are learned as text",
    fix="write the signs themselves: & for &amp;",
    source="captions copied from a page",
)
def html_in_captions(recipe: Recipe, facts: Facts) -> Found:
    """Captions with HTML entities or tags."""
    return _holds(facts, _HTML)


@rule(
    "note",
    "data.captions",
    reason="{count} captions write tags with underscores, such as {text!r}: each is a token, and "
    "most bases know tags with blanks",
    fix="write blanks for underscores, unless your base was trained with them",
    source="booru taggers; sd-scripts' tools replace them by default",
)
def tags_with_underscores(recipe: Recipe, facts: Facts) -> Found:
    """Captions whose tags join words by underscores."""
    return _holds(facts, _UNDERSCORE)


@rule(
    "note",
    "data.captions",
    reason="{count} captions name lists to draw from, such as {text!r}, which are plain text here",
    fix="write {{red|blue}} and set data.captions.wildcards=true",
    source="dynamic prompts' wildcard files",
)
def wildcard_files(recipe: Recipe, facts: Facts) -> Found:
    """Captions with __name__, a file of words in other programs."""
    return _holds(facts, _FILE)


@rule(
    "note",
    "data.captions",
    reason="{count} captions have a line that looks like a comment, {text!r}, and is learned",
    fix="take it out of the captions",
    source="a caption has no comments: all its lines are text",
)
def comments_in_captions(recipe: Recipe, facts: Facts) -> Found:
    """Captions with a line that begins with # or //."""
    return _holds(facts, _COMMENT)


@rule(
    "note",
    "data.captions.wildcards",
    reason="{count} captions have several lines, which are joined to one",
    fix="set data.captions.wildcards=true if one of them is to be drawn each time",
    source="OneTrainer draws a line, sd-scripts reads the first or draws with enable_wildcard",
)
def lines_joined(recipe: Recipe, facts: Facts) -> Found:
    """Captions of several lines while wildcards are off."""
    count = sum(len(caption.splitlines()) > 1 for _, caption in facts.captions)
    return applies(count and not recipe.data.captions.wildcards, count=count)
