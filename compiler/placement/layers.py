"""Layers as a placement sees them: neurons in a grid, and connections that fill their synapses.

Everything that sends gets a number from 1 up, over the whole network: neurons, inputs, results of the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from snnc.placement.chips import WEIGHT_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.kernel_types import Array
    from snnc.placement.reads import Axis

    Box: TypeAlias = tuple[tuple[int, int], ...]

Table: TypeAlias = "NDArray[np.int64]"


@dataclass(frozen=True, eq=False)
class Connection:
    """Synapses that are a product of axes, one per axis of the layer.

    `origin` [*sizes of the axes, rest] numbers what is read, 0 where nothing is; every position reads all of
    the rest. `delay`: steps that a graph's own delay adds.
    """

    axes: tuple[Axis, ...]
    origin: Array
    delay: int = 0

    @property
    def rest(self) -> int:
        return int(self.origin.shape[-1])

    def bytes(self, axis: int, cuts: Array, shared: bool) -> Table:
        """Return one axis's factor of the weights' bytes, for each part between cuts."""
        one = self.axes[axis]
        found = one.weights(cuts) if shared else one.synapses(cuts)
        rest = 1 if axis > 0 or (shared and self.equal) else self.rest
        return np.asarray(found * (rest if axis else rest * WEIGHT_BYTES))

    def axons(self, axis: int, cuts: Array) -> Table:
        """Return one axis's factor of how many elements each part reads at most."""
        return np.asarray(self.axes[axis].reads(cuts) * (1 if axis else self.rest))

    @property
    def equal(self) -> bool:
        """Tell whether all weights are one number."""
        return all(axis.equal for axis in self.axes)

    def sources(self, box: Box) -> Array:
        """Return the numbers of what a box of the layer reads, each once, in any order."""
        read = [axis.positions_read(*span) for axis, span in zip(self.axes, box, strict=True)]
        found = self.origin[np.ix_(*read)].ravel()
        found = found[found > 0]
        return found if self.all_differ else np.unique(found)

    @cached_property
    def all_differ(self) -> bool:
        """Tell whether nothing is read at two places."""
        numbers = np.sort(self.origin[self.origin > 0])
        return bool((numbers[1:] != numbers[:-1]).all())

    def most_axons(self, box: Box, sources: Array) -> int:
        """Return how many input axons a box takes that reads these sources."""
        return len(sources)


@dataclass(frozen=True, eq=False, slots=True)
class Tangle:
    """Synapses that are no product of axes; what they take is bounded by the largest fan-in."""

    fan_in: int
    weights: int
    origin: Array
    delay: int = 0

    def most_bytes(self, neurons: Table, shared: bool) -> Table:
        alone = neurons * self.fan_in
        return np.asarray((np.minimum(alone, self.weights) if shared else alone) * WEIGHT_BYTES)

    def axons(self, neurons: Table) -> Table:
        return np.minimum(neurons * self.fan_in, np.count_nonzero(self.origin))

    def most_axons(self, box: Box, sources: Array) -> int:
        """Return how many input axons a box takes at most."""
        return int(self.axons(np.array(volume(box))))

    def sources(self, box: Box) -> Array:
        """Return the numbers of all that may be read, whatever the box."""
        found = np.unique(self.origin)
        return found[found > 0]


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """Neurons in a grid of `shape`, `compartments` for each, and the numbers [*shape, lines] they send as.

    `kind`: neurons, readout (sums that the host reads), relay (sums that a synapse reads), pool.
    `channels`: the axis of its channels, None if a change of their number would change the answer.
    `depth`: steps after its first input; `longest_delay`: steps its earliest source must wait.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    numbers: Array
    connections: tuple[Connection | Tangle, ...]
    channels: int | None
    compartments: int = 1
    depth: int = 1
    longest_delay: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def neurons(self) -> int:
        return self.elements * self.compartments

    @property
    def whole(self) -> Box:
        return tuple((0, size) for size in self.shape)

    def bytes(self, box: Box, shared: bool) -> int:
        """Return the bytes of weights that a box of the layer stores."""
        cuts = [np.array(span) for span in box]
        total = 0
        for connection in self.connections:
            if isinstance(connection, Connection):
                factors = [connection.bytes(axis, c, shared) for axis, c in enumerate(cuts)]
                total += math.prod(int(factor[0]) for factor in factors)
            else:
                total += int(connection.most_bytes(np.array(volume(box)), shared))
        return total

    def axons(self, box: Box) -> int:
        """Return how many input axons a box of the layer needs, one per connection and source."""
        return sum(connection.most_axons(box, connection.sources(box)) for connection in self.connections)


def volume(box: Box) -> int:
    return math.prod(stop - start for start, stop in box)


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A node that no core computes, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in execution order, what stays on the host, how many numbers there are, which the host reads."""

    layers: tuple[Layer, ...]
    unplaced: tuple[Unplaced, ...]
    numbers: int
    read_by_host: tuple[Array, ...]
    integer: bool
