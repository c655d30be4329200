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


def cubic_weights(t: Array, a: float) -> Array:
    """Return Keys' cubic convolution kernel at the distances 1 + t, t, 1 - t, 2 - t: [4, len(t)]."""
    near, far = np.stack([t, 1 - t]), np.stack([1 + t, 2 - t])
    inner = ((a + 2) * near - (a + 3)) * near**2 + 1
    outer = a * (((far - 5) * far + 8) * far - 4)
    return np.stack([outer[0], inner[0], inner[1], outer[1]])


def interpolate(x: Array, axis: int, positions: Array, offsets: Sequence[int], weights: Array) -> Array:
    """Return Σ weights[i] x[floor(positions) + offsets[i]] along an axis; beyond the border x repeats."""
    first = np.floor(positions).astype(np.int64)
    shape = (-1, *(1,) * (x.ndim - axis - 1))
    result: Array = np.zeros((), np.float32)
    for offset, weight in zip(offsets, weights, strict=True):
        part = np.take(x, np.clip(first + offset, 0, x.shape[axis] - 1), axis)
        result = result + part * weight.astype(np.float32).reshape(shape)
    return result


def resize(
    x: Array,
    *,
    sizes: tuple[int, ...],
    mode: str,
    coordinate: str,
    nearest: str,
    scales: Array | None,
    cubic: float,
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
        if mode == "linear":
            positions = np.clip(positions, 0, size - 1)
        t = positions - np.floor(positions)
        if mode == "linear":
            x = interpolate(x, axis, positions, (0, 1), np.stack([1 - t, t]))
        else:
            x = interpolate(x, axis, positions, (-1, 0, 1, 2), cubic_weights(t, cubic))
    return x


def infer_resize(x: TensorType, *, sizes: Shape, scales: Array | None, **attributes: Any) -> TensorType:
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
    "y[i] = x at its nearest element, or x interpolated, along every axis; positions by coordinate",
    ("x",),
    infer_resize,
    resize,
    Role.LINEAR,
    {
        "sizes": Attribute(Kind.DIMS, doc="shape of the result"),
        "mode": Attribute(Kind.STRING, "nearest", "between elements", ("nearest", "linear", "cubic")),
        "coordinate": Attribute(Kind.STRING, "half_pixel", "position in x of y's elements", COORDINATES),
        "nearest": Attribute(Kind.STRING, "round_prefer_floor", "rounding of mode nearest", ROUNDINGS),
        "scales": Attribute(Kind.TENSOR, None, "one scale per axis (absent: the ratio of the sizes)"),
        "cubic": Attribute(Kind.FLOAT, -0.75, "slope of mode cubic's kernel at distance 1"),
    },
    payload=payload_resize,
)
