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
def add_and_divide(total: Array, x: Array, mean: Array, t: float) -> None:
    """S(t) = S(t-1) + x(t); mean = S(t) / t."""
    for j in range(total.size):
        total[j] += x[j]
        mean[j] = total[j] / t


@compiled
def difference(value: Array, previous: Array) -> None:
    """O(t) = F - previous; previous = F."""
    for j in range(value.size):
        now = value[j]
        value[j] = now - previous[j]
        previous[j] = now


@compiled
def divided_difference(value: Array, previous: Array, divisor: float) -> None:
    """O(t) = F / divisor - previous; previous = F / divisor."""
    for j in range(value.size):
        now = value[j] / divisor
        value[j] = now - previous[j]
        previous[j] = now


@compiled
def scaled_difference(value: Array, previous: Array, t: float) -> None:
    """O(t) = t F - previous; previous = t F."""
    for j in range(value.size):
        now = value[j] * t
        value[j] = now - previous[j]
        previous[j] = now
