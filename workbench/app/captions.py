"""The tab Captions."""

import gradio as gr

from workbench.app.desk import Desk


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    gr.Markdown("in work")
