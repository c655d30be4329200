"""How one layer is cut into cores: every axis into equal parts, as few parts as the limits allow.

Of all ways to cut every axis into parts that differ by one position at most, the one with the fewest cores
is taken; of several, the one whose fullest core reads least; of several, the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from snnc.placement.chips import RESOURCES
from snnc.placement.layers import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from snnc.ir.kernel_types import Array
    from snnc.placement.chips import Limits
    from snnc.placement.layers import Box, Layer, Table


@dataclass(frozen=True, slots=True)
class Tiling:
    """How many parts each axis is cut into, and how many cores each limit alone would have asked for."""

    parts: tuple[int, ...]
    alone: dict[str, int]

    @property
    def cores(self) -> int:
        return math.prod(self.parts)


@dataclass(frozen=True, slots=True)
class Excess:
    """Why a layer fits no number of cores: what one neuron alone needs of a resource, and the limit."""

    resource: str
    needed: int
    limit: int

    @property
    def factor(self) -> float:
        return self.needed / self.limit


def cut(layer: Layer, limits: Limits, shared: bool, reach: Array) -> Tiling | Excess:
    """Return how a layer is cut; `reach` [*shape] counts the cores that read each neuron."""
    choices = [part_counts(size) for size in layer.shape]
    needs = needs_of(layer, choices, limits, shared)
    allowed = {name: getattr(limits, name) for name in RESOURCES}
    fits = {name: table <= allowed[name] for name, table in needs.items()}
    cores = outer(choices)
    for name, table in needs.items():
        if not fits[name].flat[-1]:
            return Excess(name, int(table.flat[-1]), allowed[name])
    alone = {name: int(cores[ok].min()) for name, ok in fits.items()}
    alone["output_axons"] = max(1, -(-int(reach.sum()) // allowed["output_axons"]))
    possible = np.logical_and.reduce(list(fits.values())) & (cores >= alone["output_axons"])
    places = np.flatnonzero(possible)
    order = np.lexsort((places, needs["input_axons"].ravel()[places], cores.ravel()[places]))
    for place in places[order]:
        index = np.unravel_index(place, cores.shape)
        parts = tuple(int(choice[i]) for choice, i in zip(choices, index, strict=True))
        if block_sums(reach, parts).max() <= allowed["output_axons"]:
            return Tiling(parts, alone)
    return Excess("output_axons", int(reach.max()), allowed["output_axons"])


def part_counts(size: int) -> Array:
    """Return the numbers of parts worth trying: the fewest for every size of the largest part."""
    sizes = {-(-size // parts) for parts in range(1, size + 1)}
    return np.array(sorted(-(-size // largest) for largest in sizes))


def cuts(size: int, parts: int) -> Array:
    """Return the borders of equal parts, both ends included."""
    return np.arange(parts + 1) * size // parts


def outer(factors: Sequence[Sequence[int] | Array]) -> Table:
    """Return the product of one factor per axis, for every combination."""
    return reduce(np.multiply.outer, [np.asarray(factor, np.int64) for factor in factors])


def needs_of(layer: Layer, choices: Sequence[Array], limits: Limits, shared: bool) -> dict[str, Table]:
    """Return the most that a core needs of each resource but output axons, for every way to cut."""
    largest = [-(-size // choice) for size, choice in zip(layer.shape, choices, strict=True)]
    elements = outer(largest)
    neurons = elements * layer.compartments
    memory, axons = neurons * limits.state, np.zeros_like(neurons)
    for connection in layer.connections:
        if isinstance(connection, Connection):
            weights, read = [], []
            for axis, (size, choice) in enumerate(zip(layer.shape, choices, strict=True)):
                borders = [cuts(size, parts) for parts in choice]
                weights.append([connection.bytes(axis, c, shared).max() for c in borders])
                read.append([connection.axons(axis, c).max() for c in borders])
            memory, axons = memory + outer(weights), axons + outer(read)
        else:
            memory = memory + connection.most_bytes(elements, shared)
            axons = axons + connection.axons(elements)
    return {"neurons": neurons, "memory": memory, "input_axons": axons}


def block_sums(reach: Array, parts: Sequence[int]) -> NDArray[np.int64]:
    """Return the sums over the blocks of an array cut into parts."""
    total = np.asarray(reach, np.int64)
    for axis, (size, number) in enumerate(zip(reach.shape, parts, strict=True)):
        total = np.add.reduceat(total, cuts(size, number)[:-1], axis=axis)
    return total


def boxes(shape: Sequence[int], parts: Sequence[int]) -> Iterator[Box]:
    """Yield the blocks of a grid, the last axis fastest."""
    borders = [cuts(size, number) for size, number in zip(shape, parts, strict=True)]
    for place in np.ndindex(*parts):
        yield tuple((int(c[i]), int(c[i + 1])) for c, i in zip(borders, place, strict=True))
