"""Calibration: the analog graph runs in onnxruntime over the data, every neuron site observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.inputs import batch_size_of
from snnc.ir.codebooks import Binary, Ternary
from snnc.ir.shapes import per_sample
from snnc.passes.moments import MomentStatistics
from snnc.passes.statistics import SiteStatistics
from snnc.segments import analog_session
from snnc.sensitivity import sensitivities, sensitivity_samples
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


@dataclass(slots=True)
class DatasetCalibration:
    """Measures sites over a dataset, batch by batch; never holds more than one batch of activations."""

    dataset: Dataset
    progress: Callable[[int, int], None] | None = None

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        """Return the statistics of every site; `DataError` if the data do not fit or hold NaN."""
        observed, values_in_it = in_many_steps(graph, [site.value for site in sites])
        session = analog_session(observed, values_in_it)
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
        """Return the error of the outputs that each neuron's threshold causes alone, on the first samples."""
        inputs, _ = next(self.dataset.batches(graph, sensitivity_samples(len(neurons))))
        found: dict[int, float] = {}
        for index, error in sensitivities(graph, neurons, inputs):
            found[index] = error
            if self.progress is not None:
                self.progress(len(found), len(neurons))
        return [found[index] for index in range(len(neurons))]

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


def batch_samples(values: Sequence[Value]) -> int:
    """Return how many samples to run at a time, so that the observed streams fit their budget."""
    one = sum(4 * per_sample(value.type.shape) for value in values)
    return int(max(1, min(LARGEST_BATCH, BATCH_BYTES // max(1, one))))
