"""Shape computations that involve the symbolic batch fold through the kernels of the op table."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from snnc.frontend.context import NodeContext, RejectedError
from snnc.frontend.handlers import handlers
from snnc.ir.errors import ShapeError
from snnc.ir.graph import Graph
from snnc.ir.shapes import Batch

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

N = Batch()


def dims(*items: Any) -> Array:
    return np.array([*items, None], object)[:-1]


def fold(op: str, *inputs: Array, **attributes: Any) -> Any:
    """Lower one ONNX node whose inputs are known, and return what it folds to as a list."""
    node = helper.make_node(op, [f"x{index}" for index in range(len(inputs))], ["y"], **attributes)
    context = NodeContext(Graph("test"), node, "node", 17, list(inputs))
    result = handlers()[op](context)
    assert isinstance(result, np.ndarray)
    return result.tolist()


@pytest.mark.parametrize(
    ("op", "x", "y", "expected"),
    [
        ("Mul", dims(N, 3), dims(2, 4), [2 * N, 12]),
        ("Mul", dims(N, 3), np.array([4]), [4 * N, 12]),
        ("Mul", dims(N), np.array([0]), [0]),
        ("Mul", dims(N, 8), np.array([1.0, 0.5], np.float32), [N, 4]),
        ("Add", dims(N, 3), np.array([0, 4]), [N, 7]),
        ("Add", dims(N, 3), dims(2 * N, 4), [3 * N, 7]),
        ("Sub", dims(3 * N, 3), dims(N, 4), [2 * N, -1]),
        ("Sub", dims(N, 3), dims(N, 4), [0, -1]),
        ("Div", dims(4 * N, 7), np.array([2, 2]), [2 * N, 3]),
        ("Div", dims(4 * N, -7), dims(N, 2), [4, -3]),
        ("Mod", dims(4 * N, 7), np.array([2, 4]), [0, 3]),
        ("Equal", dims(N, 3), np.array([-1, 3]), [False, True]),
        ("Equal", dims(2 * N, N), dims(3, N), [False, True]),
        ("Greater", dims(N, 3), np.array([0, 3]), [True, False]),
        ("Less", dims(N, 3), np.array([1, 4]), [False, True]),
        ("GreaterOrEqual", np.array([0, 1]), dims(N, 1), [False, True]),
        ("LessOrEqual", np.array([1, 1]), dims(N, 1), [True, True]),
        ("Max", dims(N, 3), np.array([1, 4]), [N, 4]),
        ("Min", dims(2 * N, 3), np.array([1, 4]), [1, 3]),
        ("Pow", dims(2, 3), np.array([2]), [4, 9]),
    ],
)
def test_arithmetic(op: str, x: Array, y: Array, expected: list[Any]) -> None:
    assert fold(op, x, y) == expected


def test_choice() -> None:
    """How exporters write the shape of an expansion: -1 keeps the dimension."""
    shape = dims(N, 3)
    keep = fold("Equal", np.array([-1, 5]), np.array(-1))
    assert fold("Where", np.array(keep), shape, np.array([-1, 5])) == [N, 5]


def test_casts() -> None:
    """Half of a size, computed in floating point and rounded down."""
    real = fold("Cast", dims(2 * N, 7), to=TensorProto.FLOAT)
    assert real == [2 * N, 7.0]
    halved = fold("Div", dims(*real), np.array([2.0, 2.0], np.float32))
    assert halved == [N, 3.5]
    floor = fold("Floor", dims(*halved))
    assert floor == [N, 3]
    assert fold("Ceil", dims(*halved)) == [N, 4]
    assert fold("Cast", dims(N, 3.5), to=TensorProto.INT64) == [N, 3]
    assert fold("Cast", dims(N, 0), to=TensorProto.BOOL) == [True, False]


def test_scalars() -> None:
    scalar = np.array(N, object)
    assert fold("Mul", scalar, np.array(2)) == 2 * N
    assert fold("Div", np.array(4 * N, object), np.array(2)) == 2 * N
    assert fold("Cast", scalar, to=TensorProto.INT32) == N
    assert fold("Equal", scalar, scalar) is True


def test_what_no_longer_holds_the_batch_is_plain() -> None:
    node = helper.make_node("Div", ["a", "b"], ["y"])
    context = NodeContext(Graph("test"), node, "node", 17, [dims(6 * N), dims(N)])
    result = handlers()["Div"](context)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.int64


@pytest.mark.parametrize(
    ("op", "x", "y", "reason"),
    [
        ("Equal", dims(N), np.array([3]), "whether N equals 3 depends on the batch size"),
        ("Equal", np.array([4]), dims(2 * N), "whether 2N equals 4 depends on the batch size"),
        ("Less", dims(N), np.array([3]), "whether N exceeds 3 depends on the batch size"),
        ("Max", dims(N), np.array([3]), "whether N exceeds 3 depends on the batch size"),
        ("Add", dims(N), np.array([1]), r"N \+ 1 is not a multiple of the batch size"),
        ("Sub", dims(N), np.array([1]), "N - 1 is not a multiple of the batch size"),
        ("Mul", dims(N), np.array([0.5], np.float32), r"N \* 0.5 is not a multiple"),
        ("Div", dims(N), np.array([2]), "N is not a multiple of 2"),
        ("Div", np.array([2]), dims(N), "2 / N depends on the batch size"),
        ("Div", dims(N), np.array([0]), "divides N by zero"),
    ],
)
def test_what_depends_on_the_batch_is_refused(op: str, x: Array, y: Array, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        fold(op, x, y)


def test_functions_of_the_batch_are_refused() -> None:
    with pytest.raises(RejectedError, match="it computes sqrt of a shape that depends on the batch size"):
        fold("Sqrt", dims(N, 4))
    with pytest.raises(RejectedError, match="it computes pow of a shape"):
        fold("Pow", dims(N), np.array([2]))


@given(st.integers(1, 9), st.integers(-9, 99), st.integers(1, 50))
def test_order_and_equality_hold_for_every_batch(coefficient: int, other: int, batch: int) -> None:
    """Whatever is decided about a symbolic dimension is true for each batch size."""
    dim = Batch(coefficient)
    size = coefficient * batch
    for name, truth in (
        ("gt", size > other),
        ("ge", size >= other),
        ("lt", size < other),
        ("le", size <= other),
    ):
        try:
            assert getattr(operator, name)(dim, other) == truth
        except ShapeError:
            assert other >= coefficient
    assert dim.may_equal(other) or size != other


def test_known_values_are_folded_with_onnx_rounding() -> None:
    assert fold("Div", np.array([-7, 7]), np.array([2])) == [-3, 3]
    assert fold("Mean", np.array([1, 2], np.float32), np.array([3, 6], np.float32)) == [2, 4]
