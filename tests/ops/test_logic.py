"""Comparisons and logic against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from onnx import TensorProto, helper

from snnc.ir.errors import TypeInferenceError
from snnc.ir.ops import get_op
from snnc.ir.ops.logic import OPS
from snnc.ir.types import TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

SHAPES = mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4)


def check(op: str, *arrays: Array, opset: int = 17) -> None:
    given = dict(zip("ab", arrays, strict=False))
    model = onnx_model(
        [helper.make_node(op, list(given), ["y"])],
        {name: (helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in given.items()},
        ["y"],
        opset=opset,
    )
    shapes = {name: array.shape for name, array in given.items()}
    graph = assert_matches_onnxruntime(model, given, shapes=shapes)
    assert graph.outputs[0].value.type.dtype == "bool"


@pytest.mark.parametrize("op", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
@settings(max_examples=20, deadline=None)
@given(SHAPES, st.sampled_from([np.float32, np.int64, np.int32]), st.integers(0, 99))
def test_comparison(op: str, shapes: object, dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays: list[Array] = [
        np.asarray(rng.integers(-2, 3, shape)).astype(dtype)
        for shape in shapes.input_shapes  # type: ignore[attr-defined]  # hypothesis' BroadcastableShapes
    ]
    check(op, *arrays)


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Equal"])
@settings(max_examples=10, deadline=None)
@given(SHAPES, st.integers(0, 99))
def test_logic(op: str, shapes: object, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays: list[Array] = [
        np.asarray(rng.random(shape) < 0.5)
        for shape in shapes.input_shapes  # type: ignore[attr-defined]  # hypothesis' BroadcastableShapes
    ]
    check(op, *arrays)


def test_not() -> None:
    check("Not", np.array([True, False]))


def test_is_nan() -> None:
    check("IsNaN", np.array([0, np.nan, np.inf, -1], np.float32))


def test_attention_mask_clutter() -> None:
    """PyTorch exports attention as softmax followed by a guard against rows that are masked as a whole."""
    nodes = [
        helper.make_node("Exp", ["x"], ["weights"]),
        helper.make_node("IsNaN", ["weights"], ["empty"]),
        helper.make_node("Where", ["empty", "zero", "weights"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ("N", 4)}, ["y"], {"zero": np.array(0, np.float32)})
    x = np.array([[0, 1, np.nan, -2], [np.nan, 0, 0, 0]], np.float32)
    assert_matches_onnxruntime(model, {"x": x})


def test_predicates_have_no_expectation() -> None:
    assert not any(op.expectation for op in OPS)


def test_logic_refuses_numbers() -> None:
    with pytest.raises(TypeInferenceError, match="operands must be boolean, not tensor<i64, 4>"):
        get_op("logical_not").infer_type([TensorType("i64", (4,))], {})
    with pytest.raises(TypeInferenceError, match="mix element types f32, i64"):
        get_op("less").infer_type([TensorType("i64", (4,)), TensorType("f32", ())], {})
    with pytest.raises(TypeInferenceError, match="must be real, not tensor<bool, 4>"):
        get_op("is_nan").infer_type([TensorType("bool", (4,))], {})


def test_input_of_booleans() -> None:
    model = onnx_model(
        [helper.make_node("Where", ["mask", "x", "other"], ["y"])],
        {"mask": (TensorProto.BOOL, ("N", 4)), "x": ("N", 4)},
        ["y"],
        {"other": np.array(-1e9, np.float32)},
    )
    mask = np.array([[True, False, True, True]])
    assert_matches_onnxruntime(model, {"mask": mask, "x": np.ones((1, 4), np.float32)})
