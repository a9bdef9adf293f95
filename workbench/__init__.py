"""LoRA Workbench: learn and do LoRA training for diffusion models, with every stage visible.

    import workbench as wb
    recipe = wb.Recipe.preset("critters")
    run = wb.start(recipe)
    for event in run.train():
        print(event)

Names are loaded when first used, so that `import workbench` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from workbench.quiet import hush

if TYPE_CHECKING:
    from workbench.evaluation.choosing import choose
    from workbench.evaluation.compare import compare
    from workbench.evaluation.several import compare_runs
    from workbench.launch import resume, start
    from workbench.recipe import Recipe

__version__ = "0.1.0"

hush()  # before any library is imported: it reads the environment then

_PUBLIC = {
    "Recipe": "workbench.recipe",
    "start": "workbench.launch",
    "resume": "workbench.launch",
    "compare": "workbench.evaluation.compare",
    "choose": "workbench.evaluation.choosing",
    "compare_runs": "workbench.evaluation.several",
}

__all__ = ["Recipe", "choose", "compare", "compare_runs", "resume", "start"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    # No module may be called like a public name: importing it would put it in the name's place.
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
