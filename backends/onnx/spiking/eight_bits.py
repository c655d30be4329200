"""Which layers of a network of integers become integer kernels, on payloads of 8 bits.

A payload k lies in the file as the byte k + z, z = 0 or 128. Processors without VNNI add two products of a
byte and a weight in 16 bits, where they saturate: a kernel is only chosen where no two can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.spiking.exact import is_diagonal
from snnc.backends.onnx.spiking.requantise import Rescaling, find_rescaling, payload_edges
from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.op import computes_integers
from snnc.ir.ops.neuron import whole_start
from snnc.ir.shapes import concrete, fill_batch
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

BYTE = np.dtype(np.uint8)
MIDDLE = 128  # the byte of payload 0 where there are negative ones
LARGEST_PAIR = 2**15 - 1
LARGEST_SUM = 2**31 - 1
# What moves bytes as they are.
MOVES = frozenset({"reshape", "transpose", "slice", "max_pool", "expand", "pad"})
# Products of so many weights are faster as integers, with what it takes to turn sums into real numbers; those
# of convolutions with so many, inputs and outputs (benchmarks/kernels.py).
LEAST_WEIGHTS, LEAST_CHANNELS = 2**12, 32


@dataclass(frozen=True, slots=True)
class Fused:
    """A synapse and its neuron in one kernel: the byte k + z = round(factor (S + shift)).

    `skip`: spikes whose payloads count as much as the neuron's own, added behind the kernel.
    """

    synapse: Node
    rescaling: Rescaling
    zero: int
    skip: Value | None = None

    @property
    def sources(self) -> tuple[Value, ...]:
        """Return the streams of payloads it reads."""
        (x,) = self.synapse.operands
        return (x,) if self.skip is None else (x, self.skip)


@dataclass(slots=True)
class Bytes:
    """`zeros`: streams that lie as bytes, and the byte of payload 0. `fused`: neurons written with their
    synapses, which are `absorbed`. `products`: synapses written as integer products, for readers of
    sums. `encoders`: neurons of one step that a quantiser to bytes computes exactly.
    """

    zeros: dict[Value, int] = field(default_factory=dict)
    fused: dict[Node, Fused] = field(default_factory=dict)
    absorbed: set[Node] = field(default_factory=set)
    products: set[Node] = field(default_factory=set)
    encoders: set[Node] = field(default_factory=set)


def plan_bytes(graph: Graph, steps: int, *, single: bool = False) -> Bytes:
    """Return the plan for a run of so many steps; `single`: real numbers are in single precision."""
    plan = Bytes()
    for node in graph:
        if node.op.name == "neuron" and (steps == 1 or graph.resolve(node)["reset"] == "restart"):
            fused = fuse(node, graph)
            if fused is not None:
                plan.fused[node] = fused
                plan.absorbed.update(between(node, fused))
    for node in graph:
        if node not in plan.absorbed and pays(node, graph):
            plan.products.add(node)
    for fused in plan.fused.values():
        lay_as_bytes(fused.synapse.operands[0], plan, steps)
        if fused.skip is not None:
            lay_as_bytes(fused.skip, plan, steps)
    for node in plan.products:
        lay_as_bytes(node.operands[0], plan, steps)
    for node in plan.fused:
        lay_as_bytes(node.result, plan, steps)
    plan.encoders = {
        value.node
        for value in plan.zeros
        if value.node is not None and encodes(value.node, graph, steps, single=single)
    }
    return plan


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


def lay_as_bytes(value: Value, plan: Bytes, steps: int) -> None:
    """Let a stream be bytes, and what it is moved from."""
    zero = byte_of_zero(value)
    assert zero is not None
    plan.zeros[value] = zero
    node = value.node
    while node is not None and node.op.name in MOVES and (steps == 1 or not node.expect):
        (value,) = node.operands
        if byte_of_zero(value) != zero:
            return
        plan.zeros[value] = zero
        node = value.node


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


def byte_of_zero(value: Value) -> int | None:
    """Return the byte that stands for payload 0 in a stream of spikes; None if payloads are no bytes."""
    type_ = value.type
    if not isinstance(type_, SpikeType) or type_.scaled:
        return None
    lo, hi = type_.payload.lo, type_.payload.hi
    if lo >= 0:
        return 0 if hi <= 255 else None
    return MIDDLE if lo >= -MIDDLE and hi < MIDDLE else None


def multiplies_bytes(node: Node, graph: Graph) -> bool:
    """Tell whether a synapse's products are exact in every integer kernel: 2 |w| (k + z) is below 2^15."""
    given, zero = graph.resolve(node), byte_of_zero(node.operands[0])
    if zero is None or not computes_integers(node.op, given):
        return False
    assert isinstance(node.operands[0].type, SpikeType)
    weight = given["weight"].astype(np.int64)
    byte = node.operands[0].type.payload.hi + zero
    return bool(2 * np.abs(weight).max(initial=0) * byte <= LARGEST_PAIR)


def pays(node: Node, graph: Graph) -> bool:
    """Tell whether a linear layer or convolution is faster as an integer product, and exact."""
    given = graph.resolve(node)
    if node.op.name not in ("linear", "conv") or not is_windowed(node, given):
        return False
    few = node.op.name == "conv" and (given["group"] > 1 or min(given["weight"].shape[:2]) < LEAST_CHANNELS)
    if few or given["weight"].size < LEAST_WEIGHTS or not multiplies_bytes(node, graph):
        return False
    least, most = sums(node, graph)
    return bool(max(-least.min(), most.max()) <= LARGEST_SUM)


def fuse(neuron: Node, graph: Graph) -> Fused | None:
    """Return the kernel that is a neuron of a single step and all in front of it, or None."""
    given = graph.resolve(neuron)
    if not computes_integers(neuron.op, given) or given["level_axis"] is not None:
        return None
    if given["scale"] is not None or given["negative"] is not None:
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


def per_channel(parameter: Array | None, neuron: Node, synapse: Node) -> Array | None:
    """Return a neuron's whole numbers per output of its synapse [O], or None if they vary within one."""
    if parameter is None:
        parameter = np.zeros(1, np.int64)
    full = np.broadcast_to(parameter, concrete(neuron.operands[0].type.shape, 1))
    full = full.reshape(concrete(synapse.result.type.shape, 1)).astype(np.int64)
    axis = full.ndim - 1 if synapse.op.name == "linear" else 1
    rows = np.moveaxis(full, axis, 0).reshape(full.shape[axis], -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else None


def sums(node: Node, graph: Graph) -> tuple[Array, Array]:
    """Return the least and the largest Σ w k of every output."""
    weight = graph.resolve(node)["weight"].astype(np.int64)
    rows = weight.reshape(len(weight), -1)
    assert isinstance(node.operands[0].type, SpikeType)
    payload = node.operands[0].type.payload
    lo, hi = min(payload.lo, 0), max(payload.hi, 0)
    up, down = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    return up * lo + down * hi, up * hi + down * lo


def is_windowed(node: Node, given: Mapping[str, Any]) -> bool:
    """Tell whether a synapse is a convolution of images or a linear layer."""
    return node.op.name == "linear" or (node.op.name == "conv" and given["weight"].ndim == 4)


def rescaled(neuron: Node, synapse: Node, skip: Node | None, graph: Graph, zero: int) -> Fused | None:
    """Return a synapse and its neuron as one kernel; None where single precision would misjudge an edge."""
    given, weights = graph.resolve(neuron), graph.resolve(synapse)
    codebook = given["codebook"]
    if not is_windowed(synapse, weights) or not multiplies_bytes(synapse, graph):
        return None
    if skip is not None:
        codebook = branch_codebook(codebook, skip)
    quantum, bias, start = (
        per_channel(one, neuron, synapse) for one in (given["quantum"], given["bias"], whole_start(given))
    )
    if codebook is None or quantum is None or bias is None or start is None:
        return None
    edges = payload_edges(codebook, quantum)
    if edges is None or quantum.min() <= 0:
        return None
    added = bias + start
    for one in (weights, {} if skip is None else graph.resolve(skip)):
        if one.get("bias") is not None:
            added = added + one["bias"]
    least, most = sums(synapse, graph)
    exponent = weights["exponent"]
    if saturates(given, (least << exponent) + added - start, (most << exponent) + added - start, start):
        return None
    whole = -((added[:, None] - edges) // 2**exponent) if exponent else edges - added[:, None]
    offset = zero if skip is None else MIDDLE
    first = codebook.payload.lo + 1 + offset
    found = find_rescaling(whole, first, quantum / 2.0**exponent, (least, most))
    if found is None or np.abs(found.shift).max() + max(-least.min(), most.max()) > LARGEST_SUM:
        return None
    return Fused(synapse, found, zero, None if skip is None else skip.operands[0])


def saturates(given: Mapping[str, Any], least: Array, most: Array, start: Array) -> bool:
    """Tell whether a membrane can leave its width in one step."""
    width = given["width"]
    if width is None:
        return False
    limit = 2 ** (width - 1)
    return bool((least + start).min() < -limit or (most + start).max() > limit - 1)


def branch_codebook(codebook: Any, skip: Node) -> MultiSpike | None:
    """Return what the branch of a residual connection sends, so that Q(m / q) = clip(branch + k).

    Only floor(u + k) = floor(u) + k for all k. The branch saturates at a byte; k must not bring it back.
    """
    if isinstance(codebook, Binary):
        codebook = MultiSpike(0, 1, "floor")
    if not isinstance(codebook, MultiSpike) or codebook.rounding != "floor":
        return None
    assert isinstance(skip.operands[0].type, SpikeType)
    payload = skip.operands[0].type.payload
    if MIDDLE - 1 + payload.lo < codebook.hi or -MIDDLE + payload.hi > codebook.lo:
        return None
    return MultiSpike(-MIDDLE, MIDDLE - 1, "floor")
