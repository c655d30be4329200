"""Neurons in an analog model: the activation or quantiser they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from snnc.backends.onnx.emitters.elementwise import bounds
from snnc.ir.codebooks import MultiSpike, PowerOfTwo, Ternary, bursts
from snnc.ir.errors import BackendError

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
    """y = scale Q(current / quantum + initial + charge): what a neuron sends at t = 1, a quantiser."""
    attributes = model.graph.resolve(node)
    if attributes["level_axis"] is not None:
        raise BackendError(
            "a neuron with a binary line per payload has no analog value",
            where=", ".join(node.origin) or None,
            help="emit the analog model before expand-levels",
        )
    quantum, negative = model.tensor(node, "quantum"), model.tensor(node, "negative")
    assert quantum is not None
    membrane = model.add("Div", [current, quantum])
    if attributes["initial"]:
        membrane = model.add("Add", [membrane, model.constant(np.asarray(attributes["initial"], np.float32))])
    if charge := model.tensor(node, "charge"):
        membrane = model.add("Add", [membrane, charge])
    if negative:
        membrane = below_zero(model, "Div", membrane, negative)
    payload = quantised(model, membrane, attributes["codebook"])
    if negative:
        payload = below_zero(model, "Mul", payload, negative)
    scale = model.tensor(node, "scale")
    return model.add("Mul", [payload, scale]) if scale else payload


def below_zero(model: ModelBuilder, op: str, x: str, other: str) -> str:
    """op(x, other) where x < 0, else x."""
    is_below = model.add("Less", [x, model.constant(np.zeros((), np.float32))])
    return model.add("Where", [is_below, model.add(op, [x, other]), x])


def power_of_two(model: ModelBuilder, membrane: str, codebook: PowerOfTwo) -> str:
    """The sum of the differences between neighbouring levels that are reached, signed."""
    size = model.add("Abs", [membrane]) if codebook.signed else membrane
    terms = []
    for k in range(codebook.levels):
        edge = 2**k - 0.5 if codebook.firing == "below" else 0.75 * 2**k
        edge = codebook.dead_zone if k == 0 else max(edge, codebook.dead_zone)
        reached = model.add("GreaterOrEqual", [size, model.number(edge)])
        step = model.number(2**k - 2 ** (k - 1) if k else 1)
        terms.append(model.add("Mul", [model.add("Cast", [reached], to=model.real), step]))
    payload = model.add("Sum", terms)
    return model.add("Mul", [payload, model.add("Sign", [membrane])]) if codebook.signed else payload


def burst(model: ModelBuilder, membrane: str, codebook: MultiSpike) -> str:
    """The payload for every quarter of a quantum, looked up by the magnitude, with the membrane's sign."""
    limits = [model.constant(np.asarray(limit, np.float32)) for limit in (codebook.lo, codebook.hi)]
    clipped = model.add("Clip", [membrane, *limits])
    quarters = model.add("Mul", [model.add("Abs", [clipped]), model.constant(np.asarray(4, np.float32))])
    index = model.add("Cast", [quarters], to=TensorProto.INT32)
    table = model.constant(bursts(max(-codebook.lo, codebook.hi)))
    payload = model.add("Gather", [table, index], axis=0)
    return model.add("Mul", [payload, model.add("Sign", [membrane])]) if codebook.lo else payload


def quantised(model: ModelBuilder, membrane: str, codebook: Codebook) -> str:
    """Q(u) of a codebook: rounded to an integer, then clipped to the payloads."""
    if isinstance(codebook, PowerOfTwo):
        return power_of_two(model, membrane, codebook)
    if isinstance(codebook, MultiSpike) and codebook.rounding == "burst":
        return burst(model, membrane, codebook)
    if isinstance(codebook, Ternary):
        # Towards zero: the sign times the floor of the magnitude.
        magnitude = model.add("Floor", [model.add("Abs", [membrane])])
        rounded = model.add("Mul", [magnitude, model.add("Sign", [membrane])])
    else:
        nearest = isinstance(codebook, MultiSpike) and codebook.rounding == "nearest"
        rounded = model.add("Round" if nearest else "Floor", [membrane])
    payload = codebook.payload
    limits = [model.constant(np.asarray(limit, np.float32)) for limit in (payload.lo, payload.hi)]
    return model.add("Clip", [rounded, *limits])


EMITTERS: dict[str, Emitter] = {"neuron": neuron}
