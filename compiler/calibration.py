"""Calibration: the analog graph runs in onnxruntime over the data, every neuron site observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.inputs import batch_size_of
from snnc.backends.onnx.session import AnalogSession
from snnc.ir.codebooks import Binary, Ternary
from snnc.ir.shapes import per_sample
from snnc.ir.types import TensorType
from snnc.passes.moments import MomentStatistics
from snnc.passes.statistics import SiteStatistics
from snnc.streams import observer
from snnc.walk import walk, walked_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from snnc.data import Dataset
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Site
    from snnc.passes.moments import Moments

BATCH_BYTES = 128 * 2**20  # of observed streams held at a time
LARGEST_BATCH = 64
# Every neuron takes a run of its own: few samples, fewer for many neurons.
SENSITIVITY_SAMPLES, SENSITIVITY_RUNS = (8, 32), 1024
GATES = "snnc.gates"


@dataclass(slots=True)
class DatasetCalibration:
    """Measures sites over a dataset, batch by batch; never holds more than one batch of activations."""

    dataset: Dataset
    progress: Callable[[int, int], None] | None = None

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        """Return the statistics of every site; `DataError` if the data do not fit or hold NaN."""
        observed, values_in_it = in_many_steps(graph, [site.value for site in sites])
        session = AnalogSession(observed, values_in_it)
        # A graph is a cycle of references: its weights must not wait for the garbage collector.
        observed.tensors.clear()
        found = [SiteStatistics.of(site) for site in sites]
        total, done = self.dataset.count(graph), 0
        for inputs, _ in self.dataset.batches(graph, batch_samples([site.value for site in sites])):
            values = session.run(inputs).values
            for statistics in found:
                # Popped, so that no batch is still held while the next one runs.
                statistics.update(values.pop(0))
            done += batch_size_of(graph, inputs)
            if self.progress is not None:
                self.progress(done, total)
        return found

    def sensitivity(self, graph: Graph, neurons: Sequence[Node]) -> list[float]:
        """Return the error of the outputs that each neuron's threshold causes alone, on the first samples.

        One session serves them all: every neuron sends x + gate (Q(x) - x), and the gates, an input of the
        graph, are all 0 for the reference and open one at a time.
        """
        session, count = AnalogSession(gated(graph, neurons)), len(neurons)
        samples = np.clip(SENSITIVITY_RUNS // max(1, count), *SENSITIVITY_SAMPLES)
        inputs, _ = next(self.dataset.batches(graph, int(samples)))
        gates = np.zeros(count, np.float32)
        reference = session.run({**inputs, GATES: gates}).outputs
        found = []
        for index in range(count):
            gates[index] = 1
            outputs = session.run({**inputs, GATES: gates}).outputs
            gates[index] = 0
            found.append(sum(squared_error(outputs[key], reference[key]) for key in reference))
            if self.progress is not None:
                self.progress(index + 1, count)
        return found

    def walk(
        self, graph: Graph, neurons: Mapping[Node, tuple[int, ...]], steps: int
    ) -> Iterator[tuple[Node, Callable[[], Array]]]:
        """Stop at every neuron with a function that measures its mean error, on the first samples."""
        inputs, _ = next(self.dataset.batches(graph, walked_samples(graph, steps)))
        for done, stop in enumerate(walk(graph, inputs, neurons, steps)):
            if self.progress is not None:
                self.progress(done, len(neurons))
            yield stop

    def moments(self, graph: Graph, nodes: Sequence[Node]) -> list[Moments | None]:
        """Return the moments of every synapse's inputs; `DataError` if the data do not fit or hold NaN."""
        total, done = self.dataset.count(graph), 0
        gathered: dict[Value, dict[object, MomentStatistics]] = {}
        read: list[MomentStatistics | None] = []
        for node in nodes:
            if node.op.name == "conv_transpose":
                read.append(None)
                continue
            one = MomentStatistics.of(graph, node, total)
            read.append(gathered.setdefault(node.operands[0], {}).setdefault(one.geometry, one))

        def tell(value: Value, array: Array) -> None:
            for statistics in gathered[value].values():
                statistics.update(array)

        run = observer(graph, list(gathered))
        for inputs, _ in self.dataset.batches(graph, batch_samples(list(gathered))):
            run(inputs, tell)
            done += batch_size_of(graph, inputs)
            if self.progress is not None:
                self.progress(done, total)
        return [None if one is None else one.moments() for one in read]


def in_many_steps(graph: Graph, values: Sequence[Value]) -> tuple[Graph, list[Value]]:
    """Return the graph, and the same values in it, with clip(x, -q, q) for neurons that need steps.

    One spike says next to nothing of what a quantiser that is spread over steps will send: the neurons
    behind it get thresholds for its mean.
    """
    other = graph.copy()
    twins = {node.result: twin.result for node, twin in zip(graph, other, strict=True)}
    twins |= dict(zip(graph.inputs, other.inputs, strict=True))
    for node in graph:
        given = graph.resolve(node)
        if node.op.name != "neuron" or given["quantum"] is None or given["reset"] == "restart":
            continue
        if isinstance(given["codebook"], Binary | Ternary):
            spikes = twins[node.result]
            assert spikes.node is not None
            twins[node.result] = clipped(other, spikes.node, given)
            other.replace_uses(spikes, twins[node.result])
            other.erase(spikes.node)
    other.retype()
    return other, [twins[value] for value in values]


def clipped(graph: Graph, node: Node, given: Mapping[str, Any]) -> Value:
    """Put in front of a neuron what it decodes to in many steps, within its payloads' bounds."""
    value, scale = node.operands[0], given["quantum"] if given["scale"] is None else given["scale"]
    payload, ends = given["codebook"].payload, np.abs(scale)
    steps = [("max", payload.lo * ends), ("min", payload.hi * ends)]
    if given["bias"] is not None:
        steps.insert(0, ("add", given["bias"]))
    for op, constant in steps:
        operand = graph.constant_value(np.asarray(constant, np.float32), op, node)
        value = graph.insert(node, op, [value, operand], origin=node.origin)
    return value


def gated(graph: Graph, neurons: Sequence[Node]) -> Graph:
    """Return the graph with y = x + gate (Q(x) - x) for every neuron, x within its bounds."""
    chosen = set(neurons)
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
    other.retype()
    return other


UNQUANTISED = ("codebook", "bias", "low", "high", "site")


def squared_error(array: Array, reference: Array) -> float:
    """Return ‖array - reference‖² / ‖reference‖²; 0 for what is not real numbers."""
    if array.dtype.kind != "f":
        return 0.0
    expected = reference.astype(np.float64)
    return float(((array - expected) ** 2).sum() / max((expected**2).sum(), 1e-300))


def batch_samples(values: Sequence[Value]) -> int:
    """Return how many samples to run at a time, so that the observed streams fit their budget."""
    one = sum(4 * per_sample(value.type.shape) for value in values)
    return int(max(1, min(LARGEST_BATCH, BATCH_BYTES // max(1, one))))
