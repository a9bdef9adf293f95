"""Notebooks as data: their cells, what each cell makes and needs, and the answers to exercises."""

import ast
import copy
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
TOOLS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EVERY = [*TUTORIALS, *TOOLS]


@cache
def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def first_line(cell: Any) -> str:
    return cell.source.splitlines()[0]


def _tree(cell: Any) -> ast.Module:
    return ast.parse(TransformerManager().transform_cell(cell.source))


class _Names(ast.NodeVisitor):
    """Names that the top level of a cell makes, and those that anything in it needs from before."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.needed: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.made.append(node.id)
        elif node.id not in self.made:
            self.needed.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)  # `x = f(x)` needs the earlier x
        for target in node.targets:
            self.visit(target)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.made += [(alias.asname or alias.name).split(".")[0] for alias in node.names]

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        inner = _Names()
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            inner.made.append(argument.arg)
        for line in node.body:
            inner.visit(line)
        self.made.append(node.name)
        self.needed |= inner.needed - set(self.made)

    def _comprehension(self, node: Any) -> None:
        inner = _Names()
        for part in node.generators:
            inner.visit(part)
        for field in ("key", "value", "elt"):
            if hasattr(node, field):
                inner.visit(getattr(node, field))
        self.needed |= inner.needed - set(self.made)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Lambda(self, node: ast.Lambda) -> None:
        inner = _Names()
        inner.made += [argument.arg for argument in node.args.args]
        inner.visit(node.body)
        self.needed |= inner.needed - set(self.made)


def passed_on(path: Path) -> dict[str, str]:
    """Name to the first line of the cell that makes it, of names that a later cell needs."""
    maker: dict[str, str] = {}
    found: dict[str, str] = {}
    for cell in code_cells(path)[1:]:
        names = _Names()
        names.visit(_tree(cell))
        found |= {name: maker[name] for name in sorted(names.needed & maker.keys())}
        maker = {name: first_line(cell) for name in names.made} | maker
    return found


def declared(path: Path) -> dict[str, str]:
    """What the first cell of a tool tells `nb.work`."""
    calls = [node for node in ast.walk(_tree(code_cells(path)[0])) if isinstance(node, ast.Call)]
    work = [call for call in calls if ast.unparse(call.func) == "nb.work"]
    assert len(work) == 1, "the first cell of a notebook that is no lesson calls nb.work once"
    return ast.literal_eval(work[0].args[0])


def answers(number: str) -> dict[str, dict[str, Any]]:
    """Right and wrong answers to the exercises of a lesson."""
    path = Path(__file__).parent / "answers" / f"lesson_{number}.py"
    return runpy.run_path(str(path))["ANSWERS"] if path.exists() else {}


def answered(path: Path) -> Any:
    """A notebook with the right answers in its cells."""
    book = copy.deepcopy(read(path))
    for known in answers(path.name[:2]).values():
        for cell in book.cells:
            if cell.cell_type == "code" and first_line(cell) == known["cell"]:
                cell.source = f"{known['cell']}\n{known['right']}"
    return book
