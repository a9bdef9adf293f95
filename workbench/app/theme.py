"""One look: the colours and shapes of the report, light and dark, with no font from elsewhere."""

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio.themes import Base

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> "Base":
    """Make the theme.

    Returns:
        For `launch(theme=...)`.
    """
    import gradio as gr

    accent = gr.themes.Color(
        c50="#eef7fc", c100="#d6ecf7", c200="#aed9ef", c300="#7cc1e4", c400="#45a4d4",
        c500="#1585bf", c600="#0072b2", c700="#005c91", c800="#004a75", c900="#063d5e",
        c950="#04283e", name="accent",
    )  # fmt: skip
    look = gr.themes.Base(
        primary_hue=accent,
        secondary_hue=accent,
        neutral_hue="stone",
        radius_size="lg",
        spacing_size="md",
        font=FONTS,
        font_mono=MONO,
    )
    return look.set(
        body_background_fill="#faf9f6",
        body_background_fill_dark="#121417",
        background_fill_primary_dark="#1a1d22",
        background_fill_secondary_dark="#20242a",
        block_background_fill_dark="#1a1d22",
        block_border_width="1px",
        block_border_color="#e5e2da",
        block_border_color_dark="#2b3038",
        border_color_primary_dark="#2b3038",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_shadow="none",
        block_title_text_weight="600",
        body_text_color_dark="#eceef1",
        body_text_color_subdued="#63686f",
        body_text_color_subdued_dark="#9aa1ab",
        button_large_text_weight="600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="*primary_900",
        checkbox_label_text_color_selected="*primary_800",
        checkbox_label_text_color_selected_dark="*primary_100",
        input_border_width="1px",
        input_border_color="#d8d4cb",
        block_title_text_color="*body_text_color",
        block_label_text_color="*body_text_color",
        input_background_fill="white",
        input_background_fill_dark="#15181c",
        input_border_color_dark="#353b44",
    )


def css() -> str:
    """Read what the theme cannot say.

    Returns:
        CSS for `launch(css=...)`.
    """
    return resources.files("workbench.app").joinpath("style.css").read_text(encoding="utf-8")
