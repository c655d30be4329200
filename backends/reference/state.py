"""The ops that remember, one class each, in the order of their equations.

`step(t, operands)` takes the operands at step t (counted from 1) and returns the result, in a buffer that
is valid until the next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from snnc.ir.errors import BackendError
from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array


class State(Protocol):
    """One node's memory during one run."""

    def step(self, t: int, operands: Sequence[Array]) -> Array: ...


class NeuronState:
    """m(t) = v(t-1) + x(t) + b; k(t) = Q(m(t)/q); v(t) = m(t) - q k(t); y(t) = s k(t); v(0) = initial q.

    `membrane` is v in units of x; parameters broadcast against x.
    """

    def __init__(self, attributes: dict[str, Any], where: str) -> None:
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
        self.initial: float = attributes["initial"]
        self.membrane: Array
        self._payload: Array

    def step(self, t: int, operands: Sequence[Array]) -> Array:
        x = operands[0]
        if t == 1:
            self.membrane = x + self.initial * self.quantum if self.initial else x.copy()
            self._payload = np.empty_like(x)
        else:
            self.membrane += x
        if self.bias is not None:
            self.membrane += self.bias
        m, k = self.membrane, self._payload
        if self.normalised:
            self.codebook.quantise(m, out=k)
            m -= k
        else:
            np.divide(m, self.quantum, out=k)
            self.codebook.quantise(k, out=k)
            m -= self.quantum * k
        return k if self.scale is None else k * self.scale


class ExpectState:
    """O(t) = t F(S(t)/t) - (t-1) F(S(t-1)/(t-1)), S(t) = x(1) + … + x(t); O(1) = F(x(1)).

    For a homogeneous F that is F(S(t)) - F(S(t-1)); for a product of n streams F(S(t)) / t^(n-1) minus its
    predecessor. `moving` are the operands that vary in time; the others enter F as they are.
    """

    def __init__(self, node: Node, attributes: dict[str, Any], moving: Sequence[int]) -> None:
        assert node.op.kernel is not None
        self.kernel = node.op.kernel
        self.attributes = attributes
        self.moving = tuple(moving)
        self.homogeneous = node.op.homogeneous
        self.degree = len(self.moving) if node.op.role is Role.MULTILINEAR else None
        self._sums: list[Array] = []
        self._previous: Array

    def step(self, t: int, operands: Sequence[Array]) -> Array:
        if t == 1:
            self._sums = [operands[index].copy() for index in self.moving]
            self._previous = np.asarray(self.kernel(*operands, **self.attributes))
            return self._previous
        for total, index in zip(self._sums, self.moving, strict=True):
            np.add(total, operands[index], out=total)
        current = self._accumulated(t, list(operands))
        result = current - self._previous
        self._previous = current
        return np.asarray(result)

    def _accumulated(self, t: int, operands: list[Array]) -> Array:
        """Return t F(S(t)/t)."""
        plain = self.homogeneous or self.degree is not None
        for total, index in zip(self._sums, self.moving, strict=True):
            operands[index] = total if plain else total / np.float32(t)
        value = np.asarray(self.kernel(*operands, **self.attributes))
        if self.homogeneous:
            return value
        if self.degree is not None:
            return value / np.float32(t ** (self.degree - 1))
        return value * np.float32(t)


class DelayState:
    """y(t) = x(t - steps); y(t) = 0 for t <= steps."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.steps: int = attributes["steps"]
        self._queue: list[Array] = []

    def step(self, t: int, operands: Sequence[Array]) -> Array:
        self._queue.append(operands[0].copy())
        return self._queue.pop(0) if t > self.steps else np.zeros_like(operands[0])


class PureState:
    """y(t) = F(x(t)): no memory."""

    def __init__(self, node: Node, attributes: dict[str, Any]) -> None:
        assert node.op.kernel is not None, f"{node.op.name} has no kernel"
        self.kernel = node.op.kernel
        self.attributes = attributes

    def step(self, t: int, operands: Sequence[Array]) -> Array:
        return np.asarray(self.kernel(*operands, **self.attributes))
