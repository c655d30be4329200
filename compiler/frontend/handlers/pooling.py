"""Handlers of the pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnc.frontend.context import AlwaysRejected
from snnc.ir.shapes import static_dim

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext

Ints = tuple[int, ...]


def max_pool(ctx: NodeContext) -> Entry:
    return ctx.emit("max_pool", [ctx.entry(0)], window(ctx))


def average_pool(ctx: NodeContext) -> Entry:
    count_include_pad = bool(ctx.attribute("count_include_pad", 0))
    return ctx.emit("avg_pool", [ctx.entry(0)], {**window(ctx), "count_include_pad": count_include_pad})


def global_average_pool(ctx: NodeContext) -> Entry:
    return ctx.emit("reduce_mean", [ctx.entry(0)], {"axes": spatial_axes(ctx), "keepdims": True})


def global_max_pool(ctx: NodeContext) -> Entry:
    return ctx.emit("reduce_max", [ctx.entry(0)], {"axes": spatial_axes(ctx), "keepdims": True})


LP_POOL = AlwaysRejected(
    "pools of the Lp norm are not supported",
    "write it as Abs, Pow, AveragePool times the window size, and Pow",
)


def spatial_axes(ctx: NodeContext) -> Ints:
    """Return the axes behind batch and channels."""
    return tuple(range(2, len(ctx.shape(ctx.entry(0)))))


def window(ctx: NodeContext) -> dict[str, Any]:
    """Return the window attributes of a pool, with `auto_pad` worked out."""
    kernel: Ints = ctx.attribute("kernel_shape")
    rank = len(kernel)
    strides: Ints = ctx.attribute("strides", (1,) * rank)
    dilations: Ints = ctx.attribute("dilations", (1,) * rank)
    if len(strides) != rank or any(stride < 1 for stride in strides):
        ctx.reject(f"its strides {list(strides)} do not fit the kernel {list(kernel)}")
    pads: Ints = (0, 0) * rank
    match ctx.attribute("auto_pad", "NOTSET"):
        case "NOTSET":
            pads = ctx.attribute("pads", pads)
        case "VALID":
            pass
        case "SAME_UPPER" | "SAME_LOWER" as mode:
            if any(dilation > 1 for dilation in dilations):
                ctx.reject(
                    f"ONNX and onnxruntime disagree on what auto_pad = {mode} means for a dilated window",
                    "give explicit pads",
                )
            pads = same_pads(ctx, kernel, strides, upper=mode == "SAME_UPPER")
        case other:
            ctx.reject(f"its auto_pad is {other!r}", "use NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    ceil = bool(ctx.attribute("ceil_mode", 0))
    return {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations, "ceil": ceil}


def same_pads(ctx: NodeContext, kernel: Ints, strides: Ints, *, upper: bool) -> Ints:
    """Return the pads that give ceil(size / stride) outputs; an odd one goes behind (upper) or before."""
    sizes = [static_dim(dim, "a pooled axis") for dim in ctx.shape(ctx.entry(0))[2:]]
    totals = [
        max((-(-size // stride) - 1) * stride + width - size, 0)
        for size, stride, width in zip(sizes, strides, kernel, strict=False)
    ]
    before = tuple(total // 2 if upper else total - total // 2 for total in totals)
    after = tuple(total - pad for total, pad in zip(totals, before, strict=True))
    return before + after


HANDLERS: dict[str, Handler] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalLpPool": LP_POOL,
    "GlobalMaxPool": global_max_pool,
    "LpPool": LP_POOL,
    "MaxPool": max_pool,
}
