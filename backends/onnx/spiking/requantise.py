"""A neuron as the last step of an integer kernel: 8 bits of a rescaled sum, proved edge by edge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.ops.neuron import whole_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from snnc.ir.codebooks import Codebook
    from snnc.ir.kernel_types import Array

# Factors this many steps of single precision around the quotient are tried, and sums one beside the shift.
FACTOR_STEPS = 8
SHIFTS = (0, 1, -1)
EXACT = 2**24  # whole numbers up to here are exact in single precision


@dataclass(frozen=True, slots=True)
class Rescaling:
    """k = round(factor (S + shift)) for the sum S of a synapse, rounded to the nearest, per output [O].

    The product is in single precision, as QLinearConv's: float(S + shift) times the factor, rounded once. A
    neuron's own is a quotient, (S + shift) / factor.
    """

    factor: Array
    shift: Array


def payload_edges(codebook: Codebook, quantum: Array) -> Array | None:
    """Return the least whole m with Q(m / q) >= i, for i = lo + 1 … hi: [O, hi - lo]; None for other Q.

    nearest: m / q above i - 1/2, or on it where i is even. floor, binary: m / q at i.
    """
    if isinstance(codebook, Binary):
        codebook = MultiSpike(0, 1, "floor")
    if not isinstance(codebook, MultiSpike) or codebook.rounding == "burst":
        return None
    payloads = np.arange(codebook.lo + 1, codebook.hi + 1)
    q = quantum.astype(np.int64).reshape(-1, 1)
    if codebook.rounding == "floor":
        return np.asarray(payloads * q)
    twice = (2 * payloads - 1) * q
    return np.asarray(np.where(payloads % 2 == 0, -(-twice // 2), twice // 2 + 1))


def find_rescaling(
    edges: Array,
    first: int,
    quantum: Array,
    bounds: tuple[Array, Array],
    scaled: np.ufunc = np.multiply,
) -> Rescaling | None:
    """Return factors and shifts with round(factor (S + shift)) >= i exactly where S >= the edge of i.

    `edges` [O, n]: the least whole S that makes the result i, for i = first, first + 1, …; `quantum` [O]: the
    distance between two of them; `bounds`: the least and the largest S of every output, [O] each; `scaled`:
    whether the kernel multiplies or divides by the factor. Both sides of every edge are computed as the
    kernel computes them; rounding keeps the order of numbers, so what lies further away is on the right side
    too. None if that fails.
    """
    results = first + np.arange(edges.shape[1])
    nearest = (1 / quantum if scaled is np.multiply else quantum).astype(np.float32)
    middle = np.rint((results[0] - 0.5) * quantum + 0.5).astype(np.int64) - edges[:, 0]
    factor, shift = nearest.copy(), middle.copy()
    open_ = np.ones(len(edges), bool)
    for candidate in candidates(nearest):
        for step in SHIFTS:
            rows = np.flatnonzero(open_)
            reach = bounds[0][rows, None], bounds[1][rows, None]
            kernel = partial(rounded, middle[rows] + step, candidate[rows], scaled)
            fits = on_their_sides(edges[rows], kernel, results, reach)
            factor[rows[fits]], shift[rows[fits]] = candidate[rows[fits]], middle[rows[fits]] + step
            open_[rows[fits]] = False
            if not open_.any():
                return Rescaling(factor, shift)
    return None


def rescaled_neuron(given: Mapping[str, Any], zero: int, bounds: tuple[int, int]) -> Rescaling | None:
    """Return divisors and shifts of a neuron of one step whose sums lie within bounds, in the shape of its
    parameters: the byte k + zero is round((S + shift) / factor).
    """
    bias = np.zeros(1, np.int64) if given["bias"] is None else given["bias"]
    quantum, added = np.broadcast_arrays(given["quantum"].astype(np.int64), bias + whole_start(given))
    edges = payload_edges(given["codebook"], quantum.reshape(-1))
    if edges is None or quantum.min() <= 0:
        return None
    whole, ends = (
        edges - added.reshape(-1, 1).astype(np.int64),
        [np.full(quantum.size, end) for end in bounds],
    )
    first = given["codebook"].payload.lo + 1 + zero
    divisor = quantum.reshape(-1).astype(np.float64)
    found = find_rescaling(whole, first, divisor, (ends[0], ends[1]), np.divide)
    if found is None or np.abs(found.shift).max() + max(-bounds[0], bounds[1]) > EXACT:
        return None
    return Rescaling(found.factor.reshape(quantum.shape), found.shift.reshape(quantum.shape))


def candidates(nearest: Array) -> Iterator[Array]:
    """Yield the factors next to the nearest one, in single precision."""
    yield nearest
    for direction in (np.inf, -np.inf):
        factor = nearest
        for _ in range(FACTOR_STEPS):
            factor = np.nextafter(factor, np.float32(direction))
            yield factor


def rounded(shift: Array, factor: Array, scaled: np.ufunc, sums: Array) -> Array:
    """Return what a kernel makes of sums [O, n], as it computes it."""
    return np.asarray(np.rint(scaled((sums + shift[:, None]).astype(np.float32), factor[:, None])))


def on_their_sides(
    edges: Array, kernel: Callable[[Array], Array], results: Array, reach: tuple[Array, Array]
) -> Array:
    """Tell per output whether an edge's result is at least i, and below i one whole number before it.

    Only sums within reach count.
    """
    least, most = reach
    above = (kernel(np.maximum(edges, least)) >= results) | (edges > most)
    below = (kernel(np.minimum(edges - 1, most)) < results) | (edges <= least)
    return np.asarray((above & below).all(axis=1))
