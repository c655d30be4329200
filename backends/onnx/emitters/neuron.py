"""Neurons in an analog model: the activation they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters.elementwise import bounds
from snnc.ir.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def neuron(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = clip(x + bias, low, high): a neuron of infinite resolution."""
    attributes = model.graph.resolve(node)
    if attributes["quantum"] is not None or attributes["scale"] is not None:
        raise BackendError(
            "a neuron with a threshold or scale has no analog value",
            where=", ".join(node.origin) or None,
            help="emit the analog model before choose-thresholds",
        )
    bias = model.tensor(node, "bias")
    current = model.add("Add", [inputs[0], bias]) if bias else inputs[0]
    low, high = attributes["low"], attributes["high"]
    if low is None and high is None:
        return current
    return bounds(model, current, node.operands[0], low, high)


EMITTERS: dict[str, Emitter] = {"neuron": neuron}
