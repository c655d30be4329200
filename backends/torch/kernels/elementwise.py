"""Functions of one stream, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def leaky_relu(x: Tensor, *, alpha: float) -> Tensor:
    return x.clamp(min=0) + x.clamp(max=0) * alpha


def prelu(x: Tensor, *, slope: Tensor) -> Tensor:
    return x.clamp(min=0) + x.clamp(max=0) * slope


def thresholded_relu(x: Tensor, *, alpha: float) -> Tensor:
    return torch.where(x > alpha, x, 0)


def clip(x: Tensor, *, low: float | None, high: float | None) -> Tensor:
    return x if low is None and high is None else x.clamp(low, high)


def hard_sigmoid(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return (x * alpha + beta).clamp(0, 1)


def hard_swish(x: Tensor) -> Tensor:
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


def softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


def mish(x: Tensor) -> Tensor:
    return x * torch.tanh(softplus(x))


def elu(x: Tensor, *, alpha: float) -> Tensor:
    return x.clamp(min=0) + torch.expm1(x.clamp(max=0)) * alpha


def selu(x: Tensor, *, alpha: float, gamma: float) -> Tensor:
    return elu(x, alpha=alpha) * gamma


def celu(x: Tensor, *, alpha: float) -> Tensor:
    return x.clamp(min=0) + torch.expm1((x / alpha).clamp(max=0)) * alpha


def softsign(x: Tensor) -> Tensor:
    return x / (x.abs() + 1)


def along_axis(parameter: Tensor, axis: int, rank: int) -> Tensor:
    """Return a parameter so that it broadcasts against a tensor of that rank."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    return parameter.reshape([-1 if index == axis % rank else 1 for index in range(rank)])


def fake_quantise(x: Tensor, *, scale: Tensor, lo: int, hi: int, rounding: str) -> Tensor:
    level = torch.round(x / scale) if rounding == "nearest" else torch.floor(x / scale + 0.5)
    return level.clamp(lo, hi) * scale


def dequantise(x: Tensor, *, scale: Tensor, zero_point: Tensor | None, axis: int) -> Tensor:
    level = x.to(scale.dtype)
    if zero_point is not None:
        level = level - along_axis(zero_point, axis, x.ndim).to(scale.dtype)
    return level * along_axis(scale, axis, x.ndim)


KERNELS: dict[str, Callable[..., Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": leaky_relu,
    "prelu": prelu,
    "thresholded_relu": thresholded_relu,
    "clip": clip,
    "hard_sigmoid": hard_sigmoid,
    "hard_swish": hard_swish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "mish": mish,
    "elu": elu,
    "selu": selu,
    "celu": celu,
    "softplus": softplus,
    "softsign": softsign,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "reciprocal": torch.reciprocal,
    "sin": torch.sin,
    "atan": torch.atan,
    "cos": torch.cos,
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "fake_quantise": fake_quantise,
    "dequantise": dequantise,
}
