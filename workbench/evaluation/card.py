"""A model card in the Hub's format: what a LoRA is, how it was trained, how it is used."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.models.source import REPOSITORY, is_remote
from workbench.recipe import Recipe

_TAGS = {
    "sd": ("stable-diffusion", "stable-diffusion-diffusers"),
    "sdxl": ("stable-diffusion-xl", "stable-diffusion-xl-diffusers"),
    "zimage": ("z-image",),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a card says beyond the recipe.

    Attributes:
        name: of the LoRA's file without its ending.
        family: "sd", "sdxl", or another one's name.
        prompt: of the preview.
        files: name in the bundle to what it is for.
        facts: further rows of the table of settings.
        findings: sentences of the proof; none where there was no proof.
        passed: what the proof came to.
        notes: what other programs do otherwise.
        license: of the LoRA, in the Hub's words; None leaves it open.
    """

    name: str
    family: str
    prompt: str
    files: dict[str, str]
    facts: dict[str, str]
    findings: Sequence[str] = ()
    passed: bool | None = None
    notes: Sequence[str] = ()
    license: str | None = None


def model_card(recipe: Recipe, told: Told) -> str:
    """Write a card.

    Args:
        recipe: that trained the LoRA.
        told: what is said beyond it.
    Returns:
        README.md with its YAML front matter.
    """
    from huggingface_hub import ModelCardData

    subset, base = recipe.data.subsets[0], recipe.base.path
    on_hub = is_remote(base) and REPOSITORY.fullmatch(base) is not None
    data = ModelCardData(
        base_model=base if on_hub else None,
        license=told.license,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=[
            "text-to-image",
            "lora",
            "diffusers",
            "template:sd-lora",
            *_TAGS.get(told.family, ()),
        ],
        instance_prompt=subset.trigger or None,
        widget=[{"text": told.prompt, "output": {"url": f"{told.name}.png"}}],
    )
    front = data.to_yaml(line_break="\n")
    return f"---\n{front}\n---\n\n" + "\n\n".join(_sections(recipe, told)) + "\n"


def _sections(recipe: Recipe, told: Told) -> list[str]:
    subset, name = recipe.data.subsets[0], told.name
    trigger = (
        f"Use the trigger word `{subset.trigger}` in the prompt."
        if subset.trigger
        else "It has no trigger word: it acts whenever it is on."
    )
    files = "\n".join(f"- `{file}`: {what}" for file, what in told.files.items())
    settings = "\n".join(f"| {key} | {_cell(value)} |" for key, value in told.facts.items())
    return [
        f"# {name}",
        f"<Gallery />\n\nA LoRA for `{_cell(recipe.base.path)}`. {trigger}",
        f"## Files\n\n{files}",
        _use(told),
        f"## How it was trained\n\n| setting | value |\n|---|---|\n{settings}",
        _proof(told),
    ]


def _use(told: Told) -> str:
    lines = [
        "## How to use it",
        f"- **ComfyUI**: put the LoRA into `models/loras` and drag `workflow.json` or "
        f"`{told.name}.png` into the window; choose the base in *Load Checkpoint*."
        if "workflow.json" in told.files
        else "- **ComfyUI**: put the LoRA into `models/loras` and load it by *Load LoRA*.",
        f"- **A1111, Forge**: put the LoRA and its picture into `models/Lora`, and "
        f"`<lora:{told.name}:1>` into the prompt; *PNG Info* reads the settings from the picture.",
        f'- **diffusers**: `pipeline.load_lora_weights(".", weight_name="{told.name}'
        '.safetensors")`.',
        *(f"- {note}" for note in told.notes),
    ]
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _proof(told: Told) -> str:
    if told.passed is None:
        return "## Proof\n\nThe saved file was not proved; `workbench verify` does it."
    verdict = "It is what was trained." if told.passed else "**It is not what was trained.**"
    rows = "\n".join(f"- {finding}" for finding in told.findings)
    return (
        "## Proof\n\nThe saved file was put on the base in place of what was trained, and "
        f"compared. {verdict}\n\n{rows}"
    )


def _cell(text: str) -> str:
    """Text that cannot break out of a cell or a line of Markdown."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
