"""Pools against onnxruntime over generated windows, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from snnc.frontend import import_onnx
from snnc.ir.codebooks import Payload
from snnc.ir.errors import UnsupportedOpError
from snnc.ir.ops import get_op
from snnc.ir.types import SpikeType, TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model

OPSETS = st.sampled_from([13, 17, 19, 22, 23])


def pool_model(op: str, spatial: tuple[int, ...], opset: int, **attributes: Any) -> Any:
    node = helper.make_node(op, ["x"], ["y"], name="pool", **attributes)
    return onnx_model([node], {"x": ("N", 2, *spatial)}, ["y"], opset=opset)


def pool_input(spatial: tuple[int, ...], seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(2, 2, *spatial)).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn, dilated: bool = True) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Draw an input's spatial shape and explicit window attributes that fit it."""
    rank = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    dilations = draw(st.lists(st.integers(1, 2 if dilated else 1), min_size=rank, max_size=rank))
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)),
        "pads": [draw(st.integers(0, size - 1)) for size in kernel * 2],
        "ceil_mode": draw(st.integers(0, 1)),
    }
    if dilated:
        attributes["dilations"] = dilations
    spatial = tuple(d * (k - 1) + draw(st.integers(1, 6)) for k, d in zip(kernel, dilations, strict=True))
    return spatial, attributes


@st.composite
def automatic_windows(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Draw the same with `auto_pad`. Where a stride skips inputs, onnxruntime pads by less than nothing."""
    rank = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    attributes = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, size)) for size in kernel],
        "auto_pad": draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"])),
        "ceil_mode": draw(st.integers(0, 1)),
    }
    return tuple(size - 1 + draw(st.integers(1, 6)) for size in kernel), attributes


Drawn = tuple[tuple[int, ...], dict[str, Any]]


@settings(max_examples=40, deadline=None)
@given(windows(), OPSETS, st.integers(0, 99))
def test_max_pool(drawn: Drawn, opset: int, seed: int) -> None:
    spatial, attributes = drawn
    model = pool_model("MaxPool", spatial, opset, **attributes)
    assert_matches_onnxruntime(model, {"x": pool_input(spatial, seed)})


@settings(max_examples=40, deadline=None)
@given(windows(dilated=False), OPSETS, st.booleans(), st.integers(0, 99))
def test_average_pool(drawn: Drawn, opset: int, include: bool, seed: int) -> None:
    spatial, attributes = drawn
    model = pool_model("AveragePool", spatial, opset, count_include_pad=int(include), **attributes)
    assert_matches_onnxruntime(model, {"x": pool_input(spatial, seed)})


@settings(max_examples=40, deadline=None)
@given(windows(), st.booleans(), st.integers(0, 99))
def test_dilated_average_pool(drawn: Drawn, include: bool, seed: int) -> None:
    spatial, attributes = drawn
    model = pool_model("AveragePool", spatial, 19, count_include_pad=int(include), **attributes)
    assert_matches_onnxruntime(model, {"x": pool_input(spatial, seed)})


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["MaxPool", "AveragePool"]), automatic_windows(), OPSETS, st.integers(0, 99))
def test_automatic_padding(op: str, drawn: Drawn, opset: int, seed: int) -> None:
    spatial, attributes = drawn
    assert_matches_onnxruntime(pool_model(op, spatial, opset, **attributes), {"x": pool_input(spatial, seed)})


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(["GlobalAveragePool", "GlobalMaxPool"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    OPSETS,
)
def test_global_pools(op: str, spatial: list[int], opset: int) -> None:
    model = pool_model(op, tuple(spatial), opset)
    assert_matches_onnxruntime(model, {"x": pool_input(tuple(spatial), 0)})


def test_a_window_never_starts_in_the_padding_behind_the_input() -> None:
    # Outputs would read 0..1, 2..3 and (in the padding) 4..5: the third is left out.
    graph = import_onnx(
        pool_model("MaxPool", (3,), 17, kernel_shape=[2], strides=[2], pads=[0, 1], ceil_mode=1)
    )
    assert graph.outputs[0].value.type.shape[2:] == (2,)


def test_same_padding_allows_strides_that_skip_inputs() -> None:
    graph = import_onnx(pool_model("MaxPool", (5,), 17, kernel_shape=[1], strides=[3], auto_pad="SAME_UPPER"))
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    (node,) = graph
    assert node.op.kernel is not None
    np.testing.assert_array_equal(node.op.kernel(x, **graph.resolve(node)), [[[0, 3]]])


def test_max_pool_keeps_the_payload_of_spikes_and_integer_arrays() -> None:
    attributes = {"kernel": (2,), "strides": (), "pads": (1, 1), "dilations": (), "ceil": False}
    op = get_op("max_pool")
    spikes = SpikeType(Payload(-3, 4), (2, 1, 3), scaled=True)
    assert op.infer_type([spikes], attributes) == spikes.with_shape((2, 1, 4))
    assert op.kernel is not None
    pooled = op.kernel(np.array([[[-3, -1, -2]]], np.int64), **attributes)
    np.testing.assert_array_equal(pooled, [[[-3, -1, -1, -2]]])
    assert pooled.dtype == np.int64


def test_average_pool_of_spikes_is_real() -> None:
    attributes = {
        "kernel": (2,), "strides": (), "pads": (), "dilations": (), "ceil": False, "count_include_pad": False,
    }  # fmt: skip
    spikes = SpikeType(Payload(0, 1), (2, 1, 3))
    assert get_op("avg_pool").infer_type([spikes], attributes) == TensorType("f32", (2, 1, 2))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kernel_shape": [2, 2]}, "kernel [2, 2] must have 1 entries for 1 spatial axes"),
        ({"kernel_shape": [2], "strides": [0]}, "its strides [0] do not fit the kernel [2]"),
        ({"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}, "kernel [2, 2] must have 1 entries"),
        ({"kernel_shape": [2], "dilations": [0]}, "dilations [0] must be at least 1"),
        ({"kernel_shape": [2], "pads": [2, 0]}, "pads [2, 0] must be smaller than the kernel [2]"),
        ({"kernel_shape": [6]}, "a window of 6 does not fit into N x 2 x 5"),
        ({"kernel_shape": [2], "dilations": [2], "auto_pad": "SAME_UPPER"}, "give explicit pads"),
    ],
)
def test_windows_that_cannot_be(attributes: dict[str, Any], message: str) -> None:
    model = pool_model("MaxPool", (5,), 17, kernel_shape=[2])
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.extend(
        helper.make_attribute(name, value) for name, value in attributes.items()
    )
    with pytest.raises(UnsupportedOpError) as refusal:
        import_onnx(model)
    assert message in str(refusal.value)


def test_the_indices_of_max_pool_are_rejected_when_used() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", "indices"], name="pool", kernel_shape=[2])
    model = onnx_model([node], {"x": ("N", 2, 4)}, ["y", "indices"])
    with pytest.raises(UnsupportedOpError, match=r"output .*'indices'.* is used"):
        import_onnx(model)


@pytest.mark.parametrize("op", ["LpPool", "GlobalLpPool"])
def test_lp_pools_are_rejected_with_a_remedy(op: str) -> None:
    attributes = {"kernel_shape": [2]} if op == "LpPool" else {}
    with pytest.raises(UnsupportedOpError, match="AveragePool"):
        import_onnx(pool_model(op, (4,), 17, **attributes))
