"""Codebooks: the payloads a neuron may emit in one time step, and which one a membrane selects.

A residual quantiser (methods: "one neuron, many codebooks") emits k = Q_K(u) for the normalised membrane
u = m / q. Adding a neuron type is adding one class here. Its `mirrored` codebook also holds the negatives
of its payloads, with the same rounding: what differential coding sends. Where negative payloads have a
quantum of their own, `spread` times as large or as small, it reaches so much further, and either sign has
the whole range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.kernel_types import Array


@dataclass(frozen=True, slots=True)
class Payload:
    """The set of integers a spike stream may carry: lo..hi, or only powers of two within it."""

    lo: int
    hi: int
    powers_of_two: bool = False

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise ValueError(f"payload range {self.lo}..{self.hi} is empty")

    def hull(self, other: Payload) -> Payload:
        """Return the smallest range that holds both."""
        same_kind = self.powers_of_two and other.powers_of_two
        return Payload(min(self.lo, other.lo), max(self.hi, other.hi), same_kind)

    def plus(self, other: Payload) -> Payload:
        """Return the range of sums."""
        return Payload(self.lo + other.lo, self.hi + other.hi)

    def times(self, other: Payload, count: int = 1) -> Payload | None:
        """Return the range of sums of `count` products; None beyond the largest payload."""
        corners = [count * x * y for x in (self.lo, self.hi) for y in (other.lo, other.hi)]
        if max(-min(corners), *corners) > MAX_PAYLOAD:
            return None
        return Payload(min(corners), max(corners), count == 1 and self.powers_of_two and other.powers_of_two)

    def __str__(self) -> str:
        return f"{self.lo}..{self.hi}" + (" pow2" if self.powers_of_two else "")


@dataclass(frozen=True, slots=True)
class Binary:
    """K = {0, 1}; k = 1 where u >= 1."""

    name: ClassVar[str] = "binary"

    @property
    def payload(self) -> Payload:
        return Payload(0, 1)

    def mirrored(self, spread: float = 1.0) -> MultiSpike:
        return MultiSpike(0, 1, "floor").mirrored(spread)

    def quantise(self, u: Array, out: Array | None = None) -> Array:
        return np.greater_equal(u, 1, out=np.empty_like(u) if out is None else out, casting="unsafe")


@dataclass(frozen=True, slots=True)
class Ternary:
    """K = {-1, 0, 1}; k = sign(u) where |u| >= 1."""

    name: ClassVar[str] = "ternary"

    @property
    def payload(self) -> Payload:
        return Payload(-1, 1)

    def mirrored(self, spread: float = 1.0) -> Ternary:
        return self

    def quantise(self, u: Array, out: Array | None = None) -> Array:
        rounded = np.trunc(u, out=out)
        return np.clip(rounded, -1, 1, out=rounded)


@dataclass(frozen=True, slots=True)
class MultiSpike:
    """K = {lo, …, hi}; k = Q(clip(u, lo, hi)).

    nearest: Q(u) = round(u), halves to even. floor: Q(u) = floor(u). burst: the nearest power of two fires,
    2^j from 3/4 2^j on, and again for what is left, until that is less than 3/4 (where a spike overshot, the
    opposite one needs more than 3/4 2^j). Burst errs by at most 3/4
    instead of 1/2, and sends so many fewer unit spikes that a finer quantum more than makes up for it.
    """

    name: ClassVar[str] = "multi"
    lo: int
    hi: int
    rounding: Literal["nearest", "floor", "burst"] = "nearest"

    def __post_init__(self) -> None:
        if not self.lo <= 0 <= self.hi or self.lo == self.hi:
            raise ValueError(f"multi({self.lo}, {self.hi}) must hold zero and one more payload")
        if max(-self.lo, self.hi) > MAX_PAYLOAD:
            raise ValueError(f"multi({self.lo}, {self.hi}) exceeds the largest payload {MAX_PAYLOAD}")
        if self.rounding not in ("nearest", "floor", "burst"):
            raise ValueError(f"multi rounds 'nearest', 'floor' or 'burst', not {self.rounding!r}")

    @property
    def payload(self) -> Payload:
        return Payload(self.lo, self.hi)

    def mirrored(self, spread: float = 1.0) -> MultiSpike:
        reach = min(math.ceil(spread * max(-self.lo, self.hi)), MAX_PAYLOAD)
        return replace(self, lo=-reach, hi=reach)

    def quantise(self, u: Array, out: Array | None = None) -> Array:
        if self.rounding == "burst":
            return self._burst(u, np.empty_like(u) if out is None else out)
        rounded = np.rint(u, out=out) if self.rounding == "nearest" else np.floor(u, out=out)
        return np.clip(rounded, self.lo, self.hi, out=rounded)

    def _burst(self, u: Array, out: Array) -> Array:
        quarters = u.clip(self.lo, self.hi, out=out)
        quarters *= 4
        with np.errstate(invalid="ignore"):  # NaN has no payload; it finds some entry of the table
            index = quarters.astype(np.intp)
        if self.lo:
            index -= 4 * self.lo
        table = bursts_between(self.lo, self.hi).astype(out.dtype, copy=False)
        return table.take(index, out=out, mode="clip")


@dataclass(frozen=True, slots=True)
class PowerOfTwo:
    """K = {0, ±1, ±2, …, ±2^(levels-1)}, without the negative ones if not signed: at most one unit spike.

    firing=below: the largest L with |u| >= L - 1/2. firing=nearest: the nearest L, that is the largest with
    |u| >= 3/4 L. Nothing fires where |u| < dead_zone; beyond it at least 1 does.
    """

    name: ClassVar[str] = "pow2"
    levels: int
    signed: bool = True
    firing: Literal["below", "nearest"] = "below"
    dead_zone: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MAX_PAYLOAD.bit_length():
            raise ValueError(f"pow2 has 1 to {MAX_PAYLOAD.bit_length()} levels, not {self.levels}")
        if self.firing not in ("below", "nearest"):
            raise ValueError(f"pow2 fires 'below' or 'nearest', not {self.firing!r}")
        if not 0 < self.dead_zone <= 2 ** (self.levels - 1):
            raise ValueError(f"the dead zone of pow2({self.levels}) cannot be {self.dead_zone}")

    @property
    def payload(self) -> Payload:
        top = 2 ** (self.levels - 1)
        return Payload(-top if self.signed else 0, top, powers_of_two=True)

    def mirrored(self, spread: float = 1.0) -> PowerOfTwo:
        levels = min(self.levels + math.ceil(math.log2(spread)), MAX_PAYLOAD.bit_length())
        return replace(self, signed=True, levels=levels)

    @property
    def members(self) -> tuple[int, ...]:
        """Return the payloads that are spikes: 1, 2, 4, …, then -1, -2, -4, …"""
        positive = tuple(2**k for k in range(self.levels))
        return positive + tuple(-level for level in positive) if self.signed else positive

    def quantise(self, u: Array, out: Array | None = None) -> Array:
        size = np.abs(u, out=np.empty_like(u))
        fires = (size if self.signed else u) >= self.dead_zone
        # A float without its mantissa is the largest power of two below it: forty times as fast as a search.
        bits, mantissa = size.view(f"u{size.itemsize}"), np.finfo(size.dtype).nmant
        if self.firing == "below":
            size += 0.5
        else:
            bits += bits.dtype.type(1 << (mantissa - 1))  # from 3/2 of a power on, up to the next
        bits >>= bits.dtype.type(mantissa)
        bits <<= bits.dtype.type(mantissa)
        payload = np.clip(size, 1, 2 ** (self.levels - 1), out=size)
        payload *= fires
        return np.copysign(payload, u, out=payload if out is None else out)

    def to_lines(self, payload: Array, axis: int) -> Array:
        """Return 1 on the line of each payload and 0 on the others; lines of one channel are neighbours."""
        members = np.array(self.members, payload.dtype).reshape(-1, *[1] * (payload.ndim - axis - 1))
        lines = np.expand_dims(payload, axis + 1) == members
        shape = (*payload.shape[:axis], -1, *payload.shape[axis + 1 :])
        return np.asarray(lines.reshape(shape).astype(payload.dtype))

    def from_lines(self, lines: Array, axis: int) -> Array:
        """Return the payloads that binary lines stand for."""
        members = np.array(self.members, lines.dtype)
        shape = (*lines.shape[:axis], -1, members.size, *lines.shape[axis + 1 :])
        return np.asarray(np.moveaxis(lines.reshape(shape), axis + 1, -1) @ members)


Codebook: TypeAlias = Binary | Ternary | MultiSpike | PowerOfTwo
CODEBOOKS: dict[str, type[Binary] | type[Ternary] | type[MultiSpike] | type[PowerOfTwo]] = {
    cls.name: cls for cls in (Binary, Ternary, MultiSpike, PowerOfTwo)
}

MAX_PAYLOAD = 2**15 - 1
# The whole numbers that single precision holds: what a sum of payloads may come to.
MAX_SUM = 2**24
ANY_PAYLOAD = Payload(-MAX_SUM, MAX_SUM)


def of_changes(codebook: Codebook, negative: Array | None) -> Codebook:
    """Return the codebook of what a neuron sends in differential coding; `negative` as of the neuron."""
    spread = 1.0 if negative is None else float(np.maximum(negative, 1 / negative).max())
    return codebook.mirrored(spread)


@cache
def bursts(reach: int) -> NDArray[np.float32]:
    """Return the burst for every quarter of a quantum: entry i is Q(u) for i/4 <= u < (i + 1)/4.

    All edges lie on quarters, since a level fires from 3/4 of it on and levels are whole.
    """
    left = (np.arange(4 * reach + 1) + 1 / 2) / 4
    sent = np.zeros_like(left)
    while (fires := np.abs(left) >= 3 / 4).any():
        level = 2.0 ** np.floor(np.log2(np.abs(left[fires]) / (3 / 4)))
        spikes = np.copysign(level, left[fires])
        sent[fires] += spikes
        left[fires] -= spikes
    return sent.astype(np.float32)


@cache
def bursts_between(lo: int, hi: int) -> NDArray[np.float32]:
    """Return Q(u) for 4u, rounded towards zero, of 4 lo, …, 4 hi: bursts are odd in u."""
    quarters = np.arange(4 * lo, 4 * hi + 1)
    return np.sign(quarters).astype(np.float32) * bursts(max(-lo, hi))[np.abs(quarters)]


@cache
def _signed_digits() -> NDArray[np.uint8]:
    """Return, for 0..2^16-1, the non-zero digits of the non-adjacent form: popcount(k xor 3k)."""
    k = np.arange(2**16, dtype=np.int64)
    changed = k ^ (3 * k)
    digits = np.unpackbits(changed.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
    return np.asarray(digits, np.uint8)


def unit_spikes(payload: Array) -> NDArray[np.uint8]:
    """Return how many unit spikes each payload costs.

    A payload k is sent as its non-zero signed binary digits (non-adjacent form), each one shift and
    accumulate per synapse: 7 = 8 - 1 costs 2.
    """
    magnitude = np.abs(payload).astype(np.int64)
    table = _signed_digits()
    if magnitude.max(initial=0) < table.size:
        return table[magnitude]
    return np.asarray(np.bitwise_count(magnitude ^ (3 * magnitude)), np.uint8)
