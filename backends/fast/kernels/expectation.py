"""What goes before and behind the function of an expectation node, in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.fast.kernels.compiled import compiled

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array


@compiled
def add_to(total: Array, x: Array) -> None:
    """S(t) = S(t-1) + x(t)."""
    for j in range(total.size):
        total[j] += x[j]


@compiled
def divide(x: Array, y: Array, t: float) -> None:
    """y = x / t."""
    for j in range(y.size):
        y[j] = x[j] / t


@compiled
def reduce(y: Array, t: float) -> None:
    """y = y / t: with one name for one array, the loop needs no proof that two do not overlap."""
    for j in range(y.size):
        y[j] = y[j] / t


@compiled
def multiply(y: Array, t: float) -> None:
    """y = t y."""
    for j in range(y.size):
        y[j] = y[j] * t


@compiled
def difference(value: Array, previous: Array) -> None:
    """O(t) = F - previous; previous = F."""
    for j in range(value.size):
        now = value[j]
        value[j] = now - previous[j]
        previous[j] = now
