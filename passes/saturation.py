"""After how many steps a membrane could saturate: the worst case of any input, step after step."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.codebooks import PowerOfTwo
from snnc.ir.ops.neuron import whole_start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from snnc.ir.codebooks import Codebook
    from snnc.ir.kernel_types import Array
    from snnc.passes.intervals import Interval

# What a reset takes away that forgets.
FORGETS = np.inf


def neuron_saturates(given: Mapping[str, Any], x: Interval, limits: tuple[int, int]) -> float:
    """Return the first step at which a `neuron` could saturate, given its input; infinity: never.

    After a step its membrane is at most the larger of what rounding leaves (`above` quanta) and of what it
    was, plus the largest input, less the largest payload; likewise below.
    """
    q, start = np.asarray(given["quantum"], np.float64), whole_start(given)
    bias = 0.0 if given["bias"] is None else given["bias"]
    if given["bounds"] == "sum":
        return sums_saturate(given, x, limits)
    payload = given["codebook"].payload
    below, above = (side * q for side in remainders(given["codebook"]))
    lowest, largest = -payload.lo * q, payload.hi * q
    if given["reset"] == "restart":  # every step is the first
        below, above, lowest, largest = -start, start, FORGETS, FORGETS
    elif given["reset"] == "zero":  # nothing is left where it fires
        lowest, largest = (FORGETS if payload.lo else lowest), FORGETS
    up = first_beyond(start, x.hi + bias, largest, above, limits[1])
    down = first_beyond(-start, -(x.lo + bias), lowest, below, -limits[0])
    return float(np.minimum(up, down).min(initial=np.inf))


def sums_saturate(given: Mapping[str, Any], x: Interval, limits: tuple[int, int]) -> float:
    """Return the first step at which a neuron with bounds = sum could saturate, x being the bounds of what it
    receives on average; infinity: never.

    m(t) = S(t) - q K(t-1), S(t) = v(0) + t (x + b). K(t-1) is at least the smaller of its bound (t-1) hi and
    S(t-1)/q - 1, so m(t) is at most x.hi + b and the larger of q + (t-1) (x.hi - x.lo) and
    v(0) + (t-1) (x.hi + b - hi q); likewise below.
    """
    q, start = np.asarray(given["quantum"], np.float64), whole_start(given)
    bias = np.zeros(()) if given["bias"] is None else given["bias"].astype(np.float64)
    codebook, spread = given["codebook"], x.hi - x.lo
    first = np.inf
    for begin, most, end, limit in (
        (start, x.hi + bias, codebook.hi * q, limits[1]),
        (-start, -(x.lo + bias), -codebook.lo * q, -limits[0]),
    ):
        lines = line_beyond(q + most, spread, limit), line_beyond(begin + most, most - end, limit)
        later = np.minimum(*lines)
        first = min(first, float(np.where(begin + most > limit, 1.0, later).min(initial=np.inf)))
    return first


def line_beyond(base: Array, slope: Array, limit: float) -> Array:
    """Return, per element, the first t >= 2 with base + (t-1) slope > limit; infinity if there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        later = np.where(slope > 0, 2 + np.floor((limit - base) / slope), np.inf)
    return np.where(base + slope > limit, 2.0, later)


def lif_saturates(given: Mapping[str, Any], x: Interval, limits: tuple[int, int]) -> float:
    """Return the first step at which a `lif` neuron could saturate, given gain x; infinity: never.

    A leak below 1 keeps the membrane within what a step adds / (1 - leak); where that is too much, it counts
    as 1.
    """
    threshold = np.asarray(given["threshold"], np.float64)
    bias, rest = (0.0 if given[name] is None else given[name] for name in ("bias", "rest"))
    start = np.asarray(given["initial"], np.float64)
    leak = np.asarray(1.0 if given["leak"] is None else given["leak"], np.float64)
    drain: Any = {"hard": FORGETS, "soft": threshold, "none": 0.0}[given["reset"]]
    if given["delayed"] and given["reset"] == "soft":
        # The spike before the first step has yet to take effect.
        start = np.maximum(start, start - threshold)
    # A delayed soft reset takes the threshold from what has leaked below it.
    below = np.maximum(-rest if given["reset"] == "hard" else threshold, 0)
    above = np.maximum(np.maximum(threshold, rest), 0)
    up = leaking(start, x.hi + bias, drain, above, limit=limits[1], leak=leak)
    down = leaking(np.maximum(-start, below), -(x.lo + bias), 0.0, below, limit=-limits[0], leak=leak)
    return float(np.minimum(up, down).min(initial=np.inf))


def leaking(start: Array, gain: Array, drain: Any, left: Array, *, limit: float, leak: Array) -> Array:
    """Return what `first_beyond` does, given a leak from 0 to 1 and left >= 0."""
    # Towards 0 from below a leak raises the membrane; it cannot rise above what 0 leads to.
    start, left = np.maximum(start, 0), np.maximum(left, 0)
    lost = np.where(leak < 1, 1 - leak, 1)
    fixed = np.where(leak < 1, np.maximum(np.maximum(gain, gain - drain), 0) / lost, np.inf)
    bounded = np.maximum(np.maximum(start, left), fixed) <= limit
    return np.where(bounded, np.inf, first_beyond(start, gain, drain, left, limit))


def first_beyond(start: Array, gain: Array, drain: Any, left: Array, limit: float) -> Array:
    """Return, per element, the first t for which m(t) > limit is possible; infinity if there is none.

    m(t) = v(t-1) + gain, v(0) = start, v(t) <= max(left, m(t) - drain)
    """
    growth = gain - drain
    one = np.maximum(left, start + growth)  # v(1); later ones are larger only if it grows
    room = limit - gain - one
    with np.errstate(divide="ignore", invalid="ignore"):
        later = np.where(growth > 0, 3 + np.floor(room / growth), np.inf)
    later = np.where(room < 0, 2.0, later)
    return np.where(start + gain > limit, 1.0, later)


@cache
def remainders(codebook: Codebook) -> tuple[float, float]:
    """Return -inf and sup of u - Q(u) while Q does not clip.

    Q changes at multiples of a quarter, and at a dead zone, only.
    """
    lo, hi = codebook.payload.lo, codebook.payload.hi
    edges = lo + np.arange(4 * (hi - lo) + 1) / 4
    if isinstance(codebook, PowerOfTwo):
        zone = codebook.dead_zone
        edges = np.unique(np.concatenate([edges, [zone, -zone] if codebook.signed else [zone]]))
        edges = edges[(edges >= lo) & (edges <= hi)]
    between = codebook.quantise((edges[:-1] + edges[1:]) / 2)
    at = codebook.quantise(edges.copy())
    above = max((edges[1:] - between).max(), (edges - at).max())
    below = min((edges[:-1] - between).min(), (edges - at).min())
    return float(-below), float(above)
