"""Reductions over axes, and the running sum. Sums of reals are accumulated in double precision.

The batch axis is never reduced, because samples do not meet.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import MAX_PAYLOAD, Payload
from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, payload_extreme
from snnc.ir.shapes import Batch, Shape, normalise_axis, show_shape, static_dim
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.kernel_types import Array
    from snnc.ir.op import Kernel
    from snnc.ir.types import TensorType, Type

Axes = tuple[int, ...]


def accumulate(ufunc: np.ufunc, x: Array, axes: Axes, keepdims: bool) -> Array:
    """Reduce the axes (none named: all); reals in double precision, which the result keeps."""
    dtype = np.float64 if x.dtype.kind == "f" else x.dtype
    return np.asarray(ufunc.reduce(x, axis=axes or None, dtype=dtype, keepdims=keepdims), dtype=dtype)


def reduce_sum(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return accumulate(np.add, x, axes, keepdims).astype(x.dtype, copy=False)


def reduce_prod(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return accumulate(np.multiply, x, axes, keepdims).astype(x.dtype, copy=False)


def reduce_mean(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    total = accumulate(np.add, x, axes, keepdims)
    count = x.size // total.size
    # ONNX divides integers towards zero, as C does.
    mean = total / count if x.dtype.kind == "f" else np.sign(total) * (np.abs(total) // count)
    return np.asarray(mean, dtype=x.dtype)


def reduce_max(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(np.max(x, axis=axes or None, keepdims=keepdims))


def reduce_min(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(np.min(x, axis=axes or None, keepdims=keepdims))


def reduce_l1(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return reduce_sum(np.abs(x), axes=axes, keepdims=keepdims)


def reduce_sum_square(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return reduce_sum(np.square(x), axes=axes, keepdims=keepdims)


def reduce_l2(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(np.sqrt(accumulate(np.add, np.square(x), axes, keepdims)), dtype=x.dtype)


def reduce_log_sum(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(np.log(accumulate(np.add, x, axes, keepdims)), dtype=x.dtype)


def reduce_log_sum_exp(x: Array, *, axes: Axes, keepdims: bool) -> Array:
    peak = reduce_max(x, axes=axes, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0)  # a row of -inf must not become inf - inf
    logarithm = np.log(accumulate(np.add, np.exp(x - peak), axes, keepdims))
    return np.asarray(logarithm + peak.reshape(logarithm.shape), dtype=x.dtype)


def cumsum(x: Array, *, axis: int, exclusive: bool, reverse: bool) -> Array:
    ordered = np.flip(x, axis) if reverse else x
    dtype = np.float64 if x.dtype.kind == "f" else x.dtype
    sums = np.cumsum(ordered, axis=axis, dtype=dtype)
    if exclusive:
        sums = np.roll(sums, 1, axis)
        np.moveaxis(sums, axis, 0)[:1] = 0
    return (np.flip(sums, axis) if reverse else sums).astype(x.dtype, copy=False)


def reduced_axes(shape: Shape, axes: Axes) -> Axes:
    """Return the axes a reduction names, counted from the front; none named means all."""
    found = tuple(normalise_axis(axis, len(shape)) for axis in axes) or tuple(range(len(shape)))
    if len(set(found)) != len(found):
        raise ShapeError(f"axes {list(axes)} of {show_shape(shape)} name one axis twice")
    for axis in found:
        if isinstance(shape[axis], Batch):
            raise ShapeError(
                f"axis {axis} of {show_shape(shape)} carries the batch and cannot be reduced",
                help="reduce over the other axes, one result per sample",
            )
        if shape[axis] == 0:
            raise ShapeError(f"axis {axis} of {show_shape(shape)} is empty")
    return found


def infer_reduction(x: TensorType, *, axes: Axes, keepdims: bool) -> TensorType:
    found = reduced_axes(x.shape, axes)
    if keepdims:
        return x.with_shape(tuple(1 if axis in found else dim for axis, dim in enumerate(x.shape)))
    return x.with_shape(tuple(dim for axis, dim in enumerate(x.shape) if axis not in found))


def infer_real_reduction(x: TensorType, *, axes: Axes, keepdims: bool) -> TensorType:
    if not x.is_real:
        raise TypeInferenceError(f"it needs a real stream, not {x}")
    return infer_reduction(x, axes=axes, keepdims=keepdims)


def infer_cumsum(x: TensorType, *, axis: int, exclusive: bool, reverse: bool) -> TensorType:
    static_dim(x.shape[normalise_axis(axis, len(x.shape))], "the axis of a running sum")
    return x


def summed_payload(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Sums of equally scaled spikes are spikes, as long as their payload has a price."""
    (x,) = types
    if not isinstance(x, SpikeType) or x.scaled:
        return None
    axes = reduced_axes(x.shape, attributes["axes"])
    count = math.prod(static_dim(x.shape[axis], "a reduced axis") for axis in axes)
    if count * max(-x.payload.lo, x.payload.hi) > MAX_PAYLOAD:
        return None
    return Payload(count * x.payload.lo, count * x.payload.hi)


ATTRIBUTES = {
    "axes": Attribute(Kind.INTS, (), "the axes to reduce (none: all of them)"),
    "keepdims": Attribute(Kind.BOOL, True, "keep each reduced axis with size 1"),
}


def _nonlinear(name: str, equation: str, kernel: Kernel, **fields: Any) -> Op:
    infer = fields.pop("infer", infer_reduction)
    return Op(name, equation, ("x",), infer, kernel, Role.NONLINEAR, ATTRIBUTES, **fields)


# `cost` is one accumulate: of each element that is reduced, as for the pools.
OPS = (
    Op(
        "reduce_sum",
        "y = Σ x over axes",
        ("x",),
        infer_reduction,
        reduce_sum,
        Role.LINEAR,
        ATTRIBUTES,
        payload=summed_payload,
        cost=1.0,
        additive=True,
    ),
    Op(
        "reduce_mean",
        "y = Σ x / count over axes",
        ("x",),
        infer_reduction,
        reduce_mean,
        Role.LINEAR,
        ATTRIBUTES,
        cost=1.0,
    ),
    _nonlinear(
        "reduce_max", "y = max x over axes", reduce_max, homogeneous=True, payload=payload_extreme, cost=1.0
    ),
    _nonlinear(
        "reduce_min", "y = min x over axes", reduce_min, homogeneous=True, payload=payload_extreme, cost=1.0
    ),
    _nonlinear("reduce_l1", "y = Σ |x| over axes", reduce_l1, homogeneous=True, cost=1.0),
    _nonlinear(
        "reduce_l2",
        "y = √(Σ x²) over axes",
        reduce_l2,
        homogeneous=True,
        cost=1.0,
        special=1.0,
        infer=infer_real_reduction,
    ),
    _nonlinear("reduce_prod", "y = Π x over axes", reduce_prod, cost=1.0),
    _nonlinear("reduce_sum_square", "y = Σ x² over axes", reduce_sum_square, cost=1.0),
    _nonlinear(
        "reduce_log_sum",
        "y = log Σ x over axes",
        reduce_log_sum,
        cost=1.0,
        special=1.0,
        infer=infer_real_reduction,
    ),
    _nonlinear(
        "reduce_log_sum_exp",
        "y = log Σ exp x over axes",
        reduce_log_sum_exp,
        cost=1.0,
        special=2.0,
        infer=infer_real_reduction,
    ),
    Op(
        "cumsum",
        "y[i] = Σ x[j] over j <= i along axis; exclusive: j < i; reverse: from the end",
        ("x",),
        infer_cumsum,
        cumsum,
        Role.LINEAR,
        {
            "axis": Attribute(Kind.INT, doc="the axis to sum along"),
            "exclusive": Attribute(Kind.BOOL, False, "leave out the element itself"),
            "reverse": Attribute(Kind.BOOL, False, "sum from the end"),
        },
        cost=1.0,
    ),
)
