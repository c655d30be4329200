"""Operators on integers, as quantised models in QOperator format have them, ONNX's own and onnxruntime's.

Each is its real counterpart between dequantisations and a quantiser: y = quantise(op(dequantise(x), ..)).
That equals the integer arithmetic except where a result lies halfway between two levels, to single precision.
Scales and zero points follow the tensor they belong to: (x, x_scale, x_zero_point).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx

from snnc.frontend.context import AlwaysRejected, NodeContext, to_supported
from snnc.frontend.handlers.arithmetic import binary
from snnc.frontend.handlers.elementwise import function
from snnc.frontend.handlers.normalisation import along_axis, axis
from snnc.frontend.handlers.pooling import average_pool, global_average_pool
from snnc.frontend.handlers.quantisation import dequantised, quantised
from snnc.frontend.handlers.synapse import conv, gemm, matmul
from snnc.ir.graph import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.frontend.context import Entry, Handler
    from snnc.ir.kernel_types import Array


def real(ctx: NodeContext, inputs: Sequence[tuple[int, Entry]], without: Sequence[str] = ()) -> NodeContext:
    """Return the context of the real operator: inputs by the place of their name, fewer attributes."""
    node = onnx.NodeProto(op_type=ctx.node.op_type, name=ctx.node.name, output=ctx.node.output)
    node.input.extend(ctx.node.input[place] for place, _ in inputs)
    node.attribute.extend(item for item in ctx.node.attribute if item.name not in without)
    return NodeContext(
        ctx.graph, node, ctx.name, ctx.opset, [entry for _, entry in inputs], budget=ctx.budget
    )


def parameters(ctx: NodeContext, place: int) -> tuple[Array, Array | None]:
    """Return the scale at a place and the zero point behind it."""
    return to_supported(ctx.known(place, "scale")), ctx.known_or(place + 1, "zero point", None)


def operand(ctx: NodeContext, place: int, axis: int = 1) -> Entry:
    """Return the integers at a place as reals."""
    return dequantised(ctx, ctx.entry(place), *parameters(ctx, place + 1), axis)


def result(ctx: NodeContext, y: Entry, place: int) -> Entry:
    """Quantise a result with the scale at a place; uint8 where no zero point states the type."""
    scale, zero_point = parameters(ctx, place)
    return quantised(ctx, y, scale, np.zeros(scale.shape, np.uint8) if zero_point is None else zero_point)


def elementwise(ctx: NodeContext, op: Handler) -> Entry:
    """op of one tensor: (x, scale, zero point, scale of y, zero point of y)"""
    if ctx.attribute("channels_last", 0):
        ctx.reject("its channels come last", "export the model with channels first")
    y = op(real(ctx, [(0, operand(ctx, 0))]))
    assert isinstance(y, Value | np.ndarray)
    return result(ctx, y, 3)


def pairwise(ctx: NodeContext, op: Handler) -> Entry:
    y = op(real(ctx, [(0, operand(ctx, 0)), (3, operand(ctx, 3))]))
    assert isinstance(y, Value | np.ndarray)
    return result(ctx, y, 6)


def quantised_conv(ctx: NodeContext) -> Entry:
    inputs = [(0, operand(ctx, 0)), (3, operand(ctx, 3, axis=0))]
    if ctx.has(8):
        inputs.append((8, ctx.known(8, "bias") * step(ctx)))
    return result(ctx, conv(real(ctx, inputs)), 6)


def step(ctx: NodeContext) -> Array:
    """Return the value of one unit of the accumulator, per output channel if the weight's scale is."""
    (x_scale, _), (weight_scale, _) = parameters(ctx, 1), parameters(ctx, 4)
    return (x_scale * weight_scale).reshape(-1).astype(np.float32)


def quantised_matmul(ctx: NodeContext) -> Entry:
    return result(ctx, matmul(real(ctx, [(0, operand(ctx, 0, -2)), (3, operand(ctx, 3, -1))])), 6)


def quantised_gemm(ctx: NodeContext) -> Entry:
    """y = alpha a b + c, with c in units of alpha times both scales; real where y has no scale"""
    axis = 0 if ctx.attribute("transB", 0) else 1
    inputs = [(0, operand(ctx, 0)), (3, operand(ctx, 3, axis))]
    if ctx.has(6):
        inputs.append((6, ctx.known(6, "bias") * step(ctx) * np.float32(ctx.attribute("alpha", 1.0))))
    y = gemm(real(ctx, inputs))
    return result(ctx, y, 7) if ctx.has(7) else y


def softmax(ctx: NodeContext) -> Entry:
    if ctx.attribute("opset", 13) < 13 and axis(ctx) != len(ctx.shape(ctx.entry(0))) - 1:
        ctx.reject(
            "it flattens the axes behind its own, as before opset 13", "quantise a model of a newer opset"
        )
    return along_axis(ctx, "softmax")


def concat(ctx: NodeContext) -> Entry:
    """y_scale, y_zero_point, then (x, scale, zero point) of every part"""
    parts = [operand(ctx, place) for place in range(2, len(ctx.inputs), 3)]
    return result(ctx, ctx.emit("concat", parts, {"axis": ctx.attribute("axis")}), 0)


# Products whose result is the integer itself.


def integers(ctx: NodeContext, place: int, axis: int) -> Entry:
    """Return the integers less their zero point (two places behind), as reals: both are exact in f32."""
    zero_point = ctx.known_or(place + 2, "zero point", None)
    scale = np.ones(() if zero_point is None else zero_point.shape, np.float32)
    return dequantised(ctx, ctx.entry(place), scale, zero_point, axis)


def integer_product(ctx: NodeContext, op: Handler, axes: tuple[int, int]) -> Entry:
    """op of two integer tensors, as a real number: sums beyond 2^24 are rounded"""
    y = op(real(ctx, [(0, integers(ctx, 0, axes[0])), (1, integers(ctx, 1, axes[1]))]))
    assert isinstance(y, Value | np.ndarray)
    return y


DYNAMIC = AlwaysRejected(
    "its scale is taken at run time, from the values of the whole batch",
    "compile the model it was made from, or quantise that statically (onnxruntime's quantize_static)",
)

STANDARD: dict[str, Handler] = {
    "ConvInteger": partial(integer_product, op=conv, axes=(1, 0)),
    "DynamicQuantizeLinear": DYNAMIC,
    "MatMulInteger": partial(integer_product, op=matmul, axes=(-2, -1)),
    "QLinearConv": quantised_conv,
    "QLinearMatMul": quantised_matmul,
}
"""The operators of ONNX itself."""

HANDLERS: dict[str, Handler] = {
    "DynamicQuantizeMatMul": DYNAMIC,
    "QGemm": quantised_gemm,
    "QLinearAdd": partial(pairwise, op=binary("add")),
    "QLinearAveragePool": partial(elementwise, op=average_pool),
    "QLinearConcat": concat,
    "QLinearGlobalAveragePool": partial(elementwise, op=global_average_pool),
    "QLinearLeakyRelu": partial(elementwise, op=function("leaky_relu", alpha=0.01)),
    "QLinearMul": partial(pairwise, op=binary("mul")),
    "QLinearSigmoid": partial(elementwise, op=function("sigmoid")),
    "QLinearSoftmax": partial(elementwise, op=softmax),
}
"""Those of com.microsoft."""
