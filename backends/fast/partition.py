"""Cuts a graph into stretches without memory and nodes that remember, in an order that can be run.

A node's level is the number of nodes that remember on the longest way to it. Everything of one level without
memory is one stretch; a node nobody on its own level reads moves on to the level that does, so that what is
only needed later (the scaled copy of spikes that a residual connection adds) is computed where it is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snnc.ir.graph import Graph, Node, Value


@dataclass(frozen=True, slots=True)
class Stretch:
    """Nodes without memory, in execution order: the streams they read, and those that others read."""

    nodes: tuple[Node, ...]
    reads: tuple[Value, ...]
    results: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """What to run: `fixed` nodes for a batch size, units once per run, units at every step.

    A unit is a stretch or a node that remembers.
    """

    fixed: tuple[Node, ...]
    once: tuple[Stretch, ...]
    repeated: tuple[Stretch | Node, ...]


def remembers(node: Node, averages: bool) -> bool:
    """Tell whether a node that varies has memory; of averages an expectation node is its function."""
    return node.op.role is Role.STATEFUL or (node.expect and not averages)


def partition(graph: Graph, invariant: set[Value], watched: bool, *, averages: bool = False) -> Partition:
    """Cut a graph; in a `watched` run every stream of spikes is a result of its stretch.

    With `averages`, streams are decoded values, and only neurons are nodes by themselves.
    """
    from snnc.ir.types import SpikeType

    given = fed_by_inputs(graph)
    nodes = [node for node in graph if node.op.name != "constant"]
    fixed = tuple(node for node in nodes if node.result in invariant and node.result not in given)
    once = [node for node in nodes if node.result in invariant and node.result in given]
    varying = [node for node in nodes if node.result not in invariant]
    remembering = {node for node in varying if remembers(node, averages)}

    def stretch(members: Iterable[Node]) -> Stretch:
        inside = tuple(members)
        own = {node.result for node in inside}
        reads = dict.fromkeys(operand for node in inside for operand in node.operands if operand not in own)
        results = tuple(
            value
            for value in (node.result for node in inside)
            if graph.is_output(value)
            or any(user.result not in own for user in value.users)
            or (watched and isinstance(value.type, SpikeType))
        )
        constants = {value for value in reads if value.node and value.node.op.name == "constant"}
        return Stretch(inside, tuple(value for value in reads if value not in constants), results)

    return Partition(
        fixed, (stretch(once),) if once else (), tuple(in_order(graph, varying, remembering, stretch))
    )


def in_order(
    graph: Graph, nodes: list[Node], remembering: set[Node], stretch: object
) -> Iterator[Stretch | Node]:
    """Yield level after level: the nodes that remember, then the stretch that reads them."""
    assert callable(stretch)
    levels = levels_of(graph, nodes, remembering)
    by_level: dict[int, list[Node]] = {}
    for node in nodes:
        by_level.setdefault(levels[node.result], []).append(node)
    for level in sorted(by_level):
        members = by_level[level]
        yield from (node for node in members if node in remembering)
        pure = [node for node in members if node not in remembering]
        if pure:
            yield stretch(pure)


def levels_of(graph: Graph, nodes: list[Node], remembering: set[Node]) -> dict[Value, int]:
    levels: dict[Value, int] = {}
    for node in nodes:
        before = max((levels.get(operand, 0) for operand in node.operands), default=0)
        levels[node.result] = before + (node in remembering)
    for node in reversed(nodes):
        if node not in remembering and not graph.is_output(node.result):
            readers = node.result.users
            levels[node.result] = min(
                (levels[user.result] - (user in remembering) for user in readers),
                default=levels[node.result],
            )
    return levels


def reads_of(unit: Stretch | Node) -> tuple[Value, ...]:
    return unit.reads if isinstance(unit, Stretch) else unit.operands


def results_of(unit: Stretch | Node) -> tuple[Value, ...]:
    return unit.results if isinstance(unit, Stretch) else (unit.result,)


def fed_by_inputs(graph: Graph) -> set[Value]:
    """Return the values that depend on an input of the graph."""
    fed = set(graph.inputs)
    for node in graph:
        if any(operand in fed for operand in node.operands):
            fed.add(node.result)
    return fed
