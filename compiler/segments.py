"""Runs the analog model of a large graph in segments, each a model of its own.

onnxruntime opens a model in a time that grows like the square of its nodes; in segments it is linear. What
one segment leaves for the later ones can be kept, so that a part of the graph can be run again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from snnc.backends.inputs import check_inputs
from snnc.backends.onnx.session import AnalogResult, AnalogSession, refuse_timed
from snnc.ir.graph import Graph
from snnc.ir.op import TensorRef
from snnc.ir.shapes import batch_axis, per_sample

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from snnc.ir.graph import Node, Value
    from snnc.ir.kernel_types import Array

    Streams: TypeAlias = dict[Value, Array]

SEGMENT_NODES = 1024  # at most, and at least half as many


def analog_session(graph: Graph, values: Sequence[Value] = ()) -> AnalogSession | SegmentedSession:
    """Return the analog model of a graph, its outputs and these values observed: whole if it is not large."""
    if len(graph) <= SEGMENT_NODES:
        return AnalogSession(graph, values)
    return SegmentedSession(graph, values)


class SegmentedSession:
    """The analog model of a graph, a session per segment; runs like an `AnalogSession`.

    No segment ends behind a node of `inner`.
    """

    def __init__(self, graph: Graph, values: Sequence[Value] = (), inner: Container[Node] = ()) -> None:
        self._graph, self._values = graph, tuple(values)
        wanted = {*values, *(output.value for output in graph.outputs)}
        cut = Cut(graph, wanted, list(segment_nodes(graph, inner)))
        self.segments = [cut.segment(index) for index in range(len(cut.segments))]
        self.part_of = cut.part_of

    def start(self, inputs: Array | Mapping[str, Array]) -> Streams:
        """Return what the first segment reads; `DataError` where the inputs do not fit the graph's."""
        arrays = check_inputs(self._graph, inputs)
        refuse_timed(self._graph, arrays)
        return {value: arrays[value.name or ""] for value in self._graph.inputs}

    def run(self, inputs: Array | Mapping[str, Array]) -> AnalogResult:
        """Evaluate one batch; `DataError` where the inputs do not fit the graph's."""
        streams = self.start(inputs)
        for segment in self.segments:
            segment.run(streams)
        outputs = {output.name: streams[output.value] for output in self._graph.outputs}
        return AnalogResult(outputs, [streams[value] for value in self._values])


@dataclass(frozen=True, slots=True)
class Segment:
    """Some successive nodes of a graph: by what names they read which values, what they write, what is
    read for the last time."""

    session: AnalogSession
    reads: Mapping[str, Value]
    writes: tuple[Value, ...]
    dropped: tuple[Value, ...]

    def run(self, streams: Streams) -> None:
        """Add what the segment writes to the streams it reads, and drop those that no later one does."""
        arrays = self.session.run({name: streams[value] for name, value in self.reads.items()}).values
        streams.update(zip(self.writes, arrays, strict=True))
        for value in self.dropped:
            del streams[value]


class Cut:
    """A graph cut into segments; `wanted` are values to keep. Constants belong to all that read them."""

    def __init__(self, graph: Graph, wanted: set[Value], segments: list[list[Node]]) -> None:
        self.segments, self._graph, self._wanted = segments, graph, wanted
        self.part_of = {node: index for index, nodes in enumerate(segments) for node in nodes}
        self._last: dict[Value, int] = {}
        for node, index in self.part_of.items():
            self._last |= dict.fromkeys((*node.operands, node.result), index)
        # Any segment may read the batch size from an input.
        self._last |= dict.fromkeys(graph.inputs, len(segments) - 1)
        self._dropped: list[list[Value]] = [[] for _ in segments]
        for value, index in self._last.items():
            if value not in wanted and (value.node is None or self._is_kept(value.node)):
                self._dropped[index].append(value)

    def _is_kept(self, node: Node) -> bool:
        read_later = crosses(node.result) and self._last[node.result] > self.part_of[node]
        return node.result in self._wanted or read_later

    def segment(self, index: int) -> Segment:
        """Open the session of a segment."""
        part = Graph(self._graph.name, self._graph.coding)
        twins: dict[Value, Value] = {}
        reads: dict[str, Value] = {}
        for number, value in enumerate(self._reads(index)):
            twins[value] = part.add_input(f"stream {number}", value.type)
            reads[f"stream {number}"] = value
        for node in self.segments[index]:
            for operand in node.operands:
                if operand not in twins:
                    assert operand.node is not None
                    twins[operand] = self._copy(operand.node, part, twins)
            twins[node.result] = self._copy(node, part, twins)
        writes = [node.result for node in self.segments[index] if self._is_kept(node)]
        session = AnalogSession(part, [twins[value] for value in writes])
        part.tensors.clear()  # the session has them; a graph is a cycle of references
        return Segment(session, reads, tuple(writes), tuple(self._dropped[index]))

    def _reads(self, index: int) -> list[Value]:
        """Return what a segment needs of inputs and earlier segments, the batch size among it."""
        operands = (operand for node in self.segments[index] for operand in node.operands)
        read = dict.fromkeys(operand for operand in operands if self._comes_from_outside(operand, index))
        if not any(map(has_batch, read)):
            read |= dict.fromkeys(list(filter(has_batch, self._graph.inputs))[:1])
        return list(read)

    def _comes_from_outside(self, value: Value, index: int) -> bool:
        return value.node is None or (crosses(value) and self.part_of[value.node] < index)

    def _copy(self, node: Node, part: Graph, twins: Mapping[Value, Value]) -> Value:
        for attribute in node.attributes.values():
            if isinstance(attribute, TensorRef):
                part.tensors[attribute.name] = self._graph.tensors[attribute.name]
        operands = [twins[operand] for operand in node.operands]
        return part.append(node.op.name, operands, node.attributes, expect=node.expect, origin=node.origin)


def has_batch(value: Value) -> bool:
    return batch_axis(value.type.shape) is not None


def segment_nodes(graph: Graph, inner: Container[Node] = ()) -> Iterator[list[Node]]:
    """Yield the nodes of every segment; cuts lie where the fewest numbers are read across them."""
    nodes, living = list(graph), living_elements(graph)
    start = 0
    while len(nodes) - start > SEGMENT_NODES:
        places = range(start + SEGMENT_NODES // 2, start + SEGMENT_NODES)
        end = 1 + min(places, key=lambda place: (nodes[place] in inner, living[place]))
        yield nodes[start:end]
        start = end
    yield nodes[start:]


def living_elements(graph: Graph) -> list[int]:
    """Return, per node, how many elements per sample later nodes read of what there is after it."""
    last = {operand: node for node in graph for operand in node.operands if crosses(operand)}
    ending: Counter[Node] = Counter()
    for value, node in last.items():
        ending[node] += per_sample(value.type.shape)
    living, found = 0, []
    for node in graph:
        living += per_sample(node.result.type.shape) * (node.result in last) - ending[node]
        found.append(living)
    return found


def crosses(value: Value) -> bool:
    """Tell whether segments hand a value on: inputs are there, constants are in each that reads them."""
    return value.node is not None and value.node.op.name != "constant"
