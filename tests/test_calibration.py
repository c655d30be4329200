"""Calibration: statistics over data in batches, and over synthetic inputs where there are no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.calibration import LARGEST_BATCH, DatasetCalibration, batch_samples
from snnc.data import Dataset
from snnc.driver import SYNTHETIC_WARNING, compile_model
from snnc.ir.codebooks import Ternary
from snnc.ir.errors import DataError
from snnc.passes.base import Site
from snnc.synthetic import (
    FEWEST_SAMPLES,
    MOST_SAMPLES,
    MULTIPLY_ACCUMULATES,
    synthetic_dataset,
    synthetic_samples,
    vocabulary_of,
)
from tests.passes.build import Builder, N
from tests.passes.calibration import ArrayCalibration

DIGITS = Path(__file__).parents[1] / "examples" / "digits"


def sites_of(b: Builder) -> list[Site]:
    weight = np.random.default_rng(0).standard_normal((5, 3, 2, 2)).astype(np.float32)
    first = b("conv", b.x, weight=weight)
    second = b("gelu", first)
    b.outputs(y=second)
    return [Site(first, (1,), 0.0, 6.0, "relu6"), Site(second, (), None, None, "gelu")]


def images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(1).standard_normal((count, 3, 6, 6)).astype(np.float32)


def test_batches_give_the_statistics_of_all_samples() -> None:
    """onnxruntime in batches against the kernels of the op table at once."""
    b = Builder(N, 3, 6, 6)
    sites, x = sites_of(b), images(150)
    told: list[tuple[int, int]] = []
    dataset = Dataset({"x": x})
    found = DatasetCalibration(dataset, lambda done, total: told.append((done, total))).measure(
        b.graph, sites
    )
    wanted = ArrayCalibration({"x": x}).measure(b.graph, sites)
    assert told == [(64, 150), (128, 150), (150, 150)]
    for one, other in zip(found, wanted, strict=True):
        assert one.counts.sum() == other.counts.sum()
        assert one.channel_shape == other.channel_shape
        np.testing.assert_allclose(one.maximum, other.maximum, rtol=1e-5)
        np.testing.assert_allclose(one.minimum, other.minimum, rtol=1e-5, atol=1e-6)
        for fraction in (0.5, 0.99):
            np.testing.assert_allclose(
                one.quantile(fraction, of_magnitude=True, skip_zero=False),
                other.quantile(fraction, of_magnitude=True, skip_zero=False),
                rtol=0.02,
                atol=0.01,
            )


def test_the_graph_is_left_as_it_was() -> None:
    b = Builder(N, 3, 6, 6)
    sites = sites_of(b)
    before = (len(b.graph), len(b.graph.outputs), sorted(b.graph.tensors))
    DatasetCalibration(Dataset({"x": images(4)})).measure(b.graph, sites)
    assert (len(b.graph), len(b.graph.outputs), sorted(b.graph.tensors)) == before


def test_large_streams_make_small_batches() -> None:
    b = Builder(N, 3, 6, 6)
    assert batch_samples([site.value for site in sites_of(b)]) == LARGEST_BATCH
    wide = Builder(N, 64, 1024, 1024)
    assert batch_samples([wide.x]) == 1


def test_numbers_that_are_not_finite_are_refused() -> None:
    b = Builder(N, 3, 6, 6)
    sites, x = sites_of(b), images(4)
    x[2, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        DatasetCalibration(Dataset({"x": x})).measure(b.graph, sites)


def test_data_of_another_shape_are_refused() -> None:
    b = Builder(N, 3, 6, 6)
    sites = sites_of(b)
    with pytest.raises(DataError, match=r"has shape .*; the network takes"):
        DatasetCalibration(Dataset({"x": images(4)[:, :2]})).measure(b.graph, sites)


# Synthetic inputs.


def test_synthetic_images_look_normalised_and_repeat() -> None:
    b = Builder(N, 3, 32, 32)
    b.outputs(y=b.x)
    first, second = (synthetic_dataset(b.graph, 16).arrays["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32
    np.testing.assert_allclose(first.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(first.std(axis=(0, 2, 3)), 1, atol=1e-3)
    # Neighbouring pixels resemble each other, as in natural images and unlike in noise.
    flat = first[:, :, :, 1:].ravel(), first[:, :, :, :-1].ravel()
    assert np.corrcoef(*flat)[0, 1] > 0.7


def test_token_ids_come_from_their_vocabulary_and_masks_are_ones() -> None:
    b = Builder(N, 8, dtype="i64")
    mask, flags = b.input("mask", N, 8, dtype="i64"), b.input("flags", N, 8, dtype="bool")
    words = b("embedding", b.x, table=np.zeros((11, 4), np.float32))
    b.outputs(y=words, z=mask, w=flags)
    arrays = synthetic_dataset(b.graph, 64).arrays
    assert vocabulary_of(b.graph, b.x) == 11
    assert set(np.unique(arrays["x"])) == set(range(11))
    assert (arrays["mask"] == 1).all()
    assert arrays["flags"].all()
    assert arrays["flags"].dtype == np.bool_


@pytest.mark.parametrize(("share", "samples"), [(1 / 1000, MOST_SAMPLES), (1 / 30, 30), (1, FEWEST_SAMPLES)])
def test_a_large_network_is_calibrated_on_fewer_synthetic_samples(share: float, samples: int) -> None:
    rows = round(MULTIPLY_ACCUMULATES * share / (16 * 16))
    b = Builder(N, rows, 16)
    b("linear", b.x, weight=np.ones((16, 16), np.float32))
    assert synthetic_samples(b.graph) == samples


def test_without_data_a_network_compiles_with_a_warning() -> None:
    compilation = compile_model(DIGITS / "digits_cnn.onnx")
    assert compilation.context.warnings == [SYNTHETIC_WARNING]
    assert compilation.graph.meta["calibration"] == {"data": "synthetic", "samples": MOST_SAMPLES}
    outputs = Simulator(compilation.graph).run(np.ones((2, 1, 8, 8), np.float32), 2).outputs["logits"]
    assert np.isfinite(outputs).all()


def test_neurons_behind_a_spread_quantiser_are_measured_by_its_mean() -> None:
    """At the first step such a neuron sends nothing or its largest value; what it tends to is clip(x)."""
    b = Builder(N, 3, dtype="f32")
    quantum = np.full((1, 1), 2.0, np.float32)
    sent = b(
        "neuron", b.x, codebook=Ternary(), quantum=quantum, scale=quantum, bias=np.array([[0, 0.5, 0]], "f4")
    )
    b.outputs(y=b("mul", sent, 3.0))
    x = np.array([[0.3, 1.0, -0.7], [0.1, 5.0, 0.2]], np.float32)
    site = Site(b.graph.outputs[0].value, (1,), None, None, "y")
    (found,) = DatasetCalibration(Dataset({"x": x})).measure(b.graph, [site])
    np.testing.assert_allclose(found.maximum, [0.9, 6.0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(found.minimum, [0.3, 4.5, -2.1], rtol=1e-6)
