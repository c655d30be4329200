"""Q(u) of every codebook as ONNX nodes, as few and as fast as onnxruntime has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from snnc.backends.onnx.emitters.neuron import power_of_two
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.shapes import per_sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.ir.codebooks import Codebook
    from snnc.ir.shapes import Shape

ROWS = 4  # of a table: as many threads read it at once


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
    parts = table_parts(codebook)
    return looked_up(model, u, codebook, shape, parts) if parts else power_of_two(model, u, codebook)


def table_parts(codebook: Codebook) -> int | None:
    """Return p for a codebook that is looked up, its edges being multiples of 1/p; None for the others."""
    if isinstance(codebook, MultiSpike) and codebook.rounding == "burst":
        return 4
    if isinstance(codebook, PowerOfTwo):
        parts = 2 if codebook.firing == "below" else 4
        return parts if (codebook.dead_zone * parts).is_integer() else None
    return None


def table_rows(shape: Shape) -> int:
    """Return in how many rows of the same length streams of this shape are looked up."""
    return math.gcd(ROWS, per_sample(shape))


def looked_up(model: ModelBuilder, u: str, codebook: Codebook, shape: Shape, parts: int) -> str:
    place = bounded(model, model.add("Mul", [u, model.number(parts)]), codebook, parts)
    rows = table_rows(shape)
    return model.reshape(in_table(model, model.rows(place, rows), codebook, rows, parts), shape)


def bounded(model: ModelBuilder, place: str, codebook: Codebook, parts: int) -> str:
    low, high = parts * codebook.payload.lo, parts * codebook.payload.hi
    return model.add("Clip", [place, model.number(low), model.number(high)])


def in_table(
    model: ModelBuilder, place: str, codebook: Codebook, rows: int, parts: int, *, worth: float = 1.0
) -> str:
    """Look worth Q(u) up, given rows of p u, for a Q whose edges are multiples of 1/p and belong to what is
    farther from 0.

    A cast to integers rounds towards zero, and a negative index counts from the end of the table.
    onnxruntime's GatherElements along rows takes a fifteenth of Gather's time, and its threads take a row
    each.
    """
    low, high = parts * codebook.payload.lo, parts * codebook.payload.hi
    entries = np.concatenate([np.arange(high + 1), np.arange(low, 0)]).astype(np.float32) / parts
    row = (worth * codebook.quantise(entries) + np.float32(0)).astype(np.float32)
    table = model.constant(np.tile(row, (rows, 1)), f"{codebook.name}.table")
    index = model.add("Cast", [place], to=TensorProto.INT32)
    return model.add("GatherElements", [table, index], axis=1)


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
