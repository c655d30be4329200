"""Runs the unrolled model of a SIR graph in onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.inputs import check_inputs, check_steps, timed_inputs
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking.emit import emit_spiking, refuse_what_cannot_be_written
from snnc.backends.reference import Run
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.backends.onnx.spiking.emit import SpikingModel
    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


GROUP = 64  # samples: all their steps are in memory at once


class OnnxSimulator:
    """Runs a network as the reference simulator does, as one ONNX model per number of steps.

    `threads` bounds the processor cores (0: as many as onnxruntime likes).
    """

    group = GROUP

    def __init__(self, graph: Graph, *, threads: int = 0) -> None:
        refuse_what_cannot_be_written(graph)
        self.graph = graph
        self.threads = threads
        self._models: dict[tuple[int, frozenset[str], bool], tuple[SpikingModel, RuntimeModel]] = {}
        self._spiking = [node for node in graph if isinstance(node.result.type, SpikeType)]

    def run(
        self, inputs: Array | Mapping[str, Array], steps: int, *, observers: Sequence[Observer] = ()
    ) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step.

        Observers are told the streams of spikes, and no membranes, when the run is over.
        """
        arrays = check_inputs(self.graph, inputs)
        check_steps(self.graph, arrays, steps)
        timed = timed_inputs(self.graph, arrays)
        emitted, model = self._model(steps, timed, watched=bool(observers))
        given = {name: array[:steps] if name in timed else array for name, array in arrays.items()}
        results = model.run([*emitted.outputs, *emitted.sites], given)
        count = len(emitted.outputs)
        tell(observers, dict(zip(self._spiking, results[count:], strict=False)), steps)
        named = zip(self.graph.outputs, results[:count], strict=True)
        return Run({output.name: array for output, array in named})

    def _model(
        self, steps: int, timed: frozenset[str], *, watched: bool
    ) -> tuple[SpikingModel, RuntimeModel]:
        key = steps, timed, watched
        if key not in self._models:
            sites = [node.result for node in self._spiking] if watched else []
            emitted = emit_spiking(self.graph, steps, timed=timed, sites=sites)
            model = RuntimeModel(emitted, "spiking", threads=self.threads, packed=True)
            self._models[key] = emitted, model
        return self._models[key]


def tell(observers: Sequence[Observer], streams: Mapping[Node, Array], steps: int) -> None:
    """Tell observers every stream [T, …], step by step in the order of execution."""
    for t in range(1, steps + 1):
        for node, stream in streams.items():
            for observer in observers:
                observer.observe(node, t, stream[t - 1], None)
