"""How much of the outputs' error each neuron's threshold causes alone.

One graph serves all neurons: each sends x + gate (Q(x) - x), and the gates, an input, are 0 for the reference
and open one at a time. A large graph is cut into segments (`snnc.segments`), and a neuron's error is measured
behind its own, so that all neurons together cost a multiple of the graph's nodes. A few neurons' errors per
segment are followed to the outputs: how much larger or smaller they are there is interpolated between these
neurons. In the last segment, or the only one, nothing is estimated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.types import TensorType
from snnc.segments import SegmentedSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from snnc.segments import Streams

# Every neuron takes a run of its own: few samples, fewer for many neurons.
FEWEST_SAMPLES, MOST_SAMPLES, RUNS = 8, 32, 1024
FOLLOWED = 8  # neurons per segment whose errors are followed to the outputs
GATES = "snnc.gates"
UNQUANTISED = ("codebook", "bias", "low", "high", "site")


def sensitivity_samples(neurons: int) -> int:
    return int(np.clip(RUNS // max(1, neurons), FEWEST_SAMPLES, MOST_SAMPLES))


def sensitivities(
    graph: Graph, neurons: Sequence[Node], inputs: Mapping[str, Array]
) -> Iterator[tuple[int, float]]:
    """Yield neurons by index, each with the squared relative error of the outputs that it alone causes."""
    gated = GatedGraph(graph, neurons, inputs)
    members: list[list[int]] = [[] for _ in range(gated.last + 1)]
    for index, place in enumerate(gated.places):
        members[place].append(index)
    for index in members.pop():
        yield index, gated.error(gated.last, gated.opened(gated.last, index))
    for place, indices in enumerate(members):
        near, far = {}, {}
        followed = set(indices[:: max(1, len(indices) // FOLLOWED)])
        for index in indices:
            streams = gated.opened(place, index)
            near[index] = gated.error(place, streams)
            if index in followed:
                far[index] = gated.error(gated.last, gated.follow(place, streams))
        yield from zip(near, at_outputs(near, far), strict=True)


def at_outputs(near: Mapping[int, float], far: Mapping[int, float]) -> list[float]:
    """Return every neuron's error at the outputs, from all of those near by and some of those far away.

    log(far / near) is interpolated between neurons; all are 0 where none is seen far away.
    """
    arrived = [index for index, error in far.items() if error > 0 and near[index] > 0]
    if not arrived:
        return [0.0] * len(near)
    logarithms = np.interp(list(near), arrived, [np.log(far[index] / near[index]) for index in arrived])
    return [error * float(np.exp(one)) for error, one in zip(near.values(), logarithms, strict=True)]


class GatedGraph:
    """A graph with a gate per neuron, what it computes while all are closed, and the segment of each gate."""

    def __init__(self, graph: Graph, neurons: Sequence[Node], inputs: Mapping[str, Array]) -> None:
        gated, inner = with_gates(graph, neurons)
        self._session = SegmentedSession(gated, inner=frozenset().union(*inner))
        self._gates = gated.inputs[-1]
        self.places = [self._session.part_of[nodes[0]] for nodes in inner]
        self._outputs = [output.value for output in gated.outputs]
        closed = {**inputs, GATES: np.zeros(len(neurons), np.float32)}
        # What there is in front of each segment, and behind the last one.
        self._streams = [self._session.start(closed)]
        for segment in self._session.segments:
            self._streams.append(dict(self._streams[-1]))
            segment.run(self._streams[-1])

    @property
    def last(self) -> int:
        return len(self._session.segments) - 1

    def opened(self, place: int, neuron: int) -> Streams:
        """Return what there is behind a segment while the gate of one neuron in it is open."""
        gates = np.zeros(len(self.places), np.float32)
        gates[neuron] = 1
        streams = self._streams[place] | {self._gates: gates}
        self._session.segments[place].run(streams)
        return streams

    def follow(self, place: int, streams: Streams) -> Streams:
        """Return what is behind the graph, from what is behind a segment, all later gates closed."""
        streams[self._gates] = self._streams[0][self._gates]
        for segment in self._session.segments[place + 1 :]:
            segment.run(streams)
        return streams

    def error(self, place: int, found: Streams) -> float:
        """Return the squared relative error behind a segment, of the outputs behind the last one."""
        reference = self._streams[place + 1]
        read_later = [value for value in reference if value.node is not None]
        compared = self._outputs if place == self.last else read_later
        return sum(squared_error(found[value], reference[value]) for value in compared)


def with_gates(graph: Graph, neurons: Sequence[Node]) -> tuple[Graph, list[list[Node]]]:
    """Return the graph with y = x + gate (Q(x) - x) for every neuron, x within its bounds.

    And, per neuron, the nodes in front of the sum, which none but each other and the sum read.
    """
    chosen, inner = set(neurons), []
    other = graph.copy()
    pairs = zip(list(graph), list(other), strict=True)
    gates = other.add_input(GATES, TensorType("f32", (len(neurons),)))
    for index, node in enumerate([twin for node, twin in pairs if node in chosen]):
        place = {"axes": (0,), "starts": (index,), "ends": (index + 1,), "steps": (1,)}
        gate = other.insert(node, "slice", [gates], place)
        plain = {key: node.attributes[key] for key in UNQUANTISED if key in node.attributes}
        x = other.insert(node, "neuron", node.operands, plain)
        quantised = other.insert(node, "neuron", node.operands, node.attributes)
        error = other.insert(node, "sub", [quantised, x])
        step = other.insert(node, "mul", [error, gate])
        other.replace_uses(node.result, other.insert(node, "add", [x, step]))
        other.erase(node)
        inner.append([value.node for value in (gate, x, quantised, error, step) if value.node is not None])
    other.retype()
    return other, inner


def squared_error(array: Array, reference: Array) -> float:
    """Return ‖array - reference‖² / ‖reference‖²; 0 for what is not real numbers."""
    if array.dtype.kind != "f":
        return 0.0
    expected = reference.astype(np.float64)
    return float(((array - expected) ** 2).sum() / max((expected**2).sum(), 1e-300))
