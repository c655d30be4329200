"""Synapses and the product of two streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Ints = tuple[int, ...]
CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def borders(befores: Ints, afters: Ints) -> list[int]:
    """Return pads as PyTorch wants them: the last axis first, before and after."""
    pairs = reversed(list(zip(befores, afters, strict=True)))
    return [size for pair in pairs for size in pair]


def with_bias(y: Tensor, bias: Tensor | None, exponent: int) -> Tensor:
    """Return 2^exponent y + bias, bias [C] on axis 1."""
    if exponent:
        y = y * 2**exponent
    return y if bias is None else y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def conv(
    x: Tensor,
    *,
    weight: Tensor,
    bias: Tensor | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    group: int,
    exponent: int = 0,
) -> Tensor:
    rank = weight.ndim - 2
    ones, pads = (1,) * rank, pads or (0,) * 2 * rank
    before, after = pads[:rank], pads[rank:]
    if before != after:
        x, before = functional.pad(x, borders(before, after)), (0,) * rank
    y = CONVOLUTIONS[rank](x, weight, None, strides or ones, before, dilations or ones, group)
    return with_bias(y, bias, exponent)


def conv_transpose(
    x: Tensor,
    *,
    weight: Tensor,
    bias: Tensor | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    output_padding: Ints,
    group: int,
    exponent: int = 0,
) -> Tensor:
    rank = weight.ndim - 2
    ones, pads = (1,) * rank, pads or (0,) * 2 * rank
    y = TRANSPOSED[rank](x, weight, None, strides or ones, 0, 0, group, dilations or ones)
    extra = output_padding or (0,) * rank
    # A negative pad crops.
    after = tuple(more - pad for more, pad in zip(extra, pads[rank:], strict=True))
    return with_bias(functional.pad(y, borders(tuple(-pad for pad in pads[:rank]), after)), bias, exponent)


def linear(x: Tensor, *, weight: Tensor, bias: Tensor | None, exponent: int = 0) -> Tensor:
    y = torch.matmul(x, weight.T)
    if exponent:
        y = y * 2**exponent
    return y if bias is None else y + bias


KERNELS: dict[str, Callable[..., Tensor]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "matmul": torch.matmul,
}
