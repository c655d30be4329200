"""Neurons on integers: rational comparisons only, never a rounded division.

m(t) = sat(v(t-1) + x(t) + bias), k(t) = Q(m(t) / quantum), v(t) = m(t) - quantum k(t); sat cuts off at
`width` bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from snnc.backends.lava.runtime.units import Attributes, Ints, check_width, ints

LEAK_BITS = 12  # a leak is a multiple of 1/4096, as on Loihi

Quantise = Callable[[Ints], Ints]  # m -> k


def saturate(m: Ints, width: int | None) -> Ints:
    """sat(z) = min(max(z, -2^(width-1)), 2^(width-1) - 1); without a width, z, which must fit 32 bits."""
    if width is None:
        return check_width(m, 32, "a membrane without a width")
    limit = 1 << (width - 1)
    return np.clip(m, -limit, limit - 1)


def binary(quantum: Ints, book: Attributes) -> Quantise:
    """k = 1 where m >= q."""
    return lambda m: (m >= quantum).astype(np.int64)


def ternary(quantum: Ints, book: Attributes) -> Quantise:
    """k = the sign of m where |m| >= q."""
    return lambda m: np.sign(m) * (np.abs(m) >= quantum)


def multi(quantum: Ints, book: Attributes) -> Quantise:
    """k = m / q rounded, clipped to lo … hi."""
    lo, hi, rounding = book["lo"], book["hi"], book["rounding"]
    if rounding == "burst":
        return lambda m: burst(m, quantum, lo, hi)
    if rounding == "floor":
        return lambda m: np.clip(m // quantum, lo, hi)
    return lambda m: np.clip(nearest(m, quantum), lo, hi)


def nearest(m: Ints, quantum: Ints) -> Ints:
    """Return m / q rounded to the nearest integer, halves to the even one."""
    up, rest = np.divmod(2 * m + quantum, 2 * quantum)
    return np.asarray(up - ((rest == 0) & (up % 2 == 1)), np.int64)


def burst(m: Ints, quantum: Ints, lo: int, hi: int) -> Ints:
    """Fire 2^j where 3/4 2^j <= |left| / q < 3/2 2^j, and again for what is left, until that is below 3/4.

    A remainder of the other sign fires beyond an edge only, not at it: bursts are constant on [i/4, (i+1)/4).
    """
    clipped = np.clip(m, lo * quantum, hi * quantum)
    left, sent = np.abs(clipped), np.zeros_like(clipped)
    for j in reversed(range(max(-lo, hi).bit_length() + 1)):
        level = (1 << j) * quantum
        forth, back = 4 * left >= 3 * level, -4 * left > 3 * level
        spike = (forth.astype(np.int64) - back) << j
        sent, left = sent + spike, left - spike * quantum
    return np.where(clipped < 0, -sent, sent)


def power_of_two(quantum: Ints, book: Attributes) -> Quantise:
    """k = the largest level L with |m| >= edge(L) q, with m's sign; edges L - 1/2 or 3/4 L.

    0 below the dead zone, at least 1 beyond it.
    """
    levels = [1 << j for j in range(book["levels"])]
    share = {"below": lambda level: level - Fraction(1, 2), "nearest": lambda level: level * Fraction(3, 4)}
    edges = [Fraction(book["dead_zone"]) * level for level in levels[:1]]
    edges += [max(edges[0], share[book["firing"]](level)) for level in levels[1:]]
    reached = [least(edge, quantum) for edge in edges]

    def quantise(m: Ints) -> Ints:
        size = np.abs(m) if book["signed"] else m
        k = np.zeros_like(m)
        for level, edge in zip(levels, reached, strict=True):
            k = np.where(size >= edge, level, k)
        return np.where(m < 0, -k, k)

    return quantise


def least(edge: Fraction, quantum: Ints) -> Ints:
    """Return the least integer m with m >= edge q, per channel."""
    flat = [-(-(edge.numerator * q) // edge.denominator) for q in quantum.ravel().tolist()]
    return np.array(flat, np.int64).reshape(quantum.shape)


CODEBOOKS: dict[str, Callable[[Ints, Attributes], Quantise]] = {
    "binary": binary,
    "ternary": ternary,
    "multi": multi,
    "pow2": power_of_two,
}


class Neuron:
    """v(0) = start; reset subtract: v(t) = m(t) - q k(t); zero: v = 0 where k != 0; restart: v(t) = v(0)."""

    def __init__(self, attributes: Attributes) -> None:
        book = attributes["codebook"]
        self.quantum = ints(attributes["quantum"])
        assert (self.quantum > 0).all(), "a quantum is not positive"
        self.quantise = CODEBOOKS[book["name"]](self.quantum, book)
        self.bias = 0 if attributes["bias"] is None else ints(attributes["bias"])
        self.start: Ints = ints(attributes["start"])
        self.reset = attributes["reset"]
        self.width = attributes["width"]
        self.line_axis = attributes["level_axis"]
        self.members = ints(attributes["members"]) if self.line_axis is not None else None
        self.membrane: Ints = self.start

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        x = operands[0]
        before = self.start if t == 1 else self.membrane
        m = saturate(before + x + self.bias, self.width)
        k = self.quantise(m)
        if self.reset == "subtract":
            self.membrane = m - self.quantum * k
        elif self.reset == "zero":
            self.membrane = np.where(k != 0, 0, m)
        else:
            self.membrane = np.broadcast_to(self.start, m.shape)
        return k if self.members is None else self.to_lines(k, self.members)

    def to_lines(self, k: Ints, members: Ints) -> Ints:
        """Return 1 on the line of each payload, 0 on the others; lines of one channel are neighbours."""
        axis = self.line_axis
        lines = np.expand_dims(k, axis + 1) == members.reshape(-1, *(1,) * (k.ndim - axis - 1))
        return np.asarray(lines.reshape(*k.shape[:axis], -1, *k.shape[axis + 1 :]), np.int64)


class Lif:
    """m(t) = sat(trunc(leak v(t-1)) + gain x(t) + bias); s(t) = [m(t) >= threshold] (strict: >).

    Hard reset: v(t) = rest where it fired, else m(t); soft: v(t) = m(t) - threshold s(t); none: v(t) = m(t).
    Delayed: v(t) = m(t), the reset that s(t-1) causes comes with step t, before the threshold is compared.
    leak = a / 4096 with a whole; trunc rounds towards 0.
    """

    def __init__(self, attributes: Attributes) -> None:
        def given(name: str, absent: Any) -> Any:
            return absent if attributes[name] is None else attributes[name]

        self.threshold = ints(attributes["threshold"])
        self.leak = (
            None if attributes["leak"] is None else ints(np.float64(attributes["leak"]) * 2**LEAK_BITS)
        )
        self.gain = ints(given("gain", 1))
        self.bias = ints(given("bias", 0))
        self.rest = ints(given("rest", 0))
        self.initial = ints(attributes["initial"])
        self.reset, self.strict = attributes["reset"], attributes["strict"]
        self.delayed, self.width = attributes["delayed"], attributes["width"]
        self.membrane: Ints = self.initial

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        x = operands[0]
        v = np.broadcast_to(self.initial, x.shape) if t == 1 else self.membrane
        fired = self.fires(v)
        kept = v if self.leak is None else np.sign(v) * ((self.leak * np.abs(v)) >> LEAK_BITS)
        m = kept + self.gain * x + self.bias
        if self.delayed:
            m = self.after(m, fired)
        m = saturate(m, self.width)
        s = self.fires(m)
        self.membrane = m if self.delayed else self.after(m, s)
        return np.asarray(s, np.int64)

    def fires(self, m: Ints) -> Any:
        return m > self.threshold if self.strict else m >= self.threshold

    def after(self, m: Ints, spikes: Any) -> Ints:
        """Return the membrane after the reset."""
        if self.reset == "hard":
            return np.where(spikes, self.rest, m)
        return m - self.threshold * spikes if self.reset == "soft" else m
