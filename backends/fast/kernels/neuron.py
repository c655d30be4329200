"""One step of a neuron in one pass over memory.

Which codebook and which parameters there are is constant in a kernel, so that its loop has no branches and
becomes vector instructions. The operations and their order are the reference's, without fused
multiply-adds or reciprocals: equal currents give equal payloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from snnc.backends.fast.kernels.compiled import compiled
from snnc.backends.fast.kernels.quantisers import clipped, payload

if TYPE_CHECKING:
    from collections.abc import Callable

# What becomes of the membrane: there is none; or what was taken from all currents is added up in its place.
NOTHING, SUBTRACT, ZERO, RESTART, TOTALS = range(5)
# Rows of the parameters.
START, BIAS, QUANTUM, NEGATIVE, SCALE, ROWS = range(6)
# Entries of the limits.
LO, HI, DEAD_ZONE, LEAST, LARGEST, LIMITS = range(6)


@dataclass(frozen=True, slots=True)
class Form:
    """What a kernel is compiled for; the single words say which parameters there are.

    `first`: v(0) takes the membrane's place; with reset `NOTHING` there is no membrane. `by_element`:
    parameters vary along the innermost loop. `in_place`: the result takes the place of the current.
    `reads_totals`: x is what all currents add up to; with reset `TOTALS` v is q (k(1) + … + k(t-1)) - v(0).
    `sends_totals`: y is what all spikes add up to.
    """

    quantiser: int
    signed: bool
    first: bool
    reset: int
    start: bool
    bias: bool
    quantum: bool
    negative: bool
    scale: bool
    saturates: bool
    by_element: bool
    in_place: bool
    reads_totals: bool = False
    sends_totals: bool = False


@cache
def neuron_kernel(form: Form) -> Callable[..., None]:
    """Return f(x, y, v, parameters, limits, channels): y = s k, v = m - q k, over arrays [rows, length].

    `parameters` are [ROWS, channels]; row i has those of channel i mod channels, or, by element, element j
    has those of channel j.
    """
    quantiser, signed, reset, adds = form.quantiser, form.signed, form.reset, not form.first
    start, bias, saturates = form.first and form.start, form.bias, form.saturates
    quantum, negative, scale, by_element = form.quantum, form.negative, form.scale, form.by_element
    in_place, reads_totals, sends_totals = form.in_place, form.reads_totals, form.sends_totals and adds

    def step(x: Any, y: Any, v: Any, parameters: Any, limits: Any, channels: int) -> None:
        lo, hi, dead_zone = limits[LO], limits[HI], limits[DEAD_ZONE]
        least, largest = limits[LEAST], limits[LARGEST]
        starts, biases, quanta = parameters[START], parameters[BIAS], parameters[QUANTUM]
        negatives, scales = parameters[NEGATIVE], parameters[SCALE]
        for row in range(y.shape[0]):
            channel = row % channels
            sent, membrane = y[row], v[row]
            current = sent if in_place else x[row]
            for j in range(sent.size):
                c = j if by_element else channel
                m, before = current[j], membrane[j] if adds else -starts[c]
                if adds:
                    m = m - before if reads_totals else before + m
                m = m + starts[c] if start else m
                m = m + biases[c] if bias else m
                m = clipped(m, least, largest) if saturates else m
                u = m / quanta[c] if quantum else m
                u = u / negatives[c] if negative and u < 0 else u
                k = payload(u, quantiser, signed, lo, hi, dead_zone)
                k = k * negatives[c] if negative and k < 0 else k
                if reset:
                    taken = quanta[c] * k if quantum else k
                    membrane[j] = remainder(m, k, taken, before, starts[c], reset)
                k = k * scales[c] if scale else k
                sent[j] = sent[j] + k if sends_totals else k

    return compiled(step)


@compiled
def remainder(m: Any, k: Any, taken: Any, before: Any, start: Any, reset: int) -> Any:
    """Return what the membrane's place holds after a step."""
    if reset == SUBTRACT:
        return m - taken
    if reset == TOTALS:
        return before + taken
    if reset == ZERO:
        return m if k == 0 else k * 0
    return start
