"""Writes a SIR graph as a NIR graph: what NIR's primitives say exactly; all else is refused, all at once."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.nir.layers import LAYERS
from snnc.backends.nir.neurons import NEURONS
from snnc.backends.nir.package import nir_package
from snnc.backends.nir.remedies import ONNX, remedy
from snnc.backends.nir.timing import Timing
from snnc.backends.nir.writer import InexpressibleError, Writer, sample_shape
from snnc.ir.errors import BackendError
from snnc.ir.text.printer import value_names

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value

EMITTERS = {**LAYERS, **NEURONS}

SHOWN = 3  # names with the same reason


def emit_nir(graph: Graph, timing: Timing | None = None, *, feedback: bool = False, steps: int = 0) -> Any:
    """Return the `nir.NIRGraph` that says what a graph computes, step by step of `timing.dt` seconds.

    The record in its metadata: dt and integration, the time steps to run (if any), and how the answer is
    decoded. `feedback`: a neuron that resets by subtraction becomes an integrator with a connection back.
    `BackendError` names every node that NIR cannot say exactly.
    """
    writer = Writer(graph, nir_package(), timing or Timing(), feedback)
    refusals = Refusals(graph)
    if graph.coding != "rate":
        refusals.add("the graph", "its spikes are changes, NIR's are not", "compile with --coding rate")
    add_inputs(writer, refusals)
    for node in graph:
        add_node(writer, node, refusals)
    if not refusals.names:
        add_outputs(writer, refusals)
    if refusals.names:
        raise BackendError("NIR has no exact words for this network:\n" + refusals.listed())
    record: dict[str, Any] = {"producer": "snnc", **writer.timing.describe()}
    if steps:
        record["steps"] = steps
    return writer.nir.NIRGraph(writer.nodes, writer.edges, metadata=record)


class Refusals:
    """What NIR cannot say, each reason once with everything it holds for."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names: dict[tuple[str, str], list[str]] = {}
        self._numbers: dict[Value, str] = {}

    def name(self, node: Node) -> str:
        """Return a node's name in the source; for one that is not in there, op and number in the SIR text."""
        if node.origin:
            return node.origin[0]
        self._numbers = self._numbers or value_names(self.graph)
        inputs = [repr(value.name) for value in node.operands if value.node is None]
        behind = f" behind the input {inputs[0]}" if inputs else ""
        return f"{node.full_name} {self._numbers[node.result]}{behind}"

    def add(self, name: str, reason: str, help: str) -> None:
        self.names.setdefault((reason, help), []).append(name)

    def refuse(self, name: str, refusal: InexpressibleError) -> None:
        self.add(name, refusal.message, refusal.remedy)

    def listed(self) -> str:
        lines = []
        for (reason, help), names in self.names.items():
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines += [f"  {', '.join(names[:SHOWN])}{more}: {reason}", f"    help: {help}"]
        return "\n".join(lines)


def add_inputs(writer: Writer, refusals: Refusals) -> None:
    for value in writer.graph.inputs:
        name = "input" if len(writer.graph.inputs) == 1 else f"input_{len(writer.nodes) + 1}"
        writer.sources[value] = (name,)
        try:
            if value.type.dtype != "f32":
                raise InexpressibleError(
                    f"it holds {value.type.dtype}; NIR's streams are real",
                    help=f"start the network behind what turns it into real numbers; {ONNX}",
                )
            primitive = writer.nir.Input(np.array(sample_shape(value)))
        except InexpressibleError as refusal:
            refusals.refuse(f"the input {value.name!r}", refusal)
            continue
        primitive.metadata["name"] = value.name or ""
        writer.nodes[name] = primitive


def add_node(writer: Writer, node: Node, refusals: Refusals) -> None:
    """Write one node, or say why that cannot be done; what reads it has its own say then, too."""
    try:
        if node.expect or node.op.name not in EMITTERS:
            what = f"NIR has no primitive for {node.full_name}"
            raise InexpressibleError(what, help=remedy(node.op))
        EMITTERS[node.op.name](writer, node)
    except InexpressibleError as refusal:
        writer.sources[node.result] = ()
        refusals.refuse(refusals.name(node), refusal)


def add_outputs(writer: Writer, refusals: Refusals) -> None:
    """Write the outputs; refuse what nothing reads, which NIR's readers would take for one more."""
    outputs = writer.graph.outputs
    for number, output in enumerate(outputs, start=1):
        primitive = writer.nir.Output(np.array(sample_shape(output.value)))
        primitive.metadata |= {"name": output.name, "decode": output.decode}
        name = "output" if len(outputs) == 1 else f"output_{number}"
        writer.nodes[name] = primitive
        writer.edges += [(source, name) for source in writer.sources[output.value]]
    read = {source for source, _ in writer.edges}
    for name, primitive in writer.nodes.items():
        if name not in read and not isinstance(primitive, writer.nir.Output):
            refusals.add(name, "nothing reads it", "snnc opt -p dce removes it")


def nir_bytes(nir_graph: Any) -> bytes:
    """Return the HDF5 file of a NIR graph; equal graphs give equal bytes."""
    file = io.BytesIO()
    nir_package().write(file, nir_graph)
    return file.getvalue()
