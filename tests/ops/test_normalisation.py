"""Normalisations and softmaxes against onnxruntime, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from snnc.frontend import import_onnx
from snnc.ir.errors import ShapeError, TypeInferenceError, UnsupportedOpError
from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model

EPSILONS = st.sampled_from([1e-5, 1e-3])
SEEDS = st.integers(0, 99)
SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3)


def model_of(
    op: str,
    shape: tuple[int | str, ...],
    parameters: dict[str, np.ndarray[Any, np.dtype[np.float32]]] | None = None,
    opset: int = 17,
    **attributes: Any,
) -> onnx.ModelProto:
    """Build a model of one node whose inputs are x and the parameters, in order."""
    parameters = parameters or {}
    node = helper.make_node(op, ["x", *parameters], ["y"], name="norm", **attributes)
    return onnx_model([node], {"x": shape}, ["y"], parameters, opset)


def normal(seed: int, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32)


def positive(seed: int, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(SHAPES, EPSILONS, st.sampled_from([13, 14, 15, 23]), SEEDS)
def test_batch_norm(shape: list[int], epsilon: float, opset: int, seed: int) -> None:
    channels = shape[0]
    parameters = {
        "gamma": normal(seed + 1, channels),
        "beta": normal(seed + 2, channels),
        "mean": normal(seed + 3, channels),
        "variance": positive(seed + 4, channels),
    }
    model = model_of("BatchNormalization", ("N", *shape), parameters, opset, epsilon=epsilon)
    assert_matches_onnxruntime(model, {"x": normal(seed, 2, *shape)}, atol=5e-6)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.data(), EPSILONS, st.sampled_from([17, 23]), SEEDS)
def test_layer_norm(shape: list[int], data: st.DataObject, epsilon: float, opset: int, seed: int) -> None:
    rank = len(shape) + 1
    first = data.draw(st.integers(1, rank - 1))
    axis = first - data.draw(st.sampled_from([0, rank]))
    parameters = {"gamma": normal(seed + 1, *shape[first - 1 :])}
    if data.draw(st.booleans()):
        parameters["beta"] = normal(seed + 2, *shape[first - 1 :])
    model = model_of("LayerNormalization", ("N", *shape), parameters, opset, axis=axis, epsilon=epsilon)
    assert_matches_onnxruntime(model, {"x": normal(seed, 2, *shape)}, atol=5e-6)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.data(), EPSILONS, SEEDS)
def test_rms_norm(shape: list[int], data: st.DataObject, epsilon: float, seed: int) -> None:
    rank = len(shape) + 1
    first = data.draw(st.integers(1, rank - 1))
    axis = first - data.draw(st.sampled_from([0, rank]))
    parameters = {"gamma": normal(seed + 1, *shape[first - 1 :])}
    model = model_of("RMSNormalization", ("N", *shape), parameters, 23, axis=axis, epsilon=epsilon)
    assert_matches_onnxruntime(model, {"x": normal(seed, 2, *shape)}, atol=5e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    # Two nearly equal values are a group that single precision cannot normalise to 1e-5.
    st.lists(st.integers(3, 5), min_size=1, max_size=2),
    EPSILONS,
    st.sampled_from([18, 20, 21, 23]),
    SEEDS,
)
def test_group_norm(
    split: tuple[int, int], spatial: list[int], epsilon: float, opset: int, seed: int
) -> None:
    groups, width = split
    channels = groups * width
    scales = channels if opset >= 21 else groups
    parameters = {"gamma": normal(seed + 1, scales), "beta": normal(seed + 2, scales)}
    model = model_of(
        "GroupNormalization",
        ("N", channels, *spatial),
        parameters,
        opset,
        num_groups=groups,
        epsilon=epsilon,
    )
    assert_matches_onnxruntime(model, {"x": normal(seed, 2, channels, *spatial)}, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.integers(3, 5), min_size=1, max_size=3),
    EPSILONS,
    st.sampled_from([13, 22]),
    SEEDS,
)
def test_instance_norm(channels: int, spatial: list[int], epsilon: float, opset: int, seed: int) -> None:
    parameters = {"gamma": normal(seed + 1, channels), "beta": normal(seed + 2, channels)}
    model = model_of("InstanceNormalization", ("N", channels, *spatial), parameters, opset, epsilon=epsilon)
    assert_matches_onnxruntime(model, {"x": normal(seed, 2, channels, *spatial)}, atol=1e-5)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "LpNormalization"])
@settings(max_examples=20, deadline=None)
@given(SHAPES, st.data(), st.sampled_from([13, 17, 22, 23]), SEEDS)
def test_functions_along_an_axis(
    op: str, shape: list[int], data: st.DataObject, opset: int, seed: int
) -> None:
    rank = len(shape) + 1
    attributes: dict[str, Any] = {}
    if data.draw(st.booleans()):
        attributes["axis"] = data.draw(st.integers(1, rank - 1)) - data.draw(st.sampled_from([0, rank]))
    if op == "LpNormalization":
        attributes["p"] = data.draw(st.sampled_from([1, 2]))
    model = model_of(op, ("N", *shape), opset=opset, **attributes)
    assert_matches_onnxruntime(model, {"x": 5 * normal(seed, 2, *shape)})


def test_softmax_keeps_its_head_with_large_and_masked_scores() -> None:
    kernel = get_op("softmax").kernel
    assert kernel is not None
    found = kernel(np.array([[1000, 1000, -np.inf]], np.float32), axis=-1)
    np.testing.assert_array_equal(found, [[0.5, 0.5, 0]])


def test_the_zero_vector_has_no_direction() -> None:
    kernel = get_op("lp_norm").kernel
    assert kernel is not None
    found = kernel(np.array([[0, 0], [3, 4]], np.float32), axis=-1, p=2)
    np.testing.assert_allclose(found, np.array([[0, 0], [0.6, 0.8]], np.float32))


def test_statistics_survive_a_large_mean_and_many_positions() -> None:
    rng = np.random.default_rng(0)
    x = (100 + rng.normal(size=(1, 2, 64, 64))).astype(np.float32)
    kernel = get_op("group_norm").kernel
    assert kernel is not None
    found = kernel(x, groups=1, gamma=None, beta=None, epsilon=1e-5)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("batch_norm", {name: np.ones(4) for name in ("gamma", "beta", "mean", "variance")}, "3 channels"),
        ("group_norm", {"groups": 2, "gamma": None, "beta": None}, "3 channels do not divide into 2 groups"),
        ("layer_norm", {"axis": 0, "gamma": None, "beta": None}, "depends on the batch size"),
        ("layer_norm", {"axis": -1, "gamma": np.ones((4, 1)), "beta": None}, "do not broadcast"),
        ("layer_norm", {"axis": -1, "gamma": np.ones((1, 5)), "beta": None}, "is larger than"),
    ],
)
def test_parameters_that_do_not_fit(op: str, attributes: dict[str, Any], message: str) -> None:
    x = TensorType("f32", (Batch(), 3, 1))
    with pytest.raises(ShapeError, match=message):
        get_op(op).infer_type([x], {**attributes, "epsilon": 1e-5})


def test_integers_are_not_normalised() -> None:
    with pytest.raises(TypeInferenceError, match="needs a real stream"):
        get_op("softmax").infer_type([TensorType("i64", (Batch(), 3))], {"axis": -1})


def test_other_norms_are_refused() -> None:
    with pytest.raises(TypeInferenceError, match="p = 1 and p = 2, not 3"):
        get_op("lp_norm").infer_type([TensorType("f32", (Batch(), 3))], {"axis": -1, "p": 3})


def test_batch_norm_in_training_mode_is_rejected_with_a_remedy() -> None:
    parameters = {name: np.ones(3, np.float32) for name in ("gamma", "beta", "mean", "variance")}
    model = model_of("BatchNormalization", ("N", 3), parameters, 15, training_mode=1)
    with pytest.raises(UnsupportedOpError, match=r"training mode.*evaluation mode"):
        import_onnx(model)


def test_weights_standardised_by_batch_norm_fold() -> None:
    parameters = {
        "weight": normal(0, 1, 4, 6),
        "gamma": normal(1, 4),
        "beta": normal(2, 4),
        "mean": normal(3, 4),
        "variance": positive(4, 4),
    }
    outputs = ["standard", "mean_after", "variance_after"]
    nodes = [
        helper.make_node("BatchNormalization", [*parameters], outputs, name="norm", training_mode=1),
        helper.make_node("Add", ["x", "standard"], ["y"]),
    ]
    graph = assert_matches_onnxruntime(
        onnx_model(nodes, {"x": ("N", 4, 6)}, ["y"], parameters), {"x": normal(5, 2, 4, 6)}
    )
    assert [node.op.name for node in graph] == ["constant", "add"]


def test_groups_of_nothing_are_rejected() -> None:
    parameters = {"gamma": np.ones(3, np.float32), "beta": np.ones(3, np.float32)}
    with pytest.raises(UnsupportedOpError, match="num_groups is 0"):
        import_onnx(model_of("GroupNormalization", ("N", 3, 2), parameters, 18, num_groups=0))


def test_parameters_computed_at_run_time_are_rejected() -> None:
    node = helper.make_node("LayerNormalization", ["x", "x"], ["y"], name="norm")
    with pytest.raises(UnsupportedOpError, match=r"its scale .* must be constant"):
        import_onnx(onnx_model([node], {"x": ("N", 3)}, ["y"]))


def test_hardmax_is_rejected_with_a_remedy() -> None:
    with pytest.raises(UnsupportedOpError, match="use Softmax"):
        import_onnx(model_of("Hardmax", ("N", 3)))
