"""Synapses, pooling, products of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.generated.blocks import IMAGE, TOKENS, VECTOR, block

if TYPE_CHECKING:
    from tests.generated.builder import Builder, Stream


@block(IMAGE)
def convolution(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    group = b.pick(1, channels)
    out = channels if group > 1 else b.pick(3, 4)
    weight = b.weight(out, channels // group, 3, 3, fan_in=9 * channels // group)
    bias = [b.real(out)] if b.pick(True, False) else []
    return b.op(
        "Conv", x, weight, *bias, shape=(out, height, width), pads=[1, 1, 1, 1], kernel_shape=[3, 3],
        group=group,
    )  # fmt: skip


@block(IMAGE)
def strided_convolution(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    weight = b.weight(4, channels, 2, 2, fan_in=4 * channels)
    shape = (4, (height + 1) // 2, (width + 1) // 2)
    return b.op("Conv", x, weight, shape=shape, strides=[2, 2], auto_pad="SAME_UPPER")


@block(IMAGE)
def transposed_convolution(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    weight = b.weight(channels, 3, 3, 3, fan_in=9 * channels)
    return b.op("ConvTranspose", x, weight, b.real(3), shape=(3, height, width), pads=[1, 1, 1, 1])


@block(TOKENS, VECTOR)
def linear(b: Builder, x: Stream) -> Stream:
    width, out = x.shape[-1], b.pick(4, 6)
    y = b.op("MatMul", x, b.weight(width, out, fan_in=width), shape=(*x.shape[:-1], out))
    return b.op("Add", y, b.real(out))


@block(VECTOR)
def gemm(b: Builder, x: Stream) -> Stream:
    (width,) = x.shape
    return b.op("Gemm", x, b.weight(6, width, fan_in=width), b.real(6), shape=(6,), transB=1, alpha=0.8)


@block(TOKENS)
def einsum(b: Builder, x: Stream) -> Stream:
    length, width = x.shape
    return b.op("Einsum", x, b.weight(6, width, fan_in=width), shape=(length, 6), equation="nld,od->nlo")


@block(TOKENS)
def self_attention(b: Builder, x: Stream) -> Stream:
    length, width = x.shape
    query, key, value = (b.op("MatMul", x, b.weight(width, width, fan_in=width)) for _ in range(3))
    turned = b.op("Transpose", key, shape=(width, length), perm=[0, 2, 1])
    scores = b.op("MatMul", query, turned, shape=(length, length))
    weights = b.op("Softmax", b.op("Mul", scores, b.constant(width**-0.5, "f4")), axis=-1)
    return b.op("MatMul", weights, value, shape=(length, width))


@block(TOKENS)
def attention(b: Builder, x: Stream) -> Stream:
    _, width = x.shape
    parts = [b.op("MatMul", x, b.weight(width, width, fan_in=width)) for _ in range(3)]
    return b.op("Attention", *parts, q_num_heads=2, kv_num_heads=2, is_causal=b.pick(0, 1))


@block(TOKENS)
def products_of_streams(b: Builder, x: Stream) -> Stream:
    """Every token times the mean of the others, by what it has in common with them."""
    length, width = x.shape
    scores = b.op("Einsum", x, x, shape=(length, length), equation="nid,njd->nij")
    return b.op("Einsum", b.op("Softmax", scores), x, shape=(length, width), equation="nij,njd->nid")


@block()
def gate(b: Builder, x: Stream) -> Stream:
    return b.op("Mul", x, b.op("Sigmoid", x))


# Pooling.


@block(IMAGE)
def max_pool(b: Builder, x: Stream) -> Stream:
    channels, height, width = x.shape
    if b.pick(True, False):
        return b.op("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    shape = (channels, (height + 1) // 2, (width + 1) // 2)
    return b.op("MaxPool", x, shape=shape, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


@block(IMAGE)
def average_pool(b: Builder, x: Stream) -> Stream:
    return b.op(
        "AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1],
        count_include_pad=b.pick(0, 1),
    )  # fmt: skip


@block(IMAGE)
def global_average(b: Builder, x: Stream) -> Stream:
    return b.op("Flatten", b.op("GlobalAveragePool", x, shape=(x.shape[0], 1, 1)), shape=(x.shape[0],))


@block(IMAGE)
def global_max(b: Builder, x: Stream) -> Stream:
    return b.op("Flatten", b.op("GlobalMaxPool", x, shape=(x.shape[0], 1, 1)), shape=(x.shape[0],))


SYNAPSES = (convolution, strided_convolution, transposed_convolution, linear, gemm, einsum)
BLOCKS = (
    *SYNAPSES, self_attention, attention, products_of_streams, gate, max_pool, average_pool, global_average,
    global_max,
)  # fmt: skip
