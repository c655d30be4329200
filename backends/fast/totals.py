"""Which streams are kept as what they have added up to, X(t) = x(1) + … + x(t).

An expectation node computes X = t F(S/t) and takes differences; the next one adds those up again. Where a
stream goes from one node that remembers straight to another, through what is linear without a constant,
X itself goes there, and neither the last F nor the sum is kept. A neuron of such currents keeps q times
the sum of its payloads in the place of its membrane: m(t) = v(0) + X(t) - q (k(1) + … + k(t-1)). Sums and
last values take more memory than anything else, and the time to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph, Node, Value


def totals(graph: Graph, invariant: set[Value], sources: Mapping[Node, str]) -> set[Value]:
    """Return the streams to keep as totals.

    `sources` are the nodes that can send and read them: `neuron` or `expect`.
    """
    found: set[Value] = set()
    for node in sources:
        found |= path(graph, node, invariant, sources)
    return found


def serves(reader: Node, kind: str, sources: Mapping[Node, str]) -> bool:
    """Tell whether totals of a neuron or an expectation node are for this reader.

    Spikes are added up anyway where an expectation node reads them; for another neuron they would not be.
    """
    if kind == "neuron" or reader not in sources:
        return sources.get(reader) == "expect"
    return sources[reader] == "expect" or reader.attributes.get("bias") is None


def path(graph: Graph, node: Node, invariant: set[Value], sources: Mapping[Node, str]) -> set[Value]:
    """Return the streams from one node that remembers to the next; none where anything else reads them."""
    value = node.result
    passed = {value}
    while len(value.users) == 1 and not graph.is_output(value):
        (reader,) = value.users
        if reader.operands.count(value) > 1:
            return set()
        if serves(reader, sources[node], sources):
            return passed
        if not passes_totals(reader, value, invariant):
            return set()
        value = reader.result
        passed.add(value)
    return set()


def passes_totals(node: Node, value: Value, invariant: set[Value]) -> bool:
    """Tell whether F of a sum is the sum of F: linear, and nothing is added at every step."""
    if node.expect:
        return False
    if node.op.role is Role.LINEAR:
        return len(node.operands) == 1 and not node.op.constant_term
    others = [operand for operand in node.operands if operand is not value]
    constant = all(operand in invariant for operand in others)
    if node.op.role is Role.MULTILINEAR:
        return constant
    return node.op.role is Role.NUMERATOR and node.operands[0] is value and constant
