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

# What becomes of the membrane.
NOTHING, SUBTRACT, ZERO, RESTART = range(4)
# Rows of the parameters.
START, BIAS, QUANTUM, NEGATIVE, SCALE, ROWS = range(6)
# Entries of the limits.
LO, HI, DEAD_ZONE, LEAST, LARGEST, LIMITS = range(6)


@dataclass(frozen=True, slots=True)
class Form:
    """What a kernel is compiled for; the single words say which parameters there are.

    `first`: v(0) takes the membrane's place; with reset `NOTHING` there is no membrane. `by_element`:
    parameters vary along the innermost loop. `in_place`: the result takes the place of the current.
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


@cache
def neuron_kernel(form: Form) -> Callable[..., None]:
    """Return f(x, y, v, parameters, limits, channels): y = s k, v = m - q k, over arrays [rows, length].

    `parameters` are [ROWS, channels]; row i has those of channel i mod channels, or, by element, element j
    has those of channel j.
    """
    quantiser, signed, reset = form.quantiser, form.signed, form.reset
    start, bias = form.first and form.start, form.bias
    adds, saturates = not form.first, form.saturates
    quantum, negative, scale, by_element = form.quantum, form.negative, form.scale, form.by_element
    in_place = form.in_place

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
                m = membrane[j] + current[j] if adds else current[j]
                m = m + starts[c] if start else m
                m = m + biases[c] if bias else m
                m = clipped(m, least, largest) if saturates else m
                u = m / quanta[c] if quantum else m
                u = u / negatives[c] if negative and u < 0 else u
                k = payload(u, quantiser, signed, lo, hi, dead_zone)
                k = k * negatives[c] if negative and k < 0 else k
                if reset == SUBTRACT:
                    membrane[j] = m - (quanta[c] * k if quantum else k)
                elif reset == ZERO:
                    membrane[j] = m if k == 0 else k * 0
                elif reset == RESTART:
                    membrane[j] = starts[c]
                sent[j] = k * scales[c] if scale else k

    return compiled(step)
