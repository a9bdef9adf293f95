"""Where an adapter starts when not at nothing: an earlier file, or a part of the base itself."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from workbench.adapters.decompose import lengths
from workbench.adapters.layers import Layer, LowRank, factors
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.adapters.networks import NetworkSettings

Init = Literal["zero", "pissa", "olora"]
_SCALED = ("up", "w2_b", "w2")  # the factor that takes a change of scale


def pissa(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """The largest singular directions of a weight, halves of each value in both matrices.

    Args:
        weight: W as a matrix (out, in).
        rank: how many directions.
        scale: factor that the product will have.
    Returns:
        A (rank, in) and B (out, rank) with scale B A the best approximation of W.
    Source: Meng et al. 2024, arXiv 2404.02948; peft's `init_lora_weights="pissa"`.
    """
    left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
    root = (values[:rank] / scale).sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def olora(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """The first columns of Q and rows of R of a weight's QR decomposition.

    Args:
        weight: W as a matrix (out, in).
        rank: how many columns.
        scale: not used: the product is `scale` times what is taken.
    Returns:
        A (rank, in) and B (out, rank), B with orthonormal columns.
    Source: Büyükakyüz 2024, arXiv 2406.01775; peft's `init_lora_weights="olora"`.
    """
    q, r = torch.linalg.qr(weight.float())
    return r[:rank].contiguous(), q[:, :rank].contiguous()


_FROM_BASE: dict[str, Callable[[Tensor, int, float], tuple[Tensor, Tensor]]] = {
    "pissa": pissa,
    "olora": olora,
}


def from_base(weight: Tensor, *, rank: int, alpha: float, init: Init, name: str) -> LowRank:
    """A layer that starts as a part of the weight.

    Args:
        weight: W, (out, in) or (out, in, height, width).
        rank: of the layer.
        alpha: of the layer.
        init: "pissa" or "olora".
        name: of the layer, for the error.
    Returns:
        The layer; what it adds must be taken off the base.
    Raises:
        SettingsError: the weight has fewer directions than that.
    """
    matrix = weight.detach().flatten(1)
    if rank > min(matrix.shape):
        raise SettingsError(
            f"adapter.init={init!r} takes adapter.rank={rank} directions out of each weight, and "
            f"{name} has {min(matrix.shape)}; lower the rank, or give the layer one of its own in "
            "adapter.blocks"
        )
    a, b = _FROM_BASE[init](matrix, rank, alpha / rank)
    ones = (1,) * (weight.dim() - 2)
    return LowRank(a.unflatten(1, weight.shape[1:]), b.reshape(*b.shape, *ones), alpha)


def since(start: LowRank, now: LowRank) -> LowRank:
    """What a layer that began as a part of the base has changed: B A - B0 A0.

    Written as [B - B0 | B0] [A ; A - A0], of twice the rank. peft's own conversion,
    [B | -B0] [A ; A0], is the same sum as a difference of large products, which float16 spoils.

    Args:
        start: A0 and B0.
        now: A and B.
    Returns:
        A layer for the untouched base.
    """
    down = torch.cat([now.down, now.down - start.down])
    up = torch.cat([now.up - start.up, start.up], dim=1)
    return LowRank(down, up, 2 * now.alpha)


def continued(
    fresh: Mapping[str, Mapping[str, Layer]],
    earlier: Mapping[str, Mapping[str, Layer]],
    *,
    weights: Mapping[str, Mapping[str, Tensor]],
    settings: "NetworkSettings",
) -> dict[str, dict[str, Layer]]:
    """Put an earlier adapter's layers in the place of fresh ones.

    Args:
        fresh: part to path to layer, as the settings make them.
        earlier: the same of a file; layers that it has not stay fresh.
        weights: part to path to the base's weight.
        settings: what asks for it.
    Returns:
        Part to path to layer. Each changes its weight as the file does; where the settings name an
        alpha, one factor is scaled so that it stays so, else alpha is the file's.
    Raises:
        SettingsError: another method, other shapes, or layers that do not learn here.
    """
    joint = {part: dict(layers) for part, layers in fresh.items()}
    for part, layers in earlier.items():
        for path, layer in layers.items():
            name = f"{part}.{path}"
            if path not in joint.get(part, {}):
                raise SettingsError(
                    f"adapter.start_from: {settings.start_from} changes {name}, which does not "
                    "learn here; add its group to adapter.groups, or set adapter.text_encoder=true"
                )
            block = settings.block(name)
            names_alpha = settings.alpha is not None or (block is not None and block.alpha)
            _check(joint[part][path], layer, f"{settings.start_from}: {name}")
            joint[part][path] = _joined(
                joint[part][path], layer, weight=weights[part][path], rescale=bool(names_alpha)
            )
    return joint


def _check(fresh: Layer, start: Layer, where: str) -> None:
    """Refuse what cannot go on, with the setting that would make it fit."""
    if fresh.kind != start.kind:
        raise SettingsError(
            f"adapter.start_from: {where} is of kind {start.kind!r}, and adapter.kind is "
            f"{fresh.kind!r}; set adapter.kind={start.kind}"
        )
    if start.magnitude is not None and fresh.magnitude is None:
        fix = "set adapter.dora=true" if start.kind == "lora" else "only a LoRA can train them here"
        raise SettingsError(f"adapter.start_from: {where} has DoRA's lengths; {fix}")
    if start.magnitude is not None and start.magnitude.shape != fresh.magnitude.shape:  # type: ignore[union-attr]
        raise SettingsError(
            f"adapter.start_from: {where} has DoRA's lengths of inputs, and only those of outputs "
            "can be trained; start anew"
        )
    if fresh.rank != start.rank:
        raise SettingsError(
            f"adapter.start_from: {where} has rank {start.rank}, and rank {fresh.rank} is set; "
            f"set adapter.rank={start.rank} (conv_rank, text_encoder_rank or a block's where those "
            f"decide), or resize the file: workbench convert ... --rank {fresh.rank}"
        )
    mine, theirs = ({f: list(t.shape) for f, t in factors(x).items()} for x in (fresh, start))
    if mine != theirs:
        raise SettingsError(
            f"adapter.start_from: {where} is made of {theirs}, and {mine} would learn; for a LoKr "
            "set adapter.factor and adapter.decompose_both as the file has them"
        )


def _joined(fresh: Layer, start: Layer, *, weight: Tensor, rescale: bool) -> Layer:
    """The file's layer, with the alpha that the settings name."""
    values = {field: tensor.float() for field, tensor in factors(start).items()}
    if rescale:
        field = next(field for field in _SCALED if field in values)
        values[field] = values[field] * (start.scale / fresh.scale)
        start = replace(fresh, **values, magnitude=start.magnitude)
    else:
        start = replace(start, **values)
    if fresh.magnitude is not None and start.magnitude is None:  # a LoRA goes on as a DoRA
        base = weight.detach().float()
        moved = base + start.product().reshape(base.shape).to(base.device)
        start = replace(start, magnitude=lengths(moved, like=fresh.magnitude))
    return start
