"""Operations and memory of a pass, held against passes that torch really makes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.utils.flop_counter import FlopCounterMode

from workbench.models.passes import count_pass

LATENTS, TOKENS = (2, 4, 16, 8), 77


def build(*, device: str, eager: bool = False) -> UNet2DConditionModel:
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=2,
            cross_attention_dim=48,
            attention_head_dim=8,
            norm_num_groups=8,
        )
    if eager:
        unet.set_attn_processor(AttnProcessor())
    return unet.train()


def run(unet: UNet2DConditionModel) -> None:
    predicted = unet(
        torch.randn(LATENTS),
        torch.ones(LATENTS[0], dtype=torch.int64),
        encoder_hidden_states=torch.randn(LATENTS[0], TOKENS, 48),
        return_dict=False,
    )[0]
    predicted.square().mean().backward()


def counted(*, recomputing: bool, eager: bool = False, latents: tuple[int, ...] = LATENTS):
    unet = build(device="meta", eager=eager)
    batch, channels, height, width = latents
    return count_pass(
        unet,
        (batch, channels, height, width),
        num_tokens=TOKENS,
        precision=torch.float32,
        recomputing=recomputing,
    )


@pytest.mark.parametrize("recomputing", [False, True])
def test_operations_are_those_of_torchs_own_counter(recomputing: bool):
    unet = build(device="cpu", eager=True)
    if recomputing:
        unet.enable_gradient_checkpointing()
    with FlopCounterMode(display=False) as counter:
        run(unet)
    assert counted(recomputing=recomputing, eager=True).flop == counter.get_total_flops() > 1e8


@contextmanager
def kept_bytes(unet: UNet2DConditionModel) -> Iterator[list[int]]:
    """Sizes of what a real pass keeps for its way back, weights left aside."""
    own, seen = {p.data_ptr() for p in unet.parameters()}, {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    found: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
    found.append(sum(seen.values()))


def test_activations_are_what_a_real_pass_keeps():
    """And what is needed for a moment: the last layers' inputs and gradients, some percent."""
    unet = build(device="cpu", eager=True)
    with kept_bytes(unet) as found:
        run(unet)
    ours = counted(recomputing=False, eager=True).activation_bytes
    assert found[0] <= ours <= 1.15 * found[0]


def test_recomputing_keeps_a_part_and_computes_more():
    kept, again = counted(recomputing=False), counted(recomputing=True)
    assert again.activation_bytes < 0.6 * kept.activation_bytes
    assert 1.2 * kept.flop < again.flop < 4 / 3 * kept.flop  # at most the way forward once more


def test_fused_attention_keeps_no_table():
    """1,024 places: a table of all pairs would be four times the rest."""
    large = (1, 4, 32, 32)
    fused = counted(recomputing=False, latents=large).activation_bytes
    eager = counted(recomputing=False, eager=True, latents=large).activation_bytes
    table = 4 * 4 * math.prod(large[2:]) ** 2  # heads, bytes
    assert eager - fused > table


def test_norms_in_float32_cost_a_narrow_model_memory():
    """As under autocast on a GPU: bfloat16 does not halve what is kept."""
    sizes = {}
    for dtype in (torch.float32, torch.bfloat16):
        unet = build(device="meta").to(dtype)
        found = count_pass(unet, LATENTS, num_tokens=TOKENS, precision=dtype, recomputing=False)
        sizes[dtype] = found.activation_bytes
    assert 0.6 < sizes[torch.bfloat16] / sizes[torch.float32] < 0.95
