"""How many bytes a network moves between memory and arithmetic, and what moving them would cost: an estimate.

Assumed, for the source network and the spiking one alike (`ASSUMPTIONS` says it to the user): one sample at a
time, one layer after the other, and within a layer and step nothing is moved twice. That is the least that a
machine of this kind can move; event-driven hardware without such reuse moves more, as accumulates grow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.reference.program import invariant_values
from snnc.ir.op import Role, TensorRef
from snnc.ir.shapes import per_sample
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from snnc.ir.codebooks import Payload
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

# Picojoules per byte, from 64 bits (Horowitz 2014, figure 1.1.9): a 1 MB cache 100 pJ, DRAM at least 1.3 nJ.
SRAM_PJ, DRAM_PJ = 100 / 8, 1300 / 8

# Bytes of a number. Membranes and sums keep 32 bits in either precision, as accumulators of int8 hardware do.
FP32_BYTES, INT8_BYTES, STATE_BYTES = 4, 1, 4
ADDRESS_BYTES = 4  # of an event: which neuron of the layer

ASSUMPTIONS = (
    "one sample at a time; the ANN reads weights once, the SNN at every step",
    "a stream is written once and read once per reader, neither where one node of its shape alone reads it",
    f"spikes travel as events ({ADDRESS_BYTES} bytes and the payload) or packed in few bits, if that is less",
    f"membranes and sums ({STATE_BYTES} bytes each) are written and read between steps",
    f"on-chip memory {SRAM_PJ:g} pJ per byte, DRAM {DRAM_PJ:g} pJ per byte (Horowitz 2014)",
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes moved per sample: weights and thresholds, streams between layers, state between steps."""

    weights: float
    streams: float
    state: float

    @property
    def bytes(self) -> float:
        return self.weights + self.streams + self.state

    @property
    def on_chip_pj(self) -> float:
        """Return the energy if everything lies in on-chip memory."""
        return self.bytes * SRAM_PJ

    @property
    def weights_off_chip_pj(self) -> float:
        """Return the energy if weights come from DRAM, everything else from on-chip memory."""
        return self.weights * DRAM_PJ + (self.streams + self.state) * SRAM_PJ

    def to_json(self) -> dict[str, float]:
        return {
            "weights": self.weights,
            "streams": self.streams,
            "state": self.state,
            "bytes": self.bytes,
            "on_chip_pj": self.on_chip_pj,
            "weights_off_chip_pj": self.weights_off_chip_pj,
        }


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that lies in memory: how often it moves, as a share of its elements (writing it is 1)."""

    value: Value
    moves: float


@dataclass(frozen=True, slots=True)
class Storage:
    """What one step of a graph moves for one sample, spikes left aside: numbers, not bytes."""

    weights: int
    real: float
    state: int
    spikes: tuple[Stream, ...]

    @classmethod
    def of(cls, graph: Graph, *, dense: bool = False) -> Storage:
        """Return it for a graph; if `dense`, spikes are numbers like any other."""
        streams = list(stored_streams(graph))
        spiking = () if dense else tuple(one for one in streams if isinstance(one.value.type, SpikeType))
        real = sum(per_sample(one.value.type.shape) * one.moves for one in streams if one not in spiking)
        return cls(sum(map(weights_of, graph)), real, state_of(graph), spiking)

    def traffic(self, steps: int, width: int, spike_bytes: float = 0.0) -> Traffic:
        """Return the bytes of some steps with numbers of so many bytes; the first step finds no state."""
        state = 2 * (steps - 1) * self.state * STATE_BYTES
        return Traffic(steps * self.weights * width, steps * self.real * width + spike_bytes, state)


def weights_of(node: Node) -> int:
    """Return how many constants a node reads: its tensors, but for records and thresholds that are all 1."""
    if node.graph is None:
        return 0
    given = {
        name: node.graph.tensors[value.name]
        for name, value in node.attributes.items()
        if isinstance(value, TensorRef) and name != "unit"
    }
    return sum(array.size for name, array in given.items() if name != "quantum" or not (array == 1).all())


def state_of(graph: Graph) -> int:
    """Return how many numbers a graph keeps from one step to the next, for one sample."""
    invariant, kept = invariant_values(graph), 0
    for node in graph:
        if node.op.name == "neuron":
            # Differential coding also keeps what has been sent so far.
            kept += per_sample(node.operands[0].type.shape) * (1 if graph.coding == "rate" else 2)
        elif node.op.name == "delay":
            steps = node.attributes.get("steps", 1)
            assert isinstance(steps, int)
            kept += steps * per_sample(node.result.type.shape)
        elif node.expect and node.result not in invariant:
            summed = [operand for operand in node.operands if operand not in invariant]
            kept += sum(per_sample(value.type.shape) for value in summed) + per_sample(node.result.type.shape)
    return kept


def stored_streams(graph: Graph) -> Iterator[Stream]:
    """Yield inputs and results that lie in memory, constants and mere rearrangements left aside."""
    roots = roots_of(graph)
    readers: dict[Value, list[tuple[Node, Value]]] = defaultdict(list)
    for node in filter(computes, graph):
        for operand in node.operands:
            for root in roots[operand]:
                readers[root].append((node, operand))
    outputs = {root for output in graph.outputs for root in roots[output.value]}
    for value in (*graph.inputs, *(node.result for node in graph if computes(node))):
        size, reads = per_sample(value.type.shape), readers[value]
        inner = value.node is not None and value not in outputs
        if inner and len(reads) == 1 and same_shape(reads[0][0], size):
            continue
        read = sum(min(1.0, per_sample(operand.type.shape) / size) for _, operand in reads)
        yield Stream(value, read + (value.node is not None))


def roots_of(graph: Graph) -> dict[Value, tuple[Value, ...]]:
    """Return, per value, the streams of which it is a rearrangement: itself if computed, none if constant."""
    roots: dict[Value, tuple[Value, ...]] = {value: (value,) for value in graph.inputs}
    for node in graph:
        gathered = dict.fromkeys(root for operand in node.operands for root in roots[operand])
        roots[node.result] = (node.result,) if computes(node) else tuple(gathered)
    return roots


def computes(node: Node) -> bool:
    """Tell whether a node makes numbers; reshapes and the like only say where they lie."""
    moves = node.op.role is Role.LINEAR and node.op.cost == 0 and not node.op.synaptic
    return node.op.name != "constant" and not (moves and node.op.fan_out is None)


def same_shape(reader: Node, size: int) -> bool:
    """Tell whether a reader works through a stream element by element (or row by row)."""
    worked = reader.operands[0] if reader.op.name == "neuron" else reader.result
    return not reader.op.synaptic and reader.op.fan_out is None and per_sample(worked.type.shape) == size


@dataclass(slots=True)
class SpikeTraffic:
    """Observes a run and adds up the bytes that spikes move, per step, over all samples."""

    graph: Graph
    steps: int
    samples: int = 0
    bytes: NDArray[np.float64] = field(init=False)
    _moves: dict[Value, float] = field(init=False)
    _events: dict[Value, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bytes = np.zeros(self.steps)
        self._moves = {one.value: one.moves for one in Storage.of(self.graph).spikes}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        """Count one node's spikes of one step."""
        moves = self._moves.get(node.result)
        if moves is None:
            return
        assert isinstance(node.result.type, SpikeType)
        size = per_sample(node.result.type.shape)
        samples, events = value.size / size, float(np.count_nonzero(value))
        self.bytes[t - 1] += moves * least_bytes(node.result.type.payload, events, samples * size)


def least_bytes(payload: Payload, events: float, elements: float) -> float:
    """Return the bytes of so many spikes among so many elements: as events, or every payload in few bits."""
    members = max(1, payload_count(payload))
    addressed = events * (ADDRESS_BYTES + math.ceil(math.log2(members) / 8))
    return min(addressed, elements * math.ceil(math.log2(members + 1)) / 8)


def payload_count(payload: Payload) -> int:
    """Return how many payloads are spikes."""
    if payload.powers_of_two:
        return payload.hi.bit_length() + (-payload.lo).bit_length()
    return payload.hi - payload.lo


@dataclass(frozen=True, slots=True)
class MemoryStep:
    """Traffic per sample after t steps, of both networks in both precisions."""

    t: int
    ann_fp32: Traffic
    ann_int8: Traffic
    snn_fp32: Traffic
    snn_int8: Traffic

    def to_json(self) -> dict[str, object]:
        return {
            "ann_fp32": self.ann_fp32.to_json(),
            "ann_int8": self.ann_int8.to_json(),
            "snn_fp32": self.snn_fp32.to_json(),
            "snn_int8": self.snn_int8.to_json(),
        }


def memory_steps(source: Graph, spikes: SpikeTraffic, *, stepped: bool) -> list[MemoryStep]:
    """Return the traffic after every step; a `stepped` source runs as many steps, any other runs once."""
    ann, snn = Storage.of(source, dense=True), Storage.of(spikes.graph)
    sent = spikes.bytes.cumsum() / spikes.samples
    found = []
    for t in range(1, spikes.steps + 1):
        runs, moved = (t if stepped else 1), float(sent[t - 1])
        found.append(
            MemoryStep(
                t,
                ann.traffic(runs, FP32_BYTES),
                ann.traffic(runs, INT8_BYTES),
                snn.traffic(t, FP32_BYTES, moved),
                snn.traffic(t, INT8_BYTES, moved),
            )
        )
    return found
