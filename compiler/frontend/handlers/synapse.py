"""Operators with weights: convolutions and matrix products by a constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.graph import Value
from snnc.ir.ops.convolution import Window
from snnc.ir.shapes import static_dim

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.kernel_types import Array

Ints = tuple[int, ...]


# Convolution.


def spatial_sizes(ctx: NodeContext, weight: Array) -> Ints:
    shape = ctx.shape(ctx.entry(0))
    if weight.ndim != len(shape) or weight.ndim < 3:
        ctx.reject(
            f"its weight has {weight.ndim} axes and its input {len(shape)}; both need the same, 3 to 5"
        )
    return tuple(static_dim(dim, f"spatial axis {axis}") for axis, dim in enumerate(shape[2:]))


def same_pads(totals: Ints, *, upper: bool) -> Ints:
    """Return pads that split totals in halves; the odd one goes to the end (upper) or the start."""
    small, large = (tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals))
    return small + large if upper else large + small


def conv_pads(ctx: NodeContext, sizes: Ints, kernel: Ints, strides: Ints, dilations: Ints) -> Ints:
    mode = ctx.attribute("auto_pad", "NOTSET")
    match mode:
        case "NOTSET":
            return tuple(ctx.attribute("pads", (0,) * (2 * len(sizes))))
        case "VALID":
            return (0,) * (2 * len(sizes))
        case "SAME_UPPER" | "SAME_LOWER":
            axes = [Window(*axis) for axis in zip(sizes, kernel, strides, dilations, strict=True)]
            totals = (max(0, (-(-a.size // a.stride) - 1) * a.stride + a.extent - a.size) for a in axes)
            return same_pads(tuple(totals), upper=mode == "SAME_UPPER")
    ctx.reject(f"its auto_pad is {mode!r}")


def conv(ctx: NodeContext) -> Entry:
    weight = ctx.known(1, "weight")
    sizes = spatial_sizes(ctx, weight)
    ones = (1,) * len(sizes)
    strides, dilations = ctx.attribute("strides", ones), ctx.attribute("dilations", ones)
    return ctx.emit(
        "conv",
        [ctx.entry(0)],
        {
            "weight": weight,
            "bias": ctx.known_or(2, "bias", None),
            "strides": strides,
            "pads": conv_pads(ctx, sizes, weight.shape[2:], strides, dilations),
            "dilations": dilations,
            "group": ctx.attribute("group", 1),
        },
    )


def transposed_pads(ctx: NodeContext, axes: list[Window], output_padding: Ints) -> Ints:
    """Return the pads of a transposed convolution, from `pads`, `output_shape` or `auto_pad`."""
    mode = ctx.attribute("auto_pad", "NOTSET")
    wanted = ctx.attribute("output_shape", None)
    if wanted is None:
        if mode == "NOTSET":
            return tuple(ctx.attribute("pads", (0,) * (2 * len(axes))))
        if mode == "VALID":
            return (0,) * (2 * len(axes))
        wanted = tuple(axis.size * axis.stride for axis in axes)
    totals = tuple(
        (axis.size - 1) * axis.stride + axis.extent + more - size
        for axis, more, size in zip(axes, output_padding, wanted[-len(axes) :], strict=True)
    )
    if min(totals) < 0:
        ctx.reject(f"its output shape {list(wanted)} is larger than the kernel reaches", "set output_padding")
    return same_pads(totals, upper=mode == "SAME_UPPER")


def conv_transpose(ctx: NodeContext) -> Entry:
    weight = ctx.known(1, "weight")
    sizes = spatial_sizes(ctx, weight)
    ones, zeros = (1,) * len(sizes), (0,) * len(sizes)
    strides, dilations = ctx.attribute("strides", ones), ctx.attribute("dilations", ones)
    output_padding = ctx.attribute("output_padding", zeros)
    axes = [Window(*axis) for axis in zip(sizes, weight.shape[2:], strides, dilations, strict=True)]
    return ctx.emit(
        "conv_transpose",
        [ctx.entry(0)],
        {
            "weight": weight,
            "bias": ctx.known_or(2, "bias", None),
            "strides": strides,
            "pads": transposed_pads(ctx, axes, output_padding),
            "dilations": dilations,
            "output_padding": output_padding,
            "group": ctx.attribute("group", 1),
        },
    )


# Matrix products.


def scaled(ctx: NodeContext, entry: Entry, factor: float) -> Entry:
    return entry if factor == 1 else ctx.emit("mul", [entry, np.asarray(factor, np.float32)])


def turned(ctx: NodeContext, entry: Entry) -> Entry:
    return ctx.emit("transpose", [entry], {"perm": (1, 0)})


def gemm(ctx: NodeContext) -> Entry:
    alpha, beta = ctx.attribute("alpha", 1.0), ctx.attribute("beta", 1.0)
    a, b = ctx.entry(0), ctx.entry(1)
    if len(ctx.shape(a)) != 2 or len(ctx.shape(b)) != 2:
        ctx.reject("it multiplies tensors that are not matrices")
    if ctx.attribute("transA", 0):
        a = turned(ctx, a)
    c = scaled(ctx, ctx.entry(2), beta) if ctx.has(2) and beta != 0 else None
    if isinstance(b, Value):
        b = turned(ctx, b) if ctx.attribute("transB", 0) else b
        y = scaled(ctx, ctx.emit("matmul", [a, b]), alpha)
    else:
        weight = b if ctx.attribute("transB", 0) else b.T
        weight = weight if alpha == 1 else weight * np.asarray(alpha, weight.dtype)
        bias = row_bias(c, len(weight))
        y = ctx.emit("linear", [a], {"weight": weight, "bias": bias})
        c = None if bias is not None else c
    return y if c is None else ctx.emit("add", [y, c])


def row_bias(c: Entry | None, outputs: int) -> Array | None:
    """Return the addend of a Gemm as a bias [outputs], or None where it differs between rows or streams."""
    if c is None or isinstance(c, Value) or c.ndim > 2 or (c.ndim == 2 and len(c) != 1):
        return None
    return np.broadcast_to(c.reshape(-1), (outputs,)) if c.size in (1, outputs) else None


def matmul(ctx: NodeContext) -> Entry:
    a, b = ctx.entry(0), ctx.entry(1)
    if isinstance(a, Value) and not isinstance(b, Value) and b.ndim == 2:
        return ctx.emit("linear", [a], {"weight": b.T})
    return ctx.emit("matmul", [a, b])


HANDLERS: dict[str, Handler] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
}
