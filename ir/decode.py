"""How a stream at the graph's end becomes the answer after t steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Output

Decode: TypeAlias = Literal["mean", "sum", "last"]

DECODES: dict[Decode, str] = {"mean": "S(t)/t", "sum": "S(t)", "last": "y(t)"}
"""The answer of an output y after t steps, with S(t) = y(1) + … + y(t)."""


def decode_problem(graph: Graph, output: Output) -> str | None:
    """Return why a graph cannot be run with an output's way of decoding, or None.

    An expectation node corrects at every step what it sent before: one of its steps alone is no answer.
    """
    if output.decode != "last":
        return None
    if graph.coding == "differential":
        return f"output {output.name!r} cannot be decoded by its last step: it carries changes"
    pending, seen = [output.value], {output.value}
    while pending:
        node = pending.pop().node
        if node is None:
            continue
        if node.expect:
            source = f" from {', '.join(node.origin)}" if node.origin else ""
            return (
                f"output {output.name!r} cannot be decoded by its last step: it depends on the expectation "
                f"node {node.full_name}{source}, which is exact in the mean over all steps only"
            )
        fresh = [operand for operand in node.operands if operand not in seen]
        seen.update(fresh)
        pending.extend(fresh)
    return None
