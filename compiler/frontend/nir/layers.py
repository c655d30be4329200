"""NIR's layers between neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.context import RejectedError
from snnc.frontend.nir.context import compact, single
from snnc.ir.shapes import Batch

if TYPE_CHECKING:
    from snnc.frontend.nir.context import NirNode
    from snnc.ir.graph import Value


def affine(given: NirNode) -> Value:
    return linear(given, bias=True)


def linear(given: NirNode, bias: bool = False) -> Value:
    if len(given.x.type.shape) != 2:
        raise RejectedError(
            f"it maps vectors, what it reads is {given.x.type}", help="put a Flatten before it"
        )
    weight = given.tensor("weight", 2)
    return given.emit("linear", weight=weight, bias=given.tensor("bias", 1) if bias else None)


def conv(given: NirNode) -> Value:
    rank = 1 if type(given.node).__name__ == "Conv1d" else 2
    weight, bias = given.tensor("weight", rank + 2), given.tensor("bias", 1)
    strides, dilations = given.ints("stride", rank), given.ints("dilation", rank)
    (group,) = given.ints("groups", 1)
    return given.emit(
        "conv",
        weight=weight,
        bias=bias if bias.any() else None,
        strides=strides,
        pads=padding(given, weight.shape[2:], strides, dilations),
        dilations=dilations,
        group=group,
    )


def padding(
    given: NirNode, sizes: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[int, ...]:
    """Return what is padded before every axis, then after. 'same' as PyTorch has it: the odd one behind."""
    stated = given.node.padding
    stated = stated.decode("utf-8", "replace") if isinstance(stated, bytes) else stated
    rank = len(sizes)
    if not isinstance(stated, str):
        pads = given.ints("padding", rank)
        return (*pads, *pads)
    if stated == "valid":
        return (0,) * (2 * rank)
    if stated != "same" or set(strides) != {1}:
        raise RejectedError(f"it has the padding {stated!r} and the strides {list(strides)}")
    total = [(size - 1) * dilation for size, dilation in zip(sizes, dilations, strict=True)]
    return (*(n // 2 for n in total), *(n - n // 2 for n in total))


def avg_pool(given: NirNode) -> Value:
    pads = given.ints("padding", 2)
    return given.emit(
        "avg_pool",
        kernel=given.ints("kernel_size", 2),
        strides=given.ints("stride", 2),
        pads=(*pads, *pads),
        dilations=(1, 1),
        count_include_pad=True,
    )


def sum_pool(given: NirNode) -> Value:
    """A convolution of each channel with ones."""
    kernel, pads, shape = given.ints("kernel_size", 2), given.ints("padding", 2), given.x.type.shape
    if len(shape) != 4 or not isinstance(shape[1], int) or min(kernel) < 1 or max(kernel) > 2**10:
        raise RejectedError(f"it adds up windows of {list(kernel)}, what it reads is {given.x.type}")
    return given.emit(
        "conv",
        weight=np.ones((shape[1], 1, *kernel), np.float32),
        strides=given.ints("stride", 2),
        pads=(*pads, *pads),
        dilations=(1, 1),
        group=shape[1],
    )


def flatten(given: NirNode) -> Value:
    """Join the axes start_dim to end_dim of a sample; its batch is none of them."""
    sizes = [size for size in given.x.type.shape[1:] if isinstance(size, int)]
    (start,), (end,) = given.ints("start_dim", 1), given.ints("end_dim", 1)
    first, last = (axis + len(sizes) if axis < 0 else axis for axis in (start, end))
    if not 0 <= first <= last < len(sizes):
        raise RejectedError(f"it joins the axes {start} to {end}, a sample has {len(sizes)}")
    joined = int(np.prod(sizes[first : last + 1], dtype=np.int64))
    return given.emit("reshape", shape=(Batch(), *sizes[:first], joined, *sizes[last + 1 :]))


def scale(given: NirNode) -> Value:
    factor = single(compact(given.array("scale"), given.x, "scale"), "scale")
    constant = given.graph.constant_value(factor, f"{given.name}.scale", origin=[given.name])
    return given.graph.append("mul", [given.x, constant], origin=[given.name], name=given.name)


def delay(given: NirNode) -> Value:
    """So many steps as the delay has dt, for all elements alike."""
    seconds = np.unique(given.array("delay"))
    if seconds.size != 1:
        raise RejectedError("its elements are delayed differently")
    steps = float(seconds[0]) / given.timing.dt
    whole = round(steps)
    if whole < 0 or abs(steps - whole) > 1e-6 * max(1, whole):
        raise RejectedError(
            f"it delays by {float(seconds[0]):g} s, which is {steps:g} time steps of {given.timing.dt:g} s",
            help="choose --dt so that it is a whole number",
        )
    return given.x if whole == 0 else given.emit("delay", steps=whole)
