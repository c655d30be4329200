"""Numerics of convolution: geometry of one axis, two layouts of the columns, and the loops around BLAS.

Flat: every sample is laid out flat with a row pitch that lets one row's zero border serve the next one. A
kernel offset is then a constant shift of the whole flat stream, so columns are filled by a few long copies
and one matrix product covers many samples.

Gathered: the inputs of every output lie in a row, channels innermost. No border is multiplied, and copies
are as long as there are channels: for many samples of small images with many channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from snnc.ir.kernel_types import Array

Index: TypeAlias = tuple[slice, ...]

# The column block is written once and read once by BLAS: it pays to keep it in the cache of one core.
COLUMN_BYTES = 2**20
# What one group of samples may occupy in flat layout.
FLAT_BYTES = 2**19
# Gathering pays for so many channels (of more, arranging the weights takes too long), images of up to so many
# positions and from so many rows on.
GATHERED_CHANNELS, GATHERED_POSITIONS, GATHERED_ROWS = range(16, 257), 256, 256
# A matrix product per channel is slower than all channels at once from so many on, up to so many outputs.
CHANNELWISE_CHANNELS, CHANNELWISE_POSITIONS = 256, 16


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
    return _windows(tuple(sizes), tuple(kernel), tuple(strides), tuple(pads), tuple(dilations))


@lru_cache(maxsize=256)  # a small convolution takes about as long as describing it
def _windows(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[Window, ...]:
    rank = len(sizes)
    ones, zeros = (1,) * rank, (0,) * (2 * rank)
    pads = pads or zeros
    return tuple(
        Window(*axis)
        for axis in zip(
            sizes, kernel, strides or ones, dilations or ones, pads[:rank], pads[rank:], strict=True
        )
    )


def convolve(x: Array, weight: Array, bias: Array | None, axes: tuple[Window, ...], group: int) -> Array:
    """Return the convolution of x [n, C, *sizes] with weight [O, C/group, *kernel] and bias [O]."""
    batch, channels = x.shape[:2]
    reach = _reach(axes)
    if reach.pointwise:
        result = _pointwise(x[_beyond(slice(None, None, a.stride) for a in axes)], weight, group)
    elif group == 1 and reach.tiles:
        result = _patches(x, weight, axes)
    elif group == 1 and reach.gathers(batch, channels):
        return _gathered(x, weight, bias, axes)
    elif group == len(weight) == channels >= CHANNELWISE_CHANNELS and reach.outputs <= CHANNELWISE_POSITIONS:
        return _channelwise(x, weight, bias, axes)
    else:
        return _sliding(x, weight, bias, axes, group)
    return result if bias is None else np.add(result, bias.reshape(-1, *(1,) * len(axes)), out=result)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a kernel reaches of an image: how many positions either has, and how they meet."""

    pointwise: bool
    tiles: bool
    inputs: int
    outputs: int

    def gathers(self, batch: int, channels: int) -> bool:
        small = channels in GATHERED_CHANNELS and self.inputs <= GATHERED_POSITIONS
        return small and batch * self.outputs >= GATHERED_ROWS


@lru_cache(maxsize=256)
def _reach(axes: tuple[Window, ...]) -> Reach:
    return Reach(
        pointwise=all(a.kernel == 1 and not a.padded for a in axes),
        tiles=all(a.tiles for a in axes),
        inputs=math.prod(a.size for a in axes),
        outputs=math.prod(a.output for a in axes),
    )


def _pointwise(x: Array, weight: Array, group: int) -> Array:
    """Return a 1x1 convolution: one matrix product per sample."""
    batch, channels, *sizes = x.shape
    columns = x.reshape(batch, group, channels // group, math.prod(sizes))
    matrix = weight.reshape(group, len(weight) // group, channels // group)
    result: Array = np.matmul(matrix, columns)
    return result.reshape(batch, len(weight), *sizes)


def _patches(x: Array, weight: Array, axes: tuple[Window, ...]) -> Array:
    """Return a convolution whose kernel positions tile the input: one copy, one matrix product per sample."""
    batch, channels, *_ = x.shape
    rank = len(axes)
    split = x.reshape(batch, channels, *(size for a in axes for size in (a.output, a.kernel)))
    order = (0, *range(2, 2 + 2 * rank, 2), 1, *range(3, 3 + 2 * rank, 2))
    rows = split.transpose(order).reshape(batch, math.prod(a.output for a in axes), -1)
    result: Array = np.matmul(weight.reshape(len(weight), -1), rows.swapaxes(1, 2))
    return result.reshape(batch, len(weight), *(a.output for a in axes))


def _gathered(x: Array, weight: Array, bias: Array | None, axes: tuple[Window, ...]) -> Array:
    """Return a convolution whose kernel positions overlap, from rows [*kernel, C], some samples at a time."""
    rank, (batch, outputs) = len(axes), (len(x), len(weight))
    rows = _rows(x, axes)
    matrix = weight.transpose(*range(2, 2 + rank), 1, 0).reshape(-1, outputs)
    positions = rows.shape[1 : 1 + rank]
    result = np.empty((batch, *positions, outputs), np.result_type(x, weight))
    step = max(1, COLUMN_BYTES // (math.prod(positions) * len(matrix) * result.itemsize))
    for start in range(0, batch, step):
        block = rows[start : start + step].reshape(-1, len(matrix))
        np.matmul(block, matrix, out=result[start : start + step].reshape(-1, outputs))
    return _channels_first(result, bias)


def _channelwise(x: Array, weight: Array, bias: Array | None, axes: tuple[Window, ...]) -> Array:
    """Return a convolution of one channel per group, from rows [*kernel, C], one tap after the other."""
    rows = np.moveaxis(_rows(x, axes), range(1 + len(axes)), range(-2 - len(axes), -1))
    by_tap = np.ascontiguousarray(np.moveaxis(weight[:, 0], 0, -1))
    first, *others = np.ndindex(by_tap.shape[:-1])
    result = rows[first] * by_tap[first]
    for tap in others:
        result += rows[tap] * by_tap[tap]
    return _channels_first(result, bias)


def _channels_first(result: Array, bias: Array | None) -> Array:
    """Return [n, *outputs, O], with the bias [O] added, as [n, O, *outputs]."""
    result = np.moveaxis(result, -1, 1)
    if bias is None:
        return np.ascontiguousarray(result)
    return np.add(result, bias.reshape(-1, *(1,) * (result.ndim - 2)), order="C")


def _rows(x: Array, axes: tuple[Window, ...]) -> Array:
    """Return what every output reads, zeros around the samples: a view [n, *outputs, *kernel, C]."""
    batch, channels = x.shape[:2]
    padded = np.zeros((batch, *(a.size + a.before + a.after for a in axes), channels), x.dtype)
    inside = tuple(slice(a.before, a.before + a.size) for a in axes)
    padded[(slice(None), *inside)] = np.moveaxis(x, 1, -1)
    sample, *steps, item = padded.strides
    by_output = (step * a.stride for step, a in zip(steps, axes, strict=True))
    by_tap = (step * a.dilation for step, a in zip(steps, axes, strict=True))
    shape = (batch, *(a.output for a in axes), *(a.kernel for a in axes), channels)
    return np.ndarray(shape, x.dtype, padded, 0, (sample, *by_output, *by_tap, item))


@dataclass(frozen=True, slots=True)
class FlatLayout:
    """How one sample lies flat: row pitches, what each phase of the strides holds, where each tap reads.

    `placed` has one (target, source) window per phase; `taps` one (phase, shift) pair per kernel element.
    With one phase the shift grows by `increments` along each axis of the `kernel`.
    """

    pitches: tuple[int, ...]
    placed: tuple[tuple[Index, Index], ...]
    kernel: tuple[int, ...]
    increments: tuple[int, ...]
    taps: tuple[tuple[int, int], ...]
    inside: Index

    @property
    def length(self) -> int:
        return math.prod(self.pitches)

    @property
    def tail(self) -> int:
        """Return how far the last sample's taps read beyond its end."""
        return max(shift for _, shift in self.taps)


@cache
def flat_layout(axes: tuple[Window, ...]) -> FlatLayout:
    pitches = tuple(a.pitch for a in axes)
    steps = [math.prod(pitches[axis + 1 :]) for axis in range(len(axes))]
    phases = list(product(*(a.phases for a in axes)))
    taps: list[tuple[int, int]] = []
    for tap in product(*(range(a.kernel) for a in axes)):
        reach = [k * a.dilation for k, a in zip(tap, axes, strict=True)]
        phase = tuple(r % a.stride for r, a in zip(reach, axes, strict=True))
        shift = sum(r // a.stride * step for r, a, step in zip(reach, axes, steps, strict=True))
        taps.append((phases.index(phase), shift))
    windows_of = [[a.placed(p) for a, p in zip(axes, phase, strict=True)] for phase in phases]
    placed = ((_beyond(t for t, _ in pairs), _beyond(s for _, s in pairs)) for pairs in windows_of)
    kernel = tuple(a.kernel for a in axes)
    increments = tuple(a.dilation // a.stride * step for a, step in zip(axes, steps, strict=True))
    inside = _beyond(slice(0, a.output) for a in axes)
    return FlatLayout(pitches, tuple(placed), kernel, increments, tuple(taps), inside)


def _beyond(spatial: Iterable[slice]) -> Index:
    """Return an index that leaves the first two axes whole."""
    return (slice(None), slice(None), *spatial)


def _sliding(x: Array, weight: Array, bias: Array | None, axes: tuple[Window, ...], group: int) -> Array:
    """Return a convolution whose kernel positions overlap, in flat layout, some samples at a time."""
    layout = flat_layout(axes)
    batch, channels = x.shape[:2]
    dtype, outputs = np.result_type(x, weight), len(weight)
    matrix = weight.reshape(group, outputs // group, -1)
    step = max(1, min(batch, FLAT_BYTES // (channels * layout.length * dtype.itemsize)))
    flat = np.zeros((len(layout.placed), channels, step * layout.length + layout.tail), dtype)
    result = np.empty((batch, outputs, *(a.output for a in axes)), dtype)
    block = np.empty((group, outputs // group, step * layout.length), dtype)
    for start in range(0, batch, step):
        samples = x[start : start + step].swapaxes(0, 1)
        length = samples.shape[1] * layout.length
        for row, (target, source) in zip(flat, layout.placed, strict=True):
            grid = row[:, :length].reshape(channels, -1, *layout.pitches)
            grid[target] = samples[source]
        _columns(flat, matrix, layout, block[..., :length])
        grid = block.reshape(outputs, step, *layout.pitches)[:, : samples.shape[1]]
        if bias is not None:
            np.add(grid, bias.reshape(-1, *(1,) * (grid.ndim - 1)), out=grid)
        result[start : start + step] = grid[layout.inside].swapaxes(0, 1)
    return result


def _columns(flat: Array, matrix: Array, layout: FlatLayout, result: Array) -> None:
    """Write matrix @ columns of the flat stream, as many groups and positions at a time as stay in cache."""
    group, _, length = result.shape
    inner = flat.shape[1] // group
    position = inner * len(layout.taps) * flat.itemsize
    width = min(max(256, COLUMN_BYTES // position), length)
    some = max(1, COLUMN_BYTES // (position * width))
    for first in range(0, group, some):
        part, groups = flat[:, first * inner : (first + some) * inner], slice(first, first + some)
        for start in range(0, length, width):
            block = slice(start, min(start + width, length))
            columns = _block(part, len(matrix[groups]), layout, block)
            np.matmul(matrix[groups], columns, out=result[groups, :, block])


def _block(flat: Array, group: int, layout: FlatLayout, block: slice) -> Array:
    """Return the columns [group, C/group taps, positions] of some positions of the flat stream."""
    channels, width = flat.shape[1], block.stop - block.start
    if len(flat) == 1:
        return _shifted(flat[0], layout, block).reshape(group, -1, width)
    columns = np.empty((channels, len(layout.taps), width), flat.dtype)
    for tap, (phase, shift) in enumerate(layout.taps):
        columns[:, tap] = flat[phase, :, block.start + shift : block.stop + shift]
    return columns.reshape(group, -1, width)


def _shifted(flat: Array, layout: FlatLayout, block: slice) -> Array:
    """Return positions of the flat stream [C, length] seen from every tap: a view [C, *kernel, positions]."""
    row, item = flat.strides
    strides = (row, *(item * increment for increment in layout.increments), item)
    shape = (len(flat), *layout.kernel, block.stop - block.start)
    return np.ndarray(shape, flat.dtype, flat, block.start * item, strides)


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
