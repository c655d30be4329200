"""Weights at the ends of their type: a clear refusal by name, or a network that computes finite numbers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import snnc
from snnc.ir.errors import DataError, ModelError
from tests.harness import onnx_model

X = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)


def compiled(weight: np.ndarray) -> snnc.Graph:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "v"], ["y"], name="second"),
    ]
    weights = {"w": weight, "v": np.eye(4, dtype=np.float32)}
    return snnc.compile(onnx_model(nodes, {"x": ["N", 4]}, ["y"], weights), X)


@pytest.mark.parametrize(
    ("number", "dtype", "says"),
    [
        (np.nan, np.float32, "tensor 'w' holds NaN"),
        (np.inf, np.float32, "tensor 'w' holds infinity"),
        (-np.inf, np.float16, "tensor 'w' holds infinity"),
        (1e300, np.float64, "tensor 'w' holds infinity, or numbers that are infinite in 32 bits"),
    ],
)
def test_refused_by_name(number: float, dtype: type, says: str) -> None:
    weight = np.ones((4, 4), dtype)
    weight[1, 2] = number
    with pytest.raises(ModelError, match=says):
        compiled(weight)


def test_activations_that_overflow_are_refused_where_they_do() -> None:
    with pytest.raises(DataError, match="NaN or infinite values at 'b'"):
        compiled(np.full((4, 4), 3e38, np.float32))


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (0.0, np.float32),
        (-0.0, np.float32),
        (1e-45, np.float32),  # the least denormal number
        (1e-37, np.float32),
        (6e-8, np.float16),  # denormal in half precision, normal in single
        (1e-310, np.float64),  # 0 in single precision
        (1e30, np.float32),
    ],
)
def test_computed(number: float, dtype: type) -> None:
    weight = np.full((4, 4), number, dtype)
    outputs = snnc.Simulator(compiled(weight)).run(X, 8).outputs["y"]
    expected = np.maximum(X.astype(np.float64) @ weight.astype(np.float32).astype(np.float64), 0)
    largest = max(expected.max(), 1e-37)  # below, float32 has no precision to speak of
    np.testing.assert_allclose(outputs[-1], expected, atol=0.05 * largest)
