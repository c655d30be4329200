"""Bursts: several spikes of powers of two in one step, until less than 3/4 of a quantum is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnc.ir.codebooks import MAX_PAYLOAD, MultiSpike, unit_spikes

RNG = np.random.default_rng(3)


def fired(u: float) -> list[float]:
    """The spikes of one membrane, one after the other."""
    spikes, left = [], u
    while abs(left) > 0.75:
        level = 1.0
        while abs(left) > 0.75 * (2 * level):
            level *= 2
        spikes.append(level if left > 0 else -level)
        left -= spikes[-1]
    return spikes


@given(st.floats(-500, 500, width=32))
def test_a_burst_is_what_fires_spike_by_spike(u: float) -> None:
    # On an edge, at a whole number of quarters, either side is as good; the kernel settles it by its table.
    edge = float(u * 4).is_integer()
    (payload,) = MultiSpike(-1000, 1000, "burst").quantise(np.array([u], np.float32))
    assert edge or payload == sum(fired(float(u)))
    assert abs(payload - u) <= 0.75


def test_bursts_by_hand() -> None:
    """0.7 stays; 2.6 = 2; 2.8 = 4 - 1; 5.6 = 4 + 2; 6.9 = 8 - 1; 11.1 = 8 + 4 - 1; -2.6; beyond the ends."""
    codebook = MultiSpike(-16, 15, "burst")
    u = np.array([0.7, 0.8, 2.6, 2.8, 5.6, 6.9, 11.1, -2.6, 100, -100], np.float32)
    assert codebook.quantise(u).tolist() == [0, 1, 2, 3, 6, 7, 11, -2, 15, -16]
    assert MultiSpike(0, 15, "burst").quantise(u).tolist() == [0, 1, 2, 3, 6, 7, 11, 0, 15, 0]


@pytest.mark.parametrize("reach", [1, 2, 7, 8, 1023, MAX_PAYLOAD])
def test_whole_membranes_are_their_own_burst(reach: int) -> None:
    whole = np.arange(-min(reach, 2000), min(reach, 2000) + 1, dtype=np.float32)
    assert np.array_equal(MultiSpike(-reach, reach, "burst").quantise(whole), whole)
    assert MultiSpike(-reach, reach, "burst").quantise(np.float32([1e9])) == reach


@given(st.floats(-300, 300, width=32))
def test_a_burst_never_sends_more_unit_spikes_than_rounding(u: float) -> None:
    membrane = np.array([u], np.float32)
    burst, rounded = (MultiSpike(-512, 511, how).quantise(membrane) for how in ("burst", "nearest"))
    assert unit_spikes(burst) <= unit_spikes(rounded)


@pytest.mark.parametrize("spread", [1, 4, 16])
def test_bursts_err_less_for_the_same_number_of_unit_spikes(spread: float) -> None:
    """A quarter less squared error than rounding on normal data, whatever the resolution."""
    x = RNG.normal(size=200_000)

    def cost_and_error(codebook: MultiSpike, quantum: float) -> tuple[float, float]:
        payload = codebook.quantise(x / quantum)
        return float(unit_spikes(payload).mean()), float(((x - quantum * payload) ** 2).mean())

    budget, rounded = cost_and_error(MultiSpike(-512, 511), 1 / spread)
    low, high = 0.25 / spread, 1 / spread
    for _ in range(30):
        middle = (low * high) ** 0.5
        cost, error = cost_and_error(MultiSpike(-512, 511, "burst"), middle)
        low, high = (middle, high) if cost > budget else (low, middle)
    assert error == pytest.approx(0.75 * rounded, rel=0.03)
