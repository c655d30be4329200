"""Neurons whose bounds hold for the sum of their payloads: one step of them, and any steps at once.

Which parameters there are is constant in a kernel, as in `neuron`; so are the rows of the parameters.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.kernels.compiled import compiled
from snnc.backends.fast.kernels.neuron import BIAS, HI, LARGEST, LEAST, LO, QUANTUM, SCALE, START
from snnc.backends.fast.kernels.quantisers import FLOOR, clipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.backends.fast.kernels.neuron import Form


@cache
def step_kernel(form: Form) -> Callable[..., None]:
    """Return f(x, y, v, sums, parameters, limits, channels): one step, over arrays [rows, length].

    K(t) = clip(Q(m/q + K(t-1)), lo, hi); k = K(t) - K(t-1); y = s k; v = m - q k. `sums` is K; `limits` are
    those of this step. Operations and their order are the reference's.
    """
    first, floor, in_place = form.first, form.quantiser == FLOOR, form.in_place
    start, bias, quantum = form.first and form.start, form.bias, form.quantum
    scale, by_element, saturates = form.scale, form.by_element, form.saturates

    def step(x: Any, y: Any, v: Any, sums: Any, parameters: Any, limits: Any, channels: int) -> None:
        lo, hi, least, largest = limits[LO], limits[HI], limits[LEAST], limits[LARGEST]
        starts, biases = parameters[START], parameters[BIAS]
        quanta, scales = parameters[QUANTUM], parameters[SCALE]
        for row in range(y.shape[0]):
            channel = row % channels
            sent, membrane, total = y[row], v[row], sums[row]
            current = sent if in_place else x[row]
            for j in range(sent.size):
                c = j if by_element else channel
                m = current[j] if first else membrane[j] + current[j]
                m = m + starts[c] if start else m
                m = m + biases[c] if bias else m
                m = clipped(m, least, largest) if saturates else m
                u = m / quanta[c] if quantum else m
                before = type(u)(0) if first else total[j]
                u = u + before
                after = clipped(np.floor(u) if floor else np.rint(u), lo, hi)
                k = after - before
                total[j] = after
                membrane[j] = m - (quanta[c] * k if quantum else k)
                sent[j] = k * scales[c] if scale else k

    return compiled(step)


@cache
def average_kernel(form: Form) -> Callable[..., None]:
    """Return f(x, y, parameters, limits, channels, times): y = s K(t)/t of the decoded current x, for all t.

    K(t) = clip(Q((v(0) + t (x + b))/q), t lo, t hi). y is [times rows, length]; x is too, or [rows, length]
    where it is the same at every t. What is multiplied or divided by powers of two alone is exact.
    """
    floor, in_place, by_element = form.quantiser == FLOOR, form.in_place, form.by_element
    start, bias, quantum, scale = form.start, form.bias, form.quantum, form.scale

    def step(x: Any, y: Any, parameters: Any, limits: Any, channels: int, times: Any) -> None:
        starts, biases = parameters[START], parameters[BIAS]
        quanta, scales = parameters[QUANTUM], parameters[SCALE]
        rows = y.shape[0] // times.size
        for row in range(y.shape[0]):
            channel, t = row % channels, times[row // rows]
            lo, hi, share = t * limits[LO], t * limits[HI], type(t)(1) / t
            sent = y[row]
            current = sent if in_place else x[row % x.shape[0]]
            for j in range(sent.size):
                c = j if by_element else channel
                m = current[j] + biases[c] if bias else current[j]
                m = m * t
                m = m + starts[c] if start else m
                u = m / quanta[c] if quantum else m
                k = clipped(np.floor(u) if floor else np.rint(u), lo, hi)
                k = k * scales[c] if scale else k
                sent[j] = k * share

    return compiled(step)
