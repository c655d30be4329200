"""What would make a network fit: every option is placed, none is a guess."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.placement.fit import place
from snnc.placement.layers import Connection, Layer, Network
from snnc.placement.reads import same, whole
from snnc.placement.tiling import Excess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.ir.kernel_types import Array
    from snnc.placement.chips import Limits
    from snnc.placement.fit import Placement
    from snnc.placement.layers import Tangle

WIDTHS = 16  # channels are tried in steps of 1/16


@dataclass(frozen=True, slots=True)
class Option:
    """A change, and how many cores and chips the network would then take (None: no number is enough)."""

    change: str
    cores: int | None
    chips: int | None

    @classmethod
    def of(cls, change: str, placement: Placement) -> Option:
        return cls(change, None if placement.too_large else placement.core_count, placement.chips)


def advise(placement: Placement, chips: int) -> list[Option]:
    """Return what would make a network fit so many chips, best known first; nothing if it fits."""
    if placement.fits(chips):
        return []
    found = list(options(placement, chips))
    return [option for option in found if option.chips is not None]


def options(now: Placement, chips: int) -> Iterator[Option]:
    if not now.shared and now.chip.shared_weights:
        shared = place(now.network, now.chip, now.limits, shared=True)
        if (shared.chips is None, shared.core_count) < (now.chips is None, now.core_count):
            yield Option.of("shared weights (leave out --no-weight-sharing)", shared)
    if now.chips is not None:
        yield Option.of(f"more chips (--chips {now.chips})", now)
    yield from width_options(now, chips)
    yield from depthwise_options(now)
    if now.too_large:
        limits = roomier(now)
        names = [name for name in limits.__slots__ if getattr(limits, name) != getattr(now.limits, name)]
        asked = " ".join(f"--limit {name}={getattr(limits, name)}" for name in names)
        yield Option.of(
            f"cores with more room ({asked})", place(now.network, now.chip, limits, shared=now.shared)
        )


def width_options(now: Placement, chips: int) -> Iterator[Option]:
    """Yield the largest share of channels that fits, found by halving what is left to try."""
    fitting, too_many = 0, WIDTHS
    best: Placement | None = None
    while too_many - fitting > 1:
        sixteenths = (fitting + too_many) // 2
        thinner = place(thin(now.network, sixteenths / WIDTHS), now.chip, now.limits, shared=now.shared)
        if thinner.fits(chips):
            fitting, best = sixteenths, thinner
        else:
            too_many = sixteenths
    if best is not None:
        yield Option.of(f"{share(fitting)} of the channels of every layer", best)


def share(sixteenths: int) -> str:
    divisor = math.gcd(sixteenths, WIDTHS)
    return f"{sixteenths // divisor}/{WIDTHS // divisor}"


def depthwise_options(now: Placement) -> Iterator[Option]:
    """Yield what depthwise and pointwise convolutions would do, if it helps: for one layer, for all."""
    largest = max(now.layers, key=lambda placed: (bool(isinstance(placed.cut, Excess)), len(placed.cores)))
    before = (now.chips is None, now.core_count)
    for change, chosen in (
        (f"{largest.layer.name} as a depthwise and a pointwise convolution", {largest.layer}),
        ("every convolution as a depthwise and a pointwise one", set(now.network.layers)),
    ):
        network = separate(now.network, chosen)
        if len(network.layers) > len(now.network.layers):
            placed = place(network, now.chip, now.limits, shared=now.shared)
            if (placed.chips is None, placed.core_count) < before:
                yield Option.of(change, placed)


def roomier(now: Placement) -> Limits:
    """Return limits in which every neuron fits a core."""
    limits = now.limits
    placement = now
    while placement.too_large:
        for placed in placement.too_large:
            assert isinstance(placed.cut, Excess)
            name = placed.cut.resource
            limits = replace(limits, **{name: max(getattr(limits, name), placed.cut.needed)})
        placement = place(now.network, now.chip, limits, shared=now.shared)
    return limits


# Fewer channels.


def thin(network: Network, width: float) -> Network:
    """Return the network with a share of the channels of every layer, rounded up; outputs stay."""
    kept = np.ones(network.numbers + 1, bool)
    kept[0] = False
    for layer in network.layers:
        if layer.channels is not None:
            wanted = math.ceil(width * layer.shape[layer.channels])
            kept[np.moveaxis(layer.numbers, layer.channels, 0)[wanted:]] = False
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return replace(
        network,
        layers=tuple(thin_layer(layer, width, kept, number) for layer in network.layers),
        numbers=int(kept.sum()),
        read_by_host=tuple(number[read[kept[read]]] for read in network.read_by_host),
    )


def thin_layer(layer: Layer, width: float, kept: Array, number: Array) -> Layer:
    shape = list(layer.shape)
    if layer.channels is not None:
        shape[layer.channels] = math.ceil(width * shape[layer.channels])
    numbers = number[layer.numbers[tuple(slice(size) for size in shape)]]
    connections = tuple(
        thin_connection(connection, tuple(shape), width, kept, number) for connection in layer.connections
    )
    return replace(layer, shape=tuple(shape), numbers=numbers, connections=connections)


def thin_connection(
    connection: Connection | Tangle, shape: tuple[int, ...], width: float, kept: Array, number: Array
) -> Connection | Tangle:
    """Return a connection between what is left of both of its ends."""
    origin = connection.origin
    if not isinstance(connection, Connection):
        fan_in, weights = math.ceil(connection.fan_in * width), math.ceil(connection.weights * width)
        return replace(connection, fan_in=fan_in, weights=weights, origin=number[origin])
    # What never had a number (padding, constants) goes with no channel.
    alive = kept[origin] | (origin == 0)
    masks = [alive.any(axis=tuple(a for a in range(origin.ndim) if a != axis)) for axis in range(origin.ndim)]
    axes = tuple(axis.keep(n, mask) for axis, n, mask in zip(connection.axes, shape, masks, strict=False))
    return replace(connection, axes=axes, origin=number[origin[np.ix_(*masks)]])


# Depthwise convolutions.


def separate(network: Network, chosen: set[Layer]) -> Network:
    """Return the network with dense convolutions in front of some layers made depthwise, then pointwise."""
    layers: list[Layer] = []
    numbers = network.numbers
    for layer in network.layers:
        connections = list(layer.connections)
        for place_, connection in enumerate(connections):
            if layer in chosen and isinstance(connection, Connection) and is_dense_window(connection):
                depthwise = depthwise_layer(layer, connection, numbers + 1)
                numbers += depthwise.elements
                layers.append(depthwise)
                connections[place_] = pointwise(connection, depthwise)
        layers.append(replace(layer, connections=tuple(connections)))
    return replace(network, layers=tuple(layers), numbers=numbers)


def is_dense_window(connection: Connection) -> bool:
    """Tell whether every output channel reads a window of every input channel."""
    if len(connection.axes) < 3 or connection.axes[1].taps is not None or not connection.axes[1].own:
        return False
    return any(axis.taps is not None and axis.taps.shape[1] > 1 for axis in connection.axes[2:])


def depthwise_layer(layer: Layer, connection: Connection, first: int) -> Layer:
    batch, channels, *windows = connection.axes
    shape = (batch.positions, channels.size, *(axis.positions for axis in windows))
    numbers = np.arange(first, first + math.prod(shape), dtype=np.int32).reshape(*shape, 1)
    axes = (batch, same(channels.size, own=True), *windows)
    return Layer(
        f"{layer.name} (depthwise)",
        "neurons",
        shape,
        numbers,
        (replace(connection, axes=axes),),
        1,
        depth=layer.depth,
    )


def pointwise(connection: Connection, depthwise: Layer) -> Connection:
    batch, channels, *windows = connection.axes
    spatial = tuple(same(axis.positions) for axis in windows)
    axes = (same(batch.positions), whole(channels.positions, channels.size, own=True), *spatial)
    return Connection(axes, depthwise.numbers)
