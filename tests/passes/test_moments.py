"""Moments of what weights multiply: streamed in batches against every output's inputs written out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import DataError
from snnc.passes import moments
from tests.passes.build import Builder, N
from tests.passes.calibration import ArrayCalibration

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.moments import Moments


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0.3, 1, shape).astype(np.float32)


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"pads": (1, 1, 1, 1)},
    "unevenly padded": {"pads": (2, 0, 1, 1)},
    "strided": {"strides": (2, 2), "pads": (1, 1, 1, 1)},
    "dilated": {"dilations": (2, 2)},
    "grouped": {"group": 2, "pads": (1, 1, 1, 1)},
    "depthwise": {"group": 4},
}


def network(**geometry: Any) -> Graph:
    """Return a convolution of spikes, pooled into a linear layer."""
    b = Builder(N, 4, 6, 6)
    spikes = b("neuron", b.x, codebook=MultiSpike(-3, 3), quantum=np.full((1, 1, 1, 1), 0.5, np.float32))
    weight = normal(4, 4 // geometry.get("group", 1), 3, 3)
    hidden = b("conv", spikes, weight=weight, **geometry)
    count = int(np.prod(hidden.type.shape[1:]))
    y = b("linear", b("reshape", hidden, shape=(N, count)), weight=normal(3, count))
    return b.outputs(y=y)


def synapses(graph: Graph) -> list[Any]:
    return [node for node in graph if node.op.synaptic]


def assert_same(found: Moments | None, wanted: Moments | None) -> None:
    assert found is not None
    assert wanted is not None
    np.testing.assert_allclose(found.mean, wanted.mean, atol=1e-5)
    np.testing.assert_allclose(found.covariance, wanted.covariance, atol=1e-4)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_batches_give_the_moments_of_all_outputs(name: str) -> None:
    graph, x = network(**CONVOLUTIONS[name]), normal(70, 4, 6, 6)
    found = DatasetCalibration(Dataset({"x": x})).moments(graph, synapses(graph))
    wanted = ArrayCalibration({"x": x}).moments(graph, synapses(graph))
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)


def test_many_positions_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the rows tells the same within the error of that many."""
    graph, x = network(pads=(1, 1, 1, 1)), normal(200, 4, 6, 6)
    conv = synapses(graph)[:1]
    (whole,) = DatasetCalibration(Dataset({"x": x})).moments(graph, conv)
    monkeypatch.setattr(moments, "FEWEST_ROWS", 200 * 36 // 4)
    (part,) = DatasetCalibration(Dataset({"x": x})).moments(graph, conv)
    assert whole is not None
    assert part is not None
    assert whole.covariance is not None
    assert part.covariance is not None
    assert (part.mean != whole.mean).any()
    tolerance = 6 * np.abs(whole.covariance).max() / np.sqrt(200 * 36 / 4)
    np.testing.assert_allclose(part.mean, whole.mean, atol=tolerance)
    np.testing.assert_allclose(part.covariance, whole.covariance, atol=2 * tolerance)


def test_readers_of_one_stream_share_their_moments_and_inputs_may_be_read() -> None:
    b = Builder(N, 5, 3)
    q, k = (b("linear", b.x, weight=normal(2, 3, seed=seed)) for seed in (0, 1))
    graph = b.outputs(q=q, k=k)
    x = normal(9, 5, 3)
    one, other = DatasetCalibration(Dataset({"x": x})).moments(graph, synapses(graph))
    assert_same(one, other)
    assert one is not None
    np.testing.assert_allclose(one.mean[0], x.reshape(-1, 3).mean(axis=0), rtol=1e-6)


def test_a_large_covariance_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "MOST_COVARIANCE", 36 * 36 - 1)
    graph = network()
    (one,) = DatasetCalibration(Dataset({"x": normal(4, 4, 6, 6)})).moments(graph, synapses(graph)[:1])
    assert one is not None
    assert one.covariance is None
    assert one.mean.shape == (1, 36)


def test_a_transposed_convolution_has_none() -> None:
    b = Builder(N, 2, 3, 3)
    graph = b.outputs(y=b("conv_transpose", b.x, weight=normal(2, 3, 2, 2)))
    assert DatasetCalibration(Dataset({"x": normal(4, 2, 3, 3)})).moments(graph, synapses(graph)) == [None]


def test_a_network_of_lif_neurons_is_stepped() -> None:
    """One spike every second step: 0, 1, 0, 1."""
    b = Builder(N, 1)
    spikes = b("lif", b.x, threshold=np.ones((1, 1), np.float32))
    graph = b.outputs(y=b("linear", spikes, weight=np.ones((1, 1), np.float32)))
    x = np.full((3, 1), 0.5, np.float32)
    (one,) = DatasetCalibration(Dataset({"x": x})).moments(graph, synapses(graph))
    assert one is not None
    assert one.mean.item() == 0.5
    assert one.covariance is not None
    assert one.covariance.item() == 0.25


def test_numbers_that_are_not_finite_are_refused() -> None:
    b = Builder(N, 2)
    graph = b.outputs(y=b("linear", b("exp", b.x), weight=normal(1, 2), name="last"))
    with pytest.raises(DataError, match="NaN or infinite values at the inputs of 'last'"):
        DatasetCalibration(Dataset({"x": np.full((2, 2), 1e4, np.float32)})).moments(graph, synapses(graph))
