"""Rounding weights: laws, the best integers by brute force, GPTQ as its paper writes it, and real data."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.calibration import DatasetCalibration
from snnc.data import Normalise, load_data
from snnc.frontend import import_onnx
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.rounding import DAMPING, bias_correction, output_error, round_weights
from tests.harness import run_analog
from tests.passes.build import applied
from tests.passes.calibration import inputs_of_outputs

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def correlated(inputs: int, samples: int, seed: int) -> Array:
    """Return [samples, inputs] that mix a few causes, as neighbouring pixels do."""
    random = np.random.default_rng(seed)
    causes = random.normal(0, 1, (samples, max(1, inputs // 2)))
    return np.asarray(causes @ random.normal(0, 1, (causes.shape[1], inputs)) + random.normal(0, 0.2, inputs))


def covariance_of(x: Array) -> Array:
    return np.cov(x.T, bias=True).reshape(x.shape[1], x.shape[1])


def nearest(rows: Array, limit: int) -> Array:
    return np.asarray(np.clip(np.rint(rows), -limit, limit))


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(1, 12), samples=st.integers(1, 30), limit=st.integers(1, 127), seed=st.integers(0, 999)
)
def test_no_row_is_worse_than_the_nearest_integers(inputs: int, samples: int, limit: int, seed: int) -> None:
    """Neither where weights lie beyond the limit nor where there are fewer samples than inputs."""
    rows = np.random.default_rng(seed).normal(0, limit, (5, inputs))
    covariance = covariance_of(correlated(inputs, samples, seed))
    rounded = round_weights(rows, covariance, limit)
    assert np.abs(rounded).max() <= limit
    found, other = (output_error(rows - w, covariance) for w in (rounded, nearest(rows, limit)))
    assert (found <= other).all()


@given(st.integers(0, 99))
def test_integers_stay(seed: int) -> None:
    rows = np.random.default_rng(seed).integers(-127, 128, (4, 6))
    np.testing.assert_array_equal(
        round_weights(rows.astype(float), covariance_of(correlated(6, 9, seed)), 127), rows
    )


def test_without_covariance_halves_go_to_even() -> None:
    rows = np.array([[0.5, 1.5, -2.5, 126.6, -300.0]])
    assert round_weights(rows, None, 127).tolist() == [[0, 2, -2, 127, -127]]


def test_inputs_that_never_vary_change_nothing() -> None:
    rows = np.array([[0.4, -1.6]])
    assert round_weights(rows, np.zeros((2, 2)), 7).tolist() == [[0, -2]]
    assert round_weights(rows, np.diag([1.0, 0.0]), 7).tolist() == [[0, -2]]


def test_what_one_weight_loses_its_twin_makes_up_for() -> None:
    """Two inputs that are always equal: only the sum of their weights matters, 0.8 here."""
    assert round_weights(np.array([[0.4, 0.4]]), np.ones((2, 2)), 7).sum() == 1


@pytest.mark.parametrize("inputs", [2, 4, 6])
def test_it_comes_near_the_best_integers(inputs: int) -> None:
    """Of all integers a unit or so around the weights; over 40 rows the mean error is at most 1.5 times."""
    covariance = covariance_of(correlated(inputs, 200, inputs)) + 0.1 * np.eye(inputs)
    rows = np.random.default_rng(inputs).normal(0, 2, (40, inputs))
    offsets = np.array(list(product((-1, 0, 1, 2), repeat=inputs)))
    errors = rows[:, None] - np.floor(rows)[:, None] - offsets
    best = np.einsum("ock,kl,ocl->oc", errors, covariance, errors, optimize=True).min(axis=1)
    found = output_error(rows - round_weights(rows, covariance, 127), covariance)
    plain = output_error(rows - nearest(rows, 127), covariance)
    assert (found >= best - 1e-9).all()
    assert best.mean() <= found.mean() <= 1.5 * best.mean() < plain.mean()


def gptq(row: Array, covariance: Array, limit: int) -> list[int]:
    """Equation 2 of the paper: round the next weight, move all others left to their optimum, shrink H."""
    hessian = covariance + DAMPING * np.diagonal(covariance).mean() * np.eye(len(row))
    left, weights, rounded = list(np.argsort(-np.diagonal(covariance))), row.copy(), [0] * len(row)
    while left:
        inverse = np.linalg.inv(hessian[np.ix_(left, left)])
        chosen = left[0]
        rounded[chosen] = int(np.clip(np.rint(weights[chosen]), -limit, limit))
        weights[left] -= (weights[chosen] - rounded[chosen]) / inverse[0, 0] * inverse[:, 0]
        left = left[1:]
    return rounded


@pytest.mark.parametrize("limit", [3, 127])
def test_it_is_gptq(limit: int) -> None:
    covariance = covariance_of(correlated(10, 300, 1)) + 0.05 * np.eye(10)
    rows = np.random.default_rng(2).normal(0, 2, (20, 10))
    rounded = round_weights(rows, covariance, limit)
    wanted = np.array([gptq(row, covariance, limit) for row in rows])
    kept = output_error(rows - wanted, covariance) < output_error(rows - nearest(rows, limit), covariance)
    assert kept.sum() > 10
    np.testing.assert_array_equal(rounded[kept], wanted[kept])


def test_the_bias_makes_up_for_the_mean() -> None:
    random = np.random.default_rng(0)
    x, rows = random.normal(2, 1, (50, 4)), random.normal(0, 3, (3, 4))
    rounded = round_weights(rows, covariance_of(x), 7)
    bias = bias_correction(rows - rounded, x.mean(axis=0))
    np.testing.assert_allclose((x @ rounded.T + bias).mean(axis=0), (x @ rows.T).mean(axis=0))


@pytest.mark.parametrize("bits", [3, 4])
def test_on_digits_that_it_has_not_seen_the_outputs_of_a_convolution_err_far_less(bits: int) -> None:
    """The second layer of a trained network: below a third of the squared error of the nearest integers."""
    graph, _ = applied(import_onnx(DIGITS / "digits_cnn.onnx"), FuseBatchNorm())
    calibration, test = (
        load_data(DIGITS / f"digits_{part}.npz", normalise=Normalise(1 / 16), limit=100)
        for part in ("calibration", "test")
    )
    conv = [node for node in graph if node.op.name == "conv"][1]
    (moments,) = DatasetCalibration(calibration).moments(graph, [conv])
    assert moments is not None
    assert moments.covariance is not None
    weight = graph.resolve(conv)["weight"]
    limit = 2 ** (bits - 1) - 1
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True) / limit
    graph.outputs.clear()
    graph.add_output(conv.operands[0], "read")
    (inputs, _), *_ = test.batches(graph, 20)
    x = inputs_of_outputs(conv, graph, run_analog(graph, inputs)["read"])[:, 0]

    def squared_error(rounded: Array) -> float:
        errors = rows - rounded
        return float(((x @ errors.T - bias_correction(errors, moments.mean[0])) ** 2).sum())

    found = squared_error(round_weights(rows, moments.covariance[0], limit))
    assert found < squared_error(nearest(rows, limit)) / 3
