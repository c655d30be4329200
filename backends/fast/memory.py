"""Plans where arrays lie that are not all alive at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Value
    from snnc.ir.kernel_types import Array

ALIGNMENT = 64  # bytes: a cache line


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Some bytes that are needed from one unit of a step to another, both included."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Return an offset for each, and the bytes that all of them take.

    In the order in which they begin, the large ones first, each goes into the smallest gap between those
    that are alive.
    """
    offsets = [0] * len(lifetimes)
    alive: list[tuple[int, int, int]] = []  # offset, end, last unit
    total = 0
    for index in sorted(range(len(lifetimes)), key=lambda one: (lifetimes[one].first, -lifetimes[one].size)):
        lifetime = lifetimes[index]
        alive = [one for one in alive if one[2] >= lifetime.first]
        size = aligned(lifetime.size)
        offset = smallest_gap(alive, size)
        alive = sorted([*alive, (offset, offset + size, lifetime.last)])
        offsets[index], total = offset, max(total, offset + size)
    return offsets, total


def smallest_gap(alive: Sequence[tuple[int, int, int]], size: int) -> int:
    """Return where the smallest gap that is large enough begins, else the end."""
    start, fitting = 0, []
    for offset, end, _ in alive:
        if offset - start >= size:
            fitting.append((offset - start, start))
        start = max(start, end)
    return min(fitting)[1] if fitting else start


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class Arena:
    """Memory for the streams of one step; `size` is its bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        block = np.zeros(size + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        self._bytes = block[start : start + size]

    def array(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._bytes[offset : offset + size].view(dtype).reshape(shape)


def shape_of(value: Value, batch: int) -> tuple[int, ...]:
    """Return a stream's shape for so many samples."""
    return tuple(dim if isinstance(dim, int) else dim.coefficient * batch for dim in value.type.shape)


def dtype_of(value: Value) -> np.dtype[np.generic]:
    return np.dtype(DTYPES[value.type.dtype])


def bytes_of(value: Value, batch: int) -> int:
    return int(np.prod(shape_of(value, batch), dtype=np.int64)) * dtype_of(value).itemsize
