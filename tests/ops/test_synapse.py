"""Convolutions and matrix products against onnxruntime, their fan-out by brute force, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from snnc.frontend import import_onnx
from snnc.ir.errors import ShapeError, TypeInferenceError, UnsupportedOpError
from snnc.ir.ops import get_op
from snnc.ir.ops.convolution import Window
from snnc.ir.ops.synapse import conv
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model

N = Batch()
OPSETS = st.sampled_from([13, 17, 22, 23])
SEEDS = st.integers(0, 99)
ATOL = 1e-5


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def ops_of(graph: Any) -> list[str]:
    return [node.full_name for node in graph]


def several(draw: st.DrawFn, count: int, low: int, high: int) -> list[int]:
    return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Draw input shape [C, …], weight shape [O, C/group, …] and attributes of a convolution."""
    rank, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, dilations = several(draw, rank, 1, 3), several(draw, rank, 1, 2)
    attributes: dict[str, Any] = {
        "strides": several(draw, rank, 1, 3), "dilations": dilations, "group": group,
        "pads": several(draw, 2 * rank, 0, 3),
    }  # fmt: skip
    sizes = [d * (k - 1) + draw(st.integers(1, 5)) for k, d in zip(kernel, dilations, strict=True)]
    return (inner * group, *sizes), (outer * group, inner, *kernel), attributes


Drawn = tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]


def weighted_model(op: str, x: tuple[int, ...], arrays: dict[str, Any], opset: int, **given: Any) -> Any:
    node = helper.make_node(op, ["x", *arrays], ["y"], name="layer", **given)
    return onnx_model([node], {"x": ("N", *x)}, ["y"], arrays, opset)


@settings(max_examples=40, deadline=None)
@given(convolutions(), OPSETS, st.integers(1, 4), st.booleans(), SEEDS)
def test_conv(drawn: Drawn, opset: int, batch: int, biased: bool, seed: int) -> None:
    shape, weight, attributes = drawn
    arrays = {"w": normal(seed, *weight)} | ({"b": normal(seed, weight[0])} if biased else {})
    model = weighted_model("Conv", shape, arrays, opset, **attributes)
    graph = assert_matches_onnxruntime(model, {"x": normal(seed, batch, *shape)}, atol=ATOL)
    assert ops_of(graph) == ["conv"]


@settings(max_examples=20, deadline=None)
@given(convolutions(), st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]), SEEDS)
def test_conv_with_automatic_pads(drawn: Drawn, mode: str, seed: int) -> None:
    shape, weight, attributes = drawn
    # onnxruntime refuses dilated SAME convolutions, and strides that skip inputs pad by less than nothing.
    strides = [min(pair) for pair in zip(attributes["strides"], weight[2:], strict=True)]
    model = weighted_model(
        "Conv", shape, {"w": normal(seed, *weight)}, 17,
        strides=strides, group=attributes["group"], auto_pad=mode,
    )  # fmt: skip
    assert_matches_onnxruntime(model, {"x": normal(seed, 2, *shape)}, atol=ATOL)


@pytest.mark.parametrize(
    ("x", "weight", "given"),
    [
        # Several groups of samples in flat layout, the last one smaller.
        ((40, 16, 17, 17), (32, 16, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        # One sample spans several column blocks.
        ((2, 64, 60, 60), (8, 64, 5, 5), {"pads": [2, 2, 2, 2]}),
        # Gathered rows: with a stride and with dilation, which leaves gaps between taps.
        ((9, 16, 15, 16), (24, 16, 3, 5), {"strides": [2, 1], "pads": [1, 0, 0, 2]}),
        ((30, 40, 9, 8), (8, 40, 3, 3), {"dilations": [2, 1], "pads": [2, 1, 2, 1]}),
        ((4, 16, 5, 4, 6), (8, 16, 2, 3, 3), {"pads": [0, 1, 1, 1, 1, 0]}),
        # Depthwise, patches, pointwise with a stride.
        ((5, 32, 12, 12), (32, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 32}),
        ((3, 300, 7, 4), (300, 1, 3, 2), {"strides": [2, 1], "pads": [1, 0, 1, 1], "group": 300}),
        ((3, 3, 32, 32), (24, 3, 8, 8), {"strides": [8, 8]}),
        ((3, 24, 9, 9), (12, 24, 1, 1), {"strides": [2, 2]}),
    ],
)
def test_conv_of_real_size(x: tuple[int, ...], weight: tuple[int, ...], given: dict[str, Any]) -> None:
    arrays = {"w": normal(0, *weight), "b": normal(1, weight[0])}
    model = weighted_model("Conv", x[1:], arrays, 17, **given)
    assert_matches_onnxruntime(model, {"x": normal(2, *x)}, rtol=1e-4, atol=1e-4)


def test_conv_blocks_that_do_not_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnc.ir.ops.convolution.COLUMN_BYTES", 1)
    monkeypatch.setattr("snnc.ir.ops.convolution.FLAT_BYTES", 1)
    model = weighted_model("Conv", (2, 19, 23), {"w": normal(0, 3, 2, 3, 3)}, 17, pads=[1, 1, 0, 2])
    assert_matches_onnxruntime(model, {"x": normal(1, 3, 2, 19, 23)}, atol=ATOL)


def test_conv_keeps_integers() -> None:
    x, weight = np.arange(24).reshape(1, 2, 3, 4), np.arange(4).reshape(1, 2, 2, 1)
    y = conv(x, weight=weight, bias=None, strides=(), pads=(), dilations=(), group=1)
    assert y.dtype == np.int64
    assert y.tolist() == [[[[76, 82, 88, 94], [100, 106, 112, 118]]]]


@settings(max_examples=30, deadline=None)
@given(convolutions(), st.data(), SEEDS)
def test_conv_transpose(drawn: Drawn, data: st.DataObject, seed: int) -> None:
    (_, *sizes), weight, attributes = drawn
    rank, group = len(sizes), attributes["group"]
    x, weight = (weight[0], *sizes), (weight[0], *weight[1:])
    extra = [data.draw(st.integers(0, stride - 1)) for stride in attributes["strides"]]
    spans = [d * (k - 1) for d, k in zip(attributes["dilations"], weight[2:], strict=True)]
    pads = [data.draw(st.integers(0, span // 2)) for span in spans * 2]
    attributes = {**attributes, "pads": pads, "output_padding": extra}
    arrays = {"w": normal(seed, *weight), "b": normal(seed, weight[1] * group)}
    model = weighted_model("ConvTranspose", x, arrays, 17, **attributes)
    graph = assert_matches_onnxruntime(model, {"x": normal(seed, 2, *x)}, atol=ATOL)
    assert ops_of(graph) == ["conv_transpose"]
    assert len(graph.outputs[0].value.type.shape) == rank + 2


@pytest.mark.parametrize("shape", [None, [8, 9]])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_conv_transpose_of_given_size(mode: str, shape: list[int] | None) -> None:
    attributes = {"auto_pad": mode} if shape is None else {"output_shape": shape}
    arrays = {"w": normal(0, 2, 3, 3, 4)}
    model = weighted_model("ConvTranspose", (2, 4, 4), arrays, 17, strides=[2, 2], **attributes)
    assert_matches_onnxruntime(model, {"x": normal(1, 2, 2, 4, 4)}, atol=ATOL)


GEMM = st.fixed_dictionaries(
    {
        "transA": st.integers(0, 1),
        "transB": st.integers(0, 1),
        "alpha": st.sampled_from([1.0, 0.5]),
        "beta": st.sampled_from([1.0, -2.0, 0.0]),
    }
)
ADDENDS = st.sampled_from([None, (), (1,), (5,), (1, 5), (3, 1), (3, 5)])


@settings(max_examples=30, deadline=None)
@given(GEMM, ADDENDS, st.booleans(), SEEDS)
def test_gemm(given: dict[str, Any], addend: tuple[int, ...] | None, constant: bool, seed: int) -> None:
    a, b = normal(seed, 3, 4), normal(seed, 4, 5)
    inputs = {"a": a.T.copy() if given["transA"] else a, "b": b.T.copy() if given["transB"] else b}
    arrays = {} if addend is None else {"c": normal(seed, *addend)}
    node = helper.make_node("Gemm", ["a", "b", *arrays], ["y"], **given)
    if constant:
        arrays["b"] = inputs.pop("b")
    model = onnx_model([node], {name: array.shape for name, array in inputs.items()}, ["y"], arrays, 17)
    graph = assert_matches_onnxruntime(model, inputs, atol=ATOL)
    assert ("linear" if constant else "matmul") in ops_of(graph)


def test_gemm_adds_its_row_as_a_bias() -> None:
    model = weighted_model("Gemm", (4,), {"w": normal(0, 5, 4), "b": normal(0, 5)}, 17, transB=1)
    graph = assert_matches_onnxruntime(model, {"x": normal(1, 3, 4)}, atol=ATOL)
    assert ops_of(graph) == ["linear"]


@pytest.mark.parametrize(
    ("a", "b", "constant", "op"),
    [
        (("N", 3, 4), (4, 5), "b", "linear"),
        ((4,), (4, 5), "b", "linear"),
        (("N", 3, 4), (4,), "b", "matmul"),
        (("N", 3, 4), (2, 1, 4, 5), "b", "matmul"),
        ((5, 3), ("N", 3, 4), "a", "matmul"),
        (("N", 2, 3, 4), ("N", 2, 4, 5), "", "matmul"),
        ((2, 3, 4), (4,), "", "matmul"),
        ((4,), (2, 4, 3), "", "matmul"),
    ],
)
def test_matmul(a: tuple[Any, ...], b: tuple[Any, ...], constant: str, op: str) -> None:
    shapes = {"a": a, "b": b}
    arrays = {k: normal(0, *(3 if dim == "N" else dim for dim in shape)) for k, shape in shapes.items()}
    fixed = {name: arrays.pop(name) for name in list(arrays) if name == constant}
    streams = {name: shapes[name] for name in arrays}
    model = onnx_model([helper.make_node("MatMul", ["a", "b"], ["y"])], streams, ["y"], fixed)
    graph = assert_matches_onnxruntime(model, arrays, atol=ATOL)
    assert ops_of(graph)[-1] == op


def test_matmul_by_a_constant_does_not_copy_it() -> None:
    model = onnx_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 4)}, ["y"], {"w": normal(0, 4, 5)}
    )
    graph = import_onnx(model)
    (weight,) = graph.tensors.values()
    assert weight.T.flags.c_contiguous


# Types.


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ((N, 3, 4), (N, 4, 5), (N, 3, 5)),
        ((N, 4), (4, 5), (N, 5)),
        ((3, N), (4,), None),
        ((3, N), (N, 4), None),
        ((N, 3, 4), (3, 5), None),
    ],
)
def test_matmul_shapes(a: Any, b: Any, result: Any) -> None:
    types = (TensorType("f32", a), TensorType("f32", b))
    if result is None:
        with pytest.raises(ShapeError):
            get_op("matmul").infer_type(types, {})
    else:
        assert get_op("matmul").infer_type(types, {}).shape == result


# Fan-out.


def brute_fan_out(op: str, shape: tuple[int, ...], **attributes: Any) -> Any:
    """Count, input by input, the results that a lone one reaches through weights of one."""
    kernel = get_op(op).kernel
    assert kernel is not None
    counts = np.zeros(shape, np.int64)
    for index in np.ndindex(shape):
        x = np.zeros(shape, np.int64)
        x[index] = 1
        counts[index] = kernel(x, **attributes).sum()
    return counts


@settings(max_examples=20, deadline=None)
@given(convolutions(), st.sampled_from(["conv", "conv_transpose"]))
def test_conv_fan_out(drawn: Drawn, op: str) -> None:
    shape, weight, given = drawn
    attributes: dict[str, Any] = {
        name: value if name == "group" else tuple(value) for name, value in given.items()
    }
    if op == "conv_transpose":
        shape = (weight[0], *shape[1:])
        reach = [d * (k - 1) for d, k in zip(attributes["dilations"], weight[2:], strict=True)]
        attributes |= {"pads": tuple(span // 2 for span in reach * 2), "output_padding": ()}
    attributes |= {"weight": np.ones(weight, np.int64), "bias": None}
    found = get_op(op)
    assert found.fan_out is not None
    sample = (1, *shape)
    result = found.infer_type([TensorType("i64", sample)], attributes).shape
    counts = np.broadcast_to(found.fan_out(sample, result, **attributes), sample)
    np.testing.assert_array_equal(counts, brute_fan_out(op, sample, **attributes))


def test_linear_fan_out() -> None:
    attributes = {"weight": np.ones((5, 4), np.int64), "bias": None}
    fan_out = get_op("linear").fan_out
    assert fan_out is not None
    counts = np.broadcast_to(fan_out((1, 3, 4), (1, 3, 5), **attributes), (1, 3, 4))
    np.testing.assert_array_equal(counts, brute_fan_out("linear", (1, 3, 4), **attributes))


def test_window_of_resnet() -> None:
    window = Window(size=32, kernel=3, stride=2, dilation=1, before=1, after=1)
    assert (window.output, window.phases, window.pitch) == (16, (0, 1), 17)


# Refusals.


@pytest.mark.parametrize(
    ("op", "inputs", "reason"),
    [
        ("Conv", {"x": ("N", 2, 8, 8), "w": (3, 2, 3, 3)}, r"weight \('w'\) is computed at run time"),
        ("Conv", {"x": ("N", 2, "h", 8), "w": None}, r"h"),
        ("Conv", {"x": ("N", 5, 8, 8), "w": None}, r"does not fit N x 5 x 8 x 8"),
        ("Conv", {"x": ("N", 2, 2, 8), "w": None}, r"spans 3 positions"),
        ("Conv", {"x": ("N", 2, 8), "w": None}, r"weight has 4 axes"),
    ],
)
def test_conv_refusals(op: str, inputs: dict[str, Any], reason: str) -> None:
    arrays = {name: normal(0, 3, 2, 3, 3) for name, shape in inputs.items() if shape is None}
    streams = {name: shape for name, shape in inputs.items() if shape is not None}
    node = helper.make_node(op, list(inputs), ["y"], name="layer")
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info(name, 1, list(shape)) for name, shape in streams.items()],
        [helper.make_empty_tensor_value_info("y")],
        [helper.make_tensor(name, 1, array.shape, array.ravel()) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises((UnsupportedOpError, ShapeError), match=reason):
        import_onnx(model)


def test_constants_that_do_not_fit_are_refused() -> None:
    nodes = [
        helper.make_node("MatMul", ["a", "a"], ["b"], name="fold"),
        helper.make_node("Add", ["x", "b"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ("N", 4)}, [], {"a": normal(0, 3, 4)})
    model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    with pytest.raises(UnsupportedOpError, match=r'"fold" \(MatMul\): matmul of 3 x 4 and 3 x 4: 4 is not 3'):
        import_onnx(model)


def test_real_weights_on_integers_are_refused() -> None:
    with pytest.raises(TypeInferenceError, match="needs a real stream"):
        get_op("linear").infer_type([TensorType("i64", (N, 4))], {"weight": normal(0, 5, 4), "bias": None})


@pytest.mark.parametrize(
    "wrong",
    [{"strides": (0, 1)}, {"pads": (1, 1)}, {"dilations": (1,)}, {"bias": np.ones(2)}, {"group": 2}],
)
def test_unfit_attributes_are_refused(wrong: dict[str, Any]) -> None:
    fit = {"bias": None, "strides": (), "pads": (), "dilations": (), "group": 1}
    attributes = {"weight": np.ones((1, 1, 1, 1)), **fit, **wrong}
    with pytest.raises(TypeInferenceError):
        get_op("conv").infer_type([TensorType("f32", (N, 1, 4, 4))], attributes)
