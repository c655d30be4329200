"""The ops that remember, one class each, in the order of their equations.

The arrays are in single precision, or, in a network of integer weights, in double precision: whole numbers
are exact there, and so are their comparisons.

`step(t, operands, last)` takes the operands at step t (counted from 1) and returns the result, in a buffer
that is valid until the next step. Step 1 starts a new run: it overwrites whatever an earlier run left. After
the `last` step nobody reads the memory any more, so it need not be brought up to date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from snnc.ir.errors import BackendError
from snnc.ir.op import Role
from snnc.ir.ops.neuron import whole_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array


class State(Protocol):
    """One node's memory during one run."""

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array: ...


class NeuronState:
    """m(t) = v(t-1) + x(t) + b; k(t) = Q(m(t)/q); v(t) = m(t) - q k(t); y(t) = s k(t);
    v(0) = (initial + charge) q.

    With `negative`, r: u = m(t)/q is divided by r in front of Q where u < 0, and r k(t) takes the place of
    k(t) behind it where k(t) < 0. With `width`, m(t) saturates. With `level_axis`, y(t) is 1 on the line of
    k(t) and 0 on all others. With reset = zero, v(t) = 0 where k(t) != 0; with reset = restart, v(t) = v(0).
    `membrane` is v in units of x; parameters broadcast against x.
    """

    def __init__(self, attributes: dict[str, Any], where: str, *, whole: bool = False) -> None:
        if attributes["quantum"] is None:
            raise BackendError(
                "a neuron has no threshold yet",
                where=where,
                help="run choose-thresholds with calibration data first (snnc compile does)",
            )
        self.codebook = attributes["codebook"]
        self.quantum: Array = attributes["quantum"]
        self.normalised = bool((self.quantum == 1).all())
        self.bias: Array | None = attributes["bias"]
        self.scale: Array | None = attributes["scale"]
        self.negative: Array | None = attributes["negative"]
        self.level_axis: int | None = attributes["level_axis"]
        self.start = starting_membrane(attributes, whole=whole)
        self.reset: str = attributes["reset"]
        self.limits = membrane_limits(attributes["width"])
        self.membrane: Array = np.empty(0, np.float32)
        self._payload: Array = np.empty(0, np.float32)

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        m, k = self._integrate(t, operands[0]), self._payload
        u = m if self.normalised else np.divide(m, self.quantum, out=k)
        if self.negative is not None:
            u = np.where(u < 0, u / self.negative, u)
        self._quantise(t, u, k)
        sent = k if self.negative is None else np.where(k < 0, k * self.negative, k)
        if not last:
            self._reset(m, k, sent)
        if self.level_axis is not None:
            return np.asarray(self.codebook.to_lines(k, self.level_axis))
        return sent if self.scale is None else sent * self.scale

    def _quantise(self, t: int, u: Array, k: Array) -> None:
        """Set k(t)."""
        self.codebook.quantise(u, out=k)

    def _reset(self, m: Array, k: Array, sent: Array) -> None:
        """Set v(t)."""
        if self.reset == "restart":
            self.membrane[...] = 0 if self.start is None else self.start
        elif self.reset == "zero":
            np.multiply(m, k == 0, out=self.membrane)
        else:
            np.subtract(m, sent if self.normalised else self.quantum * sent, out=self.membrane)

    def _integrate(self, t: int, x: Array) -> Array:
        """Return m(t), saturated."""
        m = self._sum(t, x)
        return m if self.limits is None else np.clip(m, *self.limits, out=self.membrane)

    def _sum(self, t: int, x: Array) -> Array:
        """Return v(t-1) + x(t) + b; x itself where that is all there is to it."""
        if t == 1:
            if self._payload.shape != x.shape:
                self.membrane, self._payload = np.empty_like(x), np.empty_like(x)
            if self.start is not None:
                m = np.add(x, self.start, out=self.membrane)
            elif self.bias is None:
                return x
            else:
                return np.add(x, self.bias, out=self.membrane)
        else:
            m = np.add(self.membrane, x, out=self.membrane)
        return m if self.bias is None else np.add(m, self.bias, out=m)


class SumNeuronState(NeuronState):
    """K(t) = clip(Q(m(t)/q + K(t-1)), t lo, t hi), k(t) = K(t) - K(t-1), K(0) = 0: `bounds = sum`.

    Q onto all whole numbers, lo and hi the ends of the codebook. K(t) = k(1) + … + k(t) is what was sent in
    all; m(t)/q + K(t-1) = S(t)/q is what was received, S(t) = v(0) + x(1) + … + x(t) + t b. What was sent too
    early is taken back.
    """

    def __init__(self, attributes: dict[str, Any], where: str, *, whole: bool = False) -> None:
        super().__init__(attributes, where, whole=whole)
        self.lo, self.hi = self.codebook.lo, self.codebook.hi
        self._round = np.floor if self.codebook.rounding == "floor" else np.rint
        self._total: Array = np.empty(0, np.float32)

    def _quantise(self, t: int, u: Array, k: Array) -> None:
        before = np.zeros_like(u) if t == 1 else self._total
        self._total = np.clip(self._round(u + before), t * self.lo, t * self.hi)
        np.subtract(self._total, before, out=k)


def membrane_limits(width: int | None) -> tuple[float, float] | None:
    """Return the least and the largest membrane of so many bits; None: there is no limit."""
    return None if width is None else (-(2.0 ** (width - 1)), 2.0 ** (width - 1) - 1)


def starting_membrane(attributes: dict[str, Any], *, whole: bool = False) -> Array | None:
    """v(0) = (initial + charge) q, per channel; None if it is 0."""
    charge: Array | None = attributes["charge"]
    if charge is None and not attributes["initial"]:
        return None
    if whole:
        return whole_start(attributes)
    initial = attributes["initial"] * attributes["quantum"]
    return np.asarray(initial if charge is None else initial + charge * attributes["quantum"])


class LifState:
    """m(t) = leak v(t-1) + gain x(t) + bias; s(t) = 1 where m(t) >= threshold (strict: >), else 0.

    Hard reset: v(t) = rest where s(t) = 1, else m(t). Soft: v(t) = m(t) - threshold s(t). None: v(t) = m(t).
    Delayed: v(t) = m(t); hard: m(t) = rest where s(t-1) = 1; soft: m(t) = leak v(t-1) + gain x(t) + bias
    - threshold s(t-1). v(0) = initial. Every operation rounds to float32, in this order; what is absent is
    left out, which rounds as a leak or gain of 1, a bias or rest of 0 would. On whole numbers the decayed
    membrane is rounded towards 0, and with `width` m(t) saturates.
    """

    def __init__(self, attributes: dict[str, Any], *, whole: bool = False) -> None:
        self.threshold: Array = attributes["threshold"]
        self.leak: Array | None = attributes["leak"]
        self.gain: Array | None = attributes["gain"]
        self.bias: Array | None = attributes["bias"]
        self.rest: Array | np.float32 = np.float32(0) if attributes["rest"] is None else attributes["rest"]
        self.reset: str = attributes["reset"]
        self.fires = np.greater if attributes["strict"] else np.greater_equal
        self.delayed: bool = attributes["delayed"]
        self.initial = np.float32(attributes["initial"])
        self.whole = whole
        self.limits = membrane_limits(attributes["width"])
        self.membrane: Array = np.empty(0, np.float32)
        self._spikes: Array = np.empty(0, np.float32)

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        x = operands[0]
        if t == 1:
            if self._spikes.shape != x.shape:
                self.membrane, self._spikes = np.empty_like(x), np.empty_like(x)
            self.membrane.fill(self.initial)
        v, s = self.membrane, self._spikes
        if self.delayed:
            self.fires(v, self.threshold, out=s, casting="unsafe")  # s(t-1)
        if self.leak is not None:
            v *= self.leak
            if self.whole:
                np.trunc(v, out=v)
        v += x if self.gain is None else self.gain * x
        if self.bias is not None:
            v += self.bias
        if self.delayed:
            self._reset(v, s)
        if self.limits is not None:
            np.clip(v, *self.limits, out=v)
        self.fires(v, self.threshold, out=s, casting="unsafe")
        if not self.delayed and not last:
            self._reset(v, s)
        return s

    def _reset(self, v: Array, s: Array) -> None:
        if self.reset == "soft":
            v -= self.threshold * s
        elif self.reset == "hard":
            np.copyto(v, self.rest, where=s != 0)


class ExpectState:
    """O(t) = t F(S(t)/t) - (t-1) F(S(t-1)/(t-1)), S(t) = x(1) + … + x(t); O(1) = F(x(1)).

    For a homogeneous F of streams that all vary that is F(S(t)) - F(S(t-1)); for a product of n streams
    F(S(t)) / t^(n-1) minus its predecessor. `moving` are the operands that vary in time; the others enter F
    as they are.
    """

    def __init__(self, node: Node, attributes: dict[str, Any], moving: Sequence[int]) -> None:
        assert node.op.kernel is not None
        self.kernel = node.op.kernel
        self.attributes = attributes
        self.moving = tuple(moving)
        self.degree = len(self.moving) if node.op.role is Role.MULTILINEAR else None
        # F(S) instead of F(S/t): a power of t leaves a homogeneous or multilinear F.
        homogeneous = node.op.homogeneous and len(self.moving) == len(node.operands)
        self.unscaled = homogeneous or self.degree is not None
        self._sums: list[Array] = []
        self._means: list[Array] = []
        self._previous: Array

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        if t == 1:
            return self._first(operands, last)
        for total, index in zip(self._sums, self.moving, strict=True):
            np.add(total, operands[index], out=total)
        current = self._accumulated(t, list(operands))
        result = np.subtract(current, self._previous, out=self._previous)
        self._previous = current
        return result

    def _first(self, operands: Sequence[Array], last: bool) -> Array:
        """O(1) = F(x(1)), in either coding."""
        if not last:
            self._start([operands[index] for index in self.moving])
        self._previous = self._evaluate(operands)
        return self._previous

    def _start(self, streams: Sequence[Array]) -> None:
        """S(1) = x(1)."""
        if [total.shape for total in self._sums] != [x.shape for x in streams]:
            self._sums = [np.empty_like(x) for x in streams]
            self._means = [np.empty(x.shape, np.result_type(x, np.float32)) for x in streams]
        for total, x in zip(self._sums, streams, strict=True):
            np.copyto(total, x)

    def _accumulated(self, t: int, operands: list[Array]) -> Array:
        """Return t F(S(t)/t), in a buffer of its own."""
        if self.unscaled:
            for total, index in zip(self._sums, self.moving, strict=True):
                operands[index] = total
            value = self._evaluate(operands)
            power = 0 if self.degree is None else self.degree - 1
            return value if power == 0 else np.divide(value, np.float32(t**power), out=value)
        for total, mean, index in zip(self._sums, self._means, self.moving, strict=True):
            operands[index] = np.divide(total, np.float32(t), out=mean)
        value = self._evaluate(operands)
        return np.multiply(value, np.float32(t), out=value)

    def _evaluate(self, operands: Sequence[Array]) -> Array:
        """Return F in a buffer of its own."""
        value = np.asarray(self.kernel(*operands, **self.attributes))
        shared = any(np.may_share_memory(value, operand) for operand in operands)
        return value.copy() if shared or not value.flags.writeable else value


class DelayState:
    """y(t) = x(t - steps); y(t) = 0 for t <= steps."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.steps: int = attributes["steps"]
        self._queue: list[Array] = []

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        if t == 1:
            self._queue = []
        self._queue.append(operands[0].copy())
        return self._queue.pop(0) if t > self.steps else np.zeros_like(operands[0])


class PureState:
    """y(t) = F(x(t)): no memory."""

    def __init__(self, node: Node, attributes: dict[str, Any]) -> None:
        assert node.op.kernel is not None, f"{node.op.name} has no kernel"
        self.kernel = node.op.kernel
        self.attributes = attributes

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        return np.asarray(self.kernel(*operands, **self.attributes))
