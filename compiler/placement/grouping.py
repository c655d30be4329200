"""From a graph to layers: each layer of neurons with the synapses in front of it.

Nodes that move, add or scale currents become part of a connection: a core adds up whatever reaches a neuron,
and a factor is folded into weights. Sums that something else than neurons reads become neurons of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.op import Role
from snnc.ir.ops import FAMILIES
from snnc.ir.shapes import fill_batch
from snnc.ir.types import SpikeType, TensorType
from snnc.passes.analysis import static_values
from snnc.passes.fan_out import one_sample
from snnc.placement.layers import Layer, Network, Unplaced
from snnc.placement.synapses import RULES, connect, identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.placement.layers import Connection, Tangle

MOVING = frozenset(op.name for op in FAMILIES["movement"].OPS) | {"add", "sub", "neg"}
SCALING = frozenset({"mul", "div", "batch_norm", "dequantise"})
ENCODER = "it turns real numbers into spikes; the host sends those"
PRODUCT = "it multiplies two streams that vary in time; a core multiplies spikes by weights it stores"
EXPECTATION = "it computes with real numbers: an expectation node runs on the host"
UNKNOWN = "there is no rule for the synapses that it would take"
MAXIMUM = "it takes the maximum of sums, which no neuron sends"
REAL = "it computes with real numbers, which no neuron does"


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """A part of a sum: elements of a synapse's result, counted from 1, or (synapse None) what has numbers."""

    synapse: Node | None
    index: Array
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends as the numbers from `first` on: how many steps after the input, and whether the host does."""

    first: int
    depth: int
    hosted: bool


def group(graph: Graph) -> Network:
    """Return the layers of a graph, in execution order, and what stays on the host."""
    return Grouping(graph).run()


@dataclass(slots=True)
class Grouping:
    """The walk through a graph. `numbers` has what every sender of one sample is numbered as."""

    graph: Graph
    numbers: dict[Value, Array] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    read_by_host: list[Array] = field(default_factory=list)
    count: int = 0
    senders: list[Sender] = field(default_factory=list)
    static: set[Value] = field(default_factory=set)
    seen: dict[Value, list[Branch]] = field(default_factory=dict)
    delivered: set[Value] = field(default_factory=set)
    integer: bool = False

    def run(self) -> Network:
        self.integer = self.graph.computes_integers
        self.static = static_values(self.graph)
        for value in self.graph.inputs:
            if value not in self.static:
                self.send(value, 0, hosted=True)
        for node in self.graph:
            if node.result not in self.static:
                self.visit(node)
        for output in self.graph.outputs:
            if output.value not in self.static:
                self.deliver(output.value)
        return Network(
            tuple(self.layers),
            tuple(self.unplaced),
            self.count,
            tuple(self.read_by_host),
            self.integer,
        )

    def send(self, value: Value, depth: int, *, hosted: bool) -> Array:
        """Number the elements of a value that something sends `depth` steps after the input."""
        shape = one_sample(value)
        numbers = np.arange(self.count + 1, self.count + 1 + math.prod(shape), dtype=np.int32)
        self.numbers[value] = numbers.reshape(shape)
        self.count += numbers.size
        self.senders.append(Sender(int(numbers[0]), depth, hosted))
        return self.numbers[value]

    def visit(self, node: Node) -> None:
        if node.op.neuron:
            self.neurons(node)
        elif node.op.name == "max_pool" and isinstance(node.operands[0].type, SpikeType):
            self.layer(node, "pool")
        elif not self.is_linear(node):
            self.on_host(node, self.reason(node))

    def neurons(self, node: Node) -> None:
        x = node.operands[0]
        parts = self.branches(x)
        spiking = any(isinstance(part.type, SpikeType) for part in moved_from(x))
        # Where neurons integrate whole numbers, one that reads real ones is the host's way back to spikes.
        returns = self.integer and isinstance(x.type, TensorType) and x.type.is_real
        if not returns and (spiking or not all(self.hosted(part) for part in parts)):
            self.layer(node, "neurons")
        else:
            self.on_host(node, ENCODER)

    def is_linear(self, node: Node) -> bool:
        """Tell whether a node is part of a connection."""
        if node.expect:
            return False
        varying = [operand for operand in node.operands if operand not in self.static]
        if node.op.name == "delay" or node.op.name in MOVING:
            return node.attributes.get("mode") not in ("linear", "cubic")  # resize
        known = node.op.name in SCALING or (node.op.name in RULES and node.op.role is not Role.NONLINEAR)
        return (
            known
            and len(varying) == 1
            and (node.op.role is not Role.NUMERATOR or varying[0] is node.operands[0])
        )

    def reason(self, node: Node) -> str:
        if node.op.role is Role.MULTILINEAR:
            return PRODUCT
        if node.op.name == "max_pool" and not node.result.type.is_real:
            return MAXIMUM
        if node.op.role is Role.LINEAR and not node.expect:
            return UNKNOWN
        return EXPECTATION if node.expect else REAL

    def on_host(self, node: Node, reason: str) -> None:
        for operand in dict.fromkeys(node.operands):
            if operand not in self.static:
                self.deliver(operand)
        self.unplaced.append(Unplaced(f"{node.full_name} {layer_name(node)}", reason))
        parts = [part for operand in node.operands for part in self.branches(operand)]
        depth = max((sender.depth for part in parts for sender in self.senders_of(part.index)), default=0)
        self.send(node.result, depth, hosted=True)

    def deliver(self, value: Value) -> None:
        """Let the host read a value: a sum needs neurons that pass it on."""
        if value in self.delivered:
            return
        self.delivered.add(value)
        if value.node is not None and any(part.synapse is not None for part in self.branches(value)):
            base = self.unmoved(value)
            self.branches(base)  # several may read it
            if base not in self.numbers:
                # What the host has already it adds itself.
                parts = [part for part in self.branches(base) if not self.hosted(part)]
                assert base.node is not None
                self.make(base.node, "readout", base, parts)
            value = base
        for part in self.branches(value):
            self.read_by_host.append(np.unique(part.index[part.index > 0]))

    def unmoved(self, value: Value) -> Value:
        """Return what a value was before it was moved and scaled, as far as it was one stream."""
        node = value.node
        while node is not None and self.is_linear(node) and node.op.name in MOVING | SCALING:
            varying = [operand for operand in node.operands if operand not in self.static]
            if len(varying) != 1 or value in self.numbers:
                break
            value = varying[0]
            node = value.node
        return value

    # Sums.

    def branches(self, value: Value) -> list[Branch]:
        """Return the parts of a value: what is added up to it, each with its place in it."""
        if value in self.numbers:
            return [Branch(None, self.numbers[value])]
        if value not in self.seen:
            self.seen[value] = self.parts(value)
            if self.repeated(value):
                self.once(value)
                self.seen[value] = self.branches(value) if value in self.numbers else self.parts(value)
        return self.seen[value]

    def repeated(self, value: Value) -> bool:
        """Tell whether every reader of a sum, and every sum behind it, would repeat all of its synapses."""
        parts = self.seen[value]
        return len(value.users) > 1 and len(parts) > 1 and any(part.synapse is not None for part in parts)

    def once(self, value: Value) -> None:
        """Make a layer of a sum that several nodes read; the host sends it on if it reads it itself."""
        assert value.node is not None
        if any(not (user.op.neuron or self.is_linear(user)) for user in value.users):
            self.deliver(value)
        else:
            self.make(value.node, "relay", value, self.seen[value])

    def parts(self, value: Value) -> list[Branch]:
        node, shape = value.node, one_sample(value)
        if node is None or value in self.static:
            return []
        if node.op.name == "delay":
            steps = int(self.graph.resolve(node)["steps"])
            return [Branch(p.synapse, p.index, p.delay + steps) for p in self.branches(node.operands[0])]
        if node.op.name in MOVING:
            return self.moved(node)
        varying = next(operand for operand in node.operands if operand not in self.static)
        if node.op.name in SCALING:
            return [
                Branch(p.synapse, np.broadcast_to(p.index, shape), p.delay) for p in self.branches(varying)
            ]
        return [Branch(node, np.arange(1, 1 + math.prod(shape)).reshape(shape))]

    def moved(self, node: Node) -> list[Branch]:
        """Move the parts of every operand as the node moves numbers."""
        found = []
        given = fill_batch(self.graph.resolve(node), 1)
        if node.op.name == "pad":
            given["value"] = 0.0
        assert node.op.kernel is not None
        for place, operand in enumerate(node.operands):
            for part in self.branches(operand):
                arrays = [np.zeros(one_sample(other), np.float64) for other in node.operands]
                arrays[place] = part.index.astype(np.float64)
                index = np.abs(node.op.kernel(*arrays, **given)).astype(np.int64)
                found.append(Branch(part.synapse, index, part.delay))
        return joined(found)

    def layer(self, node: Node, kind: str) -> None:
        if kind == "pool":
            shape = one_sample(node.result)
            parts = [Branch(node, np.arange(1, 1 + math.prod(shape)).reshape(shape))]
        else:
            parts = self.branches(node.operands[0])
        self.make(node, kind, node.result, parts)

    def make(self, node: Node, kind: str, value: Value, parts: Sequence[Branch]) -> None:
        """Make a layer whose neurons add up the parts and send the value."""
        parts, order, shape = in_one_grid(parts, self.graph)
        connections: list[Connection | Tangle] = []
        for part in parts:
            connections += self.connections(part)
        read = [(c.delay, sender.depth) for c in connections for sender in self.senders_of(c.origin)]
        depth = 1 + max((start for _, start in read), default=0)
        delay = max((depth - 1 - start + steps for steps, start in read), default=0)
        numbers = self.send(value, depth, hosted=kind == "readout")
        window = self.graph.resolve(node)["kernel"] if kind == "pool" else ()
        self.layers.append(
            Layer(
                layer_name(node),
                kind,
                shape,
                in_lines(numbers, node, shape, order),
                tuple(connections),
                None if kind == "readout" else channel_axis(shape, parts),
                math.prod(window),
                depth,
                delay,
            )
        )

    def connections(self, part: Branch) -> list[Connection | Tangle]:
        if part.synapse is None:
            return [identity(part.index, part.delay)]
        moving = next(
            place for place, operand in enumerate(part.synapse.operands) if operand not in self.static
        )
        operand = part.synapse.operands[moving]
        if any(source.synapse is not None for source in self.branches(operand)):
            assert operand.node is not None
            self.make(operand.node, "relay", operand, self.branches(operand))
        return [
            connect(part.synapse, moving, part.index, source.index, part.delay + source.delay)
            for source in self.branches(operand)
        ]

    def senders_of(self, numbers: Array) -> list[Sender]:
        """Return whose numbers these are."""
        found = np.searchsorted([sender.first for sender in self.senders], numbers[numbers > 0], "right") - 1
        return [self.senders[place] for place in np.unique(found)]

    def hosted(self, part: Branch) -> bool:
        return part.synapse is None and all(sender.hosted for sender in self.senders_of(part.index))


def joined(parts: Sequence[Branch]) -> list[Branch]:
    """Return parts with those of one kind as one where they lie in different places."""
    found: list[Branch] = []
    for part in parts:
        for place, other in enumerate(found):
            alike = part.synapse is other.synapse and part.delay == other.delay
            if alike and not (part.index.astype(bool) & other.index.astype(bool)).any():
                found[place] = Branch(part.synapse, part.index + other.index, part.delay)
                break
        else:
            found.append(part)
    return found


def moved_from(value: Value) -> list[Value]:
    """Return a value and what it was before it was moved or added."""
    found, pending = [], [value]
    while pending:
        value = pending.pop()
        found.append(value)
        if value.node is not None and value.node.op.name in MOVING | {"delay"}:
            pending += value.node.operands
    return found


def layer_name(node: Node) -> str:
    """Return a short name of a layer: the model's last node that it stands for."""
    site = node.attributes.get("site")
    return node.origin[-1] if node.origin else str(site or node.result.name or node.op.name)


def in_one_grid(parts: Sequence[Branch], graph: Graph) -> tuple[list[Branch], Array | None, tuple[int, ...]]:
    """Return the parts in the grid to cut up, how it is permuted, and its shape.

    That is the grid of the first synapse whose result is merely rearranged; else the one of the neurons.
    """
    shape = parts[0].index.shape
    for part in parts:
        if part.synapse is None:
            continue
        result, size = one_sample(part.synapse.result), part.index.size
        if result == shape or math.prod(result) != size:
            break
        flat = part.index.ravel() - 1
        if not np.array_equal(np.sort(flat), np.arange(size)):
            break
        order = np.argsort(flat)
        moved = [Branch(p.synapse, p.index.ravel()[order].reshape(result), p.delay) for p in parts]
        return moved, order, result
    return list(parts), None, shape


def in_lines(numbers: Array, node: Node, shape: tuple[int, ...], order: Array | None) -> Array:
    """Return the numbers a layer sends as [*shape, lines], lines of a neuron last."""
    given: dict[str, Any] = dict(node.attributes)
    axis = given.get("level_axis")
    if axis is None:
        lines = numbers[..., None]
    else:
        before = one_sample(node.operands[0])
        split = numbers.reshape(*before[: axis + 1], -1, *before[axis + 1 :])
        lines = np.moveaxis(split, axis + 1, -1)
    flat = lines.reshape(-1, lines.shape[-1])
    return (flat if order is None else flat[order]).reshape(*shape, -1)


def channel_axis(shape: tuple[int, ...], parts: Sequence[Branch]) -> int | None:
    """Return the axis along which a layer's neurons are channels."""
    kinds = {part.synapse.op.name for part in parts if part.synapse is not None}
    if len(shape) < 2:
        return None
    return len(shape) - 1 if kinds & {"linear", "matmul"} else 1
