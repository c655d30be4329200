"""Operators that onnxruntime's optimisers write (domain com.microsoft): several standard ones in one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.handlers.elementwise import cast_entry, function, swish
from snnc.frontend.handlers.movement import cut, reshaped
from snnc.frontend.handlers.products import HIDDEN
from snnc.frontend.handlers.synapse import conv, gemm, matmul, scaled
from snnc.ir.shapes import static_dim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.frontend.context import Entry, Handler, NodeContext

LAYER_NORM_EPSILON = 1e-12  # of the skip and embedding forms (onnxruntime's contrib operator schemas)


def biased(ctx: NodeContext, index: int = 1) -> Entry:
    """Return the first input plus an optional bias."""
    x = ctx.entry(0)
    return ctx.emit("add", [x, ctx.entry(index)]) if ctx.has(index) else x


def gelu(approximate: str) -> Handler:
    """Return the handler of GELU of x + bias."""
    return lambda ctx: ctx.emit("gelu", [biased(ctx)], {"approximate": approximate})


def quick_gelu(ctx: NodeContext) -> Entry:
    """x / (1 + exp(-alpha x))"""
    return swish(ctx, alpha=1.702)


# Activations behind products.

ACTIVATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Relu": ("relu", ()),
    "Sigmoid": ("sigmoid", ()),
    "Tanh": ("tanh", ()),
    "LeakyRelu": ("leaky_relu", ("alpha",)),
    "HardSigmoid": ("hard_sigmoid", ("alpha", "beta")),
    "Clip": ("clip", ("low", "high")),
}


def activated(ctx: NodeContext, y: Entry, given: Sequence[float]) -> Entry:
    """Return the node's activation of y, with its parameters in the operator's order."""
    name = ctx.attribute("activation", "")
    if not name:
        return y
    if name not in ACTIVATIONS:
        ctx.reject(f"its activation is {name!r}", f"known are {', '.join(ACTIVATIONS)}")
    op, parameters = ACTIVATIONS[name]
    return ctx.emit(op, [y], dict(zip(parameters, map(float, given), strict=False)))


def fused_conv(ctx: NodeContext) -> Entry:
    """activation(conv(x, w) + b + z)"""
    y = conv(ctx)
    if ctx.has(3):
        y = ctx.emit("add", [y, ctx.entry(3)])
    return activated(ctx, y, ctx.attribute("activation_params", ()))


def fused_gemm(ctx: NodeContext) -> Entry:
    """activation(alpha a b + beta c)"""
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    given = [ctx.attribute(name, None) for name in names]
    return activated(ctx, gemm(ctx), [value for value in given if value is not None])


def fused_matmul(ctx: NodeContext) -> Entry:
    """alpha a b, the last two axes of each exchanged if asked"""
    if ctx.attribute("transBatchA", 0) or ctx.attribute("transBatchB", 0):
        ctx.reject(
            "it moves a batch axis behind the rows", "export the model without transBatchA, transBatchB"
        )
    for index, name in enumerate(("transA", "transB")):
        if ctx.attribute(name, 0):
            ctx.inputs[index] = last_exchanged(ctx, ctx.entry(index))
    return scaled(ctx, matmul(ctx), ctx.attribute("alpha", 1.0))


def last_exchanged(ctx: NodeContext, x: Entry) -> Entry:
    """Exchange the last two axes; a vector, and a known array, as numpy has it."""
    rank = len(ctx.shape(x))
    if rank < 2:
        return x
    return ctx.emit("transpose", [x], {"perm": (*range(rank - 2), rank - 1, rank - 2)})


# Normalisations of sums.


def skip_layer_norm(ctx: NodeContext) -> Sequence[Entry]:
    """layer_norm(x + skip + bias); the fourth output is that sum"""
    total = ctx.emit("add", [ctx.entry(0), ctx.entry(1)])
    if ctx.has(4):
        total = ctx.emit("add", [total, ctx.entry(4)])
    return with_sum(ctx, normalised(ctx, total, 2), total)


def skip_rms_norm(ctx: NodeContext) -> Sequence[Entry]:
    total = ctx.emit("add", [ctx.entry(0), ctx.entry(1)])
    if ctx.has(3):
        total = ctx.emit("add", [total, ctx.entry(3)])
    attributes = {"axis": last_axis(ctx), "gamma": ctx.known(2, "scale")}
    epsilon = ctx.attribute("epsilon", LAYER_NORM_EPSILON)
    return with_sum(ctx, ctx.emit("rms_norm", [total], {**attributes, "epsilon": epsilon}), total)


def with_sum(ctx: NodeContext, y: Entry, total: Entry) -> Sequence[Entry]:
    if any(ctx.node.output[1:3]):
        ctx.reject("it returns the mean or the deviation", "export the model for inference")
    return [y] if len(ctx.node.output) < 4 else [y, total, total, total]


def normalised(ctx: NodeContext, x: Entry, gamma: int) -> Entry:
    """Return layer norm over the last axis, with scale and bias at a place."""
    attributes = {
        "axis": last_axis(ctx, x),
        "gamma": ctx.known(gamma, "scale"),
        "beta": ctx.known_or(gamma + 1, "bias", None),
        "epsilon": ctx.attribute("epsilon", LAYER_NORM_EPSILON),
    }
    return ctx.emit("layer_norm", [x], attributes)


def last_axis(ctx: NodeContext, x: Entry | None = None) -> int:
    return len(ctx.shape(ctx.entry(0) if x is None else x)) - 1


def embed_layer_norm(ctx: NodeContext) -> Sequence[Entry]:
    """layer_norm(words[ids] + positions[0..] + segments[segment ids]); how many tokens count; the sum"""
    ids = ctx.entry(0)
    length = static_dim(ctx.shape(ids)[1], "the sequence length")
    first = ctx.known(3, "position table")[:length]
    total = ctx.emit(
        "add", [looked_up(ctx, 2, ids), looked_up(ctx, 3, ctx.entry(8)) if ctx.has(8) else first]
    )
    if ctx.has(1) and ctx.has(4):
        total = ctx.emit("add", [total, looked_up(ctx, 4, ctx.entry(1))])
    y = normalised(ctx, total, 5)
    if len(ctx.node.output) < 2 or not ctx.node.output[1]:
        return [y] if len(ctx.node.output) < 3 else [y, total, total]
    if not ctx.has(7):
        ctx.reject("it counts tokens without a mask")
    return [y, ctx.emit("reduce_sum", [ctx.entry(7)], {"axes": (1,), "keepdims": False}), total]


def looked_up(ctx: NodeContext, table: int, ids: Entry) -> Entry:
    return ctx.emit("embedding", [ids], {"table": ctx.known(table, "table")})


# Attention.


def packed_attention(ctx: NodeContext) -> Entry:
    """x [N, S, hidden] times one weight for query, key and value; the heads' attention, side by side"""
    if ctx.has(4) or ctx.has(6) or any(ctx.node.output[1:]) or ctx.attribute("do_rotary", 0):
        ctx.reject(
            "it keeps past keys and values, or turns them", "export the model without a key-value cache"
        )
    projected = matmul(ctx)
    if ctx.has(2):
        projected = ctx.emit("add", [projected, ctx.entry(2)])
    total = static_dim(ctx.shape(projected)[2], "the projected size")
    sizes = ctx.attribute("qkv_hidden_sizes", (total // 3,) * 3)
    ends = np.cumsum(sizes)
    parts = [
        cut(ctx, projected, 2, slice(int(end - size), int(end), 1))
        for size, end in zip(sizes, ends, strict=True)
    ]
    hidden = [hidden_keys(ctx, 3)] if ctx.has(3) else []
    more = [ctx.entry(5)] if ctx.has(5) else []
    return heads_attention(ctx, parts, hidden + more)


def multi_head_attention(ctx: NodeContext) -> Entry:
    """The attention of query, key and value [N, S, hidden], with a bias [3 hidden] on all three"""
    if any(ctx.has(index) for index in range(6, len(ctx.inputs))) or any(ctx.node.output[1:]):
        ctx.reject("it keeps past keys and values", "export the model without a key-value cache")
    if not all(ctx.has(index) and len(ctx.shape(ctx.entry(index))) == 3 for index in range(3)):
        ctx.reject("its query, key and value are packed in one tensor", "give three of [N, length, hidden]")
    parts = [ctx.entry(index) for index in range(3)]
    if ctx.has(3):
        ends = np.cumsum([static_dim(ctx.shape(part)[2], "the hidden size") for part in parts])
        biases = np.split(ctx.known(3, "bias"), ends[:-1])
        parts = [ctx.emit("add", [part, bias]) for part, bias in zip(parts, biases, strict=True)]
    hidden = [hidden_keys(ctx, 4)] if ctx.has(4) else []
    return heads_attention(ctx, parts, hidden + ([ctx.entry(5)] if ctx.has(5) else []))


def hidden_keys(ctx: NodeContext, index: int) -> Entry:
    """Return what a mask adds to scores: of each key 0 or 1, or how many keys of each sample count."""
    mask = ctx.entry(index)
    shape = ctx.shape(mask)
    low = np.asarray(ctx.attribute("mask_filter_value", -10000.0), np.float32)
    if len(shape) == 1:
        length = static_dim(ctx.shape(ctx.entry(0))[1], "the sequence length")
        ctx.claim(length)
        counts = reshaped(ctx, cast_entry(ctx, mask, "i32"), (shape[0], 1, 1, 1))
        seen = ctx.emit("less", [np.arange(length, dtype=np.int32).reshape(1, 1, 1, -1), counts])
    elif len(shape) == 2:
        seen = cast_entry(ctx, reshaped(ctx, mask, (shape[0], 1, 1, shape[1])), "bool")
    else:
        ctx.reject(
            f"its mask has {len(shape)} axes", "it can be [N, keys], or [N], the number of keys that count"
        )
    return ctx.emit("where", [seen, np.zeros((), np.float32), low])


def heads_attention(ctx: NodeContext, parts: Sequence[Entry], added: Sequence[Entry]) -> Entry:
    """softmax(scale q kᵀ + added) v of every head, joined again: [N, S, hidden]"""
    count = ctx.attribute("num_heads")
    query, key, value = (split_heads(ctx, part, count) for part in parts)
    width = static_dim(ctx.shape(query)[3], "the width of a head")
    scale = ctx.attribute("scale", 0.0) or 1 / math.sqrt(width)
    scores = ctx.emit("matmul", [scaled(ctx, query, scale), last_exchanged(ctx, key)])
    if ctx.attribute("unidirectional", 0):
        queries, keys = (static_dim(dim, "the sequence length") for dim in ctx.shape(scores)[2:])
        ctx.claim(queries, keys)
        scores = ctx.emit("add", [scores, np.triu(np.full((queries, keys), HIDDEN), 1)])
    for addend in added:
        scores = ctx.emit("add", [scores, addend])
    y = ctx.emit("matmul", [ctx.emit("softmax", [scores], {"axis": 3}), value])
    batch, _, length, inner = ctx.shape(y)
    y = ctx.emit("transpose", [y], {"perm": (0, 2, 1, 3)})
    return reshaped(ctx, y, (batch, length, count * static_dim(inner, "the width of a head")))


def split_heads(ctx: NodeContext, x: Entry, count: int) -> Entry:
    """[N, S, hidden] -> [N, heads, S, width]"""
    batch, length, hidden = ctx.shape(x)
    size = static_dim(hidden, "the hidden size")
    if count < 1 or size % count:
        ctx.reject(f"{size} channels cannot be shared by {count} heads")
    x = reshaped(ctx, x, (batch, length, count, size // count))
    return ctx.emit("transpose", [x], {"perm": (0, 2, 1, 3)})


HANDLERS: dict[str, Handler] = {
    "Attention": packed_attention,
    "BiasGelu": gelu("none"),
    "EmbedLayerNormalization": embed_layer_norm,
    "FastGelu": gelu("tanh"),
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "Gelu": function("gelu", approximate="none"),
    "MultiHeadAttention": multi_head_attention,
    "QuickGelu": quick_gelu,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_rms_norm,
}
