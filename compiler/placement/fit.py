"""All layers on cores. A core holds neurons of one layer; cores are numbered in the order of layers.

Layers are cut from the last to the first, because the output axons of a neuron are the cores that read it:
they are known once all of its readers are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.placement.chips import RESOURCES, Limits
from snnc.placement.layers import volume
from snnc.placement.tiling import Excess, Tiling, boxes, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.kernel_types import Array
    from snnc.placement.chips import Chip
    from snnc.placement.layers import Box, Layer, Network

UNLIMITED = 2**40


@dataclass(frozen=True, slots=True)
class Core:
    """One core: its part of a layer, and how much it needs of each resource."""

    layer: Layer
    box: Box
    used: dict[str, int]

    def share(self, limits: Limits) -> float:
        """Return how full its scarcest resource is."""
        return max(share for share in self.shares(limits).values())

    def shares(self, limits: Limits) -> dict[str, float]:
        return {name: self.used[name] / int(getattr(limits, name)) for name in RESOURCES}


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """A layer with its cores, none of them if it fits no number of cores."""

    layer: Layer
    cut: Tiling | Excess
    cores: tuple[Core, ...]

    def fullest(self, limits: Limits) -> dict[str, float]:
        """Return the share of each limit that the core needs that needs most of it."""
        shares = [core.shares(limits) for core in self.cores]
        return {name: max((share[name] for share in shares), default=0.0) for name in RESOURCES}

    def bottleneck(self, limits: Limits) -> str:
        """Return the resource that alone asks for most cores, or of which one core has least left."""
        if isinstance(self.cut, Excess):
            return self.cut.resource
        alone, fullest = self.cut.alone, self.fullest(limits)
        return max(RESOURCES, key=lambda name: (alone[name], fullest[name]))


@dataclass(frozen=True, slots=True)
class Placement:
    """A network on chips of one kind."""

    network: Network
    chip: Chip
    limits: Limits
    shared: bool
    layers: tuple[PlacedLayer, ...]

    @property
    def cores(self) -> tuple[Core, ...]:
        return tuple(core for placed in self.layers for core in placed.cores)

    @property
    def too_large(self) -> tuple[PlacedLayer, ...]:
        """Return the layers that fit no number of cores."""
        return tuple(placed for placed in self.layers if isinstance(placed.cut, Excess))

    @property
    def core_count(self) -> int:
        return sum(len(placed.cores) for placed in self.layers)

    @property
    def chips(self) -> int | None:
        """Return how many chips hold the network; None if no number does."""
        return None if self.too_large else -(-self.core_count // self.chip.cores)

    def fits(self, chips: int) -> bool:
        return self.chips is not None and self.chips <= chips

    @property
    def longest_delay(self) -> int:
        return max((placed.layer.longest_delay for placed in self.layers), default=0)


def place(network: Network, chip: Chip, limits: Limits, *, shared: bool) -> Placement:
    """Place every layer of a network."""
    reach = np.zeros(network.numbers + 1, np.int32)
    for numbers in network.read_by_host:
        reach[numbers] += 1
    placed = [place_layer(layer, limits, shared, reach) for layer in reversed(network.layers)]
    return Placement(network, chip, limits, shared, tuple(reversed(placed)))


def relaxed(placement: Placement, names: Sequence[str]) -> Placement:
    """Return the placement as it would be without some of the limits."""
    limits = replace(placement.limits, **dict.fromkeys(names, UNLIMITED))
    return place(placement.network, placement.chip, limits, shared=placement.shared)


def place_layer(layer: Layer, limits: Limits, shared: bool, reach: Array) -> PlacedLayer:
    """Place a layer, and count its cores in the reach of what they read."""
    own = reach[layer.numbers].sum(axis=-1, dtype=np.int64)
    found = cut(layer, limits, shared, own)
    parts = found.parts if isinstance(found, Tiling) else (1,) * len(layer.shape)
    cores = []
    for box in boxes(layer.shape, parts):
        axons = 0
        for connection in layer.connections:
            sources = connection.sources(box)
            reach[sources] += 1
            axons += connection.most_axons(box, sources)
        used = {
            "neurons": volume(box) * layer.compartments,
            "memory": volume(box) * layer.compartments * limits.state + layer.bytes(box, shared),
            "input_axons": axons,
            "output_axons": int(own[tuple(slice(*span) for span in box)].sum()),
        }
        cores.append(Core(layer, box, used))
    return PlacedLayer(layer, found, tuple(cores) if isinstance(found, Tiling) else ())
