"""Runs the unrolled model of a SIR graph in onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.inputs import check_inputs, check_steps, timed_inputs
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking.emit import emit_spiking, refuse_what_cannot_be_written
from snnc.backends.reference import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.backends.onnx.spiking.emit import SpikingModel
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array


class OnnxSimulator:
    """Runs a network as the reference simulator does, as one ONNX model per number of steps.

    `threads` bounds the processor cores (0: as many as onnxruntime likes).
    """

    def __init__(self, graph: Graph, *, threads: int = 0) -> None:
        refuse_what_cannot_be_written(graph)
        self.graph = graph
        self.threads = threads
        self._models: dict[tuple[int, frozenset[str]], tuple[SpikingModel, RuntimeModel]] = {}

    def run(self, inputs: Array | Mapping[str, Array], steps: int) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step."""
        arrays = check_inputs(self.graph, inputs)
        check_steps(self.graph, arrays, steps)
        timed = timed_inputs(self.graph, arrays)
        emitted, model = self._model(steps, timed)
        given = {name: array[:steps] if name in timed else array for name, array in arrays.items()}
        results = model.run(emitted.outputs, given)
        named = zip(self.graph.outputs, results, strict=True)
        return Run({output.name: array for output, array in named})

    def _model(self, steps: int, timed: frozenset[str]) -> tuple[SpikingModel, RuntimeModel]:
        if (steps, timed) not in self._models:
            emitted = emit_spiking(self.graph, steps, timed=timed)
            model = RuntimeModel(emitted, "spiking", threads=self.threads, packed=True)
            self._models[steps, timed] = emitted, model
        return self._models[steps, timed]
