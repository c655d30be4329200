"""Networks whose answer at every step follows from averages: any steps of any samples are one batch.

A neuron with bounds = sum has sent K(t) = clip(Q(S(t)/q), t lo, t hi), whatever happened in between. So where
nothing else remembers, a stream's decoded value r(t) = S(t)/t follows from the decoded values in front of it
at the same t, and expectation nodes are functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.layout import Layout
from snnc.backends.fast.memory import dtype_of, shape_of
from snnc.backends.fast.partition import partition, reads_of, results_of
from snnc.backends.fast.sums import FastSumState
from snnc.backends.fast.units import PlainUnit
from snnc.backends.reference.program import invariant_values
from snnc.ir.shapes import batch_axis
from snnc.passes.analysis import answers_by_averages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.backends.fast.partition import Stretch
    from snnc.backends.fast.program import Code
    from snnc.backends.fast.units import Unit
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


def takes_averages(graph: Graph) -> bool:
    """Tell whether a graph runs as averages: its streams have their samples in front."""
    if graph.computes_integers or not answers_by_averages(graph):
        return False
    units = partition(graph, invariant_values(graph), False, averages=True).repeated
    varying = {value for unit in units for value in results_of(unit)}
    others = {value for unit in units for value in reads_of(unit)} - varying
    return all(batch_axis(value.type.shape) == 0 for value in varying) and all(
        batch_axis(value.type.shape) in (0, None) for value in others
    )


class AverageProgram(Layout):
    """The decoded values of `batch` samples at so many steps: [steps samples, …], step by step.

    What never varies has one row per sample, and is repeated where a stretch reads it.
    """

    def __init__(self, code: Code, batch: int, steps: int) -> None:
        self._times = np.empty(steps, np.float32)
        self._repeats: dict[Value, Array] = {}
        super().__init__(code, batch, steps)

    def run(self, inputs: Mapping[str, Array], times: Sequence[int]) -> list[Array]:
        """Return per output the decoded values after each of these steps, [steps, N, …]."""
        self._times[:] = times
        for name, place in self._inputs:
            np.copyto(place, inputs[name])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for unit in self._once:
                unit.step(1, True)
            for value, copies in self._repeats.items():
                np.copyto(self._by_step(copies), self._streams[value])
            for unit in self._repeated:
                unit.step(1, True)
        return [self._averages(output.value) for output in self.code.graph.outputs]

    def _by_step(self, stream: Array) -> Array:
        return stream.reshape(self.copies, -1, *stream.shape[1:])

    def _averages(self, value: Value) -> Array:
        stream = self._streams[value]
        if value in self.code.invariant:
            return np.repeat(stream[None], self.copies, axis=0)
        return self._by_step(stream).copy()

    def _neuron(self, node: Node, attributes: dict[str, Any], x: Array, y: Array) -> Unit:
        state = FastSumState(attributes, str(attributes["site"]), y.shape, y.dtype)
        return PlainUnit(state.averaged(x, y, self._times))

    def _seen_by(self, stretch: Stretch) -> Mapping[Value, Array]:
        if stretch in self.code.partition.once:
            return self._streams
        for value in stretch.reads:
            if value in self.code.invariant and batch_axis(value.type.shape) == 0:
                shape = shape_of(value, self.batch * self.copies)
                self._repeats.setdefault(value, np.empty(shape, dtype_of(value)))
        return {**self._streams, **self._repeats}


def answers(code: Code, parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Return per output the answers after steps 1 … T, given its decoded values in parts, in time."""
    return [
        decoded(np.concatenate(series), output.decode, output.value not in code.invariant)
        for output, series in zip(code.graph.outputs, zip(*parts, strict=True), strict=True)
    ]


def decoded(averages: Array, how: Decode, varies: bool) -> Array:
    """Return the answers after steps 1 … T, given the decoded values, [T, …]."""
    if how == "mean" or (how == "last" and not varies):
        return averages
    times = np.arange(1, len(averages) + 1).astype(averages.dtype)
    sums = averages * times.reshape(-1, *(1,) * (averages.ndim - 1))
    return sums if how == "sum" else np.diff(sums, axis=0, prepend=np.zeros_like(sums[:1]))
