"""Resizing: samples taken between pixels, one axis after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, payload_kept
from snnc.ir.shapes import Shape, show_shape, static_dim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.codebooks import Payload
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import TensorType, Type

COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def source_positions(size: int, count: int, scale: np.float32, coordinate: str) -> Array:
    """Return the position in x of every element of y along one axis, in single precision as ONNX has it."""
    index = np.arange(count, dtype=np.float32)
    half = np.float32(0.5)
    if coordinate == "asymmetric":
        return index / scale
    if coordinate == "align_corners":
        return index * np.float32(size - 1) / np.float32(max(count - 1, 1))
    if coordinate == "pytorch_half_pixel" and count == 1:
        return np.zeros(1, np.float32)
    return (index + half) / scale - half


def rounded(positions: Array, rounding: str) -> Array:
    """Return the nearest whole positions; the names say where halves go."""
    half = np.float32(0.5)
    match rounding:
        case "round_prefer_floor":
            return np.ceil(positions - half)
        case "round_prefer_ceil":
            return np.floor(positions + half)
        case "floor":
            return np.floor(positions)
        case _:
            return np.ceil(positions)


def resize(
    x: Array, *, sizes: tuple[int, ...], mode: str, coordinate: str, nearest: str, scales: Array | None
) -> Array:
    for axis, (size, count) in enumerate(zip(x.shape, sizes, strict=True)):
        scale = np.float32(count) / np.float32(size) if scales is None else np.float32(scales[axis])
        if size == count and scale == 1:
            continue
        positions = source_positions(size, count, scale, coordinate)
        if mode == "nearest":
            chosen = np.clip(rounded(positions, nearest), 0, size - 1)
            x = np.take(x, chosen.astype(np.int64), axis)
            continue
        positions = np.clip(positions, 0, size - 1)
        left = np.floor(positions).astype(np.int64)
        right = np.minimum(left + 1, size - 1)
        weight = (positions - left).astype(np.float32).reshape(-1, *(1,) * (x.ndim - axis - 1))
        x = np.take(x, left, axis) * (1 - weight) + np.take(x, right, axis) * weight
    return x


def infer_resize(
    x: TensorType, *, sizes: Shape, mode: str, coordinate: str, nearest: str, scales: Array | None
) -> TensorType:
    rank = len(x.shape)
    if len(sizes) != rank or (scales is not None and scales.shape != (rank,)):
        raise TypeInferenceError(f"resize needs one size and scale per axis of {show_shape(x.shape)}")
    for axis, (dim, size) in enumerate(zip(x.shape, sizes, strict=True)):
        if dim != size and min(static_dim(d, f"the resized axis {axis}") for d in (dim, size)) < 1:
            raise ShapeError(f"resize from {show_shape(x.shape)} to {show_shape(sizes)}")
    return x.with_shape(sizes)


def payload_resize(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Picking the nearest element keeps payloads, interpolation does not."""
    return payload_kept(types, attributes) if attributes["mode"] == "nearest" else None


RESIZE = Op(
    "resize",
    "y[i] = x at its nearest element, or x interpolated linearly, along every axis; positions by coordinate",
    ("x",),
    infer_resize,
    resize,
    Role.LINEAR,
    {
        "sizes": Attribute(Kind.DIMS, doc="shape of the result"),
        "mode": Attribute(Kind.STRING, "nearest", "between elements", ("nearest", "linear")),
        "coordinate": Attribute(Kind.STRING, "half_pixel", "position in x of y's elements", COORDINATES),
        "nearest": Attribute(Kind.STRING, "round_prefer_floor", "rounding of mode nearest", ROUNDINGS),
        "scales": Attribute(Kind.TENSOR, None, "one scale per axis (absent: the ratio of the sizes)"),
    },
    payload=payload_resize,
)
