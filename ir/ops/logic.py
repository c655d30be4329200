"""Comparisons and logic. Their results are boolean; they make sense on streams that do not vary in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import Op, Role, same_dtype
from snnc.ir.shapes import Batch, broadcast
from snnc.ir.types import TensorType

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import Infer, Kernel


def equal(x: Array, y: Array) -> Array:
    if object not in (x.dtype, y.dtype):
        return np.equal(x, y)
    return np.asarray(np.frompyfunc(_equal_dims, 2, 1)(x, y)).astype(bool)


def _equal_dims(x: Any, y: Any) -> bool:
    if isinstance(y, Batch):
        x, y = y, x
    if isinstance(x, Batch) and x != y and x.may_equal(y):
        raise ShapeError(f"whether {x} equals {y} depends on the batch size")
    return bool(x == y)


def infer_comparison(x: TensorType, y: TensorType) -> TensorType:
    same_dtype(x, y)
    return TensorType("bool", broadcast(x.shape, y.shape))


def infer_logic(*operands: TensorType) -> TensorType:
    if same_dtype(*operands) != "bool":
        raise TypeInferenceError(f"operands must be boolean, not {operands[0]}")
    return TensorType("bool", broadcast(*(operand.shape for operand in operands)))


def infer_is_nan(x: TensorType) -> TensorType:
    if not x.is_real:
        raise TypeInferenceError(f"the operand must be real, not {x}")
    return TensorType("bool", x.shape)


def predicate(name: str, equation: str, kernel: Kernel, infer: Infer, *operands: str) -> Op:
    """Declare an op with a boolean result, which has no expectation: it would not be boolean."""
    return Op(name, equation, operands, infer, kernel, Role.NONLINEAR, cost=1.0, expectation=False)


OPS = (
    predicate("equal", "z = (x = y)", equal, infer_comparison, "x", "y"),
    predicate("less", "z = (x < y)", np.less, infer_comparison, "x", "y"),
    predicate("less_equal", "z = (x <= y)", np.less_equal, infer_comparison, "x", "y"),
    predicate("greater", "z = (x > y)", np.greater, infer_comparison, "x", "y"),
    predicate("greater_equal", "z = (x >= y)", np.greater_equal, infer_comparison, "x", "y"),
    predicate("logical_and", "z = x and y", np.logical_and, infer_logic, "x", "y"),
    predicate("logical_or", "z = x or y", np.logical_or, infer_logic, "x", "y"),
    predicate("logical_xor", "z = x exclusive or y", np.logical_xor, infer_logic, "x", "y"),
    predicate("logical_not", "y = not x", np.logical_not, infer_logic, "x"),
    predicate("is_nan", "y = (x is not a number)", np.isnan, infer_is_nan, "x"),
)
