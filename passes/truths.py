"""Truth values of streams that vary in time, as real streams of 0 and 1: truth values have no mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.passes.analysis import static_values
from snnc.passes.masks import MOVEMENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph, Node, Value
    from snnc.passes.rewriter import Rewriter


def make_truths_real(graph: Graph, rewriter: Rewriter) -> None:
    """Write comparisons of streams, and what reads them, as functions of real numbers.

    where(x > y, a, b) -> select(max(sign(x - y), 0), a, b)
    """
    static = static_values(graph)
    truths: dict[Value, Value] = {}
    for node in list(graph):
        if node.graph is None or node.result in static or node.expect:
            continue
        if node.result.type.dtype == "bool":
            truth = real_truth(node, truths, static, rewriter)
            if truth is not None:
                truths[node.result] = truth
        elif node.operands and node.operands[0] in truths and node.result.type.is_real:
            truth = truths[node.operands[0]]
            if node.op.name == "where":
                truth = rewriter.insert(node, "select", [truth, *node.operands[1:]])
            if node.op.name in ("where", "cast"):
                rewriter.replace(node, truth)


class Build:
    """Adds ops on real streams in front of a node."""

    def __init__(self, node: Node, rewriter: Rewriter) -> None:
        self.node = node
        self.rewriter = rewriter

    def __call__(self, op: str, *operands: Value | float) -> Value:
        values = [self.number(item) if isinstance(item, int | float) else item for item in operands]
        return self.rewriter.insert(self.node, op, values)

    def number(self, value: float) -> Value:
        return self.rewriter.constant(self.node, np.array(value, np.float32), "truth")

    def exceeds(self, x: Value, y: Value) -> Value:
        return self("max", self("sign", self("sub", x, y)), 0)

    def differs(self, x: Value, y: Value) -> Value:
        return self("abs", self("sign", self("sub", x, y)))


# Of reals, by op: 1 where it holds, else 0.
COMPARISONS: dict[str, Callable[..., Value]] = {
    "greater": lambda b, x, y: b.exceeds(x, y),
    "less": lambda b, x, y: b.exceeds(y, x),
    "greater_equal": lambda b, x, y: b("sub", 1, b.exceeds(y, x)),
    "less_equal": lambda b, x, y: b("sub", 1, b.exceeds(x, y)),
    "equal": lambda b, x, y: b("sub", 1, b.differs(x, y)),
    "cast": lambda b, x: b("abs", b("sign", x)),
}
# Of truths that are 0 or 1 already.
CONNECTIVES: dict[str, Callable[..., Value]] = {
    "logical_and": lambda b, x, y: b("min", x, y),
    "logical_or": lambda b, x, y: b("max", x, y),
    "logical_xor": lambda b, x, y: b("abs", b("sub", x, y)),
    "logical_not": lambda b, x: b("sub", 1, x),
}


def real_truth(
    node: Node, truths: dict[Value, Value], static: set[Value], rewriter: Rewriter
) -> Value | None:
    """Return a real stream, 1 where the node's result holds and 0 elsewhere; None if there is no way."""
    build = Build(node, rewriter)
    if all(operand.type.is_real for operand in node.operands):
        compare = COMPARISONS.get(node.op.name)
        return compare and compare(build, *node.operands)
    for operand in node.operands:
        if operand in static and operand.type.dtype == "bool" and operand not in truths:
            truths[operand] = rewriter.insert(node, "cast", [operand], {"to": "f32"})
    if not all(operand in truths for operand in node.operands):
        return None
    reals = [truths[operand] for operand in node.operands]
    if node.op.name in (*MOVEMENT, "concat"):
        return rewriter.insert(node, node.op.name, reals, node.attributes)
    connect = CONNECTIVES.get(node.op.name)
    return connect and connect(build, *reals)
