"""Reductions and the running sum; sums of reals in double precision, as in the op table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Axes = tuple[int, ...]


def every(x: Tensor, axes: Axes) -> list[int]:
    """Return the axes to reduce; none named means all."""
    return list(axes) or list(range(x.ndim))


def total(x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """Return Σ x in double precision."""
    return x.double().sum(every(x, axes), keepdim=keepdims)


def reduce_sum(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return total(x, axes, keepdims).to(x.dtype)


def reduce_mean(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return x.double().mean(every(x, axes), keepdim=keepdims).to(x.dtype)


def reduce_prod(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    y = x.double()
    for axis in sorted((axis % x.ndim for axis in every(x, axes)), reverse=True):
        y = y.prod(axis, keepdim=keepdims)
    return y.to(x.dtype)


def reduce_max(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return x.amax(every(x, axes), keepdim=keepdims)


def reduce_min(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return x.amin(every(x, axes), keepdim=keepdims)


def reduce_l1(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return total(x.abs(), axes, keepdims).to(x.dtype)


def reduce_sum_square(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return total(x.square(), axes, keepdims).to(x.dtype)


def reduce_l2(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return total(x.square(), axes, keepdims).sqrt().to(x.dtype)


def reduce_log_sum(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return total(x, axes, keepdims).log().to(x.dtype)


def reduce_log_sum_exp(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return torch.logsumexp(x.double(), every(x, axes), keepdim=keepdims).to(x.dtype)


def cumsum(x: Tensor, *, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    ordered = x.flip(axis) if reverse else x
    sums = ordered.double().cumsum(axis)
    if exclusive:
        sums = sums.roll(1, axis)
        sums.select(axis, 0).zero_()
    return (sums.flip(axis) if reverse else sums).to(x.dtype)


KERNELS: dict[str, Callable[..., Tensor]] = {
    "reduce_sum": reduce_sum,
    "reduce_mean": reduce_mean,
    "reduce_prod": reduce_prod,
    "reduce_max": reduce_max,
    "reduce_min": reduce_min,
    "reduce_l1": reduce_l1,
    "reduce_sum_square": reduce_sum_square,
    "reduce_l2": reduce_l2,
    "reduce_log_sum": reduce_log_sum,
    "reduce_log_sum_exp": reduce_log_sum_exp,
    "cumsum": cumsum,
}
