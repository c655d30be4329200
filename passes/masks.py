"""Attention masks: infinities, and numbers nearly so, that hide positions from softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.op import Role
from snnc.passes.analysis import static_values

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.passes.rewriter import Rewriter

# Hides like -3.4e38 or -∞ (any score beside it rounds away), and its sum over a million steps stays finite.
HIDDEN = 1e30
# They put every element somewhere else and change none.
MOVEMENT = ("reshape", "transpose", "expand", "slice", "gather", "tile")


def drop_nan_guard(node: Node, rewriter: Rewriter) -> bool:
    """where(is_nan(softmax(x)), c, softmax(x)) -> softmax(x), or c in the rows that a mask hides whole."""
    condition, instead, weights = node.operands
    test, softmax = condition.node, weights.node
    if test is None or test.op.name != "is_nan" or test.operands[0] is not weights:
        return False
    if softmax is None or softmax.op.role is not Role.NONLINEAR or weights.type != node.result.type:
        return False
    if softmax.op.name not in ("softmax", "log_softmax"):
        rewriter.replace(node, weights)
        return True
    mask = penalty(node, softmax.operands[0], rewriter, static_values(rewriter.graph))
    if mask is None:  # scores are finite, hence is their softmax
        rewriter.replace(node, weights)
        return True
    axis = rewriter.graph.resolve(softmax)["axis"]
    axis -= len(weights.type.shape) if axis >= 0 else 0
    if -axis > len(mask.type.shape):
        return rewriter.decline(node, "its mask does not have the axis of the softmax")
    largest = rewriter.insert(node, "reduce_max", [mask], {"axes": (axis,), "keepdims": True})
    infinity = rewriter.constant(node, np.array(-np.inf, np.float32), "hidden")
    hidden = rewriter.insert(node, "equal", [largest, infinity])
    rewriter.replace(node, rewriter.insert(node, "where", [hidden, instead, weights]))
    return True


def penalty(before: Node, value: Value, rewriter: Rewriter, static: set[Value]) -> Value | None:
    """Return the part of a value that never varies in time: what masks add to it. None where that is 0."""
    if value in static:
        return value
    node = value.node
    if node is None or node.op.name not in ("add", "where", *MOVEMENT):
        return None
    parts = [penalty(before, operand, rewriter, static) for operand in node.operands]
    if not any(parts):
        return None
    match node.op.name:
        case "add":
            left, right = parts
            return rewriter.insert(before, "add", [left, right]) if left and right else left or right
        case "where":
            if node.operands[0] not in static or not any(parts[1:]):
                return None
            zero = rewriter.constant(before, np.zeros((), np.float32), "zero")
            return rewriter.insert(before, "where", [node.operands[0], *(part or zero for part in parts[1:])])
    shape = node.operands[0].type.shape
    whole = rewriter.insert(before, "expand", [part for part in parts if part], {"shape": shape})
    return rewriter.insert(before, node.op.name, [whole], node.attributes)


def bound_masks(graph: Graph, rewriter: Rewriter) -> None:
    """Clip what meets streams that vary in time to ±1e30, so that sums over time do not overflow.

    -3.4e38 + -3.4e38 is -∞, and softmax of a row of -∞ is not a number.
    """
    static = static_values(graph)
    huge = huge_values(graph, static)
    bounded: dict[Value, Value] = {}
    for node in list(graph):
        if node.result in static or not node.result.type.is_real:
            continue
        for index, operand in enumerate(node.operands):
            if operand in huge and operand.type.is_real:
                if operand not in bounded:
                    bounded[operand] = bound(node, operand, rewriter)
                rewriter.set_operand(node, index, bounded[operand])


def bound(before: Node, value: Value, rewriter: Rewriter) -> Value:
    constant = rewriter.graph.constant(value)
    if constant is None:
        return rewriter.insert(before, "clip", [value], {"low": -HIDDEN, "high": HIDDEN})
    return rewriter.constant(before, np.clip(constant, -HIDDEN, HIDDEN).astype(np.float32), "mask")


def huge_values(graph: Graph, static: set[Value]) -> set[Value]:
    """Return the values that never vary in time and may exceed ±1e30: from such a constant, or a log."""
    huge: set[Value] = set()
    for node in graph:
        constant = graph.constant(node.result)
        beyond = constant is not None and constant.dtype.kind == "f" and (np.abs(constant) > HIDDEN).any()
        if node.result in static and (
            beyond or node.op.name == "log" or any(operand in huge for operand in node.operands)
        ):
            huge.add(node.result)
    return huge
