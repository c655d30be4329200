"""Movement: ops that only say where elements go. They cost nothing and keep payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import Payload
from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import (
    Attribute,
    Kind,
    Op,
    Role,
    payload_hull,
    payload_kept,
    same_dtype,
)
from snnc.ir.ops.resize import RESIZE
from snnc.ir.shapes import (
    Dim,
    Shape,
    broadcast,
    element_count,
    normalise_axis,
    show_shape,
    static_dim,
)
from snnc.ir.types import TensorType, Type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.kernel_types import Array

Ints = tuple[int, ...]


# Shape and order.


def reshape(x: Array, *, shape: Ints) -> Array:
    return x.reshape(shape)


def infer_reshape(x: TensorType, *, shape: Shape) -> TensorType:
    if element_count(x.shape) != element_count(shape):
        raise ShapeError(
            f"{show_shape(x.shape)} has {element_count(x.shape)} elements, not {show_shape(shape)}"
        )
    return x.with_shape(shape)


def transpose(x: Array, *, perm: Ints) -> Array:
    return x.transpose(perm)


def infer_transpose(x: TensorType, *, perm: Ints) -> TensorType:
    if sorted(perm) != list(range(len(x.shape))):
        raise TypeInferenceError(f"perm {list(perm)} does not permute the axes of {show_shape(x.shape)}")
    return x.with_shape(tuple(x.shape[axis] for axis in perm))


def expand(x: Array, *, shape: Ints) -> Array:
    return np.broadcast_to(x, shape)


def infer_expand(x: TensorType, *, shape: Shape) -> TensorType:
    # An axis of size 1 may become the batch: the evaluator knows N and fills it into `shape`.
    if broadcast(x.shape, shape) != shape:
        raise ShapeError(f"{show_shape(x.shape)} does not expand to {show_shape(shape)}")
    return x.with_shape(shape)


def tile(x: Array, *, repeats: Ints) -> Array:
    return np.tile(x, repeats)


def infer_tile(x: TensorType, *, repeats: Ints) -> TensorType:
    if len(repeats) != len(x.shape) or min(repeats, default=1) < 0:
        raise TypeInferenceError(f"repeats {list(repeats)} do not fit {show_shape(x.shape)}")
    return x.with_shape(tuple(dim * count for dim, count in zip(x.shape, repeats, strict=True)))


# Joining and cutting.


def concat(*xs: Array, axis: int) -> Array:
    return np.concatenate(xs, axis=axis)


def infer_concat(*xs: TensorType, axis: int) -> TensorType:
    rank = len(xs[0].shape)
    axis = normalise_axis(axis, rank)
    for x in xs:
        beside = (*x.shape[:axis], *x.shape[axis + 1 :])
        if len(x.shape) != rank or beside != (*xs[0].shape[:axis], *xs[0].shape[axis + 1 :]):
            listed = ", ".join(show_shape(x.shape) for x in xs)
            raise ShapeError(f"concat along axis {axis} of {listed}: the other axes differ")
    total: Dim = 0
    for x in xs:
        total = x.shape[axis] + total
    return TensorType(same_dtype(*xs), (*xs[0].shape[:axis], total, *xs[0].shape[axis + 1 :]))


def slice_(x: Array, *, axes: Ints, starts: Ints, ends: Ints, steps: Ints) -> Array:
    window = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        window[axis] = slice(start, end, step)
    return x[tuple(window)]


def infer_slice(x: TensorType, *, axes: Ints, starts: Ints, ends: Ints, steps: Ints) -> TensorType:
    if not len(axes) == len(starts) == len(ends) == len(steps) or 0 in steps:
        raise TypeInferenceError("slice needs one start, end and non-zero step for each axis")
    shape = list(x.shape)
    for given, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = normalise_axis(given, len(shape))
        dim = static_dim(shape[axis], f"the sliced axis {axis}")
        shape[axis] = len(range(*slice(start, end, step).indices(dim)))
    return x.with_shape(tuple(shape))


def gather(x: Array, *, axis: int, indices: Array) -> Array:
    return np.asarray(np.take(x, indices, axis))


def infer_gather(x: TensorType, *, axis: int, indices: Array) -> TensorType:
    axis = normalise_axis(axis, len(x.shape))
    dim = static_dim(x.shape[axis], f"the gathered axis {axis}")
    if indices.dtype.kind not in "iu":
        raise TypeInferenceError(f"gather indices must be integers, not {indices.dtype}")
    if indices.size and not (-dim <= indices.min() and indices.max() < dim):
        raise ShapeError(f"gather indices {indices.min()}..{indices.max()} leave an axis of {dim}")
    return x.with_shape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


# Borders.


def pad(x: Array, *, pads: Ints, mode: str, value: float) -> Array:
    widths = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
    if mode != "constant":
        padded: Array = np.pad(x, widths, mode)  # type: ignore[call-overload]  # a checked string, no literal
        return padded
    shape = [before + size + after for size, (before, after) in zip(x.shape, widths, strict=True)]
    result = np.full(shape, value, x.dtype)
    inside = (slice(before, before + size) for size, (before, _) in zip(x.shape, widths, strict=True))
    result[tuple(inside)] = x
    return result


def infer_pad(x: TensorType, *, pads: Ints, mode: str, value: float) -> TensorType:
    rank = len(x.shape)
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise TypeInferenceError(f"pads {list(pads)} must be {2 * rank} integers, none negative")
    shape: list[Dim] = []
    for axis, (dim, before, after) in enumerate(zip(x.shape, pads[:rank], pads[rank:], strict=True)):
        if not before and not after:
            shape.append(dim)
            continue
        size = static_dim(dim, f"the padded axis {axis}")
        if (mode == "reflect" and max(before, after) >= size) or (mode != "constant" and not size):
            raise ShapeError(f"{mode} padding by {max(before, after)} of an axis of {size}")
        shape.append(before + size + after)
    return x.with_shape(tuple(shape))


def payload_pad(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Padding with zeros adds payload 0; with another constant the result is no spike stream."""
    kept = payload_kept(types, attributes)
    if attributes["mode"] != "constant" or kept is None:
        return kept
    return kept.hull(Payload(0, 0, kept.powers_of_two)) if attributes["value"] == 0 else None


# Depth and space.


def depth_to_space(x: Array, *, block: int, mode: str) -> Array:
    batch, depth, height, width = x.shape
    inner = depth // block**2
    if mode == "DCR":
        parts = x.reshape(batch, block, block, inner, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(batch, inner, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, inner, height * block, width * block)


def infer_depth_to_space(x: TensorType, *, block: int, mode: str) -> TensorType:
    batch, depth, height, width = _image(x, "depth_to_space", block)
    if depth % block**2:
        raise ShapeError(f"depth_to_space by {block} needs a multiple of {block**2} channels, got {depth}")
    return x.with_shape((batch, depth // block**2, height * block, width * block))


def space_to_depth(x: Array, *, block: int) -> Array:
    batch, depth, height, width = x.shape
    parts = x.reshape(batch, depth, height // block, block, width // block, block)
    return parts.transpose(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block, width // block)


def infer_space_to_depth(x: TensorType, *, block: int) -> TensorType:
    batch, depth, height, width = _image(x, "space_to_depth", block)
    if height % block or width % block:
        raise ShapeError(f"space_to_depth by {block} does not divide {show_shape(x.shape)}")
    return x.with_shape((batch, depth * block**2, height // block, width // block))


def _image(x: TensorType, what: str, block: int) -> tuple[Dim, int, int, int]:
    """Return the four dimensions of an image stream; refuse other ranks and block sizes below one."""
    if len(x.shape) != 4 or block < 1:
        raise TypeInferenceError(f"{what} by {block} needs N x C x H x W, got {show_shape(x.shape)}")
    depth, height, width = (static_dim(dim, f"an axis of {what}") for dim in x.shape[1:])
    return x.shape[0], depth, height, width


_BLOCK = Attribute(Kind.INT, doc="side of the square block")

OPS = (
    Op(
        "reshape",
        "y = the elements of x in the same (row-major) order in another shape",
        ("x",),
        infer_reshape,
        reshape,
        Role.LINEAR,
        {"shape": Attribute(Kind.DIMS, doc="shape of the result, completely resolved")},
        payload=payload_kept,
    ),
    Op(
        "transpose",
        "axis i of y is axis perm[i] of x",
        ("x",),
        infer_transpose,
        transpose,
        Role.LINEAR,
        {"perm": Attribute(Kind.INTS, doc="a permutation of the axes")},
        payload=payload_kept,
    ),
    Op(
        "expand",
        "y = x broadcast to shape",
        ("x",),
        infer_expand,
        expand,
        Role.LINEAR,
        {"shape": Attribute(Kind.DIMS, doc="shape of the result")},
        payload=payload_kept,
    ),
    Op(
        "tile",
        "y = x repeated side by side, repeats[i] times along axis i",
        ("x",),
        infer_tile,
        tile,
        Role.LINEAR,
        {"repeats": Attribute(Kind.INTS, doc="one count per axis")},
        payload=payload_kept,
    ),
    Op(
        "concat",
        "y = the operands one after the other along axis",
        ("x*",),
        infer_concat,
        concat,
        Role.LINEAR,
        {"axis": Attribute(Kind.INT, doc="the joined axis")},
        payload=payload_hull,
    ),
    Op(
        "slice",
        "y = x[starts:ends:steps] along axes, bounds as in numpy; a far end means to the border",
        ("x",),
        infer_slice,
        slice_,
        Role.LINEAR,
        {
            "axes": Attribute(Kind.INTS, doc="the sliced axes"),
            "starts": Attribute(Kind.INTS, doc="first index, one per sliced axis"),
            "ends": Attribute(Kind.INTS, doc="index after the last one"),
            "steps": Attribute(Kind.INTS, doc="distance of the indices, not zero"),
        },
        payload=payload_kept,
    ),
    Op(
        "gather",
        "y = x[…, indices, …] at axis; the axes of indices take the place of axis",
        ("x",),
        infer_gather,
        gather,
        Role.LINEAR,
        {
            "axis": Attribute(Kind.INT, doc="the axis that is looked up"),
            "indices": Attribute(Kind.TENSOR, doc="integers of any shape; a scalar drops the axis"),
        },
        payload=payload_kept,
    ),
    Op(
        "pad",
        "y = x with borders: value, or x reflected, repeated at its edge, or wrapped around",
        ("x",),
        infer_pad,
        pad,
        Role.LINEAR,
        {
            "pads": Attribute(Kind.INTS, doc="elements before every axis, then after every axis"),
            "mode": Attribute(Kind.STRING, "constant", "what fills", ("constant", "reflect", "edge", "wrap")),
            "value": Attribute(Kind.FLOAT, 0.0, "filler of mode constant"),
        },
        payload=payload_pad,
        constant_term=("value",),
    ),
    RESIZE,
    Op(
        "depth_to_space",
        "blocks of channels become block x block pixels; channel = (row, column, c) in DCR, (c, row, column) "
        "in CRD",
        ("x",),
        infer_depth_to_space,
        depth_to_space,
        Role.LINEAR,
        {"block": _BLOCK, "mode": Attribute(Kind.STRING, "DCR", "channel order", ("DCR", "CRD"))},
        payload=payload_kept,
    ),
    Op(
        "space_to_depth",
        "block x block pixels become channels, in the order (row, column, c)",
        ("x",),
        infer_space_to_depth,
        space_to_depth,
        Role.LINEAR,
        {"block": _BLOCK},
        payload=payload_kept,
    ),
)
