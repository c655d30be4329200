"""Handlers of the reductions, CumSum, and the refused searches for a maximum's place."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from snnc.frontend.context import AlwaysRejected
from snnc.ir.shapes import normalise_axis

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext

AXES_AS_INPUT = 18  # the opset since which every reduction takes its axes as an input; ReduceSum since 13


def reduction(ctx: NodeContext, op: str, *, axes_as_input: int = AXES_AS_INPUT) -> Entry:
    x = ctx.entry(0)
    axes: tuple[int, ...]
    if ctx.opset >= axes_as_input:
        axes = ctx.known_ints(1, "axes") if ctx.has(1) else ()
    else:
        axes = ctx.attribute("axes", ())
    if not axes and ctx.attribute("noop_with_empty_axes", 0):
        return over_no_axes(ctx, op)
    rank = len(ctx.shape(x))
    attributes = {
        "axes": tuple(normalise_axis(axis, rank) for axis in axes),
        "keepdims": bool(ctx.attribute("keepdims", 1)),
    }
    return ctx.emit(op, [x], attributes)


def over_no_axes(ctx: NodeContext, op: str) -> Entry:
    """Return what a reduction does to each element when it reduces no axis."""
    x = ctx.entry(0)
    match op:
        case "reduce_l1" | "reduce_l2":
            return ctx.emit("abs", [x])
        case "reduce_sum_square":
            return ctx.emit("mul", [x, x])
        case "reduce_log_sum":
            return ctx.emit("log", [x])
        case _:
            return x


def cumulative_sum(ctx: NodeContext) -> Entry:
    axes = ctx.known_ints(1, "axis")
    if len(axes) != 1:
        ctx.reject(f"its axis {list(axes)} must be one number")
    attributes = {
        "axis": normalise_axis(axes[0], len(ctx.shape(ctx.entry(0)))),
        "exclusive": bool(ctx.attribute("exclusive", 0)),
        "reverse": bool(ctx.attribute("reverse", 0)),
    }
    return ctx.emit("cumsum", [ctx.entry(0)], attributes)


PLACE = AlwaysRejected(
    "the place of a maximum has no mean over time",
    "end the model at the scores and take the place from the decoded output",
)


HANDLERS: dict[str, Handler] = {
    "ArgMax": PLACE,
    "ArgMin": PLACE,
    "CumSum": cumulative_sum,
    "ReduceL1": partial(reduction, op="reduce_l1"),
    "ReduceL2": partial(reduction, op="reduce_l2"),
    "ReduceLogSum": partial(reduction, op="reduce_log_sum"),
    "ReduceLogSumExp": partial(reduction, op="reduce_log_sum_exp"),
    "ReduceMax": partial(reduction, op="reduce_max"),
    "ReduceMean": partial(reduction, op="reduce_mean"),
    "ReduceMin": partial(reduction, op="reduce_min"),
    "ReduceProd": partial(reduction, op="reduce_prod"),
    "ReduceSum": partial(reduction, op="reduce_sum", axes_as_input=13),
    "ReduceSumSquare": partial(reduction, op="reduce_sum_square"),
}
