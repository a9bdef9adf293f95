"""Where the pictures come from: a built-in concept, a folder of the workspace, an upload."""

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr

from workbench import settings, store
from workbench.app.desk import AT_ONCE, EMPTY, QUIETLY, Desk, saying
from workbench.app.words import label, text
from workbench.critters.concepts import CONCEPTS
from workbench.data.subsets import Subset
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace

if TYPE_CHECKING:
    from workbench.workspace.unpacking import Unpacked

How = Literal["instead", "beside", "prior"]
HOWS: tuple[How, ...] = ("instead", "beside", "prior")


def build(desk: Desk) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
    """
    with gr.Tabs(elem_id="sources"):
        with gr.Tab(label("data_built_in"), id="built-in"):
            among = [(label(f"data_concept_{name}"), name) for name in CONCEPTS]
            concept = gr.Radio(among, value="character", label=label("data_concept"))
            built_in = gr.Button(label("data_use"), variant="primary", elem_id="use-built-in")
        with gr.Tab(label("data_folder"), id="folder"):
            folder = gr.Dropdown(
                [], label=label("data_folder_which"), info=label("data_folder_info"),
                elem_id="folder-choice",
            )  # fmt: skip
            unpack = gr.Button(label("data_unpack"), visible=False, elem_id="unpack-zip")
            use = gr.Button(label("data_use"), variant="primary", elem_id="use-folder")
        with gr.Tab(label("data_upload"), id="upload"):
            name = gr.Textbox(
                label=label("data_upload_name"),
                info=label("data_upload_info"),
                value="pictures",
                max_length=80,
                elem_id="upload-name",
            )
            zone = _zone()
            uploaded = gr.Button(label("data_use"), variant="primary", elem_id="use-upload")
    hows = [(label(f"data_how_{how}"), how) for how in HOWS]
    how = gr.Radio(hows, value="instead", label=label("data_how"), elem_id="data-how")
    built_in.click(
        saying(lambda recipe, how, name: use_concept(recipe, how, name)),
        [desk.recipe, how, concept],
        desk.recipe,
        api_visibility="private",
    )
    for press, chosen in ((use, folder), (uploaded, name)):
        press.click(
            saying(lambda recipe, how, name: use_folder(recipe, how, place(desk.workspace, name))),
            [desk.recipe, how, chosen],
            desk.recipe,
            api_visibility="private",
        )
    folder.change(
        lambda name: gr.Button(visible=bool(name) and name.lower().endswith(".zip")),
        folder, unpack, **AT_ONCE,
    )  # fmt: skip
    unpack.click(
        saying(lambda name: _unpack(desk.workspace, name)), folder, folder,
        api_visibility="private",
    )  # fmt: skip
    listed: Any = {"fn": lambda: gr.Dropdown(folders(desk.workspace)), "outputs": folder, **QUIETLY}
    gr.on([desk.moved.change, zone.upload], **listed)
    desk.moved.change(concept_in_use, desk.recipe, concept, **QUIETLY)


def _zone() -> gr.HTML:
    """Where files are dropped; the browser sends them in pieces and goes on where it broke off."""
    script = resources.files("workbench.app").joinpath("upload.js").read_text(encoding="utf-8")
    words: dict[str, Any] = {
        name: text(f"data_upload_{name}")
        for name in ("drop", "choose", "sending", "done", "kept", "refused", "broken", "all")
    }
    return gr.HTML(
        html_template=resources.files("workbench.app")
        .joinpath("upload.html")
        .read_text(encoding="utf-8"),
        js_on_load=script,
        elem_id="upload-zone",
        **words,
    )


def _unpack(workspace: Workspace, name: str | None) -> Any:
    folder, unpacked = unpack_beside(workspace, place(workspace, name))
    count, left = len(unpacked.written), len(unpacked.set_aside)
    gr.Info(text("data_unpacked", count=count, name=folder.name, left=left))
    return gr.Dropdown(folders(workspace), value=folder.name)


def unpack_beside(workspace: Workspace, archive: Path) -> "tuple[Path, Unpacked]":
    """Unpack a zip into a new folder of the workspace's data; the zip stays.

    Args:
        workspace: gets the folder.
        archive: the zip file, wherever it lies.
    Returns:
        The folder, and what came of the zip.
    Raises:
        FileRefused: it is dangerous, or the disk has no room; nothing is written then.
    """
    from workbench.workspace.unpacking import unpack

    folder = free_folder(workspace, archive.stem)
    return folder, unpack(workspace, archive, into=folder, keep=True)


def free_folder(workspace: Workspace, name: str) -> Path:
    """A folder of the workspace's data that is not there yet.

    Args:
        workspace: where.
        name: what it is called, with a number behind it where that is taken.
    Returns:
        The path.
    """
    names = (name, *(f"{name}-{count}" for count in range(2, 1000)))
    return next(path for n in names if not (path := workspace.inside("data", n)).exists())


def folders(workspace: Workspace) -> list[tuple[str, str]]:
    """What of the workspace can be used as pictures.

    Args:
        workspace: the workspace.
    Returns:
        Words and name of each folder and zip in its data, in order.
    """
    found = []
    for path in sorted(workspace.data.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            names = (file.suffix.lower() for file in path.rglob("*"))
            count = sum(suffix in store.IMAGE_EXTENSIONS for suffix in names)
            found.append((text("data_folder_count", name=path.name, count=count), path.name))
        elif path.suffix.lower() == ".zip":
            found.append((path.name, path.name))
    return found


def place(workspace: Workspace, name: str | None) -> Path:
    """The folder that a name means.

    Args:
        workspace: the workspace.
        name: of a folder or zip in its data.
    Returns:
        Its path.
    Raises:
        SettingsError: none was named, or there is none.
        FileRefused: the name leads out of the workspace.
    """
    if not name:
        raise SettingsError(text("data_folder_none"))
    path = workspace.inside("data", name)
    if not path.exists():
        raise SettingsError(text("data_folder_gone", name=name))
    return path


def use_concept(recipe: Recipe, how: How, name: str) -> Recipe:
    """Teach a built-in concept.

    Args:
        recipe: what is being made.
        how: in place of the other pictures, beside them, or as ordinary ones.
        name: of the concept.
    Returns:
        The changed recipe; in place of others it gets the concept's trigger, its ordinary
        pictures and its name.
    """
    path, trigger = f"critters:{name}", CONCEPTS[name].trigger
    if how == "prior":
        return _beside(recipe, Subset(path=path, is_prior=True))
    first, *rest = EMPTY.data.subsets
    subset = settings.replace(first, path=path, trigger=trigger)
    if how == "beside":
        return _beside(recipe, subset)
    return _with(settings.replace(recipe, name=trigger), (subset, *rest))


def concept_in_use(recipe: Recipe) -> Any:
    """Find the built-in concept that was taken last, which other tabs may choose too.

    Args:
        recipe: what is being made.
    Returns:
        Its name; without one, what leaves the choice as it stands.
    """
    paths = [subset.path for subset in recipe.data.subsets]
    known = [name for path in paths for name in CONCEPTS if path == f"critters:{name}"]
    return known[-1] if known else gr.skip()


def use_folder(recipe: Recipe, how: How, path: Path) -> Recipe:
    """Teach what a folder shows.

    Args:
        recipe: what is being made.
        how: in place of the other pictures, beside them, or as ordinary ones.
        path: folder or zip.
    Returns:
        The changed recipe; in place of others it is named after the folder and has no trigger
        yet, since only its owner knows a word that is free.
    """
    if how == "prior":
        return _beside(recipe, Subset(path=str(path), is_prior=True))
    if how == "beside":
        return _beside(recipe, Subset(path=str(path)))
    kept = [
        subset
        for subset in recipe.data.subsets
        if subset.is_prior and not subset.path.startswith("critters:")
    ]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:60] or recipe.name
    return _with(settings.replace(recipe, name=name), (Subset(path=str(path)), *kept))


def _beside(recipe: Recipe, subset: Subset) -> Recipe:
    return _with(recipe, (*recipe.data.subsets, subset))


def _with(recipe: Recipe, subsets: tuple[Subset, ...]) -> Recipe:
    return settings.replace(recipe, data=settings.replace(recipe.data, subsets=subsets))
