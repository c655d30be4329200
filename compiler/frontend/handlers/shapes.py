"""Constants and shape computations. They are known at import and leave nothing in the graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.context import AlwaysRejected
from snnc.frontend.handlers.elementwise import cast_entry
from snnc.ir.graph import Value
from snnc.ir.shapes import Batch, element_count

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim, Shape

CONSTANT_FORMS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def dims_array(shape: Shape) -> Array:
    """Return dimensions as an int64 array, or as an object array where the batch is among them."""
    if any(isinstance(dim, Batch) for dim in shape):
        return np.array([*shape, None], object)[:-1]
    return np.array(shape, np.int64)


def known_dims(ctx: NodeContext, index: int, what: str) -> Shape:
    """Return a known input as dimensions, integers or multiples of the batch size."""
    array = np.atleast_1d(ctx.known(index, what))
    return tuple(item if isinstance(item, Batch) else int(item) for item in array.tolist())


def shape(ctx: NodeContext) -> Entry:
    dims = ctx.shape(ctx.entry(0))
    return dims_array(dims[ctx.attribute("start", 0) : ctx.attribute("end", len(dims))])


def size(ctx: NodeContext) -> Entry:
    count: Dim = element_count(ctx.shape(ctx.entry(0)))
    return dims_array((count,)).reshape(())


def constant(ctx: NodeContext) -> Entry:
    for name, dtype in CONSTANT_FORMS.items():
        value = ctx.attribute(name, None)
        if value is not None:
            return np.asarray(value, dtype)
    value = ctx.attribute("value", None)
    if value is None:
        ctx.reject("its value is a string or a sparse tensor", "only dense numbers can be compiled")
    return np.asarray(value)


def constant_of_shape(ctx: NodeContext) -> Entry:
    dims = known_dims(ctx, 0, "shape")
    value = np.asarray(ctx.attribute("value", np.zeros(1, np.float32))).reshape(-1)[0]
    static = [dim for dim in dims if not isinstance(dim, Batch)]
    if len(static) == len(dims):
        ctx.claim(*static)
        return np.full(static, value)
    one = np.full((1,) * len(dims), value)
    return ctx.emit("expand", [ctx.as_stream(one, f"{ctx.name}.value")], {"shape": dims})


def range_(ctx: NodeContext) -> Entry:
    start, limit, delta = (
        np.asarray(ctx.known(index, what)) for index, what in enumerate(("start", "limit", "delta"))
    )
    if isinstance(limit.item(), Batch):
        return batch_range(ctx, limit.item(), start, delta)
    if any(isinstance(array.item(), Batch) for array in (start, delta)):
        ctx.reject("it starts at, or steps by, the batch size", "the batch size is not known at compile time")
    ctx.claim(math.ceil((limit.item() - start.item()) / delta.item()))
    return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def batch_range(ctx: NodeContext, limit: Batch, start: Array, delta: Array) -> Entry:
    """Count from 0 to the batch size (or a multiple) at run time."""
    step = delta.item()
    if start.item() != 0 or isinstance(step, Batch) or step != int(step) or step < 1:
        ctx.reject(
            f"it counts from {start.item()} to {limit} by {step}; only counts from 0 up can be compiled"
        )
    size = limit // int(step)
    return cast_entry(
        ctx, ctx.graph.append("range", [], {"size": (size,), "step": int(step)}, origin=(ctx.name,)),
        ctx.dtype(start),
    )  # fmt: skip


def non_zero(ctx: NodeContext) -> Entry:
    x = ctx.known(0, "input")
    ctx.claim(x.size, max(x.ndim, 1), 2)  # of 64 bits
    return np.stack(np.nonzero(np.atleast_1d(x))).astype(np.int64)


def trilu(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    offset = int(np.asarray(ctx.known_or(1, "diagonal k", 0)).reshape(()))
    upper = bool(ctx.attribute("upper", 1))
    if not isinstance(x, Value):
        ctx.claim(x.size)
        return np.triu(x, offset) if upper else np.tril(x, offset)
    rows, columns = x.type.shape[-2:]
    if not x.type.is_real or isinstance(rows, Batch) or isinstance(columns, Batch):
        ctx.reject(f"it cuts a triangle out of {x.type}", "real matrices of known size can be compiled")
    ctx.claim(rows, columns)
    ones = np.ones((rows, columns), np.float32)
    return ctx.emit("mul", [x, np.triu(ones, offset) if upper else np.tril(ones, offset)])


HANDLERS: dict[str, Handler] = {
    "Shape": shape,
    "Size": size,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "NonZero": non_zero,
    "Trilu": trilu,
    "EyeLike": AlwaysRejected("an identity matrix shaped like a stream is not supported"),
}
