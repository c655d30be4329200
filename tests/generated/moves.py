"""Blocks that reshape, cut and join; half of them compute their shapes, as exporters do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.generated.blocks import IMAGE, TOKENS, VECTOR, block
from tests.generated.builder import Stream

if TYPE_CHECKING:
    from tests.generated.builder import Builder


@block(IMAGE)
def to_tokens(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    flat = b.op("Reshape", x, b.ints(0, channels, -1), shape=(channels, height * width))
    return b.op("Transpose", flat, shape=(height * width, channels), perm=[0, 2, 1])


@block()
def flatten_as_exported(b: Builder, x: Stream) -> Stream:
    batch = b.op("Slice", b.op("Shape", x), b.ints(0), b.ints(1))
    target = b.op("Concat", batch, b.ints(-1), axis=0)
    return b.op("Reshape", x, target, shape=(x.size,))


@block(VECTOR, TOKENS)
def to_image(b: Builder, x: Stream) -> Stream:
    if len(x.shape) == VECTOR:
        return b.op("Unsqueeze", x, b.ints(2, 3), shape=(*x.shape, 1, 1))
    return b.op("Unsqueeze", x, b.ints(1), shape=(1, *x.shape))


@block()
def axes(b: Builder, x: Stream) -> Stream:
    return b.op("Squeeze", b.op("Unsqueeze", x, b.ints(1), shape=(1, *x.shape)), b.ints(1), shape=x.shape)


@block(TOKENS)
def exchange(b: Builder, x: Stream) -> Stream:
    return b.op("Transpose", x, shape=x.shape[::-1], perm=[0, 2, 1])


@block()
def split_and_join(b: Builder, x: Stream) -> Stream:
    size = x.shape[0]
    if size < 2:
        return b.op("Concat", x, b.op("Neg", x), shape=(2 * size, *x.shape[1:]), axis=1)
    first = b.op("Split", x, b.ints(1, size - 1), shape=(1, *x.shape[1:]), axis=1)
    b.nodes[-1].output.append(first.name + "_rest")
    rest = Stream(first.name + "_rest", (size - 1, *x.shape[1:]))
    return b.op("Concat", rest, b.op("Neg", first), shape=x.shape, axis=1)


@block()
def reverse(b: Builder, x: Stream) -> Stream:
    ends = [b.ints(-1), b.ints(-(2**31)), b.ints(1), b.ints(-1)]
    return b.op("Slice", x, *ends)


@block()
def reorder(b: Builder, x: Stream) -> Stream:
    order = b.rng.permutation(x.shape[0])
    order[0] -= x.shape[0]  # counted from the end
    return b.op("Gather", x, b.constant(order, np.int64), axis=1)


@block()
def expand(b: Builder, x: Stream) -> Stream:
    wide = b.op("Unsqueeze", x, b.ints(1), shape=(1, *x.shape))
    wide = b.op("Expand", wide, b.ints(1, 2, *x.shape), shape=(2, *x.shape))
    return b.op("ReduceSum", wide, b.ints(1), shape=x.shape, keepdims=0)


@block()
def tile(b: Builder, x: Stream) -> Stream:
    if x.size > 128:
        return b.op("Tile", x, b.ints(*[1] * (len(x.shape) + 1)))
    repeats = b.ints(1, 2, *[1] * (len(x.shape) - 1))
    return b.op("Tile", x, repeats, shape=(2 * x.shape[0], *x.shape[1:]))


@block(IMAGE)
def pad(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    mode = b.pick("constant", "edge", "reflect" if min(height, width) > 1 else "edge")
    return b.op("Pad", x, b.ints(0, 0, 1, 0, 0, 0, 0, 1), shape=(channels, height + 1, width + 1), mode=mode)


@block(IMAGE)
def resize(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    mode = b.pick("nearest", "linear")
    coordinates = "asymmetric" if mode == "nearest" else "half_pixel"
    more = {"nearest_mode": "floor"} if mode == "nearest" else {}
    return b.op(
        "Resize", x, "", b.constant([1, 1, 2, 1], "f4"), shape=(channels, 2 * height, width), mode=mode,
        coordinate_transformation_mode=coordinates, **more,
    )  # fmt: skip


@block(IMAGE)
def pixels(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    if height % 2 or width % 2:
        return b.op("SpaceToDepth", x, blocksize=1)
    deep = b.op("SpaceToDepth", x, shape=(4 * channels, height // 2, width // 2), blocksize=2)
    return b.op("DepthToSpace", b.op("Relu", deep), shape=x.shape, blocksize=2, mode=b.pick("DCR", "CRD"))


@block(TOKENS)
def triangle(b: Builder, x: Stream) -> Stream:
    return b.op("Trilu", x, b.constant(0, "i8"), upper=b.pick(0, 1))


@block(TOKENS)
def class_token(b: Builder, x: Stream) -> Stream:
    """A learned token in front of those of every sample."""
    _, width = x.shape
    count = b.op("Unsqueeze", b.op("Gather", b.op("Shape", x), b.constant(0, "i8")), b.ints(0))
    shape = b.op("Concat", count, b.ints(1, width), axis=0)
    token = b.op("Expand", b.real(1, 1, width), shape, shape=(1, width))
    token = b.op("Add", token, b.op("ConstantOfShape", shape, shape=(1, width)))
    return b.op("Concat", token, x, shape=(x.shape[0] + 1, width), axis=1)


@block()
def whole_size(b: Builder, x: Stream) -> Stream:
    """Reshape to [Size / elements, …]."""
    count = b.op("Div", b.op("Size", x), b.constant(x.size, "i8"))
    target = b.op("Concat", b.op("Unsqueeze", count, b.ints(0)), b.ints(*x.shape), axis=0)
    return b.op("Reshape", x, target, shape=x.shape)


BLOCKS = (
    to_tokens, flatten_as_exported, to_image, axes, exchange, split_and_join, reverse, reorder, expand, tile,
    pad, resize, pixels, triangle, class_token, whole_size,
)  # fmt: skip
