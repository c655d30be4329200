"""Convolution kernels as the readers of NIR expect them: square, one group, padded alike on both sides.

NIR's equation allows more, but the nir package (1.0.8) infers shapes from the first size of a kernel and
from its input channels, so that it refuses to read anything else. Zeros change no sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.kernel_types import Array


@dataclass(frozen=True, slots=True)
class Kernel:
    """Weights [out, in, *sizes], all sizes equal, and the padding on either side of every axis."""

    weight: Array
    padding: tuple[int, ...]


def ungrouped(weight: Array, groups: int) -> Array:
    """Return the weights of one group, [out, in, …], with zeros between channels of different groups."""
    if groups == 1:
        return weight
    outputs, inner = weight.shape[:2]
    full = np.zeros((outputs, inner * groups, *weight.shape[2:]), weight.dtype)
    for group, rows in enumerate(np.split(np.arange(outputs), groups)):
        full[rows, group * inner : (group + 1) * inner] = weight[rows]
    return full


def squared(weight: Array, pads: Sequence[int], dilations: Sequence[int]) -> Kernel | None:
    """Return the kernel with zeros around it, square and padded alike; None if no zeros can do that.

    A tap more in front of the kernel takes `dilation` more of padding in front, one more behind it as much
    behind.
    """
    sizes, rank = weight.shape[2:], len(weight.shape) - 2
    before, after = pads[:rank], pads[rank:]
    shifts = []
    for b, a, d in zip(before, after, dilations, strict=True):
        if (a - b) % d:
            return None
        shifts.append((a - b) // d)  # taps in front less taps behind
    least = [size + abs(shift) for size, shift in zip(sizes, shifts, strict=True)]
    if len({n % 2 for n in least}) > 1:
        return None
    side = max(least)
    front = [(side - size + shift) // 2 for size, shift in zip(sizes, shifts, strict=True)]
    behind = [side - size - n for size, n in zip(sizes, front, strict=True)]
    around = [(0, 0), (0, 0), *zip(front, behind, strict=True)]
    padding = tuple(b + n * d for b, n, d in zip(before, front, dilations, strict=True))
    return Kernel(np.pad(weight, around), padding)
