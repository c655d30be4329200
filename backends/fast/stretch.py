"""Runs what has no memory in onnxruntime: a session per stretch, bound to the memory of its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emit import emit_analog
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.ir.graph import Graph
from snnc.ir.shapes import per_sample
from snnc.ir.types import SpikeType, TensorType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from snnc.ir.graph import Node, Value

# Multiply-accumulates, some 0.2 ms on one core. Threads of onnxruntime's take up to 50 µs to wake, and those
# of one session know nothing of the others'.
LEAST_SHARED = 2 * 10**7


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


def shares_cores(graph: Graph, nodes: Iterable[Node]) -> bool:
    """Tell whether nodes do enough for one sample that waking other threads for them pays."""
    return sum(multiplications(graph, node) for node in nodes) >= LEAST_SHARED


def multiplications(graph: Graph, node: Node) -> int:
    """Return the multiply-accumulates of a convolution or linear layer for one sample; 0 of other nodes."""
    if node.op.name not in ("conv", "linear"):
        return 0
    weight = graph.resolve(node)["weight"]
    return per_sample(node.result.type.shape) * int(weight.size // len(weight))


def open_stretch(
    graph: Graph, nodes: Sequence[Node], reads: Sequence[Value], results: Sequence[Value], threads: int
) -> RuntimeModel:
    """Return the session of some nodes; `BackendError` where onnxruntime cannot run them.

    Only large ones take more than one thread.
    """
    emitted = emit_analog(graph_of(graph, nodes, reads, results))
    threads = threads if shares_cores(graph, nodes) else 1
    return RuntimeModel(emitted, "stretch", threads=threads, packed=True, one_of_many=True)
