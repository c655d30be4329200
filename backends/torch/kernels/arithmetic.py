"""Functions of two streams, element by element; the choice between two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def mod(x: Tensor, y: Tensor, *, truncated: bool) -> Tensor:
    return torch.fmod(x, y) if truncated else torch.remainder(x, y)


def select(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition > 0.5, x, y)


KERNELS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "min": torch.minimum,
    "max": torch.maximum,
    "mod": mod,
    "where": torch.where,
    "select": select,
}
