"""Cuts an integer graph into what runs in front of the chip, its layers, and what runs behind it.

A layer is a neuron (or another op with memory) with the synapses and additions in front of it that nobody
else reads: one Lava process. Movement is repeated in every reader instead of having a process. What is
real-valued before the first spikes (encoders of inputs) is `front`, computed before Lava starts; what is
real-valued and only leads to outputs is `tail`, computed when it has ended; real-valued nodes between are
host layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from snnc.backends.lava.refusals import is_whole
from snnc.backends.reference.program import invariant_values
from snnc.ir.op import Role

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value


@dataclass(slots=True)
class Piece:
    """One layer: its nodes in execution order, the streams it reads, the one it sends."""

    sends: Value
    nodes: list[Node]
    reads: list[Value]
    chip: bool
    depth: int = 0


@dataclass(slots=True)
class Partition:
    """`sources` leave the front, `layers` come in execution order, `sinks` are what the tail reads."""

    front: list[Node]
    sources: list[Value]
    layers: list[Piece]
    sinks: list[Value]
    tail: list[Node]
    depths: dict[Value, int] = field(default_factory=dict)

    def delay(self, layer: Piece, value: Value) -> int:
        """Return how long a stream waits for the layer's latest one."""
        return layer.depth - 1 - self.depths[value]


def cut(graph: Graph) -> Partition:
    """Return the pieces of a graph that `refuse_what_lava_lacks` has accepted."""
    front = front_nodes(graph)
    tail = tail_nodes(graph, front)
    pure = {node for node in graph if node not in front and moves_only(node)}
    roots = [node for node in graph if node not in front | tail | pure and is_root(graph, node, front, tail)]
    ready = {node.result for node in front} | set(graph.inputs) | {node.result for node in roots}
    layers = [collect([node], ready - {node.result}, is_chip(node)) for node in roots]
    behind = [node for node in graph if node in tail]
    outputs = [output.value for output in graph.outputs]
    last = collect(behind, ready, False, outputs)
    read = {value for layer in layers for value in layer.reads} | set(last.reads)
    sources = [v for v in (*graph.inputs, *(n.result for n in graph if n in front)) if v in read]
    partition = Partition([n for n in graph if n in front], sources, layers, last.reads, last.nodes)
    place_in_time(partition)
    return partition


def is_chip(node: Node) -> bool:
    """Tell whether a node computes with whole numbers: all it reads and sends."""
    return is_whole(node.result.type) and all(is_whole(operand.type) for operand in node.operands)


def front_nodes(graph: Graph) -> set[Node]:
    """Return the nodes in front of the chip: what never varies, real streams, the neurons that read them."""
    front: set[Node] = set()
    static = invariant_values(graph, frozenset(value.name or "" for value in graph.inputs))
    ready: set[Value] = set(graph.inputs)
    for node in graph:
        constant = node.op.name == "constant"
        before = all(operand in ready for operand in node.operands) and not constant
        analog = node.operands and not any(is_whole(operand.type) for operand in node.operands)
        if (before and analog) or (node.result in static and not constant):
            front.add(node)
            if not node.op.neuron:
                ready.add(node.result)
        elif constant:
            ready.add(node.result)
    return front | {node for node in graph if node.op.name == "constant" and only_for(node, front)}


def only_for(node: Node, nodes: set[Node]) -> bool:
    return all(user in nodes for user in node.result.users)


def tail_nodes(graph: Graph, front: set[Node]) -> set[Node]:
    """Return the real-valued nodes that lead to outputs only."""
    tail: set[Node] = set()
    for node in reversed(list(graph)):
        if node not in front and not is_whole(node.result.type) and only_for(node, tail):
            tail.add(node)
    return tail


def moves_only(node: Node) -> bool:
    """Tell whether a node is as cheap as reading its operand: it may be repeated in every reader."""
    cheap = ("reshape", "transpose", "slice", "expand", "depth_to_space", "space_to_depth", "constant")
    return node.op.name in cheap and not node.expect


def is_root(graph: Graph, node: Node, front: set[Node], tail: set[Node]) -> bool:
    """Tell whether a node sends a stream of its own: it remembers, or it does not have one reader alike."""
    if node.op.role is Role.STATEFUL or node.expect:
        return True
    if graph.is_output(node.result):
        return True
    readers = final_readers(graph, node)
    return len(readers) != 1 or any(r is None or r in tail or is_chip(r) != is_chip(node) for r in readers)


def final_readers(graph: Graph, node: Node) -> set[Node | None]:
    """Return the nodes that read a result, through movement; None stands for an output."""
    readers: set[Node | None] = set()
    for user in node.result.users:
        readers |= final_readers(graph, user) if moves_only(user) else {user}
        if moves_only(user) and graph.is_output(user.result):
            readers.add(None)
    return readers


def collect(roots: list[Node], ready: set[Value], chip: bool, wanted: list[Value] | None = None) -> Piece:
    """Return the piece that computes the roots (and `wanted`) from streams that are ready."""
    nodes: dict[Node, None] = {}
    reads: dict[Value, None] = {}
    inside = {root.result for root in roots}

    def visit(value: Value) -> None:
        if value in ready and value not in inside:
            reads[value] = None
            return
        node = value.node
        assert node is not None, f"nobody computes {value!r}"
        if node not in nodes:
            for operand in node.operands:
                visit(operand)
            nodes[node] = None

    for value in [*(root.result for root in roots), *(wanted or [])]:
        visit(value)
    return Piece((wanted or [roots[-1].result])[0], list(nodes), list(reads), chip)


def place_in_time(partition: Partition) -> None:
    """Give every layer its depth: one more than the latest stream it reads; sources have depth 0."""
    partition.depths = dict.fromkeys(partition.sources, 0)
    for layer in partition.layers:
        layer.depth = 1 + max((partition.depths[value] for value in layer.reads), default=0)
        partition.depths[layer.sends] = layer.depth
