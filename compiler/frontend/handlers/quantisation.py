"""QuantizeLinear and DequantizeLinear, per tensor and per axis, in 8 and 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from snnc.frontend.context import NodeContext, storable, to_supported
from snnc.frontend.handlers.elementwise import clip_real
from snnc.ir.graph import Value
from snnc.ir.ops.quantisation import LEVELS, check_parameters
from snnc.ir.shapes import normalise_axis
from snnc.ir.types import DTYPE_NAMES, TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.frontend.context import Entry, Handler
    from snnc.ir.kernel_types import Array

# The IR has no 4-bit integers: x is bounded, and its levels are stored in 8 bits.
FOUR_BITS = {"int4": (-8, 7), "uint4": (0, 15)}


def quantise(ctx: NodeContext) -> Entry:
    scale = read_scale(ctx)
    zero_point = ctx.known_or(2, "zero point", None)
    if zero_point is None:
        zero_point = np.zeros(scale.shape, default_levels(ctx))
    return quantised(ctx, ctx.entry(0), scale, zero_point, ctx.attribute("axis", 1))


def default_levels(ctx: NodeContext) -> np.dtype[np.generic]:
    """Return the type of the levels where no zero point states it."""
    number = ctx.attribute("output_dtype", 0) or onnx.TensorProto.UINT8
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))


def dequantise(ctx: NodeContext) -> Entry:
    zero_point = ctx.known_or(2, "zero point", None)
    return dequantised(ctx, ctx.entry(0), read_scale(ctx), zero_point, ctx.attribute("axis", 1))


def read_scale(ctx: NodeContext) -> Array:
    if ctx.attribute("block_size", 0):
        ctx.reject("its scales hold for blocks", "quantise per tensor or per axis")
    return to_supported(ctx.known(1, "scale"))


def quantised(ctx: NodeContext, x: Entry, scale: Array, zero_point: Array, axis: int = 1) -> Entry:
    """Return x in levels of the zero point's type."""
    if zero_point.dtype.name in FOUR_BITS and scale.size == 1:
        low, high = FOUR_BITS[zero_point.dtype.name]
        zero_point = storable(zero_point)
        bounds = (scale * (np.float32(bound) - zero_point) for bound in (low, high))
        x = clip_real(ctx, x, *bounds)
    if DTYPE_NAMES.get(zero_point.dtype) not in LEVELS:
        ctx.reject(
            f"it quantises to {zero_point.dtype}",
            f"levels can be {', '.join(LEVELS)}, and 4-bit integers where one scale holds for all",
        )
    return ctx.emit("quantise", [x], matched(x, scale, zero_point, axis))


def dequantised(ctx: NodeContext, x: Entry, scale: Array, zero_point: Array | None, axis: int = 1) -> Entry:
    """Return the reals that levels stand for, once for all that read them."""
    given = matched(x, scale, zero_point, axis)
    if isinstance(x, Value):
        for user in x.users:
            if user.op.name == "dequantise" and same(ctx.graph.resolve(user), given):
                return user.result
    return ctx.emit("dequantise", [x], given)


def same(found: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Tell whether two quantisers have the same parameters."""
    return all(np.array_equal(found[name], given[name]) for name in given)


def matched(x: Entry, scale: Array, zero_point: Array | None, axis: int) -> dict[str, Any]:
    """Return the parameters as an op's attributes: numbers, or vectors along an axis of x."""
    shape = NodeContext.shape(x)
    if scale.size == 1 and (zero_point is None or zero_point.size == 1):
        scale, axis = scale.reshape(()), 1
        zero_point = None if zero_point is None else zero_point.reshape(())
    else:
        axis = normalise_axis(axis, len(shape))
    check_parameters(TensorType("f32", shape), scale, zero_point, axis)
    return {"scale": scale, "zero_point": zero_point, "axis": axis}


HANDLERS: dict[str, Handler] = {"QuantizeLinear": quantise, "DequantizeLinear": dequantise}
