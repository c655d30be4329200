"""Pooling over sliding windows on axes 2 and up, in any number of dimensions.

The output at o reads, along each axis, the inputs o stride - before + i dilation for 0 <= i < kernel;
positions outside the input are padding. Both pools work one axis after the other, on strided views.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, payload_kept, require_rank
from snnc.ir.shapes import Batch, show_shape, static_dim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.ir.kernel_types import Array
    from snnc.ir.types import TensorType

Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A window of `kernel` taps sliding along one axis of `size` inputs."""

    axis: int
    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int
    ceil: bool

    @property
    def outputs(self) -> int:
        """Return how many positions the window takes; less than 1 if it does not fit at all."""
        room = self.size + self.before + self.after - self.dilation * (self.kernel - 1) - 1
        if not self.ceil:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        # A window that would start in the padding behind the input is left out.
        return count - 1 if (count - 1) * self.stride >= self.size + self.before else count

    def taps(self) -> Iterator[tuple[slice, slice]]:
        """Yield, tap by tap, the outputs that read real inputs and the inputs they read."""
        for tap in range(self.kernel):
            start = tap * self.dilation - self.before
            first = max(0, -(start // self.stride))
            last = min(self.outputs, (self.size - 1 - start) // self.stride + 1)
            if first < last:
                begin = start + first * self.stride
                yield slice(first, last), slice(begin, start + (last - 1) * self.stride + 1, self.stride)

    def counts(self, include_pad: bool) -> Array:
        """Return how many taps of each output position count towards its average, at least 1."""
        positions = np.add.outer(
            np.arange(self.outputs) * self.stride, np.arange(self.kernel) * self.dilation
        )
        end = self.before + self.size
        inside = (
            positions < end + self.after if include_pad else (positions >= self.before) & (positions < end)
        )
        return np.asarray(np.maximum(inside.sum(axis=1), 1))


def windows(
    shape: Ints, *, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil: bool
) -> tuple[Window, ...]:
    """Return the window of every spatial axis; empty strides and dilations are ones, empty pads zeros."""
    sizes, dilations = tuple(shape[2:]), tuple(dilations)
    return _windows(sizes, tuple(kernel), tuple(strides), tuple(pads), dilations=dilations, ceil=ceil)


@lru_cache(maxsize=256)  # a small pool takes about as long as describing it
def _windows(
    sizes: Ints, kernel: Ints, strides: Ints, pads: Ints, *, dilations: Ints, ceil: bool
) -> tuple[Window, ...]:
    rank = len(kernel)
    strides, dilations, pads = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * 2 * rank
    return tuple(
        Window(2 + i, sizes[i], kernel[i], strides[i], pads[i], pads[rank + i], dilations[i], ceil)
        for i in range(rank)
    )


@lru_cache(maxsize=256)
def taps_of(window: Window) -> tuple[tuple[slice, slice], ...]:
    return tuple(window.taps())


@lru_cache(maxsize=256)
def counts_of(axes: tuple[Window, ...], include_pad: bool) -> Array:
    """Return how many taps count towards the average at each output position, [*outputs]."""
    count: Array = np.ones(())
    for window in axes:
        count = np.multiply.outer(count, window.counts(include_pad))
    return count


def slide(ufunc: np.ufunc, x: Array, window: Window, initial: float) -> Array:
    """Return the ufunc's reduction of every window along one axis; `initial` where there is nothing."""
    lead = (slice(None),) * window.axis
    taps, count = taps_of(window), window.outputs
    if taps and taps[0][0] == slice(0, count):
        result, taps = x[(*lead, taps[0][1])].copy(), taps[1:]
    else:
        result = np.full((*x.shape[: window.axis], count, *x.shape[window.axis + 1 :]), initial, x.dtype)
    for outputs, inputs in taps:
        part = result[(*lead, outputs)]
        ufunc(part, x[(*lead, inputs)], out=part)
    return result


def max_pool(x: Array, *, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil: bool) -> Array:
    lowest = np.finfo(x.dtype).min if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    for window in windows(x.shape, kernel=kernel, strides=strides, pads=pads, dilations=dilations, ceil=ceil):
        x = slide(np.maximum, x, window, lowest)
    return x


def avg_pool(
    x: Array,
    *,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    ceil: bool,
    count_include_pad: bool,
) -> Array:
    axes = windows(x.shape, kernel=kernel, strides=strides, pads=pads, dilations=dilations, ceil=ceil)
    for window in axes:
        x = slide(np.add, x, window, 0)
    x /= counts_of(axes, count_include_pad).astype(x.dtype)
    return x


def fan_out_avg_pool(
    shape: Ints,
    result_shape: Ints,
    *,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    ceil: bool,
    count_include_pad: bool,
) -> Array:
    """Return how many windows read each position."""
    drives: Array = np.ones((1, 1), int)
    for window in windows(shape, kernel=kernel, strides=strides, pads=pads, dilations=dilations, ceil=ceil):
        reads = np.zeros(window.size, int)
        for _, inputs in window.taps():
            reads[inputs] += 1
        drives = np.multiply.outer(drives, reads)
    return drives


def check_window(rank: int, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints) -> None:
    """Refuse window attributes of the wrong length or out of range."""
    for name, values, length, least in (
        ("kernel", kernel, rank, 1),
        ("strides", strides, rank, 1),
        ("pads", pads, 2 * rank, 0),
        ("dilations", dilations, rank, 1),
    ):
        if len(values) != length and (values or name == "kernel"):
            raise ShapeError(f"{name} {list(values)} must have {length} entries for {rank} spatial axes")
        if any(value < least for value in values):
            raise ShapeError(f"{name} {list(values)} must be at least {least}")
    if any(pad >= size for pad, size in zip(pads, kernel * 2, strict=False)):
        raise ShapeError(f"pads {list(pads)} must be smaller than the kernel {list(kernel)}")


def infer_pool(
    x: TensorType,
    *,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    ceil: bool,
    count_include_pad: bool = False,
) -> TensorType:
    require_rank(x, 3, "a pool")
    check_window(len(x.shape) - 2, kernel, strides, pads, dilations)
    for dim in x.shape[2:]:
        static_dim(dim, "a pooled axis")
    sizes = tuple(0 if isinstance(dim, Batch) else dim for dim in x.shape)
    outputs = tuple(
        window.outputs
        for window in windows(
            sizes, kernel=kernel, strides=strides, pads=pads, dilations=dilations, ceil=ceil
        )
    )
    if min(outputs) < 1:
        raise ShapeError(f"a window of {show_shape(kernel)} does not fit into {show_shape(x.shape)}")
    return x.with_shape((*x.shape[:2], *outputs))


def infer_avg_pool(x: TensorType, **attributes: Any) -> TensorType:
    if not x.is_real:
        raise TypeInferenceError(f"an average needs a real stream, not {x}")
    return infer_pool(x, **attributes)


ATTRIBUTES = {
    "kernel": Attribute(Kind.INTS, doc="window size per spatial axis"),
    "strides": Attribute(Kind.INTS, (), "steps between windows (empty: 1)"),
    "pads": Attribute(Kind.INTS, (), "padding before every axis, then after every axis (empty: 0)"),
    "dilations": Attribute(Kind.INTS, (), "distance of the taps within a window (empty: 1)"),
    "ceil": Attribute(Kind.BOOL, False, "allow a last window that reaches beyond the padding"),
}

# `cost` is one accumulate or comparison; the kernel's size is an attribute, so it is not counted here.
OPS = (
    Op(
        "max_pool",
        "y = max of x over the window; padding never wins",
        ("x",),
        infer_pool,
        max_pool,
        Role.NONLINEAR,
        ATTRIBUTES,
        homogeneous=True,
        payload=payload_kept,
        cost=1.0,
    ),
    Op(
        "avg_pool",
        "y = Σ x over the window / count; count leaves out padding unless count_include_pad",
        ("x",),
        infer_avg_pool,
        avg_pool,
        Role.LINEAR,
        {
            **ATTRIBUTES,
            "count_include_pad": Attribute(Kind.BOOL, False, "count the padding (never what lies beyond it)"),
        },
        fan_out=fan_out_avg_pool,
        cost=1.0,
    ),
)
