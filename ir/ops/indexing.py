"""Indexing at run time: indices that are a stream, token ids or computed from ids, masks and the batch size.

Such indices never vary in time, so every op here is linear in its data. Negative indices count from the end.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.errors import DataError, ShapeError, TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, tensor_type
from snnc.ir.shapes import Shape, normalise_axis, show_shape, static_dim
from snnc.ir.types import TensorType

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import Kernel


def range_(*, size: tuple[int], start: int, step: int) -> Array:
    return start + step * np.arange(size[0], dtype=np.int64)


def infer_range(*, size: Shape, start: int, step: int) -> TensorType:
    if len(size) != 1 or (isinstance(size[0], int) and size[0] < 0):
        raise TypeInferenceError(f"range needs one size, not negative; got {show_shape(size)}")
    return TensorType("i64", size)


def checked(kernel: Kernel) -> Kernel:
    """Let a kernel blame the data for an index that is out of range."""

    @wraps(kernel)
    def look_up(*operands: Array, **attributes: Any) -> Array:
        try:
            return kernel(*operands, **attributes)
        except IndexError as error:
            raise DataError(
                f"a computed index or token id is too large: {error}",
                help="give the data the network was made for; ids must be smaller than its vocabulary",
            ) from None

    return look_up


@checked
def embedding(ids: Array, *, table: Array) -> Array:
    return np.asarray(table[ids])


@checked
def take(data: Array, indices: Array, *, axis: int) -> Array:
    return np.asarray(np.take(data, indices, axis))


def infer_take(data: TensorType, indices: TensorType, *, axis: int) -> TensorType:
    axis = normalise_axis(axis, len(data.shape))
    _require_indices(indices)
    return data.with_shape((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))


@checked
def gather_elements(data: Array, indices: Array, *, axis: int) -> Array:
    axis %= data.ndim
    window = tuple(
        slice(None) if number == axis else slice(size) for number, size in enumerate(indices.shape)
    )
    return np.take_along_axis(data[window], indices, axis)


def infer_gather_elements(data: TensorType, indices: TensorType, *, axis: int) -> TensorType:
    axis = normalise_axis(axis, len(data.shape))
    _require_indices(indices)
    static_dim(data.shape[axis], f"the indexed axis {axis}")
    fits = len(indices.shape) == len(data.shape) and all(
        number == axis or size == dim or (isinstance(size, int) and isinstance(dim, int) and size < dim)
        for number, (size, dim) in enumerate(zip(indices.shape, data.shape, strict=True))
    )
    if not fits:
        raise ShapeError(f"indices {show_shape(indices.shape)} do not lie within {show_shape(data.shape)}")
    return data.with_shape(indices.shape)


@checked
def gather_nd(data: Array, indices: Array, *, batch_dims: int) -> Array:
    beside = indices.ndim - 1 - batch_dims
    shared = [
        grid.reshape(*grid.shape, *(1,) * beside)
        for grid in np.ix_(*(np.arange(size) for size in indices.shape[:batch_dims]))
    ]
    return np.asarray(data[(*shared, *np.moveaxis(indices, -1, 0))])


def infer_gather_nd(data: TensorType, indices: TensorType, *, batch_dims: int) -> TensorType:
    _require_indices(indices)
    rank = len(data.shape)
    if not 0 <= batch_dims < min(rank, len(indices.shape)):
        raise TypeInferenceError(f"{batch_dims} shared axes do not fit {data} indexed by {indices}")
    if data.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise ShapeError(
            f"the first {batch_dims} axes of {show_shape(data.shape)} and {show_shape(indices.shape)} differ"
        )
    depth = batch_dims + static_dim(indices.shape[-1], "the length of an index")
    if not batch_dims < depth <= rank:
        raise TypeInferenceError(f"indices of {depth - batch_dims} axes do not fit {data}")
    return data.with_shape((*indices.shape[:-1], *data.shape[depth:]))


def infer_embedding(ids: TensorType, *, table: Array) -> TensorType:
    if ids.dtype not in ("i32", "i64"):
        raise TypeInferenceError(f"embedding looks up i32 or i64 indices, not {ids.dtype}")
    if table.ndim < 1:
        raise TypeInferenceError("embedding needs a table with at least one axis")
    return tensor_type(table, (*ids.shape, *table.shape[1:]))


def _require_indices(indices: TensorType) -> None:
    if indices.dtype not in ("i32", "i64"):
        raise TypeInferenceError(f"indices must be i32 or i64, not {indices.dtype}")


OPS = (
    Op(
        "range",
        "y[i] = start + step i for 0 <= i < size",
        (),
        infer_range,
        range_,
        Role.LINEAR,
        {
            "size": Attribute(Kind.DIMS, doc="one size, which may be the batch"),
            "start": Attribute(Kind.INT, 0, "the first element"),
            "step": Attribute(Kind.INT, 1, "the distance of two elements"),
        },
        expectation=False,
    ),
    Op(
        # Linear in the one-hot code of the ids, the only thing a stream of indices can stand for.
        "embedding",
        "y = table[ids]",
        ("ids",),
        infer_embedding,
        embedding,
        Role.LINEAR,
        {"table": Attribute(Kind.TENSOR, doc="one row per index")},
        expectation=False,
    ),
    Op(
        "take",
        "y = data[…, indices, …] at axis; the axes of indices take the place of axis",
        ("data", "indices"),
        infer_take,
        take,
        Role.NUMERATOR,
        {"axis": Attribute(Kind.INT, doc="the axis that is looked up")},
        expectation=False,
    ),
    Op(
        "gather_elements",
        "y[…, i, …] = data[…, indices[…, i, …], …] at axis",
        ("data", "indices"),
        infer_gather_elements,
        gather_elements,
        Role.NUMERATOR,
        {"axis": Attribute(Kind.INT, doc="the axis that is looked up")},
        expectation=False,
    ),
    Op(
        "gather_nd",
        "y[b, i] = data[b, indices[b, i, 0], indices[b, i, 1], …], b over the first batch_dims axes of both",
        ("data", "indices"),
        infer_gather_nd,
        gather_nd,
        Role.NUMERATOR,
        {"batch_dims": Attribute(Kind.INT, 0, "leading axes that data and indices share")},
        expectation=False,
    ),
)
