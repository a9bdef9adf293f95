"""How one picture is drawn, in the words of AUTOMATIC1111's UI and of ComfyUI.

Source: A1111, `modules/processing.py` `create_infotext` and `modules/sd_schedulers.py`; ComfyUI,
`comfy/samplers.py` and `nodes.py`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.records.sampling import SampleSettings

# Our solver in A1111's and in ComfyUI's words. DDIM without noise is Euler's step; what A1111 calls
# DDIM visits its own timesteps, which are those of "leading".
_SAMPLERS = {
    "ddim": ("Euler", "ddim"),
    "euler": ("Euler", "euler"),
    "euler_a": ("Euler a", "euler_ancestral"),
    "dpmpp_2m": ("DPM++ 2M", "dpmpp_2m"),
}
# Our spacing: which schedule visits the same timesteps.
_SCHEDULES = {
    "trailing": ("Simple", "simple"),
    "linspace": ("Uniform", "normal"),
    "leading": ("DDIM", "ddim_uniform"),
}
_QUOTED = re.compile(r'[,:\n"]')

Graph = dict[str, dict[str, object]]  # ComfyUI's: number of a node to its class and inputs


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture of a LoRA on its base, with all that another program must know to draw it.

    Attributes:
        prompt: as it was encoded; brackets are plain text.
        seed: of its noise, drawn on the CPU.
        size: width and height, px.
        sampling: solver, steps, guidance, negative prompt.
        lora: name of the LoRA's file without its ending.
        lora_hash: SHA-256 of the tensors, as `sshs_model_hash`.
        base: name of the base's file without its ending.
        base_hash: SHA-256 of the base's single file; "" for a folder.
        version: "sd1", "sd2" or "sdxl".
        clip_skip: last layers left out beyond what the base leaves out by itself.
        velocity: the base predicts v.
        zero_terminal_snr: its last timestep is noise alone.
        rescale: of guided predictions, 0 for none.
        vae: name of another autoencoder's file; None for the base's.
    """

    prompt: str
    seed: int
    size: tuple[int, int]
    sampling: SampleSettings
    lora: str
    lora_hash: str
    base: str
    base_hash: str
    version: str
    clip_skip: int = 0
    velocity: bool = False
    zero_terminal_snr: bool = False
    rescale: float = 0.0
    vae: str | None = None


def a1111_parameters(drawn: Drawn) -> str:
    """Write the text that A1111 and its kin read from a picture's "parameters".

    Args:
        drawn: the picture.
    Returns:
        Prompt with the LoRA's tag, negative prompt, and a line of settings.
    """
    how = drawn.sampling
    sampler, schedule = _SAMPLERS[how.scheduler][0], _SCHEDULES[how.spacing][0]
    if (how.scheduler, how.spacing) == ("ddim", "leading"):
        sampler, schedule = "DDIM", "Automatic"
    fields: dict[str, object] = {
        "Steps": how.steps,
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": f"{how.guidance:g}",
        "Seed": drawn.seed,
        "Size": f"{drawn.size[0]}x{drawn.size[1]}",
        "Model hash": drawn.base_hash[:10],
        "Model": drawn.base,
        "VAE": drawn.vae or "",
        "Clip skip": drawn.clip_skip + 1 if drawn.clip_skip and drawn.version != "sdxl" else "",
        "RNG": "CPU",
        "Noise Schedule": "Zero Terminal SNR" if drawn.zero_terminal_snr else "",
        "Lora hashes": f"{drawn.lora}: {drawn.lora_hash[:12]}",
    }
    line = ", ".join(f"{key}: {_quoted(value)}" for key, value in fields.items() if value != "")
    negative = f"\nNegative prompt: {_plain(how.negative)}" if how.negative else ""
    return f"{_plain(drawn.prompt)} <lora:{drawn.lora}:1>{negative}\n{line}"


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _QUOTED.search(text) else text


def _plain(prompt: str, brackets: str = r"[\\()\[\]]") -> str:
    """A prompt whose brackets stay text, where they would weigh words."""
    return re.sub(brackets, lambda match: f"\\{match[0]}", prompt)


def comfyui_prompt(drawn: Drawn) -> Graph:
    """Write the graph that ComfyUI's API takes.

    Args:
        drawn: the picture.
    Returns:
        Number of a node to its class and inputs; an input is a value, or node and output.
    """
    how, graph = drawn.sampling, _Graph()
    base = graph.add("CheckpointLoaderSimple", ckpt_name=f"{drawn.base}.safetensors")
    lora = graph.add(
        "LoraLoader",
        model=[base, 0],
        clip=[base, 1],
        lora_name=f"{drawn.lora}.safetensors",
        strength_model=1.0,
        strength_clip=1.0,
    )
    model, clip, vae = [lora, 0], [lora, 1], [base, 2]
    if drawn.vae is not None:
        vae = [graph.add("VAELoader", vae_name=drawn.vae), 0]
    if drawn.clip_skip:
        # SD 2.x and SDXL leave one layer out by themselves.
        last = -drawn.clip_skip - (1 if drawn.version == "sd1" else 2)
        clip = [graph.add("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=last), 0]
    if drawn.velocity:
        zero = drawn.zero_terminal_snr
        chosen = {"model": model, "sampling": "v_prediction", "zsnr": zero}
        model = [graph.add("ModelSamplingDiscrete", **chosen), 0]
    if drawn.rescale:
        model = [graph.add("RescaleCFG", model=model, multiplier=drawn.rescale), 0]
    texts = [_plain(text, r"[()]") for text in (drawn.prompt, how.negative)]
    wanted, negative = (graph.add("CLIPTextEncode", clip=clip, text=text) for text in texts)
    width, height = drawn.size
    empty = graph.add("EmptyLatentImage", width=width, height=height, batch_size=1)
    latents = graph.add(
        "KSampler",
        model=model,
        positive=[wanted, 0],
        negative=[negative, 0],
        latent_image=[empty, 0],
        seed=drawn.seed,
        steps=how.steps,
        cfg=how.guidance,
        sampler_name=_SAMPLERS[how.scheduler][1],
        scheduler=_SCHEDULES[how.spacing][1],
        denoise=1.0,
    )
    picture = graph.add("VAEDecode", samples=[latents, 0], vae=vae)
    graph.add("SaveImage", images=[picture, 0], filename_prefix=drawn.lora)
    return graph.nodes


class _Graph:
    """Nodes that are numbered as they are added."""

    def __init__(self) -> None:
        self.nodes: Graph = {}

    def add(self, kind: str, **inputs: object) -> str:
        number = str(len(self.nodes) + 1)
        self.nodes[number] = {"class_type": kind, "inputs": inputs}
        return number


# Types of a node's outputs, in order.
_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "CheckpointLoaderSimple": ("MODEL", "CLIP", "VAE"),
    "LoraLoader": ("MODEL", "CLIP"),
    "VAELoader": ("VAE",),
    "CLIPSetLastLayer": ("CLIP",),
    "ModelSamplingDiscrete": ("MODEL",),
    "RescaleCFG": ("MODEL",),
    "CLIPTextEncode": ("CONDITIONING",),
    "EmptyLatentImage": ("LATENT",),
    "KSampler": ("LATENT",),
    "VAEDecode": ("IMAGE",),
    "SaveImage": (),
}
_WIDTH_PX, _HEIGHT_PX = 320, 260


def comfyui_workflow(graph: Graph) -> dict[str, object]:
    """Write a graph as ComfyUI's editor keeps it, with places and links.

    Args:
        graph: of `comfyui_prompt`.
    Returns:
        What a workflow's JSON file holds (version 0.4).
    """
    links: list[list[object]] = []
    nodes: list[dict[str, object]] = []
    leaving: dict[tuple[str, int], list[int]] = {}
    for number, node in graph.items():
        kind, taken, widgets = str(node["class_type"]), [], []
        for name, value in _inputs(node).items():
            if not isinstance(value, list):
                widgets.append(value)
                if (kind, name) == ("KSampler", "seed"):
                    widgets.append("fixed")  # what the editor does with the seed afterwards
                continue
            source, slot = str(value[0]), int(value[1])
            offered = _OUTPUTS[str(graph[source]["class_type"])][slot]
            link = len(links) + 1
            links.append([link, int(source), slot, int(number), len(taken), offered])
            taken.append({"name": name, "type": offered, "link": link})
            leaving.setdefault((source, slot), []).append(link)
        order = len(nodes)
        nodes.append(
            {
                "id": int(number),
                "type": kind,
                "pos": [40 + _WIDTH_PX * (order // 2), 60 + _HEIGHT_PX * (order % 2)],
                "size": [290, 200],
                "flags": {},
                "order": order,
                "mode": 0,
                "inputs": taken,
                "outputs": [],
                "properties": {"Node name for S&R": kind},
                "widgets_values": widgets,
            }
        )
    for node in nodes:
        node["outputs"] = [
            {"name": kind, "type": kind, "links": leaving.get((str(node["id"]), slot), []),
             "slot_index": slot}
            for slot, kind in enumerate(_OUTPUTS[str(node["type"])])
        ]  # fmt: skip
    ends = {"last_node_id": len(nodes), "last_link_id": len(links)}
    rest = {"groups": [], "config": {}, "extra": {}, "version": 0.4}
    return {**ends, "nodes": nodes, "links": links, **rest}


def _inputs(node: Mapping[str, object]) -> Mapping[str, object]:
    inputs = node["inputs"]
    assert isinstance(inputs, dict)
    return inputs
