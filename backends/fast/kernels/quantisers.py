"""Q(u) of every codebook, of one number. What is constant where a quantiser is called is constant in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from snnc.backends.fast.kernels.compiled import compiled

BINARY, TERNARY, NEAREST, FLOOR, BURST, BELOW, POWER = range(7)


@compiled
def payload(u: Any, quantiser: int, signed: bool, lo: Any, hi: Any, dead_zone: Any) -> Any:
    real = type(u)
    if quantiser == BINARY:
        return real(1) if u >= real(1) else real(0)
    if quantiser == TERNARY:
        return clipped(np.trunc(u), real(-1), real(1))
    if quantiser == NEAREST:
        return clipped(np.rint(u), lo, hi)
    if quantiser == FLOOR:
        return clipped(np.floor(u), lo, hi)
    if quantiser == BURST:
        return burst(clipped(u, lo, hi), signed)
    return power_of_two(u, quantiser == BELOW, signed, hi, dead_zone)


@compiled
def clipped(u: Any, least: Any, largest: Any) -> Any:
    return min(max(u, least), largest)


@compiled
def burst(u: Any, signed: bool) -> Any:
    """Round the quarters i up where the lowest two equal neighbours among its binary digits are ones.

    The power of two that fires lies below a number that begins with the digits 10 and above one that begins
    with 11; what is left changes its sign at every 11 and back at every 00. So the last such pair says on
    which side of u the sum of what was sent ends.
    """
    real, one = type(u), np.int32(1)
    size = abs(u) if signed else u
    i = np.int32(size * real(4))
    unequal = np.int32(i ^ np.int32(i >> one))
    lowest_equal = np.int32(~unequal & np.int32(unequal + one))
    up = np.int32(np.int32(i & lowest_equal) != np.int32(0))
    sent = real(np.int32(np.int32(i >> np.int32(2)) + up))
    return -sent if signed and u < real(0) else sent


@compiled
def power_of_two(u: Any, below: bool, signed: bool, hi: Any, dead_zone: Any) -> Any:
    """A float without its mantissa is the largest power of two below it."""
    real = type(u)
    size = abs(u)
    power = real(single(size, below)) if real is np.float32 else real(double(size, below))
    level = clipped(power, real(1), hi)
    sent = level if (size if signed else u) >= dead_zone else real(0)
    return -sent if u < real(0) else sent


@compiled
def single(size: Any, below: bool) -> Any:
    """Return the largest power of two up to size + 1/2; or up to size, from 3/2 of a power on the next."""
    mantissa = np.int32(23)
    half = np.int32(0) if below else np.int32(1 << 22)
    bits = np.int32(np.float32(size + np.float32(0.5) if below else size).view(np.int32) + half)
    return np.int32(np.int32(bits >> mantissa) << mantissa).view(np.float32)


@compiled
def double(size: Any, below: bool) -> Any:
    """Do as `single` does, in double precision."""
    mantissa = np.int64(52)
    half = np.int64(0) if below else np.int64(1 << 51)
    bits = np.int64(np.float64(size + 0.5 if below else size).view(np.int64) + half)
    return np.int64((bits >> mantissa) << mantissa).view(np.float64)
