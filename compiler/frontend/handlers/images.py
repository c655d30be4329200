"""Operators that change the size of images: padding, resizing, pixels to channels and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.context import AlwaysRejected
from snnc.frontend.handlers.movement import axes_of, cut
from snnc.frontend.handlers.shapes import known_dims
from snnc.ir.ops.resize import COORDINATES
from snnc.ir.shapes import Batch, static_dim

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim, Shape

Ints = tuple[int, ...]

ROUNDING = 1e-3  # pixels that a size may be off because its scale is a rounded number


def pad(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    rank = len(ctx.shape(x))
    axes = axes_of(ctx, 3, rank) if ctx.has(3) else tuple(range(rank))
    assert axes is not None
    given = ctx.known_ints(1, "pads")
    if len(given) != 2 * len(axes):
        ctx.reject(f"it has {len(given)} pads for {len(axes)} axes; each needs two")
    before, after = [0] * rank, [0] * rank
    for axis, first, last in zip(axes, given[: len(axes)], given[len(axes) :], strict=True):
        before[axis], after[axis] = max(first, 0), max(last, 0)
        if first < 0 or last < 0:
            # A negative pad cuts elements off.
            size = static_dim(ctx.shape(x)[axis], f"the padded axis {axis}")
            x = cut(ctx, x, axis, slice(max(-first, 0), size - max(-last, 0), 1))
    if not any(before) and not any(after):
        return x
    value = float(np.asarray(ctx.known_or(2, "pad value", 0.0)).reshape(-1)[0])
    mode = ctx.attribute("mode", "constant")
    return ctx.emit("pad", [x], {"pads": (*before, *after), "mode": mode, "value": value})


# Resizing.


def resize(ctx: NodeContext) -> Entry:
    refuse_resize_variants(ctx)
    x = ctx.entry(0)
    shape = ctx.shape(x)
    axes = ctx.attribute("axes", tuple(range(len(shape))))
    scales, sizes = resize_targets(ctx, shape, tuple(axis % len(shape) for axis in axes))
    return ctx.emit(
        "resize",
        [x],
        {
            "sizes": sizes,
            "mode": ctx.attribute("mode", "nearest"),
            "coordinate": ctx.attribute("coordinate_transformation_mode", "half_pixel"),
            "nearest": ctx.attribute("nearest_mode", "round_prefer_floor"),
            "scales": scales,
            "cubic": float(ctx.attribute("cubic_coeff_a", -0.75)),
        },
    )


def refuse_resize_variants(ctx: NodeContext) -> None:
    mode = ctx.attribute("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        ctx.reject(f"it resizes with {mode} interpolation", "nearest, linear and cubic can be compiled")
    if mode == "cubic" and ctx.attribute("exclude_outside", 0):
        ctx.reject(
            "its cubic kernel leaves out what is outside the image", "export it with exclude_outside=0"
        )
    coordinate = ctx.attribute("coordinate_transformation_mode", "half_pixel")
    if coordinate not in COORDINATES:
        ctx.reject(f"its coordinate mode is {coordinate!r}", "supported: " + ", ".join(COORDINATES))
    if ctx.attribute("antialias", 0):
        ctx.reject("it filters against aliasing", "export it with antialias=False")
    policy = ctx.attribute("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        ctx.reject(f"it keeps the aspect ratio ({policy})", "export it with explicit sizes")


def resize_targets(ctx: NodeContext, shape: Shape, axes: Ints) -> tuple[Array | None, Shape]:
    """Return the scales (None where sizes are given) and sizes of all axes."""
    sizes: list[Dim] = list(shape)
    if ctx.has(3):
        for axis, size in zip(axes, known_dims(ctx, 3, "sizes"), strict=True):
            sizes[axis] = size
        return None, tuple(sizes)
    given = ctx.known(2, "scales")
    scales = np.ones(len(shape), np.float32)
    for axis, scale in zip(axes, given.tolist(), strict=True):
        dim = shape[axis]
        if isinstance(dim, Batch):
            if scale != 1:
                ctx.reject(f"it scales the batch by {scale}")
            continue
        scales[axis] = scale
        wanted = np.float32(dim) * np.float32(scale)
        sizes[axis] = int(np.floor(wanted))
        part = wanted - np.floor(wanted)
        if part > ROUNDING and ctx.attribute("coordinate_transformation_mode", "") == "align_corners":
            # The standard's reference places the last corner at the fraction, onnxruntime at the whole pixel.
            ctx.reject(
                f"it aligns corners at a size of {wanted:g} pixels, on which runtimes disagree",
                "export it with explicit sizes",
            )
    return scales, tuple(sizes)


def depth_to_space(ctx: NodeContext) -> Entry:
    attributes = {"block": ctx.attribute("blocksize"), "mode": ctx.attribute("mode", "DCR")}
    return ctx.emit("depth_to_space", [ctx.entry(0)], attributes)


def space_to_depth(ctx: NodeContext) -> Entry:
    return ctx.emit("space_to_depth", [ctx.entry(0)], {"block": ctx.attribute("blocksize")})


HANDLERS: dict[str, Handler] = {
    "Pad": pad,
    "Resize": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Col2Im": AlwaysRejected(
        "no op of the IR adds overlapping blocks to an image",
        "write it as a ConvTranspose whose weight is 1 for one place of the block per channel",
    ),
    "GridSample": AlwaysRejected("it samples the image at places computed at run time"),
}
