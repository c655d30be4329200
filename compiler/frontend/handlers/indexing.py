"""Operators that pick elements by index: indices known at compile time, or streams of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.context import AlwaysRejected
from snnc.ir.graph import Value
from snnc.ir.shapes import Batch, normalise_axis

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.kernel_types import Array


def gather(ctx: NodeContext) -> Entry:
    x, indices = ctx.entry(0), ctx.entry(1)
    axis = normalise_axis(ctx.attribute("axis", 0), len(ctx.shape(x)))
    if not isinstance(indices, Value):
        return taken(ctx, x, axis, indices)
    if isinstance(x, Value) or axis != 0:
        return ctx.emit("take", [x, indices], {"axis": axis})
    return ctx.emit("embedding", [indices], {"table": ctx.known(0, "table")})


def taken(ctx: NodeContext, x: Entry, axis: int, indices: Array) -> Entry:
    dim = ctx.shape(x)[axis]
    if isinstance(dim, Batch):
        ctx.reject(f"it picks samples: axis {axis} is the batch", "samples are compiled independently")
    if indices.dtype == object:
        ctx.reject("its indices depend on the batch size")
    if indices.size and not (-dim <= indices.min() and indices.max() < dim):
        ctx.reject(f"its indices {indices.min()}..{indices.max()} leave axis {axis} of {dim}")
    positive = np.asarray(np.where(indices < 0, indices + dim, indices).astype(np.int64))
    return ctx.emit("gather", [x], {"axis": axis, "indices": positive})


def gather_elements(ctx: NodeContext) -> Entry:
    axis = normalise_axis(ctx.attribute("axis", 0), len(ctx.shape(ctx.entry(0))))
    return ctx.emit("gather_elements", [ctx.entry(0), ctx.entry(1)], {"axis": axis})


def gather_nd(ctx: NodeContext) -> Entry:
    attributes = {"batch_dims": ctx.attribute("batch_dims", 0)}
    return ctx.emit("gather_nd", [ctx.entry(0), ctx.entry(1)], attributes)


OVERWRITES = "it overwrites single elements of a stream by index"


def scatter_elements(ctx: NodeContext) -> Entry:
    data, indices, updates = overwritten(ctx)
    ctx.claim(data.size + 2 * indices.size * (indices.ndim + 1))  # positions have 64 bits
    result = data.copy()
    places = list(np.indices(indices.shape))
    places[ctx.attribute("axis", 0)] = indices
    result[tuple(places)] = updates
    return result


def scatter_nd(ctx: NodeContext) -> Entry:
    data, indices, updates = overwritten(ctx)
    ctx.claim(data.size)
    result = data.copy()
    result[tuple(np.moveaxis(indices, -1, 0))] = updates
    return result


def overwritten(ctx: NodeContext) -> tuple[Array, Array, Array]:
    """Return the operands of a scatter, which are all known; tables of positions are made so."""
    if any(isinstance(entry, Value) for entry in ctx.inputs):
        ctx.reject(OVERWRITES)
    reduction = ctx.attribute("reduction", "none")
    if reduction != "none":
        ctx.reject(
            f"it combines elements by {reduction!r}", "scatters that overwrite constants can be compiled"
        )
    return ctx.known(0, "data"), ctx.known(1, "indices"), ctx.known(2, "updates")


HANDLERS: dict[str, Handler] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": AlwaysRejected("one-hot codes are not supported", "use Gather on a constant table"),
    "TopK": AlwaysRejected(
        "the places of the largest elements have no mean over time",
        "end the model at the scores and take the largest from the decoded output",
    ),
}
