"""The tab Train."""

from typing import Any

import gradio as gr

from workbench.app.desk import Desk
from workbench.recipe import Recipe
from workbench.workspace.folders import Workspace


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    gr.Markdown("in work")


def launch(desk: Desk, recipe: Recipe) -> tuple[Any, Any]:
    """Start."""
    return "", gr.Tabs(selected="train")


def status_line(workspace: Workspace) -> str:
    """Status."""
    return ""
