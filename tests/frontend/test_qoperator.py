"""Operators on quantised tensors against onnxruntime's integer kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from snnc.frontend import import_onnx
from snnc.ir.errors import UnsupportedOpError
from tests.harness import onnx_model, run_analog, run_onnxruntime

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

SCALE, ZERO = np.float32(0.03), np.uint8(120)
SHAPE = (4, 6, 6)  # of a sample
QUANTISED = {"s": SCALE, "z": ZERO, "s2": np.float32(0.07), "z2": np.uint8(90)}


def levels(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(-60, 60, shape).astype(np.int8)


def between(nodes: list[onnx.NodeProto], **initializers: Any) -> onnx.ModelProto:
    """Return a model of nodes from the levels `q` of its input to the levels `r` of its output."""
    ends = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["r", "s2", "z2"], ["y"]),
    ]
    initializers = {**QUANTISED, **initializers}
    return onnx_model([ends[0], *nodes, ends[1]], {"x": ("N", *SHAPE)}, ["y"], initializers)


def node(op: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    domain = "" if op in ("QLinearConv", "QLinearMatMul") else "com.microsoft"
    return helper.make_node(op, inputs, ["r"], domain=domain, **attributes)


def assert_same_levels(model: onnx.ModelProto) -> Graph:
    """Every level equal, but for one in a hundred that is one off: a sum of floats on an edge."""
    x = np.random.default_rng(0).normal(0, 2, (3, *SHAPE)).astype(np.float32)
    graph = import_onnx(model)
    found, wanted = run_analog(graph, {"x": x})["y"], run_onnxruntime(model, {"x": x})["y"]
    assert found.shape == wanted.shape
    off = np.abs(np.rint((found - wanted) / QUANTISED["s2"]))
    assert off.max() <= 1
    assert off.mean() <= 0.01
    assert np.unique(wanted).size > 10
    return graph


IN, OUT = ["q", "s", "z"], ["s2", "z2"]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_qlinear_conv(per_channel: bool, bias: bool) -> None:
    scale = np.linspace(0.02, 0.04, 8, dtype=np.float32) if per_channel else np.float32(0.02)
    parameters = {
        "w": levels(8, 2, 3, 3),
        "ws": scale,
        "wz": np.zeros(np.shape(scale), np.int8),
        "b": np.arange(-400, 400, 100, dtype=np.int32),
    }
    inputs = [*IN, "w", "ws", "wz", *OUT, *(["b"] if bias else [])]
    conv = node("QLinearConv", inputs, pads=[1, 1, 1, 1], strides=[2, 2], group=2)
    assert_same_levels(between([conv], **parameters))


@pytest.mark.parametrize("columns", [False, True])
def test_qlinear_matmul(columns: bool) -> None:
    scale = np.linspace(0.01, 0.02, 5).astype(np.float32) if columns else np.float32(0.01)
    zero = np.zeros(5, np.int8) if columns else np.int8(3)
    product = node("QLinearMatMul", [*IN, "w", "ws", "wz", *OUT])
    assert_same_levels(between([product], w=levels(6, 5), ws=scale, wz=zero))


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_qgemm(transposed: int, bias: bool) -> None:
    flat = helper.make_node("Flatten", ["q"], ["flat"])
    weight = levels(144, 7)
    parameters = {
        "w": weight.T.copy() if transposed else weight,
        "ws": np.float32(0.004),
        "wz": np.int8(-2),
        "b": np.arange(7, dtype=np.int32) * 900,
    }
    inputs = ["flat", "s", "z", "w", "ws", "wz", "b" if bias else "", *OUT]
    product = node("QGemm", inputs, transB=transposed, alpha=0.5)
    assert_same_levels(between([flat, product], **parameters))


UNARY = {
    "QLinearAveragePool": {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]},
    "QLinearGlobalAveragePool": {"channels_last": 0},
    "QLinearSigmoid": {},
    "QLinearSoftmax": {"axis": 1, "opset": 13},
    "QLinearLeakyRelu": {"alpha": 0.3},
}


@pytest.mark.parametrize("op", UNARY)
def test_functions_of_one_quantised_tensor(op: str) -> None:
    # Means and sigmoids are small: finer levels of the result.
    fine = {"s2": np.float32(0.005)}
    model = between([node(op, [*IN, *OUT], **UNARY[op])])
    for tensor in model.graph.initializer:
        if tensor.name in fine and op != "QLinearLeakyRelu":
            tensor.CopyFrom(onnx.numpy_helper.from_array(fine[tensor.name], tensor.name))
    x = np.random.default_rng(0).normal(0, 2, (3, *SHAPE)).astype(np.float32)
    found, wanted = run_analog(import_onnx(model), {"x": x})["y"], run_onnxruntime(model, {"x": x})["y"]
    quantum = 0.07 if op == "QLinearLeakyRelu" else 0.005
    off = np.abs(np.rint((found - wanted) / quantum))
    assert off.max() <= 1
    assert off.mean() <= 0.02


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_functions_of_two_quantised_tensors(op: str) -> None:
    mirrored = helper.make_node("Transpose", ["q"], ["t"], perm=[0, 1, 3, 2])
    assert_same_levels(between([mirrored, node(op, [*IN, "t", "s", "z", *OUT])]))


def test_qlinear_concat() -> None:
    mirrored = helper.make_node("Transpose", ["q"], ["t"], perm=[0, 1, 3, 2])
    assert_same_levels(between([mirrored, node("QLinearConcat", [*OUT, *IN, "t", "s", "z"], axis=1)]))


@pytest.mark.parametrize("op", ["MatMulInteger", "ConvInteger"])
def test_integer_products_are_exact(op: str) -> None:
    weight = levels(6, 5) if op == "MatMulInteger" else levels(5, 4, 3, 3)
    zero = np.int8(4) if op == "MatMulInteger" else np.int8(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(op, ["q", "w", "z", "wz"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    model = onnx_model(nodes, {"x": ("N", *SHAPE)}, ["y"], {**QUANTISED, "w": weight, "wz": zero})
    x = np.random.default_rng(0).normal(0, 2, (3, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(
        run_analog(import_onnx(model), {"x": x})["y"], run_onnxruntime(model, {"x": x})["y"]
    )


def test_dynamic_quantisation_is_refused() -> None:
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])]
    with pytest.raises(UnsupportedOpError, match="its scale is taken at run time"):
        import_onnx(onnx_model(nodes, {"x": ("N", 4)}, ["y"]))


def test_an_unknown_operator_of_onnxruntime_is_named() -> None:
    model = onnx_model([node("QLinearAd", ["x"])], {"x": ("N", 4)}, ["r"])
    with pytest.raises(UnsupportedOpError, match=r"QLinearAd of domain com\.microsoft is not .*did you mean"):
        import_onnx(model)
