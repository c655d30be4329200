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
    """Return an offset for each, and the bytes that all of them take: the large ones first, each as low as
    what is alive meanwhile leaves room for it."""
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for index in sorted(range(len(lifetimes)), key=lambda i: -lifetimes[i].size):
        one = lifetimes[index]
        taken = sorted(
            (offsets[other], offsets[other] + aligned(lifetimes[other].size))
            for other in placed
            if lifetimes[other].meets(one)
        )
        offset = 0
        for start, end in taken:
            if offset + aligned(one.size) <= start:
                break
            offset = max(offset, end)
        offsets[index] = offset
        placed.append(index)
    ends = (offset + aligned(one.size) for offset, one in zip(offsets, lifetimes, strict=True))
    return offsets, max(ends, default=0)


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
