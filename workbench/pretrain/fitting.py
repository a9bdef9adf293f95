"""A loop for what is no diffusion model: autoencoder and CLIP, trained for a span of time."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench import store

SAVE_EVERY_S = 120
LOG_EVERY_STEPS = 100


def _checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, **progress: float
) -> None:
    tensors = _checkpoint(model, optimizer)
    tensors |= {f"progress.{k}": torch.tensor(v, dtype=torch.float64) for k, v in progress.items()}
    store.save_tensors(path, tensors)


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    if not path.exists():
        return {"step": 0, "elapsed_s": 0.0}
    tensors = store.load_tensors(path)
    kinds: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "progress": {}}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        kinds[kind][rest] = tensor
    model.load_state_dict(kinds["model"])
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in kinds["optimizer"].items():
        index, key = name.split(".", 1)
        states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    return {name: value.item() for name, value in kinds["progress"].items()}


def fit(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    folder: Path,
    *,
    minutes: float,
    learning_rate: float,
) -> Iterator[tuple[int, float]]:
    """Train for a span of time, the learning rate falling linearly to nothing at its end.

    A span of time and not of steps, since what is scarce on two cores is the former. Step `i`
    must draw the same batch whenever it is called, so that an interrupted run goes on as it was.

    Args:
        model: trained in place; only its parameters that require a gradient.
        loss_of: gives the loss of step `i`, a scalar.
        folder: holds `checkpoint.safetensors`, from which the run goes on if it is there.
        minutes: training time, that before an interruption included; > 0.
        learning_rate: AdamW's, reached after 100 steps of warm-up.
    Yields:
        Step and loss, every hundred steps.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    path = folder / "checkpoint.safetensors"
    progress = _resume(path, model, optimizer)
    step, before_s, started = int(progress["step"]), progress["elapsed_s"], time.monotonic()
    saved = started
    losses: list[float] = []
    while (elapsed_s := before_s + time.monotonic() - started) < minutes * 60:
        remaining = 1 - elapsed_s / (minutes * 60)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 100) * remaining
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        losses.append(loss.item())
        if step % LOG_EVERY_STEPS == 0:
            yield step, sum(losses) / len(losses)
            losses.clear()
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(path, model, optimizer, step=step, elapsed_s=elapsed_s)
            saved = time.monotonic()
    _save(path, model, optimizer, step=step, elapsed_s=minutes * 60)
