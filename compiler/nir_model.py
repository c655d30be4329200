"""A NIR graph as the source network: the reference simulator steps it as it was imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.reference import Simulator
from snnc.frontend.source import import_network
from snnc.ir.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from snnc.ir.graph import Graph, Output
    from snnc.ir.kernel_types import Array


class NirModel:
    """The graph of a NIR file, with the time step that `graph` was compiled with."""

    def __init__(self, path: str | Path, graph: Graph) -> None:
        self.path = str(path)
        recorded = graph.meta.get("nir")
        recorded = recorded if isinstance(recorded, dict) else {}
        self.graph = import_network(path, dt=recorded.get("dt"), integration=recorded.get("integration"))
        self._simulator = Simulator(self.graph)

    def answers(self, inputs: Mapping[str, Array], steps: int, output: Output) -> Array:
        """Return one output's answer of one batch after every step, [T, N, …]."""
        self.graph.decode_outputs(output.decode)
        missing = [value.name for value in self.graph.inputs if value.name not in inputs]
        if missing or output.name not in {found.name for found in self.graph.outputs}:
            what = f"input {missing[0]!r}" if missing else f"output {output.name!r}"
            raise DataError(
                f"the model and the network do not share the {what}; is it the one NET was compiled from?",
                where=self.path,
            )
        return self._simulator.run(inputs, steps).outputs[output.name]
