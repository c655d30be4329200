"""Runs the analog model of a SIR graph in onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from snnc.backends.inputs import check_inputs, timed_inputs
from snnc.backends.onnx.emit import emit_analog
from snnc.ir.errors import BackendError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.backends.onnx.emit import EmittedModel
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

FATAL_ONLY = 4  # onnxruntime's log severity; its errors reach us as exceptions
# It moves a Pad with zeros into the MaxPool behind it, which pads with -∞ (onnxruntime 1.31).
UNSOUND_OPTIMISERS = ("Pad_Fusion",)

RUNTIME_ERRORS = (
    runtime.EPFail,
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.NotImplemented,
    runtime.RuntimeException,
)


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
        # onnxruntime reads the arrays behind these while the session lives.
        self._weights = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            for name, array in self._emitted.weights.items()
        }
        self._session = self._create(self._emitted, threads)

    def _create(self, emitted: EmittedModel, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = threads
        # Quantisers stay where the graph has them: integer kernels would round elsewhere.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        # Without these two onnxruntime keeps copies of its own of all weights.
        options.add_session_config_entry("session.disable_prepacking", "1")
        for name, value in self._weights.items():
            options.add_initializer(name, value)
        try:
            return onnxruntime.InferenceSession(
                emitted.model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=UNSOUND_OPTIMISERS,
            )
        except RUNTIME_ERRORS as error:
            raise BackendError(f"onnxruntime refuses the analog model: {error}") from error

    def run(self, inputs: Array | Mapping[str, Array]) -> AnalogResult:
        """Evaluate one batch; `DataError` where the inputs do not fit the graph's."""
        arrays = check_inputs(self._graph, inputs)
        for name in timed_inputs(self._graph, arrays):
            raise DataError(f"input {name!r} varies in time; the analog model has no steps")
        try:
            results = self._session.run([*self._emitted.outputs, *self._emitted.sites], arrays)
        except RUNTIME_ERRORS as error:
            raise BackendError(f"onnxruntime cannot run the analog model: {error}") from error
        count = len(self._graph.outputs)
        named = zip(self._graph.outputs, results[:count], strict=True)
        return AnalogResult({output.name: array for output, array in named}, results[count:])
