"""Emitters for ops that are one ONNX node with the same attributes, perhaps under other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def one_node(onnx_op: str, **renamed: str) -> Emitter:
    """Return an emitter of one ONNX node.

    `renamed` maps attributes of the ONNX node to attributes of the SIR op; the others are not copied.
    """

    def emit(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
        attributes = model.graph.resolve(node)
        copied = {name: attributes[source] for name, source in renamed.items()}
        return model.add(onnx_op, inputs, **copied)

    return emit
