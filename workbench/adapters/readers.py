"""Who reads which adapter files, and what they make of them: one table for checks, proof and docs.

"reads" means the same change of every weight. Where a program does something else with the numbers,
its formula is in `decompose`, and the proof works out for each layer how far off it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from workbench.adapters.decompose import Shown, shown_by_inputs, shown_by_others, shown_without
from workbench.adapters.full import Full
from workbench.adapters.layers import Layer, LowRank
from workbench.adapters.loha import LoHa
from workbench.adapters.lokr import LoKr
from workbench.adapters.lora import LoRA
from workbench.adapters.naming import is_encoder

Reader = Literal["comfyui", "a1111", "diffusers", "sd-scripts"]
Feature = Literal[
    "lora",
    "conv",
    "rslora",
    "time",
    "text encoder",
    "dora",
    "loha",
    "lokr",
    "full",
    "single file",
    "transformer",
    "peft",
]
Verdict = Literal["reads", "partly", "wrongly", "not"]
Checked = Literal["test with the library", "formula", "source read"]

READERS: tuple[Reader, ...] = get_args(Reader)
TITLES: dict[Reader, str] = {
    "comfyui": "ComfyUI",
    "a1111": "A1111 (and Forge)",
    "diffusers": "diffusers",
    "sd-scripts": "sd-scripts",
}
FEATURES: dict[Feature, str] = {
    "lora": "LoRA",
    "conv": "LoCon (convolutions)",
    "rslora": "rsLoRA",
    "time": "group `time`",
    "text encoder": "text encoder",
    "dora": "DoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "full": "full fine-tune (folder)",
    "single file": 'full fine-tune (`adapter.layout = "single_file"`)',
    "transformer": "a transformer (Z-Image)",
    "peft": "PEFT's names of a U-Net (`convert --to peft`)",
}
_LYCORIS = "name --network_module lycoris.kohya in sd-scripts"
_PLAIN = "workbench convert FILE OUT --to kohya --rank {rank} writes the nearest plain LoRA"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one program makes of one thing that a file can hold.

    Attributes:
        verdict: whether it reads it.
        says: what it does otherwise, as it goes on after its name; "" where it reads all.
        checked: how this is known.
        fix: what to do; "" where there is nothing to mend.
        shown: the weight that it makes, where its formula is another.
        of: what `shown` is measured against: the adapter's change, or the whole weight.
    """

    verdict: Verdict
    checked: Checked
    says: str = ""
    fix: str = ""
    shown: Shown | None = None
    of: Literal["change", "weight"] = "change"


_BY_TEST = Reading("reads", "test with the library")
_BY_FORMULA = Reading("reads", "formula")
_BY_SOURCE = Reading("reads", "source read")
# DoRA in programs that keep the low-rank matrices and leave the lengths away.
_DROPS = "drops dora_scale and shows the plain LoRA that is left"
TABLE: dict[Feature, dict[Reader, Reading]] = {
    "lora": {
        "comfyui": _BY_FORMULA,
        "a1111": _BY_FORMULA,
        "diffusers": _BY_TEST,
        "sd-scripts": _BY_SOURCE,
    },
    "conv": {
        "comfyui": _BY_FORMULA,
        "a1111": _BY_FORMULA,
        "diffusers": _BY_TEST,
        "sd-scripts": _BY_SOURCE,
    },
    "rslora": dict.fromkeys(READERS, _BY_FORMULA),  # the file's alpha says it
    "time": {
        "comfyui": _BY_SOURCE,
        "a1111": _BY_SOURCE,
        "diffusers": _BY_TEST,
        "sd-scripts": Reading(
            "partly",
            "source read",
            "looks for layers inside the blocks alone, and leaves out {outside} outside of them "
            "(time_embedding, add_embedding)",
            "set adapter.groups without time, or give those layers rank 0: adapter.blocks with "
            "match = '*_embedding.*'",
        ),
    },
    "text encoder": {
        "comfyui": _BY_SOURCE,
        "a1111": _BY_SOURCE,
        "diffusers": _BY_TEST,
        "sd-scripts": _BY_SOURCE,
    },
    "dora": {
        "comfyui": Reading(
            "wrongly",
            "formula",
            "divides by |W| and not by |W + dW|: where dW is 10 to 30 % of W, 6 to 17 % of each "
            "layer's change are off",
            _PLAIN,
            shown_by_others,
        ),
        "a1111": Reading(
            "wrongly",
            "formula",
            "divides by the lengths of the inputs, whatever the file holds: the weight is off by "
            "5 % of itself in a square layer, by 65 % at 2560 x 320 and by 100 % at 320 x 1280",
            _PLAIN,
            shown_by_inputs,
            "weight",
        ),
        "diffusers": Reading(
            "wrongly",
            "test with the library",
            _DROPS,
            "workbench convert FILE OUT --to peft, whose lengths it reads",
            shown_without,
        ),
        "sd-scripts": Reading(
            "wrongly",
            "source read",
            f"{_DROPS}, but for --network_module lycoris.kohya, which reads it",
            _LYCORIS,
            shown_without,
        ),
    },
    "loha": {
        "comfyui": _BY_FORMULA,
        "a1111": _BY_FORMULA,
        "diffusers": Reading("not", "test with the library", "refuses the file", _PLAIN),
        "sd-scripts": Reading(
            "not",
            "source read",
            "reads it with --network_module lycoris.kohya alone (recent versions have "
            "networks.loha for SDXL)",
            _LYCORIS,
        ),
    },
    "lokr": {
        "comfyui": _BY_FORMULA,
        "a1111": _BY_FORMULA,
        "diffusers": Reading(
            "not",
            "test with the library",
            "refuses the file; of PEFT's format, unet.load_lora_adapter(..., prefix='unet') alone "
            "reads it",
            _PLAIN,
        ),
        "sd-scripts": Reading(
            "not",
            "source read",
            "reads it with --network_module lycoris.kohya alone (recent versions have "
            "networks.lokr for SDXL)",
            _LYCORIS,
        ),
    },
    "full": {
        "comfyui": Reading(
            "partly",
            "source read",
            "reads the denoiser's file alone, by its node for diffusion models",
            "set adapter.layout=single_file for one file with all parts",
        ),
        "a1111": Reading(
            "not",
            "source read",
            "reads whole checkpoints in one file, and no diffusers folder",
            "set adapter.layout=single_file",
        ),
        "diffusers": Reading(
            "partly",
            "test with the library",
            "reads the parts that learned, and needs the base for all others",
            "from_pretrained(base, unet=UNet2DConditionModel.from_pretrained(folder/unet))",
        ),
        "sd-scripts": Reading(
            "not",
            "source read",
            "reads a whole checkpoint or a whole diffusers folder, not one part",
            "set adapter.layout=single_file",
        ),
    },
    "single file": {
        "comfyui": _BY_SOURCE,
        "a1111": _BY_SOURCE,
        "diffusers": _BY_TEST,
        "sd-scripts": _BY_SOURCE,
    },
    "transformer": {
        "comfyui": Reading(
            "not",
            "source read",
            "finds none of the attention's layers under kohya's names, where the original code has "
            "q, k and v in one",
            "workbench convert FILE OUT --to peft, with adapter.alpha left at the rank: it reads "
            "no alpha there",
        ),
        "a1111": Reading("not", "source read", "has no such model", "choose a U-Net as base.path"),
        "diffusers": _BY_TEST,
        "sd-scripts": Reading(
            "not", "source read", "has no such model", "choose a U-Net as base.path"
        ),
    },
    "peft": {
        "comfyui": Reading(
            "partly",
            "source read",
            "knows the attention's layers in the spelling attn1.processor.to_q, and no others: 48 "
            "of 176 modules of SD 1.5 load, 176 of 736 of SDXL, and nothing is said",
            "give it the file in kohya's format",
        ),
        "a1111": Reading(
            "not", "source read", "knows kohya's names alone", "give it the file in kohya's format"
        ),
        "diffusers": _BY_TEST,
        "sd-scripts": Reading(
            "not", "source read", "knows kohya's names alone", "give it the file in kohya's format"
        ),
    },
}
_OUTSIDE = ("time_embedding.", "add_embedding.")  # of U-Nets: layers outside of their blocks


def features_of(settings: LoRA | LoHa | LoKr | Full, *, transformer: bool) -> tuple[Feature, ...]:
    """What the file of a run will hold.

    Args:
        settings: `adapter` of its recipe.
        transformer: the base's denoiser is one.
    Returns:
        Features, in the table's order.
    """
    if isinstance(settings, Full):
        return ("single file",) if settings.layout == "single_file" else ("full",)
    found = {
        "lora": settings.kind == "lora",
        "conv": "conv" in settings.groups,
        "rslora": isinstance(settings, LoRA) and settings.rank_scaled,
        "time": "time" in settings.groups,
        "text encoder": settings.text_encoder,
        "dora": isinstance(settings, LoRA) and settings.dora,
        "loha": settings.kind == "loha",
        "lokr": settings.kind == "lokr",
        "transformer": transformer,
    }
    return tuple(feature for feature in TABLE if found.get(feature))


def features_in(layers: Mapping[str, Layer]) -> tuple[Feature, ...]:
    """What a file holds.

    Args:
        layers: "<part>.<path>" to layer.
    Returns:
        Features, in the table's order.
    """
    kinds = {layer.kind for layer in layers.values()}
    wide = [x for x in layers.values() if isinstance(x, LowRank) and x.down[0, 0].numel() > 1]
    found = {
        "lora": "lora" in kinds,
        "conv": bool(wide),
        "time": any("time_emb" in name or "add_embedding" in name for name in layers),
        "text encoder": any(map(is_encoder, layers)),
        "dora": any(layer.magnitude is not None for layer in layers.values()),
        "loha": "loha" in kinds,
        "lokr": "lokr" in kinds,
        "transformer": any(name.startswith("transformer.") for name in layers),
    }
    return tuple(feature for feature in TABLE if found.get(feature))


def outside_blocks(names: Iterable[str]) -> int:
    """How many layers of a U-Net lie outside of its blocks.

    Args:
        names: "<part>.<path>".
    Returns:
        2 for SD, 4 for SDXL, where the group `time` learned.
    """
    return sum(name.partition(".")[2].startswith(_OUTSIDE) for name in names)


def markdown() -> str:
    """Write the table down, as docs/adapters.md has it.

    Returns:
        A table, and a line for all that is not read as it is; ends in a newline.
    """
    words = {"reads": "yes", "partly": "partly", "wrongly": "**wrong**", "not": "**no**"}
    columns = " | ".join(TITLES[reader] for reader in READERS)
    lines = [f"| who reads it | {columns} |", "|---" * (len(READERS) + 1) + "|"]
    for feature, readings in TABLE.items():
        cells = [f"{words[readings[r].verdict]} ({readings[r].checked})" for r in READERS]
        lines.append(f"| {FEATURES[feature]} | {' | '.join(cells)} |")
    values = {"rank": "N", "outside": "2 layers of SD and 4 of SDXL"}
    lines.append("")
    for feature, readings in TABLE.items():
        lines += [
            f"- {FEATURES[feature]}: {TITLES[reader]} {one.says}. What to do: {one.fix}.".format(
                **values
            )
            for reader, one in readings.items()
            if one.verdict != "reads"
        ]
    return "\n".join(lines) + "\n"
