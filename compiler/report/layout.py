"""Where boxes lie: layers from top to bottom, few crossings, straight lines (Sugiyama's method).

Boxes take the layer below their lowest source; an arrow over several layers passes a bend in each. Within a
layer they are ordered by the mean place of their neighbours, then moved as close to these as the order allows
in least squares (isotonic regression).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    Pair: TypeAlias = "tuple[Hashable, Hashable]"

SWEEPS = 12
# Bends hold each other straight; arrows to boxes give way.
BOXES, MIXED, BENDS = 4.0, 0.02, 8.0


@dataclass(eq=False, slots=True)
class Place:
    """A box or (item None) the bend of an arrow: its layer and the middle of it across."""

    item: Hashable | None
    layer: int
    width: float
    x: float = 0.0
    neighbours: list[tuple[Place, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Layout:
    """Places by item, and per arrow the places it passes, ends included."""

    places: dict[Hashable, Place]
    routes: list[list[Place]]
    layers: list[list[Place]]


def lay_out(
    items: Sequence[Hashable], arrows: Sequence[Pair], width: float, gap: float, bend: float
) -> Layout:
    """Place items (in an order that every arrow follows), `gap` apart; bends take `bend` of room."""
    depth = depths(items, arrows)
    places = {item: Place(item, depth[item], width) for item in items}
    layers: list[list[Place]] = [[] for _ in range(1 + max(depth.values(), default=0))]
    for place in places.values():
        layers[place.layer].append(place)
    routes = []
    for source, target in arrows:
        start, end = places[source], places[target]
        bends = [Place(None, layer, bend) for layer in range(start.layer + 1, end.layer)]
        for place in bends:
            layers[place.layer].append(place)
        routes.append([start, *bends, end])
        for above, below in pairwise(routes[-1]):
            weight = pull(above, below)
            above.neighbours.append((below, weight))
            below.neighbours.append((above, weight))
    order(layers)
    straighten(layers, gap)
    return Layout(places, routes, layers)


def depths(items: Iterable[Hashable], arrows: Iterable[Pair]) -> dict[Hashable, int]:
    """Return the length of the longest way to each item."""
    sources = defaultdict(list)
    for source, target in arrows:
        sources[target].append(source)
    depth: dict[Hashable, int] = {}
    for item in items:
        depth[item] = max((depth[source] + 1 for source in sources[item]), default=0)
    return depth


def pull(one: Place, other: Place) -> float:
    bends = (one.item is None) + (other.item is None)
    return (BOXES, MIXED, BENDS)[bends]


def order(layers: list[list[Place]]) -> None:
    """Sort each layer by the mean position of its neighbours in the layer before, down and up again."""
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        sequence = layers if downwards else layers[::-1]
        for before, layer in pairwise(sequence):
            position = {place: index / max(1, len(before) - 1) for index, place in enumerate(before)}
            means = {place: mean_position(place, position) for place in layer}
            layer.sort(key=lambda place: means[place])


def mean_position(place: Place, position: dict[Place, float]) -> float:
    found = [position[other] for other, _ in place.neighbours if other in position]
    return sum(found) / len(found) if found else 0.5


def straighten(layers: list[list[Place]], gap: float) -> None:
    """Give every place its x, left edge of the drawing at 0."""
    for layer in layers:
        settle(layer, [0.0] * len(layer), gap)
    for sweep in range(2 * SWEEPS):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            settle(layer, [wanted(place) for place in layer], gap)
    left = min((place.x - place.width / 2 for layer in layers for place in layer), default=0.0)
    for layer in layers:
        for place in layer:
            place.x -= left


def wanted(place: Place) -> float:
    total = sum(weight for _, weight in place.neighbours)
    return sum(weight * other.x for other, weight in place.neighbours) / total if total else place.x


def settle(layer: list[Place], targets: Sequence[float], gap: float) -> None:
    """Minimise Σ weight (x - target)² while neighbours in the layer keep their distance."""
    offsets, offset = [], 0.0
    for index, place in enumerate(layer):
        if index:
            offset += (layer[index - 1].width + place.width) / 2 + gap
        offsets.append(offset)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, places
    for place, target, offset in zip(layer, targets, offsets, strict=True):
        weight = max(sum(pulled for _, pulled in place.neighbours), MIXED)
        mean, count = target - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, other_weight, other_count = blocks.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + other_count
        blocks.append((mean, weight, count))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    for place, mean, offset in zip(layer, means, offsets, strict=True):
        place.x = mean + offset
