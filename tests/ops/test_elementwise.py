"""Functions of one tensor against onnxruntime, their accuracy, and what they refuse."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from onnx import TensorProto, helper

from snnc.frontend import import_onnx
from snnc.ir.codebooks import Payload
from snnc.ir.errors import TypeInferenceError, UnsupportedOpError
from snnc.ir.ops import get_op
from snnc.ir.ops.elementwise import OPS
from snnc.ir.types import SpikeType, TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model, run_analog

# ONNX operator, the opset it is tested in, and its attributes with the range they are drawn from.
FUNCTIONS: list[tuple[str, int, dict[str, tuple[float, float]]]] = [
    ("Relu", 14, {}),
    ("LeakyRelu", 16, {"alpha": (-0.5, 2.0)}),
    ("ThresholdedRelu", 10, {"alpha": (-1.0, 2.0)}),
    ("Sigmoid", 13, {}),
    ("HardSigmoid", 13, {"alpha": (0.0625, 1.0), "beta": (-0.5, 1.0)}),
    ("HardSwish", 14, {}),
    ("Tanh", 13, {}),
    ("Erf", 13, {}),
    ("Elu", 13, {"alpha": (0.125, 2.0)}),
    ("Selu", 13, {"alpha": (0.125, 2.0), "gamma": (0.125, 2.0)}),
    ("Celu", 13, {"alpha": (0.125, 2.0)}),
    ("Softplus", 13, {}),
    ("Softsign", 13, {}),
    ("Mish", 18, {}),
    ("Exp", 13, {}),
    ("Log", 13, {}),
    ("Sqrt", 13, {}),
    ("Reciprocal", 13, {}),
    ("Neg", 13, {}),
    ("Abs", 13, {}),
    ("Floor", 13, {}),
    ("Ceil", 13, {}),
    ("Round", 13, {}),
    ("Sign", 13, {}),
    ("Sin", 13, {}),
    ("Atan", 13, {}),
    ("Cos", 13, {}),
    ("Identity", 13, {}),
    ("Dropout", 13, {}),
]
SPECIAL_VALUES = np.array([0, -0.5, 0.5, 1.5, 2.5, -1.5, 1, -1, 6, -3, 30, -30], np.float32)


def samples(shape: tuple[int, ...], seed: int, scale: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return normal numbers with special values among them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, scale, shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.2, rng.choice(SPECIAL_VALUES, shape), x)


def unary_model(op: str, opset: int, rank: int, **attributes: Any) -> Any:
    node = helper.make_node(op, ["x"], ["y"], name="function", **attributes)
    return onnx_model([node], {"x": ("N", *"bcde"[: rank - 1])}, ["y"], opset=max(opset, 13))


def assert_same(op: str, opset: int, x: Any, **attributes: Any) -> None:
    pins = {"x": ("N", *x.shape[1:])}
    assert_matches_onnxruntime(unary_model(op, opset, x.ndim, **attributes), {"x": x}, shapes=pins)


@pytest.mark.parametrize(("op", "opset", "ranges"), FUNCTIONS, ids=[name for name, *_ in FUNCTIONS])
@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=st.integers(0, 999), scale=st.sampled_from([0.3, 1.0, 5.0]))
def test_function(
    *,
    op: str,
    opset: int,
    ranges: dict[str, tuple[float, float]],
    data: st.DataObject,
    seed: int,
    scale: float,
) -> None:
    shape = data.draw(array_shapes(max_dims=4, max_side=4))
    # Either all attributes or none, so that the defaults are tested too.
    chosen = ranges if data.draw(st.booleans()) else {}
    attributes = {
        name: data.draw(st.floats(low, high, width=32), name) for name, (low, high) in chosen.items()
    }
    assert_same(op, opset, samples(shape, seed, scale), **attributes)


@pytest.mark.parametrize("approximate", [None, "none", "tanh"])
def test_gelu(approximate: str | None) -> None:
    attributes = {} if approximate is None else {"approximate": approximate}
    assert_same("Gelu", 20, samples((4, 50), 0, 2.0), **attributes)


@pytest.mark.parametrize("op", ["Neg", "Abs", "Sign", "Relu"])
def test_function_of_integers(op: str) -> None:
    node = helper.make_node(op, ["x"], ["y"])
    model = onnx_model([node], {"x": (TensorProto.INT32, ("N", 3))}, ["y"])
    assert_matches_onnxruntime(model, {"x": np.array([[-2, 0, 7], [1, -1, 3]], np.int32)})


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(), (1,), (3, 1, 1), (3, 4, 5), (5,)]), st.integers(0, 99))
def test_prelu(slope_shape: tuple[int, ...], seed: int) -> None:
    model = onnx_model(
        [helper.make_node("PRelu", ["x", "slope"], ["y"])],
        {"x": ("N", 3, 4, 5)}, ["y"], {"slope": samples(slope_shape, seed + 1, 0.5)},
    )  # fmt: skip
    assert_matches_onnxruntime(model, {"x": samples((2, 3, 4, 5), seed, 2.0)})


FINITE = (-2.0, 0.0, 1.0, 6.0)
LARGEST = float(np.finfo(np.float32).max)


def clip_model(dtype: Any, low: Any, high: Any) -> Any:
    bounds = {name: value for name, value in (("low", low), ("high", high)) if value is not None}
    names = ["x", "low" if low is not None else "", "high" if high is not None else ""]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx_model(
        [helper.make_node("Clip", names, ["y"])],
        {"x": (element, ("N", 5))}, {"y": (element, ("N", 5))},
        {name: np.array(value, dtype) for name, value in bounds.items()},
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([None, -np.inf, -LARGEST, *FINITE]),
    st.sampled_from([None, np.inf, LARGEST, *FINITE]),
    st.integers(0, 99),
)
def test_clip(low: float | None, high: float | None, seed: int) -> None:
    assert_matches_onnxruntime(clip_model(np.float32, low, high), {"x": samples((3, 5), seed, 5.0)})


@pytest.mark.parametrize(("low", "high"), [(None, None), (2**53 + 1, None), (-3, 4), (None, 0)])
def test_clip_of_integers_keeps_every_bit(low: int | None, high: int | None) -> None:
    x = np.array([[-5, 0, 3, 2**60 + 1, 2**53]], np.int64)
    graph = import_onnx(clip_model(np.int64, low, high))
    np.testing.assert_array_equal(
        run_analog(graph, {"x": x})["y"], x if (low, high) == (None, None) else np.clip(x, low, high)
    )


def test_clip_bound_computed_at_run_time() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["b"], ["high"], keepdims=0),
        helper.make_node("Clip", ["x", "", "high"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ("N", 5), "b": (3,)}, ["y"])
    inputs = {"x": samples((2, 5), 0, 2.0), "b": samples((3,), 1, 1.0)}
    assert_matches_onnxruntime(model, inputs, shapes={"x": ("N", 5), "b": (3,)})


@pytest.mark.parametrize("to", ["FLOAT", "DOUBLE", "INT32", "INT64", "INT8", "BOOL"])
@pytest.mark.parametrize("source", ["FLOAT", "INT32", "BOOL"])
def test_cast(source: str, to: str) -> None:
    element = TensorProto.DataType.Value(source)
    x = np.array([[0, 1.9, -1.9, 100.5, -3]]).astype(helper.tensor_dtype_to_np_dtype(element))
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DataType.Value(to))]
    assert_matches_onnxruntime(onnx_model(nodes, {"x": (element, ("N", 5))}, ["y"]), {"x": x})


@pytest.mark.parametrize("to", [TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_cast_of_a_stream_to_another_precision_is_nothing(to: int) -> None:
    graph = import_onnx(onnx_model([helper.make_node("Cast", ["x"], ["y"], to=to)], {"x": ("N", 5)}, ["y"]))
    assert not list(graph)


@pytest.mark.parametrize("to", [TensorProto.STRING, TensorProto.FLOAT8E5M2, TensorProto.INT4])
def test_cast_to_what_the_ir_cannot_hold(to: int) -> None:
    model = onnx_model([helper.make_node("Cast", ["x"], ["y"], to=to)], {"x": ("N", 5)}, ["y"], opset=21)
    with pytest.raises(UnsupportedOpError, match="which the IR cannot hold"):
        import_onnx(model)


def test_cast_like() -> None:
    model = onnx_model(
        [helper.make_node("CastLike", ["x", "like"], ["y"])],
        {"x": ("N", 3)}, ["y"], {"like": np.zeros((), np.int64)},
    )  # fmt: skip
    assert_matches_onnxruntime(model, {"x": np.array([[1.9, -1.9, 0]], np.float32)})


def test_dropout_in_training_mode_is_refused() -> None:
    model = onnx_model(
        [helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])], {"x": ("N", 3)}, ["y"],
        {"ratio": np.array(0.5, np.float32), "training": np.array(True)},
    )  # fmt: skip
    with pytest.raises(UnsupportedOpError, match="drops elements at random"):
        import_onnx(model)


def test_erf_is_as_accurate_as_single_precision() -> None:
    x = np.concatenate([np.linspace(-6, 6, 40001), np.geomspace(1e-30, 6, 20000)]).astype(np.float32)
    exact = np.array([math.erf(item) for item in x.tolist()])
    found = get_op("erf").kernel(x)  # type: ignore[misc]  # erf has a kernel
    assert np.abs(found - exact).max() < 5e-7
    np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_large_inputs_give_no_warning(op: Any) -> None:
    """The one numerical warning of numpy would be an error in every simulation."""
    x = np.array([-3e38, -1e20, -1000, -100, -0.0, 0, 100, 1000, 1e20, 3e38], np.float32)
    attributes = {key: item.default for key, item in op.attributes.items()}
    attributes |= {"slope": np.float32(0.5)} if op.name == "prelu" else {}
    attributes |= {"to": "i8"} if op.name == "cast" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = op.kernel(x, **attributes)
    assert result.dtype == (np.int8 if op.name == "cast" else np.float32)
    assert op.name in ("cast", "log", "sqrt") or not np.isnan(result).any()


def test_silu() -> None:
    x = samples((100,), 0, 5.0)
    exact = x.astype(np.float64) / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(get_op("silu").kernel(x), exact, rtol=1e-6)  # type: ignore[misc]  # as above


@pytest.mark.parametrize(
    ("op", "payload", "expected"),
    [
        ("relu", Payload(-7, 7), Payload(0, 7)),
        ("relu", Payload(-7, -1), Payload(0, 0)),
        ("neg", Payload(-3, 8, powers_of_two=True), Payload(-8, 3, powers_of_two=True)),
        ("abs", Payload(-7, 3), Payload(0, 7)),
        ("abs", Payload(-7, -2), Payload(2, 7)),
    ],
)
def test_spikes_stay_spikes(op: str, payload: Payload, expected: Payload) -> None:
    assert get_op(op).infer_type([SpikeType(payload, (4,))], {}) == SpikeType(expected, (4,))


def test_relu_of_spikes_with_a_scale_is_real() -> None:
    """The scale of a mirrored neuron is negative: its payloads cannot be rectified alone."""
    spikes = SpikeType(Payload(-7, 7), (4,), scaled=True)
    assert get_op("relu").infer_type([spikes], {}) == TensorType("f32", (4,))
    assert get_op("neg").infer_type([spikes], {}) == spikes


def test_functions_of_reals_refuse_integers() -> None:
    with pytest.raises(TypeInferenceError, match="must be real, not tensor<i64, 4>"):
        get_op("sigmoid").infer_type([TensorType("i64", (4,))], {})
    with pytest.raises(TypeInferenceError, match=r"slopes of shape \[3\] do not broadcast against 4 x 2"):
        get_op("prelu").infer_type([TensorType("f32", (4, 2))], {"slope": np.ones(3, np.float32)})
