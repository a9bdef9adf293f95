"""The shape of the code: which room may import which, how long things are, what is explained."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Each room imports only what stands before it.
ROOMS = (
    *("settings", "store", "seeds", "quiet", "packages", "layouts", "process", "plots", "critters"),
    *("data", "models", "diffusion", "adapters", "optim", "records", "recipe"),
    *("training", "evaluation", "checks", "intents", "base_change"),
    *("launch", "pretrain", "workspace"),
    *("notebook", "app", "commands", "cli"),
)
# These know nothing of one another; training/ joins them.
STRANGERS = {"data", "models", "diffusion", "adapters", "optim"}
# Rooms that hold settings: reading a recipe must not cost the seconds that these libraries take.
SETTINGS_ROOMS = (
    "settings",
    "data",
    "models",
    "diffusion",
    "adapters",
    "optim",
    "records",
    "recipe",
)
SLOW_LIBRARIES = {
    "accelerate", "bitsandbytes", "diffusers", "gradio", "peft", "plotly", "transformers",
}  # fmt: skip

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_POSITIONAL = 3

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _room(path: Path) -> str:
    """`workbench/data/cache.py` is in `data`, `workbench/seeds.py` is `seeds`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(nodes: Iterator[ast.AST] | list[ast.stmt]) -> Iterator[str]:
    """Full names of the imported modules (`from a import b` gives `a.b`: b may be a module)."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room they reach into"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING:`, which nothing executes."""
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            guarded |= {inner for statement in node.body for inner in ast.walk(statement)}
    return guarded


def _executed_imports(path: Path) -> Iterator[str]:
    tree = _tree(path)
    guarded = _type_checking_only(tree)
    return _imports(node for node in ast.walk(tree) if node not in guarded)


def _rooms_imported(path: Path) -> set[str]:
    names = [name.split(".") for name in _executed_imports(path)]
    return {parts[1] for parts in names if parts[0] == "workbench" and len(parts) > 1} & set(ROOMS)


def _functions(path: Path) -> Iterator[tuple[str, FunctionNode]]:
    """Every function and method with its dotted name; nested functions are their owner's lines."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, FunctionNode]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FunctionNode):
                yield f"{prefix}{child.name}", child
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.If | ast.Try):
                yield from visit(child, prefix)

    yield from visit(_tree(path), "")


def _is_public(dotted: str) -> bool:
    return not any(part.startswith("_") for part in dotted.split("."))


def _every_function() -> Iterator[tuple[str, FunctionNode]]:
    for path in FILES:
        for dotted, node in _functions(path):
            yield f"{_name(path)}: {dotted}", node


def test_every_module_belongs_to_a_room():
    strangers = {_room(path) for path in FILES} - set(ROOMS) - {"__init__", "__main__"}
    assert strangers == set(), "add the room to ROOMS and to the structure in the README"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_up(path: Path):
    room = _room(path)
    if room in ("__init__", "__main__"):
        return
    above = set(ROOMS[: ROOMS.index(room) + 1])
    assert _rooms_imported(path) <= above
    if room in STRANGERS:
        assert _rooms_imported(path) & STRANGERS <= {room}


@pytest.mark.parametrize(
    "path", [path for path in FILES if _room(path) in SETTINGS_ROOMS], ids=_name
)
def test_settings_load_without_the_slow_libraries(path: Path):
    top_level = {name.split(".")[0] for name in _imports(_tree(path).body)}
    assert top_level & SLOW_LIBRARIES == set(), "import it inside the function that needs it"


def test_there_is_no_drawer_for_odds_and_ends():
    assert [
        _name(p) for p in FILES if p.stem in {"utils", "util", "helpers", "misc", "common"}
    ] == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_stay_readable(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def test_functions_stay_readable():
    too_long = {
        name: length
        for name, node in _every_function()
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert too_long == {}


def test_functions_take_few_positional_arguments():
    # What a denoiser is asked has four parts: noisy latents, timesteps, text and sizes.
    crowded = {
        name: count
        for name, node in _every_function()
        if _is_public(name.split(": ")[1]) and not name.endswith(".denoise")
        if (count := _num_positional(node)) > MAX_POSITIONAL
    }
    assert crowded == {}


def _num_positional(node: FunctionNode) -> int:
    """Those without a default: that is what a caller must get right by position."""
    names = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
    return len(names) - (names[:1] in (["self"], ["cls"])) - len(node.args.defaults)


def test_public_functions_are_documented():
    silent = [
        name
        for name, node in _every_function()
        if _is_public(name.split(": ")[1]) and not ast.get_docstring(node)
    ]
    assert silent == []


def test_public_functions_are_typed():
    untyped = []
    for name, node in _every_function():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if _is_public(name.split(": ")[1]) and (bare or node.returns is None):
            untyped.append(f"{name} ({', '.join(bare) or 'return'})")
    assert untyped == []


def test_no_exception_is_swallowed():
    bare = [
        f"{_name(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or all(isinstance(line, ast.Pass) for line in node.body))
    ]
    assert bare == [], "name the exception and do something; contextlib.suppress says it is meant"


def test_no_module_takes_the_place_of_a_public_name():
    """`import workbench.start` would make `workbench.start` a module for good."""
    taken = {path.stem for path in PACKAGE.iterdir()} & set(workbench.__all__)
    assert taken == set()
    assert callable(workbench.start)
    assert callable(workbench.start), "also when asked for again"


# What families, trainer and evaluation hand to one another: each public member says what it is.
TYPED = (
    "process.py",
    "models/family.py",
    "models/loading.py",
    "models/parts.py",
    "models/sd.py",
    "models/sdxl.py",
    "models/zimage.py",
    "training/trainer.py",
    "training/state.py",
    "training/run.py",
    "evaluation/loading.py",
)


def _public_annotations(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name and annotation of every public attribute, argument and result."""
    for dotted, node in _functions_of(tree):
        if _is_public(dotted):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            annotations = [a.annotation for a in arguments] + [node.returns]
            yield from ((dotted, ast.unparse(a)) for a in annotations if a is not None)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            name = ast.unparse(node.target).removeprefix("self.")
            if not name.startswith("_") and "." not in name:
                inside = isinstance(node.target, ast.Attribute) or _is_member(tree, node)
                if inside:
                    yield name, ast.unparse(node.annotation)


def _functions_of(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    for node in tree.body:
        if isinstance(node, FunctionNode):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, FunctionNode):
                    yield f"{node.name}.{child.name}", child


def _is_member(tree: ast.Module, node: ast.AnnAssign) -> bool:
    return any(isinstance(owner, ast.ClassDef) and node in owner.body for owner in tree.body)


@pytest.mark.parametrize("name", TYPED)
def test_what_rooms_hand_to_one_another_is_typed(name: str):
    found = [
        f"{member}: {annotation}"
        for member, annotation in _public_annotations(_tree(PACKAGE / name))
        if "Any" in annotation.replace("AnyOf", "")
    ]
    assert found == []
