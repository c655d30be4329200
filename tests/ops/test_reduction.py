"""Reductions and running sums against onnxruntime, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from snnc.frontend import import_onnx
from snnc.ir.codebooks import Payload
from snnc.ir.errors import ShapeError, UnsupportedOpError
from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch
from snnc.ir.types import SpikeType, TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model

REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
OPSETS = st.sampled_from([13, 17, 18, 20, 23])


def reduction_model(
    op: str, shape: tuple[int | str, ...], axes: list[int] | None, opset: int, **attributes: Any
) -> onnx.ModelProto:
    """Build a model of one reduction, axes given the way its opset wants them."""
    as_input = opset >= (13 if op == "ReduceSum" else 18)
    inputs, initializers = ["x"], {}
    if axes is not None and as_input:
        inputs.append("axes")
        initializers["axes"] = np.array(axes, np.int64)
    elif axes is not None:
        attributes["axes"] = axes
    node = helper.make_node(op, inputs, ["y"], name="reduce", **attributes)
    return onnx_model([node], {"x": shape}, ["y"], initializers, opset)


@st.composite
def reduced(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int]]:
    """Draw a shape behind the batch axis and some of its axes, some counted from the end."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    chosen = draw(st.sets(st.integers(1, len(shape)), min_size=1))
    return tuple(shape), [axis - draw(st.sampled_from([0, len(shape) + 1])) for axis in sorted(chosen)]


@pytest.mark.parametrize("op", REDUCTIONS)
@settings(max_examples=20, deadline=None)
@given(reduced(), OPSETS, st.booleans(), st.integers(0, 99))
def test_reductions(
    op: str, drawn: tuple[tuple[int, ...], list[int]], opset: int, keepdims: bool, seed: int
) -> None:
    shape, axes = drawn
    x = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    if op == "ReduceLogSum":
        x = np.abs(x) + np.float32(0.1)
    model = reduction_model(op, ("N", *shape), axes, opset, keepdims=int(keepdims))
    assert_matches_onnxruntime(model, {"x": x}, atol=3e-6)


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize(("opset", "axes"), [(13, None), (18, None), (18, [])])
def test_no_axes_means_all_axes(op: str, opset: int, axes: list[int] | None) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4)).astype(np.float32)
    assert_matches_onnxruntime(reduction_model(op, (3, 4), axes, opset, keepdims=0), {"x": x})


@pytest.mark.parametrize("op", REDUCTIONS)
def test_no_axes_can_also_mean_none(op: str) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4)).astype(np.float32)
    model = reduction_model(op, ("N", 4), None, 18, noop_with_empty_axes=1)
    assert_matches_onnxruntime(model, {"x": x})


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"])
def test_integers_stay_integers(op: str) -> None:
    x = np.array([[-7, 2, 1], [5, 4, 1]], np.int64)
    model = reduction_model(op, ("N", 3), [1], 18)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert_matches_onnxruntime(model, {"x": x})


def test_a_long_sum_does_not_drift() -> None:
    x = np.full((1, 1, 300_000), 0.1, np.float32)
    kernel = get_op("reduce_sum").kernel
    assert kernel is not None
    for array in (x, np.moveaxis(np.repeat(x, 2, 1), 2, 1)):
        total = kernel(array, axes=(int(np.argmax(array.shape)),), keepdims=False)
        np.testing.assert_allclose(total, float(np.float32(0.1)) * 300_000, rtol=1e-7)


def test_log_sum_exp_neither_overflows_nor_loses_a_row_of_minus_infinity() -> None:
    kernel = get_op("reduce_log_sum_exp").kernel
    assert kernel is not None
    x = np.array([[1000, 1000], [-np.inf, -np.inf]], np.float32)
    with np.errstate(divide="ignore"):
        found = kernel(x, axes=(1,), keepdims=False)
    np.testing.assert_allclose(found, np.array([1000 + np.log(2), -np.inf], np.float32))


def test_shapes_with_a_symbolic_batch_fold() -> None:
    kernel = get_op("reduce_prod").kernel
    assert kernel is not None
    folded = kernel(np.array([Batch(), 3, 4], object), axes=(), keepdims=False)
    assert folded.item() == Batch(12)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.data(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([13, 14, 23]),
)
def test_cumsum(shape: list[int], data: st.DataObject, exclusive: bool, reverse: bool, opset: int) -> None:
    rank = len(shape) + 1
    axis = data.draw(st.integers(1, rank - 1)) - data.draw(st.sampled_from([0, rank]))
    node = helper.make_node("CumSum", ["x", "axis"], ["y"], exclusive=int(exclusive), reverse=int(reverse))
    model = onnx_model([node], {"x": ("N", *shape)}, ["y"], {"axis": np.array(axis, np.int64)}, opset)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    assert_matches_onnxruntime(model, {"x": x})


def test_cumsum_takes_one_axis() -> None:
    axis = {"axis": np.array([1, 2], np.int64)}
    model = onnx_model([helper.make_node("CumSum", ["x", "axis"], ["y"])], {"x": ("N", 2, 2)}, ["y"], axis)
    with pytest.raises(UnsupportedOpError, match="must be one number"):
        import_onnx(model)


def test_the_batch_cannot_be_reduced() -> None:
    with pytest.raises(UnsupportedOpError, match="axis 0 of N x 4 carries the batch"):
        import_onnx(reduction_model("ReduceSum", ("N", 4), None, 17))
    with pytest.raises(ShapeError, match="running sum depends on the batch"):
        get_op("cumsum").infer_type(
            [TensorType("f32", (Batch(), 3))], {"axis": 0, "exclusive": False, "reverse": False}
        )


@pytest.mark.parametrize(
    ("axes", "message"), [([1, -1], "name one axis twice"), ([2], "axis 2 is outside a rank-2 shape")]
)
def test_axes_that_cannot_be(axes: list[int], message: str) -> None:
    attributes = {"axes": tuple(axes), "keepdims": True}
    with pytest.raises(ShapeError, match=message):
        get_op("reduce_sum").infer_type([TensorType("f32", (Batch(), 4))], attributes)


def test_sums_and_extremes_of_spikes_are_spikes_while_their_scales_agree() -> None:
    attributes = {"axes": (1,), "keepdims": False}
    spikes = SpikeType(Payload(-2, 3), (Batch(), 5))
    assert get_op("reduce_sum").infer_type([spikes], attributes) == SpikeType(Payload(-10, 15), (Batch(),))
    assert get_op("reduce_max").infer_type([spikes], attributes) == SpikeType(Payload(-2, 3), (Batch(),))
    scaled = SpikeType(Payload(-2, 3), (Batch(), 5), scaled=True)
    for op in ("reduce_sum", "reduce_max", "reduce_min"):
        assert get_op(op).infer_type([scaled], attributes) == TensorType("f32", (Batch(),))


def test_a_sum_beyond_the_largest_payload_is_real() -> None:
    spikes = SpikeType(Payload(0, 15), (Batch(), 5000))
    found = get_op("reduce_sum").infer_type([spikes], {"axes": (1,), "keepdims": True})
    assert found == TensorType("f32", (Batch(), 1))


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_the_place_of_a_maximum_is_rejected_with_a_remedy(op: str) -> None:
    model = onnx_model([helper.make_node(op, ["x"], ["y"], axis=1)], {"x": ("N", 4)}, ["y"])
    with pytest.raises(UnsupportedOpError, match="end the model at the scores"):
        import_onnx(model)
