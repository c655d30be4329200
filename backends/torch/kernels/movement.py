"""Movement of elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Ints = tuple[int, ...]


def reshape(x: Tensor, *, shape: Ints) -> Tensor:
    return x.reshape(shape)


def transpose(x: Tensor, *, perm: Ints) -> Tensor:
    return x.permute(perm)


def expand(x: Tensor, *, shape: Ints) -> Tensor:
    return x.expand(shape)


def tile(x: Tensor, *, repeats: Ints) -> Tensor:
    return x.tile(repeats)


def concat(*xs: Tensor, axis: int) -> Tensor:
    return torch.cat(xs, axis)


def slice_(x: Tensor, *, axes: Ints, starts: Ints, ends: Ints, steps: Ints) -> Tensor:
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        chosen = range(*slice(start, end, step).indices(x.shape[axis]))
        if step > 0:
            x = x[(*(slice(None),) * (axis % x.ndim), slice(start, end, step))]
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
    return x


def gather(x: Tensor, *, axis: int, indices: Tensor) -> Tensor:
    axis %= x.ndim
    chosen = indices.to(torch.int64).reshape(-1) % x.shape[axis]
    return x.index_select(axis, chosen).reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def pad(x: Tensor, *, pads: Ints, mode: str, value: float) -> Tensor:
    """Pad by looking up positions; a constant goes where the position is outside."""
    for axis, (before, after) in enumerate(zip(pads[: x.ndim], pads[x.ndim :], strict=True)):
        if not before and not after:
            continue
        size = x.shape[axis]
        if mode == "constant":
            shape = list(x.shape)
            shape[axis] = before
            front = x.new_full(shape, value)
            shape[axis] = after
            x = torch.cat([front, x, x.new_full(shape, value)], axis)
        else:
            places = torch.as_tensor(np.pad(np.arange(size), (before, after), mode), device=x.device)  # type: ignore[call-overload]  # a checked string, no literal
            x = x.index_select(axis, places)
    return x


def depth_to_space(x: Tensor, *, block: int, mode: str) -> Tensor:
    batch, depth, height, width = x.shape
    inner = depth // block**2
    if mode == "DCR":
        parts = x.reshape(batch, block, block, inner, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(batch, inner, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, inner, height * block, width * block)


def space_to_depth(x: Tensor, *, block: int) -> Tensor:
    batch, depth, height, width = x.shape
    parts = x.reshape(batch, depth, height // block, block, width // block, block)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block, width // block)


def constant(*, value: Tensor) -> Tensor:
    return value


KERNELS: dict[str, Callable[..., Tensor]] = {
    "reshape": reshape,
    "transpose": transpose,
    "expand": expand,
    "tile": tile,
    "concat": concat,
    "slice": slice_,
    "gather": gather,
    "pad": pad,
    "depth_to_space": depth_to_space,
    "space_to_depth": space_to_depth,
    "constant": constant,
}
