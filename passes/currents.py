"""Which channels of which synapses are summed: they must count in the same unit.

A *current* is a sum of synapses, moved and added. Every output channel of a synapse gets a number; numbers
travel with the currents, and wherever two currents are added theirs belong to one class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from snnc.ir.shapes import concrete, fill_batch, static_dim
from snnc.ir.types import SpikeType
from snnc.passes.normalise_thresholds import MOVEMENT
from snnc.passes.spell_out import SYNAPSES, channel_axis

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

NOTHING = -1  # the number of an element that no synapse reaches


@dataclass(slots=True)
class Currents:
    """The currents of a graph.

    `numbers`: per current, the number of the synapse channel each element of one sample comes from; `first`:
    the number of each synapse's channel 0; `classes`: the class of every number.
    """

    numbers: dict[Value, Array] = field(default_factory=dict)
    first: dict[Node, int] = field(default_factory=dict)
    classes: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    count: int = 0

    def channels(self, synapse: Node) -> Array:
        """Return the classes of a synapse's output channels."""
        axis = channel_axis(synapse.result)
        outputs = static_dim(synapse.result.type.shape[axis], "the channel axis")
        start = self.first[synapse]
        return self.classes[start : start + outputs]

    def elements(self, current: Value) -> Array:
        """Return the class of every element of one sample; `NOTHING` where no synapse reaches."""
        numbers = self.numbers[current]
        return np.where(numbers == NOTHING, NOTHING, self.classes[numbers])


def find_currents(graph: Graph) -> Currents:
    """Return the currents of a graph whose factors and averages are spelled out as synapses."""
    found, together = Currents(), nx.Graph()
    for node in graph:
        if node.op.name == "max_pool" and node.operands[0] in found.numbers:
            found.numbers[node.result] = moved(node, graph, found)  # of one channel each
        if node.expect or node.op.neuron:
            continue
        if node.op.name in SYNAPSES and isinstance(node.operands[0].type, SpikeType):
            found.first[node] = found.count
            found.numbers[node.result] = channel_numbers(node, found.count)
            found.count += static_dim(node.result.type.shape[channel_axis(node.result)], "the channel axis")
        elif node.op.name in MOVEMENT and all(operand in found.numbers for operand in node.operands):
            found.numbers[node.result] = moved(node, graph, found)
        elif node.op.name in ("add", "sub"):
            added = sum_of(node, graph, found, together)
            if added is not None:
                found.numbers[node.result] = added
    found.classes = np.arange(found.count)
    for component in nx.connected_components(together):
        members = sorted(component)
        found.classes[members] = members[0]
    return found


def channel_numbers(synapse: Node, start: int) -> Array:
    shape, axis = concrete(synapse.result.type.shape, 1), channel_axis(synapse.result)
    across = [-1 if index == axis else 1 for index in range(len(shape))]
    return np.broadcast_to(np.arange(start, start + shape[axis]).reshape(across), shape)


def moved(node: Node, graph: Graph, found: Currents) -> Array:
    attributes = fill_batch(graph.resolve(node), 1)
    if node.op.name == "pad" and attributes["mode"] == "constant":
        attributes["value"] = NOTHING
    assert node.op.kernel is not None
    return np.asarray(node.op.kernel(*(found.numbers[operand] for operand in node.operands), **attributes))


def sum_of(node: Node, graph: Graph, found: Currents, together: nx.Graph) -> Array | None:
    """Return the numbers of a sum and note which of them are added; None if a stream of reals takes part."""
    shape = concrete(node.result.type.shape, 1)
    terms = [found.numbers[operand] for operand in node.operands if operand in found.numbers]
    constants = [operand for operand in node.operands if graph.constant(operand) is not None]
    if not terms or len(terms) + len(constants) < len(node.operands):
        return None
    result, *others = (np.broadcast_to(term, shape) for term in terms)
    for other in others:
        pairs = np.unique(np.stack([result.ravel(), other.ravel()]), axis=1)
        together.add_edges_from((int(a), int(b)) for a, b in pairs.T if NOTHING not in (a, b))
        result = np.where(result == NOTHING, other, result)
    return result
