"""How choose-thresholds turns the statistics of a site into quanta. Pure functions on histograms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from snnc.ir.codebooks import MAX_PAYLOAD, Binary, MultiSpike, PowerOfTwo, Ternary, unit_spikes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Value
    from snnc.passes.statistics import SiteStatistics

# Smallest levels, positive and negative, behind two activations, whatever calibration saw: ECMT's public code
# (h-z-h-cell/Transformer-to-SNN-ECMT, trans_utils.py and the default of --softmax_p).
FIXED_QUANTA = {"gelu": (0.25, 0.08), "softmax": (0.0125, 0.0125)}

# Candidate quanta, as fractions of the one that just reaches the largest value seen.
FRACTIONS = np.geomspace(0.04, 1.1, 120)

# Densities are integrated up to so many spreads; candidates reach from a fraction of one to as many.
ANALYTIC_REACH, ANALYTIC_POINTS = 16.0, 4096
ANALYTIC_FRACTIONS = np.geomspace(0.3, 16, 200)

# Rounds of the fixed-point iteration; DCGS's public code takes as many.
ITERATIONS = 100

# Quanta relative to a channel's reach at which unit spikes are tabulated.
RELATIVE_QUANTA = np.geomspace(1e-3, 30, 80)

# A channel the next synapse hardly reads counts at least this fraction of the one it reads most.
LEAST_GAIN = 1e-3


def settle_sign(codebook: Codebook, statistics: SiteStatistics) -> Codebook:
    """Return the unsigned form of a signed codebook where calibration saw no negative value."""
    if codebook.payload.lo == 0 or (statistics.minimum < 0).any():
        return codebook
    if isinstance(codebook, MultiSpike):
        return replace(codebook, lo=0, hi=codebook.hi - codebook.lo + 1)
    if isinstance(codebook, PowerOfTwo):
        return replace(codebook, signed=False)
    return Binary() if isinstance(codebook, Ternary) else codebook


def largest_magnitude(codebook: Codebook, statistics: SiteStatistics) -> NDArray[np.float64]:
    """q = max |x| / largest payload."""
    peak = np.maximum(-statistics.minimum, statistics.maximum).astype(np.float64)
    return np.asarray(peak / reach_of(codebook))


def percentile(codebook: Codebook, statistics: SiteStatistics, percent: float) -> NDArray[np.float64]:
    """q = percentile of the non-zero |x| / largest payload."""
    found = statistics.quantile(percent / 100, of_magnitude=True, skip_zero=True)
    return np.asarray(found / reach_of(codebook))


def least_error(codebook: Codebook, statistics: SiteStatistics) -> NDArray[np.float64]:
    """q = argmin E[(x - q Q(x/q))²], per channel.

    All channels share the bin centres u in units of their reach, so one table of squared errors over
    candidates f serves them all: errors = counts · tableᵀ.
    """
    candidates = FRACTIONS / reach_of(codebook)
    centres = statistics.centres
    table = np.stack([(centres - f * codebook.quantise(centres / f)) ** 2 for f in candidates])
    errors = statistics.counts.astype(np.float64) @ table.T
    return np.asarray(candidates[errors.argmin(axis=1)] * statistics.reach)


def iterated(codebook: Codebook, statistics: SiteStatistics) -> NDArray[np.float64]:
    """q <- E[x k] / E[k²] with k = Q(x/q), per channel: the q that errs least for the payloads q selects."""
    counts, centres = statistics.counts.astype(np.float64), statistics.centres
    quantum = np.full(statistics.channels, 1 / reach_of(codebook))
    for _ in range(ITERATIONS):
        payload = codebook.quantise(centres / quantum[:, None])
        moment = (counts * payload**2).sum(axis=1)
        found = (counts * payload * centres).sum(axis=1) / np.maximum(moment, 1e-300)
        quantum = np.where(moment > 0, found, quantum)
    return np.asarray(quantum * statistics.reach)


def after(steps: int, codebook: Codebook) -> Codebook:
    """Return what spikes of 1 (and -1) add up to over some steps; multi-spike codebooks stay as they are."""
    if isinstance(codebook, Binary):
        return MultiSpike(0, steps)
    return MultiSpike(-steps, steps) if isinstance(codebook, Ternary) else codebook


def least_error_of(
    distribution: Literal["gaussian", "laplace"], codebook: Codebook, statistics: SiteStatistics
) -> NDArray[np.float64]:
    """q = s argmin_f ∫ p(u) (u - f Q(u/f))² du, per channel: only the spread s is measured.

    p is the density of |u|, of unit mean square (gaussian, s² = E x²) or mean magnitude (laplace, s = E |x|).
    Behind a ReLU s is that of the values above 0.
    """
    power = 2 if distribution == "gaussian" else 1
    magnitudes = (np.arange(ANALYTIC_POINTS) + 0.5) * (ANALYTIC_REACH / ANALYTIC_POINTS)
    density = np.exp(-(magnitudes**power) / power)
    candidates = ANALYTIC_FRACTIONS / reach_of(codebook)
    errors = [(density * (magnitudes - f * codebook.quantise(magnitudes / f)) ** 2).sum() for f in candidates]
    counts, centres = statistics.counts.astype(np.float64), np.abs(statistics.centres)
    if codebook.payload.lo == 0:
        counts = np.where(centres < 1 / statistics.bins, 0, counts)  # the first bin holds the zeros
    moment = (counts @ centres**power) / np.maximum(counts.sum(axis=1), 1)
    return np.asarray(candidates[int(np.argmin(errors))] * moment ** (1 / power) * statistics.reach)


def balance(
    codebook: MultiSpike,
    quantum: NDArray[np.float64],
    gain: NDArray[np.float64],
    statistics: SiteStatistics,
) -> NDArray[np.float64]:
    """Redistribute resolution between channels, for the unit spikes that rounding to the nearest would take.

    A synapse W turns the rounding error of channel c, of variance q_c²/12 (bursts: q_c²/8), into output error
    in proportion to ‖W_c‖² q_c². Unit spikes fall with the logarithm of q_c, so for a given number of them
    the output error is least where ‖W_c‖ q_c is the same for all channels: q_c = α / ‖W_c‖, with α such
    that the unit spikes expected over the calibration histogram equal those of the given quanta with rounding
    to the nearest.
    """
    gain = np.maximum(gain, gain.max() * LEAST_GAIN)
    table = UnitSpikeTable(codebook, statistics)
    budget = UnitSpikeTable(to_nearest(codebook), statistics).expected(quantum)
    low, high = np.log(quantum * gain).min() - 1, np.log(quantum * gain).max() + 1
    for _ in range(40):
        middle = (low + high) / 2
        too_many = table.expected(np.exp(middle) / gain) > budget
        low, high = (middle, high) if too_many else (low, middle)
    return np.asarray(np.exp((low + high) / 2) / gain)


def to_nearest(codebook: MultiSpike) -> MultiSpike:
    """Return the codebook that rounds to the nearest instead of sending bursts."""
    return replace(codebook, rounding="nearest") if codebook.rounding == "burst" else codebook


class UnitSpikeTable:
    """The expected number of unit spikes of all channels as a function of their quanta."""

    def __init__(self, codebook: MultiSpike, statistics: SiteStatistics) -> None:
        centres = statistics.centres
        wide = replace(codebook, lo=-MAX_PAYLOAD, hi=MAX_PAYLOAD)
        payloads = (wide.quantise(centres / f) for f in RELATIVE_QUANTA)
        table = np.stack([unit_spikes(payload).astype(np.float64) for payload in payloads])
        self._expected = statistics.counts.astype(np.float64) @ table.T
        self._reach = np.maximum(statistics.reach, 1e-30)

    def expected(self, quantum: NDArray[np.float64]) -> float:
        """Return the unit spikes of all calibration values, quantised once."""
        relative = np.clip(quantum / self._reach, RELATIVE_QUANTA[0], RELATIVE_QUANTA[-1])
        step = np.log(RELATIVE_QUANTA[1] / RELATIVE_QUANTA[0])
        position = np.log(relative / RELATIVE_QUANTA[0]) / step
        index = np.minimum(position.astype(int), len(RELATIVE_QUANTA) - 2)
        weight, rows = position - index, np.arange(len(quantum))
        between = (1 - weight) * self._expected[rows, index] + weight * self._expected[rows, index + 1]
        return float(between.sum())


def with_headroom(
    codebook: Codebook, quantum: NDArray[np.float64], statistics: SiteStatistics, bits: int
) -> Codebook:
    """Return a multi-spike codebook that reaches 2^bits times what calibration saw, on both sides.

    Rare large values then cost a few more unit spikes instead of clipping; hi is 2^k - 1, lo is -2^k.
    """
    if not isinstance(codebook, MultiSpike):
        return codebook
    high = float((np.maximum(statistics.maximum, 0) / quantum).max()) * 2**bits
    low = float((np.maximum(-statistics.minimum, 0) / quantum).max()) * 2**bits
    hi = min(power_above(high), MAX_PAYLOAD + 1) - 1
    return replace(codebook, lo=0 if codebook.lo == 0 else -min(power_above(low), MAX_PAYLOAD), hi=hi)


def within(
    bounds: tuple[float | None, float | None],
    codebook: Codebook,
    quantum: NDArray[np.float64],
    statistics: SiteStatistics,
) -> tuple[Codebook, NDArray[np.float64]]:
    """Make the ends of the codebook the bounds of the activation in every channel that reaches one.

    The payload limits are one for all channels: those that saturate share a quantum that divides the wider
    bound; the others keep theirs, coarsened where the limits would not hold what calibration saw. A
    narrower bound on the other side is met to half a quantum; an open side keeps its reach.
    """
    low, high = bounds
    wider = max(abs(bound) for bound in (low, high, 0.0) if bound is not None)
    if wider == 0:
        return codebook, quantum
    if not isinstance(codebook, MultiSpike):
        return codebook, np.minimum(quantum, wider)
    above, below = np.maximum(statistics.maximum, 0), np.maximum(-statistics.minimum, 0)
    saturating = np.zeros(quantum.size, bool)
    for bound, seen in ((high, above), (low, below)):
        if bound:
            saturating |= seen >= abs(bound) * (1 - 1e-3)
    bounded = quantum[saturating] if saturating.any() else quantum
    limit = codebook.hi if wider == high else -codebook.lo
    shared = wider / max(1, min(limit, int(np.ceil(wider / bounded.min() - 1e-6))))
    hi = payloads(high, codebook.hi, shared, bounded.max())
    lo = payloads(None if low is None else -low, -codebook.lo, shared, bounded.max())
    held = np.maximum(quantum, np.maximum(above / max(hi, 1), below / max(lo, 1)))
    return replace(codebook, lo=-lo, hi=hi), np.where(saturating, shared, held)


def one_quantum_within(
    bounds: tuple[float | None, float | None], quantum: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the quanta of payloads 1 and -1: neither may exceed the activation's bound on its side."""
    low, high = bounds
    above = np.minimum(quantum, high) if high else quantum
    return above, np.minimum(quantum, -low) if low else quantum


def side(statistics: SiteStatistics, sign: int) -> NDArray[np.float64]:
    """Return the largest value seen of one sign, as a magnitude; 0 where there was none."""
    extreme = statistics.maximum if sign > 0 else -statistics.minimum
    return np.maximum(extreme.astype(np.float64), 0)


def activation_behind(value: Value) -> str | None:
    """Return the op that computes a value, looked for behind what only moves elements."""
    while value.node is not None and value.node.op.name in ("reshape", "transpose"):
        value = value.node.operands[0]
    return None if value.node is None else value.node.op.name


def placed(
    found: NDArray[np.float64],
    seen: NDArray[np.float64],
    codebook: Codebook,
    placement: Literal["top", "base"],
) -> NDArray[np.float64]:
    """q that makes the magnitude found the largest payload (top) or the smallest (base).

    Where nothing was found (a rare activation's quantile is 0), the largest one seen is the largest payload.
    """
    reach = reach_of(codebook)
    return np.where(found > 0, found / (reach if placement == "top" else 1), seen / reach)


def powers_within(
    bounds: tuple[float | None, float | None],
    codebook: PowerOfTwo,
    quanta: tuple[NDArray[np.float64], NDArray[np.float64]],
    statistics: SiteStatistics,
) -> tuple[PowerOfTwo, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Make the largest level of a side the bound of the activation, in every channel that reaches one.

    `quanta` are those of positive and of negative payloads. The number of levels is one for all channels
    and both sides; what it no longer holds is coarsened.
    """
    seen = (side(statistics, 1), side(statistics, -1))
    magnitudes = [None if bound is None else abs(bound) for bound in reversed(bounds)]
    saturating = np.zeros(quanta[0].size, bool)
    finest = 0.0
    for bound, reached, quantum in zip(magnitudes, seen, quanta, strict=True):
        if bound:
            full = reached >= bound * (1 - 1e-3)
            saturating |= full
            finest = max(finest, float((bound / quantum[full]).max(initial=0.0)))
    if not saturating.any():
        return codebook, quanta
    exponent = min(codebook.levels - 1, max(0, int(np.ceil(np.log2(finest) - 1e-6))))
    top = 2.0**exponent
    held = [np.maximum(quantum, reached / top) for quantum, reached in zip(quanta, seen, strict=True)]
    above, below = (
        np.where(saturating, bound / top, quantum) if bound else quantum
        for bound, quantum in zip((magnitudes[0], magnitudes[1]), held, strict=True)
    )
    return replace(codebook, levels=exponent + 1), (above, below)


def payloads(bound: float | None, reach: int, shared: float, coarsest: float) -> int:
    """Return how many payloads one side of the codebook needs: up to the bound, or as far as before."""
    if bound is None:
        return min(int(np.ceil(reach * coarsest / shared)), MAX_PAYLOAD)
    return round(bound / shared)


def power_above(value: float) -> int:
    """Return the smallest power of two above a value, at least 2."""
    return int(2 ** max(1, np.ceil(np.log2(value + 1)))) if value > 0 else 2


SMALLEST = 1 / float(np.finfo(np.float32).max)  # the least number whose reciprocal is finite


def fill_silent(quantum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give channels that calibration never saw active the largest quantum of the others (1 if none).

    What float32 cannot divide by is no activity.
    """
    active = quantum >= SMALLEST
    fallback = quantum[active].max() if active.any() else 1.0
    return np.where(active, quantum, fallback)


def reach_of(codebook: Codebook) -> int:
    """Return the largest magnitude of a payload."""
    return max(-codebook.payload.lo, codebook.payload.hi)
