"""Numerics of convolution: geometry of one axis, the flat column layout, and the loops around BLAS.

Every sample is laid out flat with a row pitch that lets one row's zero border serve the next one. A kernel
offset is then a constant shift of the whole flat stream, so columns are filled by a few long copies and one
matrix product covers many samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.kernel_types import Array

# The column block is written once and read once by BLAS: it pays to keep it within the second-level cache.
COLUMN_BYTES = 2**20
# What one group of samples may occupy in flat layout.
FLAT_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel sliding along one axis."""

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def extent(self) -> int:
        """Return how many input positions the dilated kernel spans."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def output(self) -> int:
        """Return the number of kernel positions."""
        return (self.size + self.before + self.after - self.extent) // self.stride + 1

    @property
    def padded(self) -> bool:
        return self.before > 0 or self.after > 0

    @property
    def tiles(self) -> bool:
        """Tell whether the kernel positions cut the input into blocks without overlap or rest."""
        return self.extent == self.kernel == self.stride and not self.padded and self.size % self.stride == 0

    @property
    def pitch(self) -> int:
        """Return the flat length of a row in one phase of the stride; neighbouring rows share a border."""
        return max(-(-(self.size + max(self.before, self.after)) // self.stride), self.output)

    @property
    def phases(self) -> tuple[int, ...]:
        """Return the residues modulo the stride that the kernel reads."""
        return tuple(sorted({k * self.dilation % self.stride for k in range(self.kernel)}))

    def placed(self, phase: int) -> tuple[slice, slice]:
        """Return where a phase of the input lies in the flat row, and which inputs they are."""
        first = max(0, -(-(self.before - phase) // self.stride))
        start = first * self.stride + phase - self.before
        count = len(range(start, self.size, self.stride))
        return slice(first, first + count), slice(start, None, self.stride)

    @property
    def drives(self) -> Array:
        """Return, for each input position, how many (output, tap) pairs read it."""
        outputs = np.arange(self.output)[:, None] * self.stride
        taps = np.arange(self.kernel) * self.dilation - self.before
        positions = (outputs + taps).ravel()
        inside = positions[(positions >= 0) & (positions < self.size)]
        return np.bincount(inside, minlength=self.size)


def windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] = (),
    pads: Sequence[int] = (),
    dilations: Sequence[int] = (),
) -> tuple[Window, ...]:
    """Return one window per spatial axis; empty attributes mean ones (strides, dilations) or zeros (pads)."""
    rank = len(sizes)
    ones, zeros = (1,) * rank, (0,) * (2 * rank)
    pads = pads or zeros
    return tuple(
        Window(*axis)
        for axis in zip(
            sizes, kernel, strides or ones, dilations or ones, pads[:rank], pads[rank:], strict=True
        )
    )


def convolve(x: Array, weight: Array, axes: tuple[Window, ...], group: int) -> Array:
    """Return the convolution of x [n, C, *sizes] with weight [O, C/group, *kernel], without bias."""
    if all(a.kernel == 1 and not a.padded for a in axes):
        return _pointwise(x[(..., *(slice(None, None, a.stride) for a in axes))], weight, group)
    if group == 1 and all(a.tiles for a in axes):
        return _patches(x, weight, axes)
    return _Flat(x, weight, axes, group).run()


def _pointwise(x: Array, weight: Array, group: int) -> Array:
    """Return a 1x1 convolution: one matrix product per sample."""
    batch, channels, *sizes = x.shape
    columns = x.reshape(batch, group, channels // group, math.prod(sizes))
    matrix = weight.reshape(group, len(weight) // group, channels // group)
    return np.matmul(matrix, columns).reshape(batch, len(weight), *sizes)


def _patches(x: Array, weight: Array, axes: tuple[Window, ...]) -> Array:
    """Return a convolution whose kernel positions tile the input: one copy, one matrix product per sample."""
    batch, channels, *_ = x.shape
    rank = len(axes)
    split = x.reshape(batch, channels, *(size for a in axes for size in (a.output, a.kernel)))
    order = (0, *range(2, 2 + 2 * rank, 2), 1, *range(3, 3 + 2 * rank, 2))
    rows = split.transpose(order).reshape(batch, math.prod(a.output for a in axes), -1)
    result = np.matmul(weight.reshape(len(weight), -1), rows.swapaxes(1, 2))
    return result.reshape(batch, len(weight), *(a.output for a in axes))


class _Flat:
    """One convolution in flat layout; see the module docstring."""

    def __init__(self, x: Array, weight: Array, axes: tuple[Window, ...], group: int) -> None:
        self.x, self.axes, self.group = x, axes, group
        self.dtype = np.result_type(x, weight)
        self.outputs, self.taps = len(weight), math.prod(weight.shape[2:])
        self.weight = weight.reshape(group, self.outputs // group, -1)
        self.pitches = tuple(a.pitch for a in axes)
        self.length = math.prod(self.pitches)
        steps = [math.prod(self.pitches[i + 1 :]) for i in range(len(axes))]
        self.phases = list(product(*(a.phases for a in axes)))
        self.offsets: list[tuple[int, int]] = []
        for tap in product(*(range(a.kernel) for a in axes)):
            reach = [k * a.dilation for k, a in zip(tap, axes, strict=True)]
            phase = tuple(r % a.stride for r, a in zip(reach, axes, strict=True))
            shift = sum(r // a.stride * step for r, a, step in zip(reach, axes, steps, strict=True))
            self.offsets.append((self.phases.index(phase), shift))
        self.tail = max(shift for _, shift in self.offsets)

    def run(self) -> Array:
        batch, channels = self.x.shape[:2]
        result = np.empty((batch, self.outputs, *(a.output for a in self.axes)), self.dtype)
        row = len(self.phases) * channels * self.length * self.dtype.itemsize
        step = max(1, min(batch, FLAT_BYTES // row))
        flat = np.zeros((len(self.phases), channels, step * self.length + self.tail), self.dtype)
        depthwise = self.group == channels
        window = (slice(None), slice(None), *(slice(0, a.output) for a in self.axes))
        for start in range(0, batch, step):
            samples = self.x[start : start + step]
            self._place(samples, flat)
            length = len(samples) * self.length
            block = self._depthwise(flat, length) if depthwise else self._columns(flat, length)
            grid = block.reshape(self.outputs, len(samples), *self.pitches)
            result[start : start + step] = grid[window].swapaxes(0, 1)
        return result

    def _place(self, samples: Array, flat: Array) -> None:
        """Copy samples into the flat layout, one copy per phase of the strides; borders stay zero."""
        count, channels = samples.shape[:2]
        for row, phase in zip(flat, self.phases, strict=True):
            grid = row[:, : count * self.length].reshape(channels, count, *self.pitches)
            placed = [a.placed(p) for a, p in zip(self.axes, phase, strict=True)]
            target = (slice(None), slice(None), *(there for there, _ in placed))
            source = (slice(None), slice(None), *(here for _, here in placed))
            grid[target] = samples[source].swapaxes(0, 1)

    def _columns(self, flat: Array, length: int) -> Array:
        """Return weight @ columns for the flat stream, column block by column block."""
        channels = flat.shape[1]
        inner = channels // self.group
        result = np.empty((self.group, self.outputs // self.group, length), self.dtype)
        width = max(256, COLUMN_BYTES // (channels * self.taps * self.dtype.itemsize))
        columns = np.empty((self.group, inner, self.taps, min(width, length)), self.dtype)
        for start in range(0, length, width):
            stop = min(start + width, length)
            block = columns[..., : stop - start]
            for tap, (phase, shift) in enumerate(self.offsets):
                shifted = flat[phase, :, start + shift : stop + shift]
                block[:, :, tap] = shifted.reshape(self.group, inner, stop - start)
            matrix = block.reshape(self.group, inner * self.taps, stop - start)
            np.matmul(self.weight, matrix, out=result[..., start:stop])
        return result

    def _depthwise(self, flat: Array, length: int) -> Array:
        """Return the sum over taps of weight times the shifted stream."""
        result: Array | None = None
        for tap, (phase, shift) in enumerate(self.offsets):
            term = flat[phase, :, None, shift : shift + length] * self.weight[:, :, tap, None]
            result = term if result is None else np.add(result, term, out=result)
        assert result is not None
        return result


def convolve_transposed(
    x: Array, weight: Array, axes: tuple[Window, ...], result_sizes: Sequence[int], group: int
) -> Array:
    """Return the transposed convolution of x [n, C, *sizes] with weight [C, O/group, *kernel], without bias.

    `axes` hold the windows along the input; result position = input * stride + tap * dilation - before.
    """
    batch, channels = x.shape[:2]
    taps = math.prod(weight.shape[2:])
    inner, outputs = channels // group, weight.shape[1]
    matrix = weight.reshape(group, inner, outputs * taps).swapaxes(1, 2)
    spread = np.matmul(matrix, x.reshape(batch, group, inner, -1))
    spread = spread.reshape(batch, group * outputs, taps, *(a.size for a in axes))
    whole = [
        max((a.size - 1) * a.stride + a.extent, size + a.before)
        for a, size in zip(axes, result_sizes, strict=True)
    ]
    result = np.zeros((batch, group * outputs, *whole), spread.dtype)
    for tap, position in enumerate(product(*(range(a.kernel) for a in axes))):
        target = tuple(
            slice(k * a.dilation, k * a.dilation + (a.size - 1) * a.stride + 1, a.stride)
            for k, a in zip(position, axes, strict=True)
        )
        result[(slice(None), slice(None), *target)] += spread[:, :, tap]
    inside = tuple(slice(a.before, a.before + size) for a, size in zip(axes, result_sizes, strict=True))
    return np.ascontiguousarray(result[(slice(None), slice(None), *inside)])
