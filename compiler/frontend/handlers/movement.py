"""Operators that reshape, join and cut tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from snnc.frontend.handlers.shapes import known_dims
from snnc.ir.shapes import Batch, broadcast, element_count, normalise_axis, show_shape, static_dim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.shapes import Dim, Shape

Ints = tuple[int, ...]

BATCH_HELP = "export the model with a dynamic batch axis, or pin the batch with --shape input=1,…"

# Exporters write an end this far (or farther) for "to the border".
FAR = 2**31 - 1
# With a negative step, onnxruntime reads exactly these ends as "to the border", which is the first element.
INFINITE = (2**31 - 1, 2**63 - 1)


def axes_of(ctx: NodeContext, index: int, rank: int) -> Ints | None:
    """Return the axes given as an input (opset 13 and later) or attribute, counted from the front."""
    given = ctx.known_ints(index, "axes") if ctx.has(index) else ctx.attribute("axes", None)
    return None if given is None else tuple(normalise_axis(axis, rank) for axis in given)


# Shape and order.


def resolve_shape(ctx: NodeContext, shape: Shape, target: Shape, *, copy_zeros: bool) -> Shape:
    """Return the target with 0 (copy) and -1 (the rest) filled in; reject what contradicts the batch."""
    if copy_zeros and any(dim == 0 and axis >= len(shape) for axis, dim in enumerate(target)):
        ctx.reject(f"it copies an axis that {show_shape(shape)} does not have")
    dims = [shape[axis] if dim == 0 and copy_zeros else dim for axis, dim in enumerate(target)]
    if dims.count(-1) > 1:
        ctx.reject(f"its target shape {show_shape(target)} leaves more than one axis open")
    if -1 in dims:
        dims[dims.index(-1)] = rest_of(ctx, shape, target, tuple(dim for dim in dims if dim != -1))
    result = tuple(dims)
    if element_count(result) != element_count(shape):
        contradiction(ctx, shape, target)
    if target and shape and isinstance(target[0], int) and target[0] > 0 and isinstance(shape[0], Batch):
        # [6N, 8] -> [6, N, 8] splits tokens from samples; [N, 16, 8] -> [1, -1, 8] would make one long
        # sequence of all samples.
        splits = target[0] > 1 and shape[0].coefficient % target[0] == 0
        if not splits and not (result[0] == 1 and shape[0] in result):
            contradiction(ctx, shape, target)
    return result


def rest_of(ctx: NodeContext, shape: Shape, target: Shape, others: Shape) -> Dim:
    """Return the size of the axis that the target leaves open."""
    total, taken = element_count(shape), element_count(others)
    if taken == 0:
        ctx.reject(f"its target shape {show_shape(target)} has an open axis beside an empty one")
    if isinstance(taken, Batch) and not isinstance(total, Batch):
        contradiction(ctx, shape, target)
    count = total.coefficient if isinstance(total, Batch) else total
    factor = taken.coefficient if isinstance(taken, Batch) else taken
    if count % factor:
        contradiction(ctx, shape, target)
    return total // taken


def contradiction(ctx: NodeContext, shape: Shape, target: Shape) -> NoReturn:
    reason = f"its target shape {show_shape(target)} does not fit {show_shape(shape)}"
    if any(isinstance(dim, Batch) for dim in shape):
        ctx.reject(f"{reason} for every batch size N: the model has a fixed batch size built in", BATCH_HELP)
    ctx.reject(reason)


def reshaped(ctx: NodeContext, x: Entry, shape: Shape) -> Entry:
    return x if ctx.shape(x) == shape else ctx.emit("reshape", [x], {"shape": shape})


def reshape(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    target = known_dims(ctx, 1, "target shape")
    copy_zeros = not ctx.attribute("allowzero", 0)
    return reshaped(ctx, x, resolve_shape(ctx, ctx.shape(x), target, copy_zeros=copy_zeros))


def flatten(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    shape = ctx.shape(x)
    axis = ctx.attribute("axis", 1)
    axis = axis if axis == len(shape) else normalise_axis(axis, len(shape))
    target = (element_count(shape[:axis]), element_count(shape[axis:]))
    return reshaped(ctx, x, resolve_shape(ctx, shape, target, copy_zeros=False))


def squeeze(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    shape = ctx.shape(x)
    axes = axes_of(ctx, 1, len(shape))
    dropped = [axis for axis, dim in enumerate(shape) if dim == 1] if axes is None else axes
    for axis in dropped:
        if shape[axis] != 1:
            ctx.reject(f"it drops axis {axis} of {show_shape(shape)}, which is not 1")
    return reshaped(ctx, x, tuple(dim for axis, dim in enumerate(shape) if axis not in dropped))


def unsqueeze(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    dims = list(ctx.shape(x))
    count = len(ctx.known_ints(1, "axes") if ctx.has(1) else ctx.attribute("axes"))
    axes = axes_of(ctx, 1, len(dims) + count)
    assert axes is not None
    for axis in sorted(axes):
        dims.insert(axis, 1)
    return reshaped(ctx, x, tuple(dims))


def transpose(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    rank = len(ctx.shape(x))
    perm = ctx.attribute("perm", tuple(reversed(range(rank))))
    return x if perm == tuple(range(rank)) else ctx.emit("transpose", [x], {"perm": perm})


def expand(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    shape = broadcast(ctx.shape(x), known_dims(ctx, 1, "target shape"))
    if ctx.shape(x) == shape:
        return x
    if any(isinstance(dim, Batch) for dim in shape):
        # Not folded: only the stream's type can carry the batch axis, a known array cannot.
        x = ctx.stream(0)
    return ctx.emit("expand", [x], {"shape": shape})


def tile(ctx: NodeContext) -> Entry:
    repeats = known_dims(ctx, 1, "repeats")
    x = ctx.entry(0)
    for axis, count in enumerate(repeats):
        if isinstance(count, Batch):
            x = repeated(ctx, x, axis, count)
    counts = tuple(1 if isinstance(count, Batch) else count for count in repeats)
    return x if set(counts) <= {1} else ctx.emit("tile", [x], {"repeats": counts})


def repeated(ctx: NodeContext, x: Entry, axis: int, count: Batch) -> Entry:
    """Repeat an axis as often as there are samples: each of them gets its own copy."""
    shape = ctx.shape(x)
    x = ctx.as_stream(x, f"{ctx.name}.operand")
    single = reshaped(ctx, x, (*shape[:axis], 1, *shape[axis:]))
    copies = ctx.emit("expand", [single], {"shape": (*shape[:axis], count, *shape[axis:])})
    return reshaped(ctx, copies, (*shape[:axis], element_count((count, shape[axis])), *shape[axis + 1 :]))


# Joining and cutting.


def concat(ctx: NodeContext) -> Entry:
    entries = [ctx.entry(index) for index in range(len(ctx.inputs))]
    axis = normalise_axis(ctx.attribute("axis"), len(ctx.shape(entries[0])))
    return entries[0] if len(entries) == 1 else ctx.emit("concat", entries, {"axis": axis})


def cut(ctx: NodeContext, x: Entry, axis: int, window: slice) -> Entry:
    """Emit a slice of one axis; nothing where it takes the whole axis."""
    dim = static_dim(ctx.shape(x)[axis], f"the sliced axis {axis}")
    if window.indices(dim) == (0, dim, 1):
        return x
    # Backward, ONNX starts no earlier than at the first element; numpy would start before it.
    start = window.start if window.step > 0 else max(window.start, -dim)
    attributes = {"starts": (start,), "ends": (window.stop,), "steps": (window.step,)}
    return ctx.emit("slice", [x], {"axes": (axis,), **attributes})


def slice_(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    starts, ends = known_dims(ctx, 1, "starts"), known_dims(ctx, 2, "ends")
    given = ctx.known_ints(3, "axes") if ctx.has(3) else range(len(starts))
    steps = ctx.known_ints(4, "steps") if ctx.has(4) else (1,) * len(starts)
    for number, start, stop, step in zip(given, starts, ends, steps, strict=True):
        axis = normalise_axis(number, len(ctx.shape(x)))
        dim = ctx.shape(x)[axis]
        end = -FAR if step < 0 and stop in INFINITE else stop
        to_border = end == dim if isinstance(end, Batch) else end >= FAR
        if isinstance(dim, Batch) and start == 0 and step == 1 and to_border:
            continue
        if isinstance(dim, Batch) or isinstance(start, Batch) or isinstance(end, Batch):
            ctx.reject(
                f"it takes {start}:{end}:{step} of axis {axis} ({dim}), which depends on the batch size"
            )
        x = cut(ctx, x, axis, slice(start, end, step))
    return x


def split(ctx: NodeContext) -> Sequence[Entry]:
    x = ctx.entry(0)
    axis = normalise_axis(ctx.attribute("axis", 0), len(ctx.shape(x)))
    if ctx.has(1):
        sizes = ctx.known_ints(1, "split sizes")
    else:
        size = static_dim(ctx.shape(x)[axis], f"the split axis {axis}")
        count = ctx.attribute("num_outputs", len(ctx.node.output))
        if not len(ctx.node.output) <= count <= max(size, len(ctx.node.output)):
            ctx.reject(f"it splits an axis of {size} into {count} parts")
        part = -(-size // count)
        sizes = (*(part for _ in range(count - 1)), size - part * (count - 1))
    if sum(sizes) != ctx.shape(x)[axis] or min(sizes) < 0:
        ctx.reject(f"it splits axis {axis} of {show_shape(ctx.shape(x))} into parts of {list(sizes)}")
    ends = np.cumsum(sizes).tolist()
    return [cut(ctx, x, axis, slice(end - size, end, 1)) for size, end in zip(sizes, ends, strict=True)]


HANDLERS: dict[str, Handler] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
}
