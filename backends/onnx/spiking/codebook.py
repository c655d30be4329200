"""Q(u) of every codebook as ONNX nodes, as few and as fast as onnxruntime has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from snnc.backends.onnx.emitters.neuron import power_of_two
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.ir.codebooks import Codebook
    from snnc.ir.shapes import Shape


def clip(model: ModelBuilder, u: str, codebook: Codebook) -> str:
    payload = codebook.payload
    return model.add("Clip", [u, model.number(payload.lo), model.number(payload.hi)])


def binary(model: ModelBuilder, u: str, codebook: Binary, shape: Shape) -> str:
    reached = model.add("GreaterOrEqual", [u, model.number(1)])
    return model.add("Cast", [reached], to=model.real)


def towards_zero(model: ModelBuilder, u: str, codebook: Codebook, shape: Shape) -> str:
    """Clip, then drop what is behind the point: a cast to integers does that."""
    whole = model.add("Cast", [clip(model, u, codebook)], to=TensorProto.INT32)
    return model.add("Cast", [whole], to=model.real)


def multi(model: ModelBuilder, u: str, codebook: MultiSpike, shape: Shape) -> str:
    """Clip, then round: the bounds are integers, so the order does not matter."""
    if codebook.rounding == "burst":
        return looked_up(model, u, codebook, shape, 4)
    if codebook.rounding == "floor" and codebook.lo == 0:
        return towards_zero(model, u, codebook, shape)
    return model.add("Round" if codebook.rounding == "nearest" else "Floor", [clip(model, u, codebook)])


def power(model: ModelBuilder, u: str, codebook: PowerOfTwo, shape: Shape) -> str:
    """A table of Q at all multiples of half or a quarter quantum, where its edges lie."""
    parts = 2 if codebook.firing == "below" else 4
    if not (codebook.dead_zone * parts).is_integer():
        return power_of_two(model, u, codebook)
    return looked_up(model, u, codebook, shape, parts)


def looked_up(model: ModelBuilder, u: str, codebook: Codebook, shape: Shape, parts: int) -> str:
    """Look Q(u) up, for a Q whose edges are multiples of 1/parts and belong to what is farther from 0.

    A cast to integers rounds towards zero, and a negative index counts from the end of the table. All lies
    in one row: onnxruntime's GatherElements takes a fifteenth of Gather's time there.
    """
    low, high = parts * codebook.payload.lo, parts * codebook.payload.hi
    entries = np.concatenate([np.arange(high + 1), np.arange(low, 0)]).astype(np.float32) / parts
    row = (codebook.quantise(entries) + np.float32(0)).reshape(1, -1)
    table = model.constant(row, f"{codebook.name}.table")
    scaled = model.add("Mul", [u, model.number(parts)])
    bounded = model.add("Clip", [scaled, model.number(low), model.number(high)])
    index = model.add("Reshape", [model.add("Cast", [bounded], to=TensorProto.INT32), model.ints([1, -1])])
    return model.reshape(model.add("GatherElements", [table, index], axis=1), shape)


QUANTISERS: dict[type, Callable[[ModelBuilder, str, Any, Shape], str]] = {
    Binary: binary,
    Ternary: towards_zero,
    MultiSpike: multi,
    PowerOfTwo: power,
}


def quantise(model: ModelBuilder, u: str, codebook: Codebook, shape: Shape) -> str:
    """Return Q(u); u has the given shape, whatever its batch size."""
    return QUANTISERS[type(codebook)](model, u, codebook, shape)


def to_lines(model: ModelBuilder, payload: str, codebook: PowerOfTwo, axis: int, rank: int) -> str:
    """Return 1 on the binary line of each payload, 0 on the others; lines of one channel are neighbours."""
    members = np.array(codebook.members, np.float32).reshape(-1, *[1] * (rank - axis - 1))
    beside = model.add("Unsqueeze", [payload, model.ints([axis + 1])])
    lines = model.add("Equal", [beside, model.constant(members)])
    return model.add("Cast", [lines], to=model.real)
