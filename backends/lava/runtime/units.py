"""What every unit of a layer shares, and the units without weights or membrane. All numbers are integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Ints = NDArray[np.int64]
Attributes = dict[str, Any]


class Unit(Protocol):
    """One operation with its memory. Step t = 1 starts a new sample."""

    def step(self, t: int, operands: Sequence[Ints]) -> Ints: ...


class WidthError(ArithmeticError):
    """A number left the width it was given."""


def check_width(x: Ints, bits: int, what: str) -> Ints:
    """Return x, or refuse numbers that do not fit a signed integer of so many bits."""
    limit = 1 << (bits - 1)
    if x.size and (x.min() < -limit or x.max() >= limit):
        worst = max(x.min(), x.max(), key=abs)
        raise WidthError(f"{what}: {worst} does not fit {bits} bits")
    return x


def ints(array: Any) -> Ints:
    """Return whole numbers as int64; an array that holds others is a mistake of the emitter."""
    whole = np.rint(np.asarray(array))
    assert np.array_equal(whole, array), "not whole numbers"
    return np.asarray(whole, np.int64)


class Stateless:
    """y(t) = F(x(t)), F made of numpy's integer operations."""

    def __init__(self, function: Callable[..., Ints], arguments: Attributes) -> None:
        self.function = function
        self.arguments = arguments

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        return np.asarray(self.function(*operands, **self.arguments))


class Delay:
    """y(t) = x(t - steps), 0 for t <= steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.queue: list[Ints] = []

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        if t == 1:
            self.queue = [np.zeros_like(operands[0])] * self.steps
        self.queue.append(operands[0])
        return self.queue.pop(0)


class Telescope:
    """O(t) = F(S(t)) - F(S(t-1)), S(t) = x(1) + … + x(t): a maximum of whole numbers without division."""

    def __init__(self, function: Callable[[Ints], Ints], bits: int, what: str) -> None:
        self.function = function
        self.bits = bits
        self.what = what
        self.sum: Ints
        self.previous: Ints

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        x = operands[0]
        self.sum = x if t == 1 else check_width(self.sum + x, self.bits, self.what)
        current = self.function(self.sum)
        result = current if t == 1 else current - self.previous
        self.previous = current
        return result


def reshape(x: Ints, shape: Sequence[int]) -> Ints:
    return x.reshape(tuple(shape))


def transpose(x: Ints, perm: Sequence[int]) -> Ints:
    return x.transpose(tuple(perm))


def concat(*xs: Ints, axis: int) -> Ints:
    return np.concatenate(xs, axis=axis)


def product_of_streams(a: Ints, b: Ints) -> Ints:
    return np.asarray(np.matmul(a, b))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "matmul": product_of_streams,
    "reshape": reshape,
    "transpose": transpose,
    "concat": concat,
}
