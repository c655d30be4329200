"""Arithmetic of two or more tensors, and the choice between two."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.handlers.elementwise import cast_entry, is_real
from snnc.ir.graph import Value

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext


def binary(op: str) -> Handler:
    """Return the handler of a function of two tensors without attributes."""

    def handler(ctx: NodeContext) -> Entry:
        return ctx.emit(op, [ctx.entry(0), ctx.entry(1)])

    return handler


def variadic(op: str) -> Handler:
    """Return the handler that combines any number of tensors with a binary op, from the left."""

    def handler(ctx: NodeContext) -> Entry:
        return combine(ctx, op)

    return handler


def combine(ctx: NodeContext, op: str) -> Entry:
    operands = [ctx.entry(index) for index in range(len(ctx.inputs))]
    return reduce(lambda x, y: ctx.emit(op, [x, y]), operands)


def mean(ctx: NodeContext) -> Entry:
    total = combine(ctx, "add")
    count = len(ctx.inputs)
    return total if count == 1 else ctx.emit("div", [total, np.array(count, np.float32)])


def power(ctx: NodeContext) -> Entry:
    base, exponent = ctx.entry(0), ctx.entry(1)
    if is_real(base) or not is_real(exponent):
        return ctx.emit("pow", [base, cast_to_match(ctx, exponent, base)])
    # An integer to a real power is computed as real, the result is an integer again.
    result = ctx.emit("pow", [cast_entry(ctx, base, "f32"), exponent])
    return cast_to_match(ctx, result, base)


def cast_to_match(ctx: NodeContext, entry: Entry, model: Entry) -> Entry:
    """Cast to the element type of another entry; dimensions stay as they are."""
    if not isinstance(model, Value) and model.dtype == object:
        return entry
    return cast_entry(ctx, entry, ctx.dtype(model))


def mod(ctx: NodeContext) -> Entry:
    return ctx.emit("mod", [ctx.entry(0), ctx.entry(1)], {"truncated": bool(ctx.attribute("fmod", 0))})


def where(ctx: NodeContext) -> Entry:
    return ctx.emit("where", [ctx.entry(index) for index in range(3)])


HANDLERS: dict[str, Handler] = {
    "Add": binary("add"),
    "Sub": binary("sub"),
    "Mul": binary("mul"),
    "Div": binary("div"),
    "Pow": power,
    "Min": variadic("min"),
    "Max": variadic("max"),
    "Sum": variadic("add"),
    "Mean": mean,
    "Mod": mod,
    "Where": where,
}
