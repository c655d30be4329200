"""Normalisations and softmaxes; a parameter per channel applies to axis 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def per_channel(parameter: Tensor, rank: int) -> Tensor:
    return parameter.reshape(1, -1, *(1,) * (rank - 2))


def trailing(axis: int, rank: int) -> list[int]:
    return list(range(axis % rank, rank))


def standardise(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    """Return (x - mean) / √(variance + epsilon), statistics over the axes."""
    centred = x - x.mean(axes, keepdim=True)
    return centred * (1 / torch.sqrt(centred.square().mean(axes, keepdim=True) + epsilon))


def affine(y: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def batch_norm(
    x: Tensor, *, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> Tensor:
    scale = gamma / torch.sqrt(variance.double() + epsilon)
    shift = beta - mean * scale
    return x * per_channel(scale.to(x.dtype), x.ndim) + per_channel(shift.to(x.dtype), x.ndim)


def layer_norm(x: Tensor, *, axis: int, gamma: Tensor | None, beta: Tensor | None, epsilon: float) -> Tensor:
    return affine(standardise(x, trailing(axis, x.ndim), epsilon), gamma, beta)


def rms_norm(x: Tensor, *, axis: int, gamma: Tensor | None, epsilon: float) -> Tensor:
    power = x.square().mean(trailing(axis, x.ndim), keepdim=True)
    return affine(x * (1 / torch.sqrt(power + epsilon)), gamma, None)


def group_norm(
    x: Tensor, *, groups: int, gamma: Tensor | None, beta: Tensor | None, epsilon: float
) -> Tensor:
    y = standardise(x.reshape(x.shape[0], groups, -1), [2], epsilon).reshape(x.shape)
    return affine(
        y,
        None if gamma is None else per_channel(gamma, x.ndim),
        None if beta is None else per_channel(beta, x.ndim),
    )


def softmax(x: Tensor, *, axis: int) -> Tensor:
    return torch.softmax(x, axis)


def log_softmax(x: Tensor, *, axis: int) -> Tensor:
    return torch.log_softmax(x, axis)


def lp_norm(x: Tensor, *, axis: int, p: int) -> Tensor:
    wide = x.double()
    total = wide.abs().sum(axis, keepdim=True) if p == 1 else wide.square().sum(axis, keepdim=True).sqrt()
    norm = total.to(x.dtype)
    return torch.where(norm != 0, x / norm, 0)


KERNELS: dict[str, Callable[..., Tensor]] = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "lp_norm": lp_norm,
}
