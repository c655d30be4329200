"""Fine-tune a network that carries quantisers."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnc.ir.errors import DataError
from snnc.nn.quantiser import quantisers

if TYPE_CHECKING:
    from collections.abc import Callable

    Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def fine_tune(
    module: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    rate: float = 1e-3,
    threshold_rate: float = 2e-2,
    weight_decay: float = 1e-2,
    warm_up: float = 0.1,
    batch: int = 64,
    seed: int = 0,
    loss: Loss = functional.cross_entropy,
    teacher: nn.Module | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> list[float]:
    """Train weights and thresholds together with AdamW; return the mean loss of every epoch.

    Both rates fall along one cosine. In the first share `warm_up` of the steps that of the weights rises
    from 0: thresholds that start far off come back before the weights adapt to them. Thresholds do not
    decay. (LSQ's gradient scale 1/√(N L) would change nothing: AdamW divides it out.)

    A teacher, usually the network without quantisers, adds the cross entropy against its class probabilities.
    The order of samples, dropout and `augment` follow from the seed alone; the caller's random state is
    left as it was, and the module in evaluation mode.
    """
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise DataError(f"{len(inputs)} inputs and {len(targets)} targets do not make a training set")
    thresholds = [part.log_theta for part in quantisers(module).values()]
    theirs = {id(parameter) for parameter in thresholds}
    weights = [parameter for parameter in module.parameters() if id(parameter) not in theirs]
    optimiser = torch.optim.AdamW(
        [
            {"params": weights, "lr": rate, "weight_decay": weight_decay},
            {"params": thresholds, "lr": threshold_rate, "weight_decay": 0.0},
        ]
    )
    steps = epochs * -(-len(inputs) // batch)
    rising = round(warm_up * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, [partial(rate_at, steps=steps, rising=rising), partial(rate_at, steps=steps)]
    )
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module.train()
        for _ in range(epochs):
            total = 0.0
            order = torch.randperm(len(inputs))
            for start in range(0, len(inputs), batch):
                picked = order[start : start + batch]
                x = inputs[picked] if augment is None else augment(inputs[picked])
                y = module(x)
                value = loss(y, targets[picked])
                if teacher is not None:
                    with torch.no_grad():
                        wanted = torch.softmax(teacher(x), dim=-1)
                    value = value + functional.cross_entropy(y, wanted)
                optimiser.zero_grad()
                torch.autograd.backward(value)
                optimiser.step()
                schedule.step()
                total += value.item() * len(picked)
            losses.append(total / len(inputs))
        module.eval()
    return losses


def rate_at(step: int, steps: int, rising: int = 0) -> float:
    """Return the share of the learning rate at a step: a line up for `rising` steps, times half a cosine."""
    up = (step + 1) / rising if step < rising else 1.0
    return up * 0.5 * (1 + math.cos(math.pi * step / steps))
