"""Runs the analog model of a SIR graph in onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnc.backends.inputs import check_inputs, timed_inputs
from snnc.backends.onnx.emit import emit_analog
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.ir.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True, slots=True)
class AnalogResult:
    """The graph's outputs by name, and the extra values in the order they were asked for."""

    outputs: dict[str, Array]
    values: list[Array]


class AnalogSession:
    """The analog model of a graph, ready to run batch after batch.

    `values` are the streams to observe besides the graph's outputs; `threads` bounds the processor cores
    (0: as many as onnxruntime likes). The weights are read from the graph's own arrays.
    """

    def __init__(self, graph: Graph, values: Sequence[Value] = (), *, threads: int = 0) -> None:
        self._graph = graph
        self._emitted = emit_analog(graph, values)
        # Calibration may see models that fill most of the memory, and runs each of them a few times only.
        self._model = RuntimeModel(self._emitted, "analog", threads=threads, packed=False)

    def run(self, inputs: Array | Mapping[str, Array]) -> AnalogResult:
        """Evaluate one batch; `DataError` where the inputs do not fit the graph's."""
        arrays = check_inputs(self._graph, inputs)
        refuse_timed(self._graph, arrays)
        results = self._model.run([*self._emitted.outputs, *self._emitted.sites], arrays)
        count = len(self._graph.outputs)
        named = zip(self._graph.outputs, results[:count], strict=True)
        return AnalogResult({output.name: array for output, array in named}, results[count:])


def refuse_timed(graph: Graph, arrays: Mapping[str, Array]) -> None:
    for name in timed_inputs(graph, arrays):
        raise DataError(f"input {name!r} varies in time; the analog model has no steps")
