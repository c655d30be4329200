"""Runs what has no memory in onnxruntime: a session per stretch, bound to the memory of its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emit import emit_analog
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.ir.graph import Graph
from snnc.ir.types import SpikeType, TensorType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Node, Value


def graph_of(graph: Graph, nodes: Sequence[Node], reads: Sequence[Value], results: Sequence[Value]) -> Graph:
    """Return a graph of its own: some nodes, without expectation, of the streams they read as real numbers.

    Its inputs are `in0`, `in1`, …, its outputs `out0`, `out1`, …
    """
    part = Graph(graph.name)
    part.tensors = graph.tensors
    values = {value: part.add_input(f"in{index}", plain(value)) for index, value in enumerate(reads)}
    for node in nodes:
        for operand in node.operands:
            if operand not in values:
                constant = operand.node
                assert constant is not None
                assert constant.op.name == "constant"
                values[operand] = part.append("constant", (), constant.attributes, origin=constant.origin)
        operands = [values[operand] for operand in node.operands]
        values[node.result] = part.append(node.op.name, operands, node.attributes, origin=node.origin)
    for index, value in enumerate(results):
        part.add_output(values[value], f"out{index}")
    return part


def plain(value: Value) -> TensorType:
    """Return the type of a stream, spikes as the real numbers they are stored as."""
    kind = value.type
    return TensorType("f32", kind.shape) if isinstance(kind, SpikeType) else kind


def open_stretch(
    graph: Graph, nodes: Sequence[Node], reads: Sequence[Value], results: Sequence[Value], threads: int
) -> RuntimeModel:
    """Return the session of some nodes; `BackendError` where onnxruntime cannot run them."""
    emitted = emit_analog(graph_of(graph, nodes, reads, results))
    return RuntimeModel(emitted, "stretch", threads=threads, packed=True)
