"""Histograms of calibration: how they grow, what they answer, how they are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.ir.errors import DataError
from snnc.passes.statistics import SiteStatistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.kernel_types import Array

CHANNELS = 3


def measured(
    batches: Sequence[Array],
    axes: tuple[int, ...] = (1,),
    low: float | None = None,
    high: float | None = None,
) -> SiteStatistics:
    statistics = SiteStatistics("site", axes, low, high)
    for batch in batches:
        statistics.update(batch)
    return statistics


def counted_at_once(statistics: SiteStatistics, samples: Array) -> Array:
    """The histogram of samples [channels, n] over the bins the statistics ended up with."""
    edges = np.linspace(-1 if statistics.signed else 0, 1, statistics.bins + 1)
    return np.stack(
        [
            np.histogram(channel.astype(np.float64) / (reach or 1), edges)[0]
            for channel, reach in zip(samples, statistics.reach, strict=True)
        ]
    )


@pytest.mark.parametrize("low", [None, 0.0])
def test_a_grown_histogram_equals_one_computed_at_once(low: float | None) -> None:
    random = np.random.default_rng(1)
    batches = [
        (spread * random.standard_normal((16, CHANNELS, 20))).astype(np.float32)
        for spread in (0.1, 1, 0.5, 30)
    ]
    statistics = measured(batches, low=low)
    samples = np.concatenate(batches).transpose(1, 0, 2).reshape(CHANNELS, -1)
    samples = samples if low is None else np.maximum(samples, low)
    expected = counted_at_once(statistics, samples)
    assert statistics.counts.sum() == samples.size
    # A sample on the edge of two bins may fall into either.
    assert np.abs(statistics.counts - expected).sum() <= 0.002 * samples.size
    np.testing.assert_array_equal(statistics.maximum, samples.max(axis=1))
    np.testing.assert_array_equal(statistics.minimum, samples.min(axis=1))


@settings(max_examples=50, deadline=None)
@given(
    spreads=st.lists(st.sampled_from([0.0, 1e-6, 0.3, 1.0, 7.0, 1e5]), min_size=1, max_size=5),
    low=st.sampled_from([None, 0.0, -0.5]),
    high=st.sampled_from([None, 6.0]),
    seed=st.integers(0, 999),
)
def test_no_sample_is_lost_and_none_lies_outside(
    spreads: list[float], low: float | None, high: float | None, seed: int
) -> None:
    random = np.random.default_rng(seed)
    batches = [(s * random.standard_normal((4, CHANNELS, 5))).astype(np.float32) for s in spreads]
    statistics = measured(batches, low=low, high=high)
    samples = np.clip(np.concatenate(batches), low, high).transpose(1, 0, 2).reshape(CHANNELS, -1)
    np.testing.assert_array_equal(statistics.counts.sum(axis=1), samples.shape[1])
    assert (np.abs(samples) <= statistics.reach[:, None]).all()
    # At most one doubling beyond what was needed.
    peaks = np.abs(samples).max(axis=1)
    assert (statistics.reach[peaks > 0] <= 2.01 * peaks[peaks > 0]).all()


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("of_magnitude", [True, False])
def test_quantiles_are_right_to_a_bin(fraction: float, of_magnitude: bool) -> None:
    random = np.random.default_rng(2)
    batch = random.standard_normal((400, CHANNELS, 10)).astype(np.float32) * np.array(
        [[1], [5], [0.01]], np.float32
    )
    statistics = measured([batch])
    samples = batch.transpose(1, 0, 2).reshape(CHANNELS, -1)
    samples = np.abs(samples) if of_magnitude else samples
    found = statistics.quantile(fraction, of_magnitude=of_magnitude, skip_zero=False)
    width = 2 * statistics.reach / statistics.bins
    expected = np.quantile(samples, fraction, axis=1, method="inverted_cdf")
    assert (np.abs(found - expected) <= width + 1e-9).all()


def test_quantiles_may_skip_zeros() -> None:
    batch = np.zeros((1000, 1), np.float32)
    batch[:100, 0] = np.linspace(1, 2, 100)
    statistics = measured([batch], low=0.0)
    assert statistics.quantile(0.5, of_magnitude=True, skip_zero=False)[0] < 0.01
    assert statistics.quantile(0.5, of_magnitude=True, skip_zero=True)[0] == pytest.approx(1.5, abs=0.02)


def test_merged_statistics_are_those_of_one_channel() -> None:
    random = np.random.default_rng(3)
    batch = random.standard_normal((64, CHANNELS, 8)).astype(np.float32) * np.array(
        [[1], [4], [0.5]], np.float32
    )
    merged, joint = measured([batch]).merged(), measured([batch], axes=())
    assert merged.channels == 1
    assert merged.counts.sum() == batch.size
    assert merged.minimum[0] == batch.min()
    assert merged.maximum[0] == batch.max()
    for fraction in (0.5, 0.99, 0.999):
        found = merged.quantile(fraction, of_magnitude=True, skip_zero=True)
        expected = joint.quantile(fraction, of_magnitude=True, skip_zero=True)
        np.testing.assert_allclose(found, expected, atol=3 * float(merged.reach[0]) / merged.bins)


def test_channels_may_lie_along_several_axes() -> None:
    batch = np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4)
    statistics = measured([batch], axes=(1, 3))
    assert statistics.channel_shape == (3, 4)
    np.testing.assert_array_equal(statistics.maximum.reshape(3, 4), batch[1, :, 0])


def test_a_silent_channel_has_no_reach() -> None:
    batch = np.ones((4, 2), np.float32) * np.array([0, 1], np.float32)
    statistics = measured([batch, batch])
    np.testing.assert_array_equal(statistics.reach > 0, [False, True])
    assert statistics.quantile(0.999, of_magnitude=True, skip_zero=True)[0] == 0


def test_bounds_clip_what_is_counted() -> None:
    statistics = measured([np.linspace(-9, 9, 100, dtype=np.float32).reshape(-1, 1)], low=0.0, high=6.0)
    assert not statistics.signed
    assert statistics.minimum[0] == 0
    assert statistics.maximum[0] == 6


def test_memory_is_bounded_for_any_number_of_channels() -> None:
    few, many = measured([np.ones((2, 3), np.float32)]), measured([np.ones((2, 20_000), np.float32)])
    assert few.counts.nbytes <= 2**22
    assert many.counts.nbytes <= 4 * 256 * 20_000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(bad: float) -> None:
    with pytest.raises(DataError, match="NaN or infinite values at 'site'") as caught:
        measured([np.array([[1.0, bad]], np.float32)])
    assert "--mean" in str(caught.value.help)
