"""Writes the analog meaning of a SIR graph as an ONNX model: every op once, no time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import helper

from snnc.backends.onnx.builder import ModelBuilder, value_info
from snnc.backends.onnx.emitters import EMITTERS
from snnc.ir.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

OPSET = 20
IR_VERSION = 9  # the one released with opset 20; onnxruntime 1.20 reads up to 10
PROTOBUF_LIMIT = 2**31 - 1  # bytes in one serialised message


@dataclass(frozen=True, slots=True)
class EmittedModel:
    """An ONNX model whose large initializers are declared external and live in `weights`, by reference.

    `outputs` and `sites` are the names of the graph's outputs and of the extra outputs, in order.
    """

    model: onnx.ModelProto
    weights: Mapping[str, Array]
    outputs: tuple[str, ...]
    sites: tuple[str, ...]

    def embedded(self) -> onnx.ModelProto:
        """Return a copy of the model with all weights inside; `BackendError` above protobuf's limit."""
        size = self.model.ByteSize() + sum(array.nbytes for array in self.weights.values())
        if size > PROTOBUF_LIMIT:
            raise BackendError(
                f"the model has {size} bytes; one ONNX file without external data holds {PROTOBUF_LIMIT}"
            )
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for index, declared in enumerate(model.graph.initializer):
            if declared.name in self.weights:
                filled = onnx.numpy_helper.from_array(self.weights[declared.name], declared.name)
                model.graph.initializer[index].CopyFrom(filled)
        return model


def emit_analog(graph: Graph, extra_outputs: Sequence[Value] = ()) -> EmittedModel:
    """Return the model that computes the graph's decoded values in the limit of infinite resolution.

    An expectation node is its function, a neuron is the activation it absorbed. The extra outputs are
    named `site_0`, `site_1`, … and follow the graph's own.
    """
    inputs = [value.name or "" for value in graph.inputs]
    model = ModelBuilder(graph, inputs)
    sites = [model.unique(f"site_{index}") for index in range(len(extra_outputs))]
    outputs = [model.unique(output.name) for output in graph.outputs]
    names = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph:
        names[node.result] = _emit_node(model, node, [names[operand] for operand in node.operands])
    results = [*(output.value for output in graph.outputs), *extra_outputs]
    for value, name in zip(results, [*outputs, *sites], strict=True):
        model.rename(names[value], name)
    proto = finished_model(
        model,
        [value_info(name, value.type) for name, value in zip(inputs, graph.inputs, strict=True)],
        [value_info(name, value.type) for name, value in zip([*outputs, *sites], results, strict=True)],
    )
    return EmittedModel(proto, model.weights, tuple(outputs), tuple(sites))


def finished_model(
    model: ModelBuilder, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Return what was built, with its signature, opset and version."""
    return helper.make_model(
        helper.make_graph(
            model.nodes, model.graph.name, inputs, outputs, model.initializers, value_info=model.declared
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="snnc",
    )


def _emit_node(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    emitter = EMITTERS.get(node.op.name)
    if emitter is None:
        raise BackendError(
            f"{node.op.name} keeps state between time steps and has no analog value",
            where=", ".join(node.origin) or None,
        )
    model.enter(node)
    return emitter(model, node, inputs)
