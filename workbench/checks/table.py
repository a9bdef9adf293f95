"""The rules as a page: docs/checks.md is what this writes."""

import re

from workbench.checks.rules import RULES, SEVERITIES, Rule

_INTRODUCTION = """\
# Checks

`workbench check RECIPE` reads a recipe, and its pictures where they are there, and names what it
finds: **refuse** cannot end well and is not started, **warn** rarely does, **note** is worth
knowing. `workbench train` says the same in the run's events. Where a refusal is what you want to
see, as in a lesson, `checks.allow = ["id"]` lets it run; those marked "always" cannot run at all.

This page is made from the rules themselves; words in *italics* stand for values of the recipe.
"""
_VALUE = re.compile(r"\{(\w+)[^{}]*\}")


def markdown() -> str:
    """Write all rules down, by topic and the worst first.

    Returns:
        Markdown that ends in a newline.
    """
    topics: dict[str, list[Rule]] = {}
    for rule in RULES.values():
        topics.setdefault(rule.topic, []).append(rule)
    lines = [_INTRODUCTION]
    for topic, rules in topics.items():
        lines += [
            f"## {topic.capitalize()}\n",
            "| id | severity | looks for | setting | reason | fix | source |",
            "|---|---|---|---|---|---|---|",
            *map(_row, sorted(rules, key=lambda rule: SEVERITIES.index(rule.severity))),
            "",
        ]
    return "\n".join(lines)


def _row(rule: Rule) -> str:
    always = "" if rule.severity != "refuse" or rule.allowable else ", always"
    cells = (
        f"`{rule.id}`",
        rule.severity + always,
        rule.when,
        f"`{rule.setting.replace('{where}', 'noise').replace('{index}', 'N')}`",
        _in_words(rule.reason),
        _in_words(rule.fix),
        rule.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _in_words(template: str) -> str:
    """A sentence whose values are words in italics."""
    kept = template.replace("{{", "\0").replace("}}", "\1")
    return _VALUE.sub(r"*\1*", kept).replace("\0", "{").replace("\1", "}")
