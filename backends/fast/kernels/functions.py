"""Expectation nodes of GELU, layer norm and softmax: sums, function and difference in one call.

All of single precision and of flat arrays. `total` is S, `previous` t F(S/t) of the step before; with
`first` there is neither, with `last` nothing is kept. An empty `total` means that x is S, an empty `previous`
that y is t F(S/t).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.kernels.compiled import compiled, compiled_in_any_order
from snnc.ir.ops.elementwise import ERF_DENOMINATOR as R
from snnc.ir.ops.elementwise import ERF_NUMERATOR as P

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

f = np.float32
HALF_ROOT = f(0.5**0.5)
LOG2_E = f(1 / np.log(2))
LN2_HIGH = f(355 / 512)  # 9 bits: its product with a whole number is exact
LN2_LOW = f(np.log(2) - 355 / 512)


@compiled
def gelu(x: Array, total: Array, previous: Array, y: Array, t: Any, first: bool, last: bool) -> None:
    begin(x, total, y, t, first, last)
    for j in range(y.size):
        y[j] = gelu_of(y[j])
    finish(y, previous, t, first, last)


@compiled
def gelu_of(x: Any) -> Any:
    """x/2 (1 + erf(x / √2)), as the op table has it."""
    z = min(max(x * HALF_ROOT, f(-4)), f(4))
    s = z * z
    p = (((((f(P[0]) * s + f(P[1])) * s + f(P[2])) * s + f(P[3])) * s + f(P[4])) * s + f(P[5])) * s + f(P[6])
    r = (((f(R[0]) * s + f(R[1])) * s + f(R[2])) * s + f(R[3])) * s + f(R[4])
    return (min(max(z * p / r, f(-1)), f(1)) + f(1)) * x * f(0.5)


@compiled
def layer_norm(
    x: Array, total: Array, previous: Array, y: Array, t: Any, first: bool, last: bool,
    rows: Array, gamma: Array, beta: Array, epsilon: Any,
) -> None:  # fmt: skip
    """`rows` is y as [rows, length]; gamma and beta are [length]."""
    begin(x, total, y, t, first, last)
    count = f(rows.shape[1])
    for row in range(rows.shape[0]):
        mean = sum_of(rows, row) / count
        for j in range(rows.shape[1]):
            rows[row, j] = rows[row, j] - mean
        scale = f(1) / np.sqrt(sum_of_squares(rows, row) / count + epsilon)
        for j in range(rows.shape[1]):
            rows[row, j] = rows[row, j] * scale * gamma[j] + beta[j]
    finish(y, previous, t, first, last)


@compiled
def softmax(
    x: Array, total: Array, previous: Array, y: Array, t: Any, first: bool, last: bool, rows: Array
) -> None:
    """`rows` is y as [rows, length]."""
    begin(x, total, y, t, first, last)
    for row in range(rows.shape[0]):
        largest = max_of(rows, row)
        for j in range(rows.shape[1]):
            rows[row, j] = rows[row, j] - largest
    for j in range(y.size):
        y[j] = exponential(y[j])
    for row in range(rows.shape[0]):
        scale = f(1) / sum_of(rows, row)
        for j in range(rows.shape[1]):
            rows[row, j] = rows[row, j] * scale
    finish(y, previous, t, first, last)


@compiled
def begin(x: Array, total: Array, y: Array, t: Any, first: bool, last: bool) -> None:
    """S(t) = S(t-1) + x(t); y = S(t) / t."""
    if first:
        for j in range(y.size):
            y[j] = x[j]
        if not last:
            for j in range(total.size):
                total[j] = x[j]
    elif total.size:
        for j in range(y.size):
            s = total[j] + x[j]
            total[j] = s
            y[j] = s / t
    else:
        for j in range(y.size):
            y[j] = x[j] / t


@compiled
def finish(y: Array, previous: Array, t: Any, first: bool, last: bool) -> None:
    """O(t) = t F - previous in the place of F."""
    if first:
        if not last:
            for j in range(previous.size):
                previous[j] = y[j]
    elif previous.size:
        for j in range(y.size):
            now = y[j] * t
            y[j] = now - previous[j]
            previous[j] = now
    else:
        for j in range(y.size):
            y[j] = y[j] * t


@compiled
def exponential(x: Any) -> Any:
    """exp(x) for x ≤ 0, in single precision: 2^n times the Taylor series of the rest, |rest| ≤ ln(2)/2."""
    x = max(x, f(-87))
    n = np.rint(x * LOG2_E)
    r = x - n * LN2_HIGH - n * LN2_LOW
    p = f(1 / 720) + r * f(1 / 5040)
    p = f(1) + r * (f(1) + r * (f(1 / 2) + r * (f(1 / 6) + r * (f(1 / 24) + r * (f(1 / 120) + r * p)))))
    return p * np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled_in_any_order
def sum_of(y: Array, row: int) -> Any:
    result = f(0)
    for j in range(y.shape[1]):
        result += y[row, j]
    return result


@compiled_in_any_order
def sum_of_squares(y: Array, row: int) -> Any:
    result = f(0)
    for j in range(y.shape[1]):
        result += y[row, j] * y[row, j]
    return result


@compiled_in_any_order
def max_of(y: Array, row: int) -> Any:
    result = y[row, 0]
    for j in range(y.shape[1]):
        result = max(result, y[row, j])
    return result
