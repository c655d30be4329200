"""Synapses on integers: y = 2^exponent Σ w k + bias with |w| <= 127, exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.runtime.units import Attributes, Ints, check_width, ints

if TYPE_CHECKING:
    from collections.abc import Sequence

ACCUMULATOR_BITS = 32  # of what a synapse hands to its neuron; `snnc fit` proves narrower ones
PAYLOAD_BITS = 32
EXACT = 2**53  # whole numbers below this are exact in float64, in whatever order they are added
SPARSE = 1 / 8  # share of weights that are not zero, up to which single synapses are faster than a matrix


class Matrix:
    """y[…, o] = Σ_i w[…, o, i] x[…, i, p]: through float64 where that is exact for all payloads."""

    def __init__(self, weight: Ints) -> None:
        reach = int(np.abs(weight).sum(axis=-1).max(initial=0)) << (PAYLOAD_BITS - 1)
        self.exact = reach < EXACT
        self.weight: Any = weight.astype(np.float64) if self.exact else weight

    def times(self, columns: Ints) -> Ints:
        product = np.matmul(self.weight, columns.astype(self.weight.dtype))
        return np.asarray(product, np.int64)


class Synapse:
    """The part all synapses share: exponent, bias, width."""

    def __init__(self, attributes: Attributes, bias_axes: int, what: str) -> None:
        self.exponent = int(attributes["exponent"])
        bias = attributes["bias"]
        self.bias = None if bias is None else ints(bias).reshape(-1, *(1,) * bias_axes)
        self.what = what

    def finish(self, sums: Ints) -> Ints:
        y = sums << self.exponent
        if self.bias is not None:
            y = y + self.bias
        return check_width(y, ACCUMULATOR_BITS, self.what)


class Windowed(Synapse):
    """A convolution, transposed or not: an index table says which input every kernel tap reads.

    y[o, q] = Σ_c,k w[o,c,k] x[c, table[k, q]]; the table's last index stands for a zero outside the input.
    x [1, C, *sizes], y [1, O, *result sizes]; each of `group` groups of channels sees its own inputs only.
    """

    def __init__(
        self, weight: Ints, table: Ints, sizes: Sequence[int], attributes: Attributes, what: str
    ) -> None:
        super().__init__(attributes, 1, what)
        self.group = int(attributes["group"])
        self.table = table
        self.sizes = tuple(sizes)
        self.outputs = len(weight)
        self.matrix = Matrix(weight.reshape(self.group, self.outputs // self.group, -1))

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        flat = operands[0].reshape(operands[0].shape[1], -1)
        padded = np.concatenate([flat, np.zeros((len(flat), 1), np.int64)], axis=1)
        positions = self.table.shape[1]
        columns = padded[:, self.table].reshape(self.group, -1, positions)
        sums = self.matrix.times(columns).reshape(self.outputs, positions)
        return self.finish(sums).reshape(1, self.outputs, *self.sizes)


def convolution(attributes: Attributes, shape: Sequence[int], what: str) -> Windowed:
    """Return y[o, q] = Σ w[o,c,k] x[c, q strides + k dilations - pads] for x [1, C, *sizes]."""
    weight = ints(attributes["weight"])
    axes = []
    for size, kernel, stride, dilation, before, after in geometry(attributes, shape[2:], weight.shape[2:]):
        count = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
        position = np.arange(count) * stride + np.arange(kernel)[:, None] * dilation - before
        axes.append(np.where((position >= 0) & (position < size), position, -1))
    return Windowed(weight, flat_table(axes, shape[2:]), [a.shape[1] for a in axes], attributes, what)


def transposed_convolution(attributes: Attributes, shape: Sequence[int], what: str) -> Windowed:
    """Return y[o, p strides + k dilations - pads] += w[c,o,k] x[c,p], gathered: outputs find their inputs."""
    weight = ints(attributes["weight"])
    group = int(attributes["group"])
    extra = attributes["output_padding"] or [0] * (len(shape) - 2)
    axes = []
    for (size, kernel, stride, dilation, before, after), more in zip(
        geometry(attributes, shape[2:], weight.shape[2:]), extra, strict=True
    ):
        count = (size - 1) * stride + dilation * (kernel - 1) + 1 + more - before - after
        distance = np.arange(count) + before - np.arange(kernel)[:, None] * dilation
        position = distance // stride
        reads = (distance % stride == 0) & (position >= 0) & (position < size)
        axes.append(np.where(reads, position, -1))
    # [C, O/group, k] -> [O, C/group, k]
    inner = weight.reshape(group, len(weight) // group, *weight.shape[1:]).swapaxes(1, 2)
    weight = inner.reshape(-1, *inner.shape[2:])
    return Windowed(weight, flat_table(axes, shape[2:]), [a.shape[1] for a in axes], attributes, what)


def geometry(attributes: Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, ...]]:
    """Return size, kernel, stride, dilation, pad before and pad after of every spatial axis."""
    rank = len(sizes)
    strides = attributes["strides"] or [1] * rank
    dilations = attributes["dilations"] or [1] * rank
    pads = attributes["pads"] or [0] * (2 * rank)
    return list(zip(sizes, kernel, strides, dilations, pads[:rank], pads[rank:], strict=True))


def flat_table(axes: Sequence[Ints], sizes: Sequence[int]) -> Ints:
    """Return [taps, positions]: indices into the flat input; its size where an axis says -1 (outside)."""
    rank = len(axes)
    total = int(np.prod(sizes, dtype=np.int64))
    flat = np.zeros((1,) * (2 * rank), np.int64)
    outside = np.zeros((1,) * (2 * rank), bool)
    for number, axis in enumerate(axes):
        spread = [1] * (2 * rank)
        spread[number], spread[rank + number] = axis.shape
        index = axis.reshape(spread)
        flat = flat * sizes[number] + np.maximum(index, 0)
        outside = outside | (index < 0)
    taps = int(np.prod([len(axis) for axis in axes], dtype=np.int64))
    return np.where(outside, total, flat).reshape(taps, -1)


class Depthwise(Synapse):
    """One kernel per channel: no matrix, a sum over taps. Average pooling and residual skips are these."""

    def __init__(self, whole: Windowed, weight: Ints, attributes: Attributes) -> None:
        super().__init__(attributes, 1, whole.what)
        self.weight = weight.reshape(len(weight), -1)
        self.table, self.sizes = whole.table, whole.sizes

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        flat = operands[0].reshape(len(self.weight), -1)
        padded = np.concatenate([flat, np.zeros((len(flat), 1), np.int64)], axis=1)
        sums = np.zeros((len(flat), self.table.shape[1]), np.int64)
        for tap, row in enumerate(self.table):
            sums += self.weight[:, tap, None] * padded[:, row]
        return self.finish(sums).reshape(1, len(flat), *self.sizes)


class Dense(Synapse):
    """y[…, o] = Σ_i w[o, i] x[…, i]."""

    def __init__(self, attributes: Attributes, what: str) -> None:
        super().__init__(attributes, 0, what)
        self.matrix = Matrix(ints(attributes["weight"]))

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        x = operands[0]
        sums = self.matrix.times(x.reshape(-1, x.shape[-1]).T).T
        return self.finish(sums).reshape(*x.shape[:-1], -1)


class Sparse(Synapse):
    """The same from a list of synapses (o, i, w): for matrices that are mostly zero."""

    def __init__(self, attributes: Attributes, what: str) -> None:
        super().__init__(attributes, 0, what)
        weight = ints(attributes["weight"])
        self.outputs = len(weight)
        self.rows, self.columns = np.nonzero(weight)
        self.weight = weight[self.rows, self.columns]

    def step(self, t: int, operands: Sequence[Ints]) -> Ints:
        x = operands[0].reshape(-1, operands[0].shape[-1])
        sums = np.zeros((self.outputs, len(x)), np.int64)
        np.add.at(sums, self.rows, self.weight[:, None] * x[:, self.columns].T)
        return self.finish(sums.T).reshape(*operands[0].shape[:-1], -1)


def make_synapse(op: str, attributes: Attributes, shape: Sequence[int], what: str) -> Any:
    """Return the unit of a synapse that reads a stream of this shape."""
    weight = ints(attributes["weight"])
    if op == "linear":
        full = np.count_nonzero(weight) > SPARSE * weight.size
        return Dense(attributes, what) if full else Sparse(attributes, what)
    if op == "conv_transpose":
        return transposed_convolution(attributes, shape, what)
    whole = convolution(attributes, shape, what)
    single = attributes["group"] == len(weight) == shape[1]
    return Depthwise(whole, weight, attributes) if single else whole
