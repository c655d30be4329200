"""What the positions of one axis of a layer read: convolutions, pools and products are products of axes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.kernel_types import Array


@dataclass(frozen=True)
class Axis:
    """One axis of a layer and the axis of `size` positions that it reads.

    `taps` [positions, K] says what each position reads, -1 nothing; None: every position reads all of them.
    `own`: each position has weights of its own (output channels); else all share those of K taps.
    `equal`: all weights along the axis are one number.
    """

    positions: int
    size: int
    taps: Array | None = None
    own: bool = False
    equal: bool = False

    def synapses(self, cuts: Array) -> NDArray[np.int64]:
        """Return how many (position, tap) pairs lie in each part between cuts."""
        if self.taps is None:
            return np.asarray(np.diff(cuts) * self.size)
        until = np.concatenate([[0], np.cumsum(self.counts)])
        return np.asarray(np.diff(until[cuts]))

    def weights(self, cuts: Array) -> NDArray[np.int64]:
        """Return how many weights each part stores if positions share what they can."""
        if self.equal:
            return np.ones(len(cuts) - 1, np.int64)
        if self.own:
            return self.synapses(cuts)
        return np.full(len(cuts) - 1, self.size if self.taps is None else self.taps.shape[1])

    def reads(self, cuts: Array) -> NDArray[np.int64]:
        """Return how many different positions each part reads."""
        if self.taps is None:
            return np.full(len(cuts) - 1, self.size)
        if self.one_to_one:
            return self.synapses(cuts)
        return np.array([len(self.positions_read(start, stop)) for start, stop in pairwise(cuts)])

    def positions_read(self, start: int, stop: int) -> Array:
        """Return the positions that those from start to stop read, in order."""
        if self.taps is None:
            return np.arange(self.size)
        read = np.zeros(self.size + 1, bool)
        read[self.taps[start:stop]] = True  # -1 is the last
        return np.flatnonzero(read[:-1])

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        assert self.taps is not None
        return np.asarray((self.taps >= 0).sum(axis=1), np.int64)

    @cached_property
    def one_to_one(self) -> bool:
        if self.taps is None or self.taps.shape[1] != 1:
            return False
        read = self.taps[self.taps >= 0]
        return len(np.unique(read)) == len(read)

    @property
    def most(self) -> int:
        """Return how many taps a position has at most."""
        return self.size if self.taps is None else int(self.counts.max(initial=0))

    def at(self, positions: Array) -> Axis:
        """Return the axis whose i-th position is this one's positions[i]; -1 reads nothing."""
        whole = np.array_equal(positions, np.arange(self.positions))
        if whole:
            return self
        taps = np.tile(np.arange(self.size), (self.positions, 1)) if self.taps is None else self.taps
        chosen = np.where(positions[:, None] >= 0, taps[positions], -1)
        return Axis(len(positions), self.size, chosen, self.own, self.equal)

    def keep(self, positions: int, kept: NDArray[np.bool_]) -> Axis:
        """Return the axis with the first positions only, reading the kept ones only."""
        size = int(kept.sum())
        if self.taps is None:
            return Axis(positions, size, None, self.own, self.equal)
        number = np.where(kept, np.cumsum(kept) - 1, -1)
        taps = np.where(self.taps[:positions] >= 0, number[self.taps[:positions]], -1)
        used = (taps >= 0).any(axis=0)
        return Axis(positions, size, taps[:, used] if used.any() else taps[:, :1], self.own, self.equal)


def same(positions: int, *, own: bool = False, equal: bool = False) -> Axis:
    """Return the axis whose positions read their like."""
    return Axis(positions, positions, np.arange(positions)[:, None], own, equal)


def whole(positions: int, size: int, *, own: bool = False, equal: bool = False) -> Axis:
    """Return the axis whose positions all read everything."""
    return Axis(positions, size, None, own, equal)


def window(
    positions: int, size: int, kernel: int, *, stride: int, dilation: int, before: int, equal: bool = False
) -> Axis:
    """Return the axis of a sliding window; what lies in the padding is not read."""
    taps = np.arange(positions)[:, None] * stride + np.arange(kernel) * dilation - before
    return Axis(positions, size, np.where((taps >= 0) & (taps < size), taps, -1), equal=equal)


def spread(positions: int, size: int, kernel: int, *, stride: int, dilation: int, before: int) -> Axis:
    """Return the axis of a transposed window: position i is read at i stride + k dilation - before."""
    reached = np.arange(size)[:, None] * stride + np.arange(kernel) * dilation - before
    taps = np.full((positions, kernel), -1)
    for source, tap in np.argwhere((reached >= 0) & (reached < positions)):
        taps[reached[source, tap], tap] = source
    return Axis(positions, size, taps)


def groups(positions: int, size: int, number: int) -> Axis:
    """Return the channel axis of a convolution in groups."""
    group = np.arange(positions)[:, None] // (positions // number)
    inner = size // number
    return Axis(positions, size, group * inner + np.arange(inner), own=True)
