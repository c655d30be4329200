"""Which synapses, alone or with a neuron, integer kernels of 8 bits compute exactly.

A payload k lies as the byte k + z, z = 0 or 128. Processors without VNNI add two products of a byte and a
weight in 16 bits, where they saturate: a kernel is only chosen where no two can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.spiking.requantise import EXACT, Rescaling, find_rescaling, payload_edges
from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.op import computes_integers
from snnc.ir.shapes import concrete
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

MIDDLE = 128  # the byte of payload 0 where there are negative ones
LARGEST_PAIR = 2**15 - 1
LARGEST_SUM = 2**31 - 1
# Products of so many weights are faster as integers, with what it takes to turn sums into real numbers; those
# of convolutions with so many, inputs and outputs (benchmarks/kernels.py).
LEAST_WEIGHTS, LEAST_CHANNELS = 2**12, 32
# What moves bytes as they are.
MOVES = frozenset({"reshape", "transpose", "slice", "max_pool", "expand", "pad"})


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


@dataclass(frozen=True, slots=True)
class Judge:
    """What a neuron does with the sums of a synapse: a threshold, a bias and a start for every output [O]."""

    codebook: Any
    width: int | None
    quantum: Array
    bias: Array
    start: Array


def byte_of_zero(value: Value) -> int | None:
    """Return the byte that stands for payload 0 in a stream of spikes; None if payloads are no bytes."""
    type_ = value.type
    if not isinstance(type_, SpikeType) or type_.scaled:
        return None
    lo, hi = type_.payload.lo, type_.payload.hi
    if lo >= 0:
        return 0 if hi <= 255 else None
    return MIDDLE if lo >= -MIDDLE and hi < MIDDLE else None


def lay_as_bytes(value: Value, zeros: dict[Value, int], steps: int) -> None:
    """Let a stream be bytes, and what it is moved from."""
    zero = byte_of_zero(value)
    assert zero is not None
    zeros[value] = zero
    node = value.node
    while node is not None and node.op.name in MOVES and (steps == 1 or not node.expect):
        (value,) = node.operands
        if byte_of_zero(value) != zero:
            return
        zeros[value] = zero
        node = value.node


def sends_whole(node: Node, given: Mapping[str, Any]) -> bool:
    """Tell whether a node is a neuron that reads and sends whole numbers, as they are."""
    if node.op.name != "neuron" or not computes_integers(node.op, given):
        return False
    return all(given[name] is None for name in ("scale", "negative", "level_axis"))


def is_windowed(node: Node, given: Mapping[str, Any]) -> bool:
    """Tell whether a synapse is a convolution of images or a linear layer."""
    return node.op.name == "linear" or (node.op.name == "conv" and given["weight"].ndim == 4)


def sums(node: Node, graph: Graph) -> tuple[Array, Array]:
    """Return the least and the largest Σ w k of every output."""
    weight = graph.resolve(node)["weight"].astype(np.int64)
    rows = weight.reshape(len(weight), -1)
    assert isinstance(node.operands[0].type, SpikeType)
    payload = node.operands[0].type.payload
    lo, hi = min(payload.lo, 0), max(payload.hi, 0)
    up, down = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    return up * lo + down * hi, up * hi + down * lo


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


def is_one_kernel(graph: Graph, product: Node) -> bool:
    """Tell whether onnxruntime makes one kernel of an integer product of dequantised bytes, and its sums are
    exact in single precision anywhere else.

    Its kernel for matrices adds a bias in the unit of the products.
    """
    given, (least, most) = graph.resolve(product), sums(product, graph)
    bias = np.zeros(1, np.int64) if given["bias"] is None else np.abs(given["bias"].astype(np.int64))
    reach = (np.maximum(most, -least) << given["exponent"]) + bias
    plain = len(product.result.type.shape) > 2 or given["bias"] is None or not given["exponent"]
    return plain and bool(reach.max() <= EXACT)


def scaled_by(product: Node, graph: Graph) -> Node | None:
    """Return what turns the sums of a synapse into real numbers, if nothing else reads them."""
    users = list(product.result.users)
    if len(users) != 1 or users[0].op.name != "dequantise" or graph.is_output(product.result):
        return None
    if not is_one_kernel(graph, product):
        return None
    given = graph.resolve(users[0])
    axis = given["axis"] % len(product.result.type.shape)
    along = len(product.result.type.shape) - 1 if product.op.name == "linear" else 1
    plain = given["zero_point"] is None and (given["scale"].size == 1 or axis == along)
    return users[0] if plain else None


def proved(synapse: Node, skip: Node | None, graph: Graph, zero: int, judge: Judge) -> Fused | None:
    """Return a synapse and its neuron as one kernel; None where it would misjudge an edge."""
    weights = graph.resolve(synapse)
    if not multiplies_bytes(synapse, graph):
        return None
    quantum, start = judge.quantum, judge.start
    edges = payload_edges(judge.codebook, quantum)
    if edges is None or quantum.min() <= 0:
        return None
    added = judge.bias + start
    for one in (weights, {} if skip is None else graph.resolve(skip)):
        if one.get("bias") is not None:
            added = added + one["bias"]
    least, most = sums(synapse, graph)
    exponent = weights["exponent"]
    ends = (least << exponent) + added - start, (most << exponent) + added - start
    if saturates(judge.width, *ends, start):
        return None
    whole = -((added[:, None] - edges) // 2**exponent) if exponent else edges - added[:, None]
    offset = zero if skip is None else MIDDLE
    first = judge.codebook.payload.lo + 1 + offset
    found = find_rescaling(whole, first, quantum / 2.0**exponent, (least, most))
    if found is None or np.abs(found.shift).max() + max(-least.min(), most.max()) > LARGEST_SUM:
        return None
    return Fused(synapse, found, zero, None if skip is None else skip.operands[0])


def saturates(width: int | None, least: Array, most: Array, start: Array) -> bool:
    """Tell whether a membrane can leave its width in one step."""
    if width is None:
        return False
    limit = 2 ** (width - 1)
    return bool((least + start).min() < -limit or (most + start).max() > limit - 1)


def per_channel(parameter: Array | None, neuron: Node, synapse: Node) -> Array | None:
    """Return a neuron's whole numbers per output of its synapse [O], or None if they vary within one."""
    if parameter is None:
        parameter = np.zeros(1, np.int64)
    full = np.broadcast_to(parameter, concrete(neuron.operands[0].type.shape, 1))
    full = full.reshape(concrete(synapse.result.type.shape, 1)).astype(np.int64)
    axis = full.ndim - 1 if synapse.op.name == "linear" else 1
    rows = np.moveaxis(full, axis, 0).reshape(full.shape[axis], -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else None


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
