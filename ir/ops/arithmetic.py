"""Arithmetic of two streams, element by element, with numpy's broadcasting; and the choice between two.

Shape computations run through the same kernels: on object arrays that hold `Batch` dimensions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import Payload
from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, payload_extreme, payload_sum, same_dtype
from snnc.ir.ops.elementwise import ieee
from snnc.ir.shapes import Batch, broadcast
from snnc.ir.types import SpikeType, TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.kernel_types import Array
    from snnc.ir.op import Kernel
    from snnc.ir.types import Type


@ieee
def div(x: Array, y: Array) -> Array:
    if object in (x.dtype, y.dtype):
        return np.asarray(np.frompyfunc(_div_dims, 2, 1)(x, y), dtype=object)
    if not _integers(x, y):
        return np.divide(x, y)
    quotient = x // y
    # Numpy rounds down, ONNX towards zero.
    rounded_down = ((x < 0) != (y < 0)) & (quotient * y != x)
    result: Array = quotient + rounded_down.astype(quotient.dtype)
    return result


def _div_dims(x: Any, y: Any) -> Any:
    if not isinstance(y, Batch) and y == 0:
        raise ShapeError(f"a shape computation divides {x} by zero")
    if isinstance(x, Batch) or isinstance(y, Batch) or isinstance(x, float) or isinstance(y, float):
        return x / y
    return math.trunc(x / y)


@ieee
def power(x: Array, y: Array) -> Array:
    if _integers(x, y) and (y < 0).any():
        return np.power(x.astype(np.float64), y).astype(x.dtype)
    return np.power(x, y)


@ieee
def mod(x: Array, y: Array, *, truncated: bool) -> Array:
    return np.fmod(x, y) if truncated else np.mod(x, y)


def where(condition: Array, x: Array, y: Array) -> Array:
    return np.where(condition, x, y)


def select(condition: Array, x: Array, y: Array) -> Array:
    return np.where(condition > 0.5, x, y)


def _integers(*arrays: Array) -> bool:
    return all(array.dtype.kind in "iu" for array in arrays)


def infer_binary(x: TensorType, y: TensorType, **attributes: Any) -> TensorType:
    dtype = same_dtype(x, y)
    if dtype == "bool":
        raise TypeInferenceError("arithmetic needs numbers, not booleans")
    return TensorType(dtype, broadcast(x.shape, y.shape))


def infer_where(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype != "bool":
        raise TypeInferenceError(f"the condition must be boolean, not {condition}")
    return TensorType(same_dtype(x, y), broadcast(condition.shape, x.shape, y.shape))


def infer_select(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if not condition.is_real or not x.is_real:
        raise TypeInferenceError(f"all operands must be real, not {condition}, {x}")
    return TensorType(same_dtype(x, y), broadcast(condition.shape, x.shape, y.shape))


def payload_difference(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Difference of two streams: spikes if both are, with scale 1."""
    x, y = types
    if not isinstance(x, SpikeType) or not isinstance(y, SpikeType) or x.scaled or y.scaled:
        return None
    return x.payload.plus(Payload(-y.payload.hi, -y.payload.lo))


def payload_product(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Product of two streams: spikes if both are, with scale 1, as long as their payload has a price."""
    x, y = types
    if not isinstance(x, SpikeType) or not isinstance(y, SpikeType) or x.scaled or y.scaled:
        return None
    return x.payload.times(y.payload)


def payload_branches(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Either of two streams: spikes if both are, with scale 1."""
    return payload_extreme(types[1:], attributes)


def binary(
    name: str,
    equation: str,
    kernel: Kernel,
    role: Role = Role.NONLINEAR,
    *,
    cost: float = 0.0,
    special: float = 0.0,
    **declared: Any,
) -> Op:
    """Declare a function of two streams of one element type."""
    return Op(
        name, equation, ("x", "y"), infer_binary, kernel, role, cost=cost, special=special, **declared
    )  # fmt: skip


OPS = (
    binary("add", "z = x + y", np.add, Role.LINEAR, cost=1, additive=True, payload=payload_sum),
    binary("sub", "z = x - y", np.subtract, Role.LINEAR, cost=1, additive=True, payload=payload_difference),
    binary("mul", "z = x y", np.multiply, Role.MULTILINEAR, cost=1, payload=payload_product),
    binary("div", "z = x / y; of integers: rounded towards zero", div, Role.NUMERATOR, special=1),
    binary("pow", "z = x ^ y", power, special=1),
    binary("min", "z = min(x, y)", np.minimum, cost=1, homogeneous=True, payload=payload_extreme),
    binary("max", "z = max(x, y)", np.maximum, cost=1, homogeneous=True, payload=payload_extreme),
    binary(
        "mod", "z = x - y floor(x / y), or x - y trunc(x / y)", mod, cost=1, special=1,
        attributes={"truncated": Attribute(Kind.BOOL, False, "the sign follows x, as C's fmod")},
    ),
    Op(
        "where", "z = x where the condition holds, else y", ("condition", "x", "y"), infer_where, where,
        Role.NONLINEAR, payload=payload_branches, cost=1, branches=(1, 2),
    ),
    Op(
        "select", "z = x where condition > 1/2, else y; the condition is a real stream of 0 and 1",
        ("condition", "x", "y"), infer_select, select, Role.NONLINEAR, cost=1,
    ),
)  # fmt: skip
