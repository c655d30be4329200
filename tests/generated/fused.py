"""Operators that onnxruntime's optimisers write."""

from __future__ import annotations

from functools import partial

from tests.generated.blocks import IMAGE, TOKENS, VECTOR, Block, block
from tests.generated.builder import VOCABULARY, Builder, Stream

MICROSOFT = "com.microsoft"


def microsoft(b: Builder, x: Stream, *, operator: str) -> Stream:
    return b.op(operator, x, domain=MICROSOFT)


GELUS = tuple(
    Block(f"fused-{operator}", partial(microsoft, operator=operator))
    for operator in ("Gelu", "FastGelu", "QuickGelu")
)


@block(TOKENS, VECTOR)
def bias_gelu(b: Builder, x: Stream) -> Stream:
    return b.op("BiasGelu", x, b.real(x.shape[-1]), domain=MICROSOFT)


@block(IMAGE)
def fused_conv(b: Builder, x: Stream) -> Stream:
    weight = b.weight(4, x.shape[0], 3, 3, fan_in=9 * x.shape[0])
    return b.op(
        "FusedConv", x, weight, b.real(4), shape=(4, *x.shape[1:]), domain=MICROSOFT, activation="Relu",
        pads=[1, 1, 1, 1], kernel_shape=[3, 3],
    )  # fmt: skip


@block(VECTOR)
def fused_gemm(b: Builder, x: Stream) -> Stream:
    (width,) = x.shape
    return b.op(
        "FusedGemm", x, b.weight(5, width, fan_in=width), b.real(5), shape=(5,), domain=MICROSOFT,
        activation="LeakyRelu", activation_alpha=0.1, transB=1, alpha=0.7,
    )  # fmt: skip


@block(TOKENS)
def fused_matmul(b: Builder, x: Stream) -> Stream:
    length, _ = x.shape
    scores = b.op(
        "FusedMatMul", x, x, shape=(length, length), domain=MICROSOFT, transB=1, alpha=0.3
    )  # fmt: skip
    return b.op("MatMul", b.op("Softmax", scores), x, shape=x.shape)


@block(TOKENS)
def skip_layer_norm(b: Builder, x: Stream) -> Stream:
    width = x.shape[-1]
    return b.op(
        "SkipLayerNormalization", x, b.op("Tanh", x), b.real(width), b.real(width), domain=MICROSOFT,
        epsilon=0.1,
    )  # fmt: skip


@block(TOKENS)
def skip_rms_norm(b: Builder, x: Stream) -> Stream:
    return b.op(
        "SkipSimplifiedLayerNormalization", x, b.op("Tanh", x), b.real(x.shape[-1]), domain=MICROSOFT,
        epsilon=0.1,
    )  # fmt: skip


@block(TOKENS)
def packed_attention(b: Builder, x: Stream) -> Stream:
    width = x.shape[-1]
    weights = [b.weight(width, 3 * width, fan_in=width), b.real(3 * width)]
    return b.op("Attention", x, *weights, domain=MICROSOFT, num_heads=1, unidirectional=b.pick(0, 1))


@block(TOKENS)
def multi_head_attention(b: Builder, x: Stream) -> Stream:
    parts = [b.op("MatMul", x, b.weight(x.shape[-1], x.shape[-1], fan_in=x.shape[-1])) for _ in range(3)]
    return b.op("MultiHeadAttention", *parts, domain=MICROSOFT, num_heads=1)


@block(TOKENS)
def embedded(b: Builder, x: Stream) -> Stream:
    length, width = x.shape
    ids, mask = (b.op("Cast", b.ids(length), to=6) for _ in range(2))
    tables = [b.real(VOCABULARY, width), b.real(length + 2, width)]
    y = b.op(
        "EmbedLayerNormalization", ids, "", *tables, "", b.real(width), b.real(width), mask,
        shape=x.shape, domain=MICROSOFT, epsilon=0.1,
    )  # fmt: skip
    b.nodes[-1].output.append(y.name + "_counts")
    return b.op("Add", x, y)


BLOCKS = (
    *GELUS, bias_gelu, fused_conv, fused_gemm, fused_matmul, skip_layer_norm, skip_rms_norm, packed_attention,
    multi_head_attention, embedded,
)  # fmt: skip
