"""Every word of the page, in one file a language: `words.en.toml`.

Who translates copies that file to `words.<language>.toml` and puts the right sides into other
words; a browser then picks its own language. What a setting means stands beside the setting.
"""

import functools
import tomllib
from importlib import resources
from typing import Any

LANGUAGE = "en"  # what is complete, and what sentences with numbers in them are written in


@functools.cache
def languages() -> dict[str, dict[str, str]]:
    """Read all languages.

    Returns:
        Language to key to words; a key is its section and name, such as `train_start`.
    """
    found = {}
    for file in resources.files("workbench.app").iterdir():
        if file.name.startswith("words.") and file.name.endswith(".toml"):
            sections = tomllib.loads(file.read_text(encoding="utf-8"))
            found[file.name.split(".")[1]] = {
                f"{section}_{name}": words
                for section, entries in sections.items()
                for name, words in entries.items()
            }
    return found


@functools.cache
def translations() -> Any:
    """The languages as Gradio takes them.

    Returns:
        For `launch(i18n=...)`.
    """
    import gradio as gr

    return gr.I18n(**languages())


def label(key: str) -> Any:
    """Words for a component, which the browser shows in its own language.

    Args:
        key: section and name.
    Returns:
        What Gradio takes as a label, a placeholder, an explanation or Markdown.
    Raises:
        KeyError: no such words.
    """
    languages()[LANGUAGE][key]  # a misspelt key must not reach the page
    return translations()(key)


def text(key: str, **values: Any) -> str:
    """A sentence with values in it.

    Args:
        key: section and name.
        values: what stands for each `{name}`.
    Returns:
        The sentence.
    Raises:
        KeyError: no such words, or a value is missing.
    """
    return languages()[LANGUAGE][key].format(**values)
