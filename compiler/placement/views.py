"""A synapse's result as a layer sees it: moved, cut out of, split into more axes or joined from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.placement.layers import Connection
from snnc.placement.reads import Axis, same, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.kernel_types import Array


def view(axes: tuple[Axis, ...], origin: Array, index: Array, delay: int) -> Connection | None:
    """Return the connection of a layer; None if it is no product of the layer's axes.

    `axes` are those of the result, `origin` [*sizes of the axes, rest] numbers what they read, and `index`
    [*layer] says which element of the result each neuron adds up, counted from 1 (0: none).
    """
    chosen = seen_from(axes, index)
    if chosen is not None:
        return Connection(chosen, origin, delay)
    steps = affine(index)
    return None if steps is None else strided(axes, origin, index, steps, delay)


def seen_from(axes: tuple[Axis, ...], index: Array) -> tuple[Axis, ...] | None:
    """Return the axes at the positions of a layer with the same axes; None if it mixes them."""
    shape = tuple(axis.positions for axis in axes)
    if len(shape) != index.ndim:
        return None
    coordinates = np.unravel_index(np.maximum(index - 1, 0), shape)
    used = index > 0
    chosen = []
    for axis, found in enumerate(coordinates):
        others = tuple(other for other in range(index.ndim) if other != axis)
        chosen.append(np.where(used, found, -1).max(axis=others, initial=-1))
    grid = np.ix_(*chosen)
    valid = np.ones(index.shape, bool)
    for positions in grid:
        valid &= positions >= 0
    expected = np.ravel_multi_index(tuple(np.maximum(positions, 0) for positions in grid), shape) + 1
    if not np.array_equal(np.where(valid, expected, 0), index):
        return None
    return tuple(axis.at(positions) for axis, positions in zip(axes, chosen, strict=True))


def affine(index: Array) -> list[int] | None:
    """Return how far each axis of a layer moves through the result; None if not by equal steps."""
    first = index.flat[0]
    steps = [
        int(index[tuple(int(other == axis) for other in range(index.ndim))] - first) if size > 1 else 0
        for axis, size in enumerate(index.shape)
    ]
    expected = np.full(index.shape, first)
    for axis, (size, step) in enumerate(zip(index.shape, steps, strict=True)):
        expected = expected + (np.arange(size) * step).reshape(
            [-1 if a == axis else 1 for a in range(index.ndim)]
        )
    return steps if (index > 0).all() and np.array_equal(expected, index) else None


def strided(
    axes: tuple[Axis, ...], origin: Array, index: Array, steps: Sequence[int], delay: int
) -> Connection | None:
    """Return the connection of a layer that walks through the result by equal steps.

    An axis of the result that nothing walks along stands still; of what it reads there, all read everything.
    """
    start = np.unravel_index(int(index.flat[0]) - 1, tuple(axis.positions for axis in axes))
    walkers = who_walks([axis.positions for axis in axes], steps)
    if walkers is None:
        return None
    found = {axis: whole(size, 1) for axis, size in enumerate(index.shape)}
    labels: list[int] = [-1]  # the layer's axis that each axis of `origin` belongs to
    for number in reversed(range(len(axes))):
        mine = walkers[number]
        positions = int(start[number]) + sum_of_steps([(index.shape[i], step) for i, step in mine])
        part = walk(axes[number], positions)
        if part is None:
            return None
        read, new = part
        origin = np.take(origin, read, axis=number)
        origin = origin.reshape(
            *origin.shape[:number],
            *(axis.size for axis in new),
            *([-1] if not new else []),
            *origin.shape[number + 1 :],
        )
        found |= dict(zip((i for i, _ in mine), new, strict=True))
        labels = [i for i, _ in mine] + labels if mine else [-1, *labels]
    order = sorted(range(len(labels)), key=lambda place: (labels[place] < 0, labels[place]))
    chosen = tuple(found[axis] for axis in range(index.ndim))
    moved = origin.transpose(order).reshape(*(axis.size for axis in chosen), -1)
    return Connection(chosen, moved, delay)


def who_walks(sizes: Sequence[int], steps: Sequence[int]) -> list[list[tuple[int, int]]] | None:
    """Return, per axis of the result, the layer's axes that walk along it and their steps there."""
    walkers: list[list[tuple[int, int]]] = [[] for _ in sizes]
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    for place, step in enumerate(steps):
        if step < 0:
            return None
        along = [
            axis
            for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True))
            if size > 1 and stride <= step
        ]
        if step and (not along or step % strides[along[0]]):
            return None
        if step:
            walkers[along[0]].append((place, step // strides[along[0]]))
    return walkers


def sum_of_steps(walks: Sequence[tuple[int, int]]) -> Array:
    """Return the grid of sums of steps, one axis per walker."""
    total: Array = np.zeros((), int)
    for size, step in walks:
        total = np.add.outer(total, np.arange(size) * step)
    return total


def walk(axis: Axis, positions: Array) -> tuple[Array, list[Axis]] | None:
    """Return what an axis reads at a grid of positions, as one axis per axis of the grid, or None.

    The first of the two says which positions of the operand are left, in the order of the new axes.
    """
    if positions.max() >= axis.positions:
        return None
    if positions.ndim == 0:
        return axis.positions_read(int(positions), int(positions) + 1), []
    if positions.ndim == 1:
        return np.arange(axis.size), [axis.at(positions)]
    if axis.taps is None:
        # All read everything: said once, by the first of them.
        rest = [whole(size, 1, own=axis.own, equal=axis.equal) for size in positions.shape[1:]]
        return np.arange(axis.size), [
            whole(positions.shape[0], axis.size, own=axis.own, equal=axis.equal),
            *rest,
        ]
    if axis.taps.shape[1] == 1 and (axis.taps >= 0).all():
        new = [same(size, own=axis.own, equal=axis.equal) for size in positions.shape]
        return axis.taps[positions.ravel(), 0], new
    return None
