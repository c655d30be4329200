"""Mean and covariance of what a synapse's weights multiply, gathered batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import DataError
from snnc.ir.ops.convolution import Window, windows
from snnc.ir.shapes import per_sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

# The largest covariance that is kept, in numbers (128 MiB): 4096 inputs of one output.
MOST_COVARIANCE = 2**24
# Rows (positions of samples) that a covariance is made of, at least and per input: more tell little.
FEWEST_ROWS, ROWS_PER_INPUT = 2**14, 32
# Numbers of these rows that are held at a time.
HELD = 2**22


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean [groups, K] and covariance [groups, K, K] of the inputs of a synapse's outputs.

    The groups are those of a convolution (1 for a linear layer). K = inputs of one output, in the order of
    the weight's axes but the first. The covariance is None where it has more than `MOST_COVARIANCE` numbers.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64] | None


@dataclass(slots=True)
class MomentStatistics:
    """Sums over the inputs of one conv or linear node, over positions of samples; zero padding counts.

    `share` of all positions is drawn at random, the same ones in every run.
    """

    name: str
    group: int
    axes: tuple[Window, ...]
    share: float = 1.0
    rows: int = 0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    products: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, graph: Graph, node: Node, samples: int) -> MomentStatistics:
        """Return statistics of a conv or linear node that has seen nothing of so many samples yet."""
        given, shape = graph.resolve(node), node.operands[0].type.shape
        weight: Array = given["weight"]
        group, axes = 1, tuple[Window, ...]()
        if node.op.name == "conv":
            group, sizes = given["group"], [dim for dim in shape[2:] if isinstance(dim, int)]
            geometry = [given[key] for key in ("strides", "pads", "dilations")]
            axes = windows(sizes, weight.shape[2:], *geometry)
        inputs = math.prod(weight.shape[1:])
        positions = samples * per_sample(node.result.type.shape) // len(weight)
        share = min(1.0, max(FEWEST_ROWS, ROWS_PER_INPUT * inputs) / max(1, positions))
        small = group * inputs**2 <= MOST_COVARIANCE
        return cls(
            ", ".join(node.origin) or node.op.name,
            group,
            axes,
            share,
            total=np.zeros((group, inputs)),
            products=np.zeros((group, inputs, inputs)) if small else None,
        )

    @property
    def geometry(self) -> tuple[int, tuple[Window, ...]]:
        """Nodes that read the same stream in the same way have the same moments."""
        return self.group, self.axes

    def update(self, batch: Array) -> None:
        """Add a batch of what the node reads; `DataError` if it holds NaN or infinity."""
        if not np.isfinite(batch).all():
            raise DataError(
                f"calibration gives NaN or infinite values at the inputs of {self.name!r}",
                help="check the calibration data and its normalisation (--scale, --mean, --std)",
            )
        for rows in self._rows(batch):
            self.rows += len(rows)
            self.total += rows.sum(axis=0)
            if self.products is not None:
                for group, inputs in enumerate(rows.swapaxes(0, 1)):
                    self.products[group] += inputs.T @ inputs

    def _rows(self, batch: Array) -> Iterator[NDArray[np.float64]]:
        """Yield the drawn rows [rows, groups, K] of what the weights multiply, some at a time."""
        seen = patches(batch, self.axes)
        axes = 1 + len(self.axes) if self.axes else batch.ndim - 1
        positions = seen.shape[:axes]
        drawn = np.arange(math.prod(positions))
        if self.share < 1:
            drawn = drawn[self.random.random(len(drawn)) < self.share]
        step = max(1, HELD // self.total.size)
        for start in range(0, len(drawn), step):
            part = drawn[start : start + step]
            rows = seen[np.unravel_index(part, positions)]
            yield rows.reshape(len(part), *self.total.shape).astype(np.float64)

    def moments(self) -> Moments:
        """Return the moments of what was seen."""
        count = max(1, self.rows)
        mean = self.total / count
        if self.products is None:
            return Moments(mean, None)
        return Moments(mean, self.products / count - mean[:, :, None] * mean[:, None, :])


def patches(x: Array, axes: tuple[Window, ...]) -> Array:
    """Return what a kernel meets at every position, a view [n, *positions, C, *kernel] of x [n, C, *sizes].

    Without axes (a linear layer) x [..., K] is that already.
    """
    if not axes:
        return x
    padded = np.pad(x, [(0, 0), (0, 0), *((axis.before, axis.after) for axis in axes)])
    spatial = tuple(range(2, 2 + len(axes)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, tuple(axis.extent for axis in axes), spatial)
    strides = (slice(None, None, axis.stride) for axis in axes)
    taps = (slice(None, None, axis.dilation) for axis in axes)
    return np.moveaxis(seen[(slice(None), slice(None), *strides, *taps)], 1, 1 + len(axes))
