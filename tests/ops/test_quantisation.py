"""Quantisers against onnxruntime, per tensor and per axis; what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from onnx import TensorProto, helper, numpy_helper

from snnc.frontend import import_onnx
from snnc.ir.errors import TypeInferenceError, UnsupportedOpError
from snnc.ir.ops import get_op
from snnc.ir.types import TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model, run_analog

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

LEVELS = [np.int8, np.uint8, np.int16, np.uint16]


@st.composite
def quantisers(draw: st.DrawFn, dtypes: list[Any]) -> tuple[Array, Array, Array, dict[str, Any]]:
    """Draw reals, scales, zero points and the axis they belong to (none: per tensor)."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = draw(array_shapes(min_dims=1, max_dims=4, max_side=4))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    size = () if axis is None else (shape[axis],)
    limits = np.iinfo(draw(st.sampled_from(dtypes)))
    scale = (2.0 ** rng.integers(-5, 1, size) * rng.choice([1, 1.3], size)).astype(np.float32)
    zero_point = rng.integers(max(limits.min, -99), 99, size).astype(limits.dtype)
    x = rng.normal(0, 20, shape).astype(np.float32)
    # Exact halves of a level, which round to even.
    x = np.where(rng.random(shape) < 0.3, np.rint(x) * 0.5, x).astype(np.float32)
    return x, np.asarray(scale), np.asarray(zero_point), {} if axis is None else {"axis": axis}


def check(nodes: list[Any], x: Array, initializers: dict[str, Array]) -> None:
    element = helper.np_dtype_to_tensor_dtype(x.dtype)
    model = onnx_model(nodes, {"x": (element, x.shape)}, ["y"], initializers, opset=21)
    assert_matches_onnxruntime(model, {"x": x}, shapes={"x": x.shape})


@settings(max_examples=60, deadline=None)
@given(quantisers(LEVELS))
def test_quantise(drawn: tuple[Array, Array, Array, dict[str, Any]]) -> None:
    x, scale, zero, axis = drawn
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], **axis)
    check([node], x, {"scale": scale, "zero": zero})


@settings(max_examples=40, deadline=None)
@given(quantisers([np.int8, np.uint8, np.int16]), st.booleans())
def test_dequantise(drawn: tuple[Array, Array, Array, dict[str, Any]], with_zero: bool) -> None:
    x, scale, zero, axis = drawn
    levels = np.rint(x).astype(np.int8).astype(zero.dtype)
    names = ["x", "scale", "zero"] if with_zero else ["x", "scale"]
    node = helper.make_node("DequantizeLinear", names, ["y"], **axis)
    check([node], levels, {"scale": scale, "zero": zero})


@settings(max_examples=30, deadline=None)
@given(quantisers(LEVELS))
def test_quantise_and_dequantise(drawn: tuple[Array, Array, Array, dict[str, Any]]) -> None:
    x, scale, zero, axis = drawn
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["levels"], **axis),
        helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["y"], **axis),
    ]
    check(nodes, x, {"scale": scale, "zero": zero})


def test_dequantise_a_bias_of_32_bits() -> None:
    """Quantised weights and biases are constants: they become plain reals at import."""
    bias, scale = np.array([-70000, 0, 123456], np.int32), np.array([0.5, 0.25, 0.001], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["bias", "scale"], ["real"], axis=0),
        helper.make_node("Add", ["x", "real"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ("N", 3)}, ["y"], {"bias": bias, "scale": scale})
    graph = assert_matches_onnxruntime(model, {"x": np.ones((2, 3), np.float32)})
    assert [node.op.name for node in graph] == ["constant", "add"]


@pytest.mark.parametrize(("element", "zero"), [("INT4", -3), ("UINT4", 2)])
def test_quantise_to_four_bits(element: str, zero: int) -> None:
    number = TensorProto.DataType.Value(element)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ("N", 80)}, {"y": ("N", 80)}, {"scale": np.float32(0.3)}, opset=21)
    del model.graph.value_info[:]
    model.graph.initializer.append(helper.make_tensor("zero", number, [], [zero]))
    x = np.linspace(-9, 9, 80, dtype=np.float32)[None]
    graph = assert_matches_onnxruntime(model, {"x": x})
    assert len(np.unique(run_analog(graph, {"x": x})["y"])) == 16


def test_quantise_without_zero_point() -> None:
    x = np.array([[-1, 0.2, 0.5, 300]], np.float32)
    node = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"])
    model = onnx_model([node], {"x": ("N", 4)}, ["y"], {"scale": np.array([0.2], np.float32)})
    graph = assert_matches_onnxruntime(model, {"x": x})
    assert graph.outputs[0].value.type.dtype == "u8"


def test_quantise_to_a_stated_type() -> None:
    x = np.array([[-1, 0.2, 0.5, 300]], np.float32)
    node = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"], output_dtype=TensorProto.INT8)
    model = onnx_model([node], {"x": ("N", 4)}, ["y"], {"scale": np.array(0.5, np.float32)}, opset=21)
    np.testing.assert_array_equal(run_analog(import_onnx(model), {"x": x})["y"], [[-2, 0, 1, 127]])


@pytest.mark.parametrize(
    ("attributes", "zero", "scale", "reason"),
    [
        ({"block_size": 2, "axis": 1}, np.zeros((1, 2), np.int8), np.ones((1, 2)), "scales hold for blocks"),
        ({"axis": 1}, np.zeros(3, np.int8), np.ones(3), "do not fit axis 1 of N x 4"),
        ({"axis": 1}, np.zeros((), np.int8), np.ones(4), "zero points of shape"),
        ({}, np.zeros((), np.int8), np.zeros(()), "positive finite"),
        ({}, np.zeros((), np.int32), np.ones(()), "quantises to int32"),
    ],
)
def test_refused_quantisers(attributes: dict[str, Any], zero: Array, scale: Array, reason: str) -> None:
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], **attributes)
    initializers = {"scale": scale.astype(np.float32), "zero": zero}
    model = helper.make_model(
        helper.make_graph(
            [node],
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
            [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(zero.dtype), ["N", 4])],
            [numpy_helper.from_array(array, name) for name, array in initializers.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
    )  # fmt: skip
    with pytest.raises(UnsupportedOpError, match=reason):
        import_onnx(model)


def test_scale_computed_at_run_time() -> None:
    node = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"])
    model = onnx_model([node], {"x": ("N", 4), "scale": ()}, ["y"])
    with pytest.raises(UnsupportedOpError, match=r"its scale \('scale'\) is computed at run time"):
        import_onnx(model)


@settings(max_examples=50, deadline=None)
@given(quantisers([np.int8]))
def test_fake_quantise_is_the_pair(drawn: tuple[Array, Array, Array, dict[str, Any]]) -> None:
    """Equal to quantise, then dequantise, when the range is shifted by the zero point."""
    x, scale, zero, _ = drawn
    scale, zero = scale.ravel()[:1].reshape(()), zero.ravel()[:1].reshape(())
    levels = get_op("quantise").kernel(x, scale=scale, zero_point=zero, axis=1)  # type: ignore[misc]  # it has one
    pair = get_op("dequantise").kernel(levels, scale=scale, zero_point=zero, axis=1)  # type: ignore[misc]  # same
    full = scale.reshape((1,) * x.ndim)
    bounds = {"lo": -128 - int(zero), "hi": 127 - int(zero), "rounding": "nearest"}
    found = get_op("fake_quantise").kernel(x, scale=full, **bounds)  # type: ignore[misc]  # it has one
    np.testing.assert_allclose(found, pair, rtol=1e-6)


@pytest.mark.parametrize(
    ("rounding", "levels"), [("nearest", [-2, -2, 0, 0, 2, 2, 3]), ("floor", [-2, -1, 0, 1, 2, 3, 3])]
)
def test_fake_quantise_rounds_halves_as_told(rounding: str, levels: list[int]) -> None:
    x = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 9]], np.float32)
    kernel = get_op("fake_quantise").kernel
    assert kernel is not None
    y = kernel(x * 0.25, scale=np.full((1, 1), 0.25, np.float32), lo=-2, hi=3, rounding=rounding)
    np.testing.assert_array_equal(y / 0.25, [levels])


def test_fake_quantise_checks_its_parameters() -> None:
    op, x = get_op("fake_quantise"), TensorType("f32", (2, 3))
    good = {"scale": np.ones((1, 3), np.float32), "lo": -4, "hi": 3, "rounding": "nearest"}
    assert op.infer_type([x], good) == x
    with pytest.raises(TypeInferenceError, match=r"scales of shape \[3\] do not broadcast against 2 x 3"):
        op.infer_type([x], {**good, "scale": np.ones(3, np.float32)})
    with pytest.raises(TypeInferenceError, match=r"range of levels 5\.\.3 is empty"):
        op.infer_type([x], {**good, "lo": 5})
    with pytest.raises(TypeInferenceError, match="positive finite"):
        op.infer_type([x], {**good, "scale": -np.ones((1, 3), np.float32)})
    with pytest.raises(TypeInferenceError, match="only real streams are quantised"):
        op.infer_type([TensorType("i8", (2, 3))], good)
