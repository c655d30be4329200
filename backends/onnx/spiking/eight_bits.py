"""Which layers of a network of integers become integer kernels, on payloads of 8 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.spiking.blocks import NO_BLOCKS
from snnc.backends.onnx.spiking.byte_kernels import (
    MOVES,
    Judge,
    branch_codebook,
    byte_of_zero,
    is_windowed,
    lay_as_bytes,
    multiplies_bytes,
    pays,
    per_channel,
    proved,
    scaled_by,
    sends_whole,
)
from snnc.backends.onnx.spiking.exact import is_diagonal
from snnc.backends.onnx.spiking.shared_sums import share
from snnc.ir.codebooks import MultiSpike
from snnc.ir.op import computes_integers
from snnc.ir.ops.neuron import whole_start
from snnc.ir.shapes import concrete, fill_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.backends.onnx.spiking.blocks import Blocks
    from snnc.backends.onnx.spiking.byte_kernels import Fused
    from snnc.backends.onnx.spiking.requantise import Rescaling
    from snnc.backends.onnx.spiking.shared_sums import Shared
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

BYTE = np.dtype(np.uint8)


@dataclass(slots=True)
class Bytes:
    """`zeros`: streams that lie as bytes, and the byte of payload 0. `fused`: neurons written with their
    synapses, which are `absorbed`. `shared`: synapses written with the several neurons that read them, which
    are `written` then. `products`: synapses written as integer products, for readers of sums. `scaled`: those
    that a `dequantise` alone reads, by that node, in single precision; they are `absorbed`. `encoders`:
    neurons of one step that a quantiser to bytes computes exactly; `rescaled`: those of whole numbers.
    """

    zeros: dict[Value, int] = field(default_factory=dict)
    fused: dict[Node, Fused] = field(default_factory=dict)
    absorbed: set[Node] = field(default_factory=set)
    shared: dict[Node, Shared] = field(default_factory=dict)
    written: set[Node] = field(default_factory=set)
    products: set[Node] = field(default_factory=set)
    scaled: dict[Node, Node] = field(default_factory=dict)
    encoders: set[Node] = field(default_factory=set)
    rescaled: dict[Node, Rescaling] = field(default_factory=dict)
    blocks: Blocks = NO_BLOCKS

    def writes(self, node: Node) -> bool:
        """Tell whether a node is written as a kernel of bytes."""
        reading = (self.fused, self.shared, self.products, self.scaled)
        return any(
            node in kernel
            for kernel in (*reading, self.encoders, self.rescaled, self.written, self.blocks.neurons)
        )


def plan_bytes(graph: Graph, steps: int, *, single: bool = False) -> Bytes:
    """Return the plan for a run of so many steps; `single`: real numbers are in single precision."""
    plan = Bytes()
    for node in graph:
        with_neurons(node, graph, steps, plan)
    for node in graph:
        if node not in plan.absorbed and node not in plan.shared and pays(node, graph):
            plan.products.add(node)
    reading = [value for fused in plan.fused.values() for value in fused.sources]
    for value in (
        *reading,
        *(node.operands[0] for node in (*plan.shared, *plan.products)),
        *(node.result for node in plan.fused),
    ):
        lay_as_bytes(value, plan.zeros, steps)
    if single:
        between_bytes(graph, steps, plan)
    plan.encoders = {
        value.node
        for value in plan.zeros
        if value.node is not None and encodes(value.node, graph, steps, single=single)
    }
    return plan


def with_neurons(node: Node, graph: Graph, steps: int, plan: Bytes) -> None:
    """Plan a kernel for a neuron of one step and its synapse, or for a synapse and several neurons."""
    if node.op.name == "neuron" and (steps == 1 or graph.resolve(node)["reset"] == "restart"):
        fused = fuse(node, graph)
        if fused is not None:
            plan.fused[node] = fused
            plan.absorbed.update(between(node, fused))
    shared = share(node, graph, steps)
    if shared is not None:
        plan.shared[node] = shared
        plan.written.update(shared.neurons)
        for one in (node, *shared.between, *shared.neurons):
            plan.zeros[one.result] = shared.fused.zero


def between_bytes(graph: Graph, steps: int, plan: Bytes) -> None:
    """Plan kernels between bytes and the real numbers of a host in single precision."""
    for node in graph:
        # A quantiser is faster than what rounds and clips, even where its bytes become real numbers again.
        if encodes(node, graph, steps, single=True) and byte_of_zero(node.result) is not None:
            lay_as_bytes(node.result, plan.zeros, steps)
    for node in graph:
        # What lies in bytes anyway need not become real numbers in front of a small layer.
        small = node.op.name == "linear" and node not in plan.absorbed and node.operands[0] in plan.zeros
        if node in plan.products or (small and node not in plan.shared and multiplies_bytes(node, graph)):
            scale = scaled_by(node, graph)
            if scale is not None:
                plan.scaled[scale] = node
                plan.absorbed.add(node)


def encodes(node: Node, graph: Graph, steps: int, *, single: bool) -> bool:
    """Tell whether a neuron of a single step is round(x / q) of a real number, clipped.

    It must be an input and q a power of two, so that no quotient is rounded; in single precision all are.
    """
    given = graph.resolve(node)
    if node.op.name != "neuron" or computes_integers(node.op, given):
        return False
    once = steps == 1 or given["reset"] == "restart"
    plain = all(given[name] is None for name in ("bias", "scale", "negative", "width", "level_axis"))
    if not (once and plain and rounds(given, single=single)):
        return False
    x, quantum = node.operands[0], given["quantum"]
    power = quantum.size == 1 and math.frexp(float(quantum.flat[0]))[0] == 0.5
    return bool(x.type.dtype == "f32" and (single or (x.node is None and power)))


def rounds(given: Mapping[str, Any], *, single: bool) -> bool:
    """Tell whether a neuron rounds to the nearest at first; `single`: whatever becomes of halves."""
    codebook = given["codebook"]
    if not isinstance(codebook, MultiSpike) or given["charge"] is not None:
        return False
    nearest = codebook.rounding == "nearest" and not given["initial"]
    return nearest or (single and codebook.rounding == "floor" and given["initial"] == 0.5)


def between(neuron: Node, fused: Fused) -> set[Node]:
    """Return the nodes from a neuron's synapse, and from its skip, to the neuron."""
    found, waiting = set(), [neuron.operands[0]]
    while waiting:
        node = waiting.pop().node
        if node is not None and node not in found:
            found.add(node)
            if node is not fused.synapse and node.operands[0] is not fused.skip:
                waiting += node.operands
    return found


def fuse(neuron: Node, graph: Graph) -> Fused | None:
    """Return the kernel that is a neuron of a single step and all in front of it, or None."""
    if not sends_whole(neuron, graph.resolve(neuron)):
        return None
    zero = byte_of_zero(neuron.result)
    x = private(neuron.operands[0], graph)
    if zero is None or x is None:
        return None
    if x.op.name != "add":
        synapse = behind_reshape(x, graph)
        return None if synapse is None else rescaled(neuron, synapse, None, graph, zero)
    for branch, other in (x.operands, x.operands[::-1]):
        synapse, skip = private(branch, graph), private(other, graph)
        if synapse is None or skip is None or skips(skip, neuron, graph) is None:
            continue
        fused = rescaled(neuron, synapse, skip, graph, zero)
        if fused is not None:
            return fused
    return None


def private(value: Value, graph: Graph) -> Node | None:
    """Return the node that computes a value, if it has one reader and is no output."""
    return value.node if len(value.users) == 1 and not graph.is_output(value) else None


def behind_reshape(node: Node, graph: Graph) -> Node | None:
    return private(node.operands[0], graph) if node.op.name == "reshape" else node


def skips(node: Node, neuron: Node, graph: Graph) -> Value | None:
    """Return the spikes of a residual connection whose payloads are worth one of the neuron's each, or None.

    Channels that are always 0, as a pad fills in, may have any weight.
    """
    given = graph.resolve(node)
    if node.op.name != "conv" or not is_diagonal(given) or byte_of_zero(node.operands[0]) is None:
        return None
    (k,) = node.operands
    quantum = per_channel(graph.resolve(neuron)["quantum"], neuron, node)
    if quantum is None:
        return None
    worth = given["weight"].reshape(-1).astype(np.int64) << given["exponent"]
    return k if ((worth == quantum) | silent_channels(k, graph)).all() else None


def silent_channels(value: Value, graph: Graph) -> Array:
    """Return which channels of a stream are 0 whatever its neurons send."""
    chain, node = [], value.node
    while node is not None and node.op.name in MOVES:
        chain.append(node)
        node = node.operands[0].node
    first = chain[-1].operands[0] if chain else value
    reached: Array = np.ones(concrete(first.type.shape, 1), np.float32)
    for node in reversed(chain):
        assert node.op.kernel is not None
        reached = node.op.kernel(reached, **fill_batch(graph.resolve(node), 1))
    return np.asarray(~reached.any(axis=(0, *range(2, reached.ndim))))


def rescaled(neuron: Node, synapse: Node, skip: Node | None, graph: Graph, zero: int) -> Fused | None:
    """Return a synapse and its neuron as one kernel; None where single precision would misjudge an edge."""
    given = graph.resolve(neuron)
    codebook = given["codebook"] if skip is None else branch_codebook(given["codebook"], skip)
    if codebook is None or not is_windowed(synapse, graph.resolve(synapse)):
        return None
    parameters = [
        per_channel(one, neuron, synapse) for one in (given["quantum"], given["bias"], whole_start(given))
    ]
    quantum, bias, start = parameters
    if quantum is None or bias is None or start is None:
        return None
    return proved(synapse, skip, graph, zero, Judge(codebook, given["width"], quantum, bias, start))
