"""Running statistics of one site: a histogram per channel whose range grows by doubling.

Memory is fixed by the number of channels, whatever the amount of calibration data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Site

TABLE_ENTRIES = 2**20  # histogram entries one site may take (2 MiB, 4 MiB for much data)
MOST_BINS, FEWEST_BINS = 2048, 256


@dataclass(slots=True)
class SiteStatistics:
    """Histogram per channel of clip(x, low, high) over [-reach, reach) (signed) or [0, reach).

    `axes` are the value's axes that index channels; all others are samples. `counts` has the shape
    [channels, bins] and `reach` [channels]; a channel only ever seen at zero has reach 0. Every channel has
    been `seen` as many times; counts have 16 bits for as long as that many fit. `batch_quantiles`
    [channels, fractions] are the means over batches of each batch's quantiles.
    """

    name: str
    axes: tuple[int, ...]
    low: float | None
    high: float | None
    channel_shape: tuple[int, ...] = ()
    signed: bool = True
    counts: NDArray[np.unsignedinteger] = field(default_factory=lambda: np.zeros((0, 0), np.uint16))
    seen: int = 0
    reach: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    minimum: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    maximum: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    fractions: tuple[float, ...] = ()
    batches: int = 0
    batch_quantiles: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def of(cls, site: Site) -> SiteStatistics:
        """Return statistics of a site that has seen nothing yet."""
        return cls(site.name, site.axes, site.low, site.high, fractions=site.fractions)

    def update(self, batch: Array) -> None:
        """Add a batch of the site's values; `DataError` if it holds NaN or infinity."""
        if not np.isfinite(batch).all():
            raise DataError(
                f"calibration gives NaN or infinite values at {self.name!r}",
                help="check the calibration data and its normalisation (--scale, --mean, --std)",
            )
        if self.low is not None or self.high is not None:
            batch = np.clip(batch, self.low, self.high)
        samples = self._by_channel(batch)
        low, high = samples.min(axis=1), samples.max(axis=1)
        if not self.reach.size:
            self._start(low, high)
        self.minimum, self.maximum = np.minimum(self.minimum, low), np.maximum(self.maximum, high)
        self._grow(np.maximum(-low, high))
        self._count(samples)
        self.batches += 1
        if self.fractions:
            self._average_quantiles(samples)

    @property
    def channels(self) -> int:
        return int(self.reach.size)

    @property
    def bins(self) -> int:
        return int(self.counts.shape[1])

    @property
    def centres(self) -> NDArray[np.float64]:
        """Return the bin centres in units of the reach: [bins], the same for every channel."""
        if self.signed:
            return np.asarray((np.arange(self.bins) + 0.5) * (2 / self.bins) - 1, np.float64)
        return np.asarray((np.arange(self.bins) + 0.5) / self.bins, np.float64)

    def _by_channel(self, batch: Array) -> Array:
        others = [axis for axis in range(batch.ndim) if axis not in self.axes]
        self.channel_shape = tuple(batch.shape[axis] for axis in self.axes)
        channels = int(np.prod(self.channel_shape, dtype=int))
        return batch.transpose(*self.axes, *others).reshape(channels, -1)

    def _start(self, low: Array, high: Array) -> None:
        channels = low.size
        bins = TABLE_ENTRIES // max(1, channels)
        bins = 2 ** int(np.log2(min(max(bins, FEWEST_BINS), MOST_BINS)))
        self.signed = not (self.low is not None and self.low >= 0)
        self.counts = np.zeros((channels, bins), np.uint16)
        self.reach = np.zeros(channels)
        self.minimum, self.maximum = low.copy(), high.copy()

    def _grow(self, peak: Array) -> None:
        """Double the reach of channels whose peak it does not hold, merging pairs of bins."""
        fresh = (self.reach == 0) & (peak > 0)
        # Just above the peak, so that the largest value falls inside the last bin.
        self.reach[fresh] = peak[fresh].astype(np.float64) * (1 + 1e-6)
        over = np.flatnonzero(peak >= self.reach * (1 - 1e-9))
        over = over[peak[over] > 0]
        while over.size:
            self.counts[over] = self._merged(self.counts[over])
            self.reach[over] *= 2
            over = over[peak[over] >= self.reach[over]]

    def _merged(self, counts: Array) -> Array:
        merged = counts[:, 0::2] + counts[:, 1::2]
        result = np.zeros_like(counts)
        half = self.bins // 2
        start = half // 2 if self.signed else 0
        result[:, start : start + half] = merged
        return result

    def _count(self, samples: Array) -> None:
        reach = np.where(self.reach > 0, self.reach, 1.0)
        factor = self.bins / (2 * reach) if self.signed else self.bins / reach
        if factor.max() <= np.finfo(np.float32).max:  # else the values are denormal, or nearly
            factor = factor.astype(np.float32)
        index = samples * factor[:, None]
        if self.signed:
            index += self.bins / 2
        bins = np.clip(index.astype(np.int64), 0, self.bins - 1)
        bins += np.arange(self.channels)[:, None] * self.bins
        counted = np.bincount(bins.ravel(), minlength=self.counts.size)
        self.seen += samples.shape[1]
        wide = np.promote_types(self.counts.dtype, np.min_scalar_type(self.seen))
        self.counts = self.counts.astype(wide, copy=False)
        self.counts += counted.reshape(self.counts.shape).astype(wide)

    def _average_quantiles(self, samples: Array) -> None:
        """Take this batch's quantiles into their mean: of n values the one of rank int(fraction n)."""
        ranks = [max(1, int(fraction * samples.shape[1])) - 1 for fraction in self.fractions]
        found = np.partition(samples, ranks, axis=1)[:, ranks].astype(np.float64)
        if self.batches == 1:
            self.batch_quantiles = found
        else:
            self.batch_quantiles += (found - self.batch_quantiles) / self.batches

    def quantile(self, fraction: float, *, of_magnitude: bool, skip_zero: bool) -> NDArray[np.float64]:
        """Return a quantile per channel, of |x| or of x, optionally over the values that are not zero."""
        centres, counts = self.centres, self.counts.astype(np.float64)
        if skip_zero:
            width = 1 / self.bins
            counts = np.where(np.abs(centres) < 1.01 * width, 0, counts)
        if of_magnitude:
            order = np.argsort(np.abs(centres), kind="stable")
            centres, counts = np.abs(centres)[order], counts[:, order]
        cumulative = counts.cumsum(axis=1)
        target = fraction * cumulative[:, -1:]
        index = (cumulative < target).sum(axis=1).clip(0, self.bins - 1)
        return np.asarray(centres[index] * self.reach)

    def merged(self) -> SiteStatistics:
        """Return the statistics of all channels taken together (per-tensor thresholds)."""
        top = self.reach.max(initial=0.0)
        joint = SiteStatistics(self.name, (), self.low, self.high, (), self.signed)
        joint.counts, joint.seen = np.zeros((1, self.bins), np.uint64), self.seen * self.channels
        joint.reach = np.array([top])
        joint.minimum, joint.maximum = self.minimum.min(keepdims=True), self.maximum.max(keepdims=True)
        if top > 0:
            joint.counts += self._rebinned(top)
        return joint

    def _rebinned(self, top: float) -> NDArray[np.uint64]:
        values = self.centres[None, :] * self.reach[:, None] / top
        position = (values + 1) / 2 if self.signed else values
        index = np.clip((position * self.bins).astype(np.int64), 0, self.bins - 1)
        counted = np.bincount(index.ravel(), weights=self.counts.ravel(), minlength=self.bins)
        return counted.astype(np.uint64)
