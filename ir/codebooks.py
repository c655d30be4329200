"""Codebooks: the payloads a neuron may emit in one time step, and which one a membrane selects.

A residual quantiser (methods: "one neuron, many codebooks") emits k = Q_K(u) for the normalised membrane
u = m / q. Adding a neuron type is adding one class here.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    def __str__(self) -> str:
        return f"{self.lo}..{self.hi}" + (" pow2" if self.powers_of_two else "")


@dataclass(frozen=True, slots=True)
class Binary:
    """K = {0, 1}; k = 1 where u >= 1."""

    name: ClassVar[str] = "binary"

    @property
    def payload(self) -> Payload:
        return Payload(0, 1)

    def quantise(self, u: Array, out: Array | None = None) -> Array:
        return np.greater_equal(u, 1, out=np.empty_like(u) if out is None else out, casting="unsafe")


@dataclass(frozen=True, slots=True)
class Ternary:
    """K = {-1, 0, 1}; k = sign(u) where |u| >= 1."""

    name: ClassVar[str] = "ternary"

    @property
    def payload(self) -> Payload:
        return Payload(-1, 1)

    def quantise(self, u: Array, out: Array | None = None) -> Array:
        rounded = np.trunc(u, out=out)
        return np.clip(rounded, -1, 1, out=rounded)


@dataclass(frozen=True, slots=True)
class MultiSpike:
    """K = {lo, …, hi}; k = clip(round(u), lo, hi), halves to even; or clip(floor(u), lo, hi)."""

    name: ClassVar[str] = "multi"
    lo: int
    hi: int
    rounding: Literal["nearest", "floor"] = "nearest"

    def __post_init__(self) -> None:
        if not self.lo <= 0 <= self.hi or self.lo == self.hi:
            raise ValueError(f"multi({self.lo}, {self.hi}) must hold zero and one more payload")
        if max(-self.lo, self.hi) > MAX_PAYLOAD:
            raise ValueError(f"multi({self.lo}, {self.hi}) exceeds the largest payload {MAX_PAYLOAD}")
        if self.rounding not in ("nearest", "floor"):
            raise ValueError(f"multi rounds 'nearest' or 'floor', not {self.rounding!r}")

    @property
    def payload(self) -> Payload:
        return Payload(self.lo, self.hi)

    def quantise(self, u: Array, out: Array | None = None) -> Array:
        rounded = np.rint(u, out=out) if self.rounding == "nearest" else np.floor(u, out=out)
        return np.clip(rounded, self.lo, self.hi, out=rounded)


Codebook: TypeAlias = Binary | Ternary | MultiSpike
CODEBOOKS: dict[str, type[Binary] | type[Ternary] | type[MultiSpike]] = {
    cls.name: cls for cls in (Binary, Ternary, MultiSpike)
}

MAX_PAYLOAD = 2**15 - 1


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
    accumulate per synapse: 7 = 8 - 1 costs 2. Payloads beyond 16 bits are refused.
    """
    magnitude = np.abs(payload).astype(np.int64)
    if magnitude.size and magnitude.max() >= 2**16:
        raise ValueError(f"payload {magnitude.max()} exceeds 16 bits")
    return _signed_digits()[magnitude]
