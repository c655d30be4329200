"""Neurons in an analog model: the activation or quantiser they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.onnx.emitters.elementwise import bounds
from snnc.ir.codebooks import MultiSpike, Ternary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Node


def neuron(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = clip(x + bias, low, high) without a threshold; with one, the payload of the first step, scaled."""
    attributes = model.graph.resolve(node)
    bias = model.tensor(node, "bias")
    current = model.add("Add", [inputs[0], bias]) if bias else inputs[0]
    if attributes["quantum"] is not None:
        return first_step(model, node, current)
    low, high = attributes["low"], attributes["high"]
    if low is None and high is None:
        return current
    return bounds(model, current, node.operands[0], low, high)


def first_step(model: ModelBuilder, node: Node, current: str) -> str:
    """y = scale Q(current / quantum + initial): what a neuron sends at t = 1, a quantiser."""
    attributes = model.graph.resolve(node)
    quantum = model.tensor(node, "quantum")
    assert quantum is not None
    membrane = model.add("Div", [current, quantum])
    if attributes["initial"]:
        membrane = model.add("Add", [membrane, model.constant(np.float32(attributes["initial"]))])
    payload = quantised(model, membrane, attributes["codebook"])
    scale = model.tensor(node, "scale")
    return model.add("Mul", [payload, scale]) if scale else payload


def quantised(model: ModelBuilder, membrane: str, codebook: Codebook) -> str:
    """Q(u) of a codebook: rounded to an integer, then clipped to the payloads."""
    if isinstance(codebook, Ternary):
        # Towards zero: the sign times the floor of the magnitude.
        magnitude = model.add("Floor", [model.add("Abs", [membrane])])
        rounded = model.add("Mul", [magnitude, model.add("Sign", [membrane])])
    else:
        nearest = isinstance(codebook, MultiSpike) and codebook.rounding == "nearest"
        rounded = model.add("Round" if nearest else "Floor", [membrane])
    payload = codebook.payload
    limits = [model.constant(np.float32(payload.lo)), model.constant(np.float32(payload.hi))]
    return model.add("Clip", [rounded, *limits])


EMITTERS: dict[str, Emitter] = {"neuron": neuron}
