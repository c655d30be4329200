"""Steps a graph one node at a time: all steps of a node before the first of the next.

That is the same run as the simulator's, in another order: within a graph nothing flows backwards, so a node
needs only what its operands send. A neuron can be run again with other parameters before anything reads it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.inputs import batch_size_of, split_batches
from snnc.backends.reference.program import invariant_values, make_state
from snnc.energy import synaptic_macs
from snnc.ir.shapes import fill_batch, per_sample
from snnc.segments import analog_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

# What may be held and computed: streams of all steps at a time, multiply-accumulates of the whole walk.
STREAM_BYTES, MULTIPLY_ACCUMULATES = 512 * 2**20, 3e11
FEWEST_SAMPLES, MOST_SAMPLES = 8, 128
# Samples of which the analog network runs at a time: all its neurons are observed at once.
ANALOG_BATCH = 16


def walk(
    graph: Graph,
    inputs: Mapping[str, Array],
    neurons: Mapping[Node, tuple[int, ...]],
    steps: int,
) -> Iterator[tuple[Node, Callable[[], Array]]]:
    """Stop at every neuron in the order of execution, with a function that measures its mean error.

    See `Calibration.walk`. Streams are dropped after their last reader.
    """
    wanted = analog_means(graph, inputs, neurons)
    runner = Runner(graph, inputs, steps)
    last = list(neurons)[-1]
    for node in graph:
        if node in neurons:
            yield node, partial(mean_error, runner, node, wanted[node], other_axes(node, neurons[node]))
        if node is last:
            return
        runner.keep(node)


def mean_error(runner: Runner, node: Node, wanted: Array, axes: tuple[int, ...]) -> Array:
    return wanted - runner.mean(node, axes)


class Runner:
    """The streams of a graph so far, [steps] of each value that a later node reads."""

    def __init__(self, graph: Graph, inputs: Mapping[str, Array], steps: int) -> None:
        self._graph, self._steps = graph, steps
        self._samples = batch_size_of(graph, inputs)
        self._invariant = invariant_values(graph)
        self._streams = {value: [inputs[value.name or ""]] * steps for value in graph.inputs}
        self._readers = last_readers(graph)

    def run(self, node: Node) -> Iterator[Array]:
        """Yield what a node sends at every step; an array is valid until the next one."""
        state = make_state(node, fill_batch(self._graph.resolve(node), self._samples), self._invariant)
        operands = [self._streams[operand] for operand in node.operands]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for t in range(1, self._steps + 1):
                yield state.step(t, [stream[t - 1] for stream in operands], last=t == self._steps)

    def mean(self, node: Node, axes: tuple[int, ...]) -> Array:
        """Return what a node sends, averaged over steps and these axes, in float64."""
        total = sum(array.mean(axis=axes, keepdims=True, dtype=np.float64) for array in self.run(node))
        return np.asarray(total) / self._steps

    def keep(self, node: Node) -> None:
        """Run a node as it is now for those that read it, and drop what nobody reads any more."""
        if node.result in self._invariant:
            self._streams[node.result] = [next(self.run(node))] * self._steps
        else:
            self._streams[node.result] = [array.copy() for array in self.run(node)]
        for value in self._readers.get(node, ()):
            del self._streams[value]


def analog_means(
    graph: Graph, inputs: Mapping[str, Array], neurons: Mapping[Node, tuple[int, ...]]
) -> dict[Node, Array]:
    """Return the mean activation of every neuron, per channel, where none of them rounds."""
    plain = graph.copy()
    twins = {node: twin for node, twin in zip(list(graph), list(plain), strict=True) if node in neurons}
    for twin in twins.values():
        kept = {key: twin.attributes[key] for key in UNQUANTISED if key in twin.attributes}
        plain.set_attributes(twin, **dict.fromkeys(twin.attributes) | kept)
    plain.retype()
    session = analog_session(plain, [twin.result for twin in twins.values()])
    sums: dict[Node, Array] = {}
    for group in split_batches(plain, inputs, ANALOG_BATCH):
        count = batch_size_of(plain, group)
        for node, values in zip(twins, session.run(group).values, strict=True):
            axes = other_axes(node, neurons[node])
            mean = values.mean(axis=axes, keepdims=True, dtype=np.float64)
            sums[node] = sums.get(node, 0) + count * mean
    return {node: total / batch_size_of(graph, inputs) for node, total in sums.items()}


UNQUANTISED = ("codebook", "bias", "low", "high", "site")


def other_axes(node: Node, channels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis in range(len(node.result.type.shape)) if axis not in channels)


def last_readers(graph: Graph) -> dict[Node, list[Value]]:
    """Return, per node, the values that no later node reads."""
    last: dict[Value, Node] = {}
    for node in graph:
        last[node.result] = node
        last.update(dict.fromkeys(node.operands, node))
    readers: dict[Node, list[Value]] = {}
    for value, node in last.items():
        readers.setdefault(node, []).append(value)
    return readers


def walked_samples(graph: Graph, steps: int) -> int:
    """Return how many samples a walk may take: fewer where many steps of large streams are alive at once."""
    readers, living, most = last_readers(graph), 0, 1
    for node in graph:
        living += per_sample(node.result.type.shape)
        most = max(most, living)
        living -= sum(per_sample(v.type.shape) for v in readers.get(node, ()) if v.node is not None)
    macs = sum(synaptic_macs(node, graph) for node in graph if node.op.synaptic)
    affordable = min(STREAM_BYTES // (4 * most * steps), MULTIPLY_ACCUMULATES // (max(1, macs) * steps))
    return int(min(MOST_SAMPLES, max(FEWEST_SAMPLES, affordable)))
