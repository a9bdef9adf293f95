"""All words of the page are in one file: none is missing, none is left over, none is elsewhere."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench.app
from workbench.app.words import LANGUAGE, label, languages, text

FOLDER = Path(workbench.app.__file__).parent
TREES = {path.name: ast.parse(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.py"))}
WORDS = languages()[LANGUAGE]
# Arguments of components that are read by people.
READ = {"label", "info", "placeholder", "title", "submit_btn", "description"}


def _asked(tree: ast.Module) -> Iterator[str]:
    """Keys as regular expressions: what an f-string fills in may be anything."""
    for node in ast.walk(tree):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if not called or node.func.id not in ("label", "text") or not node.args:  # type: ignore[attr-defined]
            continue
        key = node.args[0]  # type: ignore[attr-defined]
        if isinstance(key, ast.Constant):
            yield re.escape(str(key.value))
        elif isinstance(key, ast.JoinedStr):
            parts = [
                re.escape(p.value) if isinstance(p, ast.Constant) else "[a-z0-9_]+"
                for p in key.values
            ]  # type: ignore[arg-type]
            yield "".join(parts)
        else:  # a name that holds a key: any constant of the file may be it
            yield from (re.escape(word) for word in _constants(tree) if word in WORDS)


def _constants(tree: ast.Module) -> set[str]:
    return {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


ASKED = {pattern for tree in TREES.values() for pattern in _asked(tree)}


def test_every_key_that_is_asked_for_has_words():
    assert {key for key in ASKED if not any(re.fullmatch(key, word) for word in WORDS)} == set()


def test_no_words_are_left_over():
    assert {word for word in WORDS if not any(re.fullmatch(key, word) for key in ASKED)} == set()


@pytest.mark.parametrize("name", TREES)
def test_no_words_stand_in_the_code(name: str):
    found = [
        f"{name}:{node.lineno} {keyword.arg}={keyword.value.value!r}"
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("gr.")
        for keyword in node.keywords
        if keyword.arg in READ
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
        and re.search(r"[A-Za-z]{2}", keyword.value.value)
    ]
    assert found == []


def test_words_read_well():
    for key, words in WORDS.items():
        assert words.strip() == words and words, key
        assert "  " not in words and " ," not in words, key


def test_every_language_has_the_same_places_for_values():
    places = {key: _places(words) for key, words in WORDS.items()}
    for language, other in languages().items():
        assert other.keys() <= WORDS.keys(), language
        assert {k: _places(v) for k, v in other.items()} == {k: places[k] for k in other}, language


def _places(words: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(words) if field}


def test_a_missing_key_is_an_error_of_ours():
    with pytest.raises(KeyError):
        label("train_no_such_words")
    assert text("train_at", step=7) == "step 7"
