"""Blocks of quantised models, as ONNX (QDQ, QOperator) and onnxruntime's quantiser write them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.generated.blocks import ANY, IMAGE, TOKENS, VECTOR, Block, block

MICROSOFT = "com.microsoft"
SCALE, ZERO = 0.02, 128

if TYPE_CHECKING:
    from tests.generated.builder import Builder, Stream


def levels(b: Builder, *shape: int) -> str:
    return b.constant(b.rng.integers(-60, 60, shape), np.int8)


def scales(b: Builder, scale: float = SCALE, zero: int = ZERO) -> tuple[str, str]:
    """Return scale and zero point.

    Scales are no ratios of whole numbers, so that sums of levels do not lie on the edge between two others.
    """
    return b.constant(scale * b.rng.uniform(0.9, 1.1), "f4"), b.constant(zero, "u1")


def quantised(b: Builder, x: Stream) -> tuple[Stream, str, str]:
    scale, zero = scales(b)
    return b.op("QuantizeLinear", x, scale, zero), scale, zero


def real(b: Builder, x: Stream, scale: str, zero: str) -> Stream:
    return b.op("DequantizeLinear", x, scale, zero)


@block(quantises=True)
def qdq(b: Builder, x: Stream) -> Stream:
    return real(b, *quantised(b, x))


@block(IMAGE, quantises=True)
def q_linear_conv(b: Builder, x: Stream) -> Stream:
    q, scale, zero = quantised(b, x)
    out = scales(b, 0.03)
    weight = [levels(b, 4, x.shape[0], 3, 3), b.constant(0.005, "f4"), b.constant(0, "i1")]
    y = b.op("QLinearConv", q, scale, zero, *weight, *out, shape=(4, *x.shape[1:]), pads=[1, 1, 1, 1])
    return real(b, y, *out)


@block(TOKENS, VECTOR, quantises=True)
def q_linear_matmul(b: Builder, x: Stream) -> Stream:
    q, scale, zero = quantised(b, x)
    out = scales(b, 0.03)
    weight = [levels(b, x.shape[-1], 5), b.constant(0.01, "f4"), b.constant(0, "i1")]
    return real(b, b.op("QLinearMatMul", q, scale, zero, *weight, *out, shape=(*x.shape[:-1], 5)), *out)


@block(VECTOR, quantises=True)
def q_gemm(b: Builder, x: Stream) -> Stream:
    q, scale, zero = quantised(b, x)
    out = scales(b, 0.03)
    weight = [levels(b, x.shape[0], 5), b.constant(0.01, "f4"), b.constant(0, "i1")]
    bias = b.constant(b.rng.integers(-900, 900, 5), np.int32)
    return real(b, b.op("QGemm", q, scale, zero, *weight, bias, *out, shape=(5,), domain=MICROSOFT), *out)


@block(IMAGE, quantises=True)
def conv_integer(b: Builder, x: Stream) -> Stream:
    q, _, zero = quantised(b, x)
    y = b.op("ConvInteger", q, levels(b, 3, x.shape[0], 1, 1), zero, shape=(3, *x.shape[1:]))
    return b.op("Mul", b.op("Cast", y, to=1), b.constant(SCALE * 0.01, "f4"))


@block(TOKENS, VECTOR, quantises=True)
def matmul_integer(b: Builder, x: Stream) -> Stream:
    q, _, zero = quantised(b, x)
    y = b.op("MatMulInteger", q, levels(b, x.shape[-1], 5), zero, shape=(*x.shape[:-1], 5))
    return b.op("Mul", b.op("Cast", y, to=1), b.constant(SCALE * 0.01, "f4"))


def of_one(b: Builder, x: Stream, *, operator: str, scale: float, **attributes: Any) -> Stream:
    out = scales(b, scale)
    shape = (x.shape[0], 1, 1) if operator == "QLinearGlobalAveragePool" else x.shape
    y = b.op(operator, *quantised(b, x), *out, shape=shape, domain=MICROSOFT, **attributes)
    return real(b, y, *out)


def contributed(operator: str, *ranks: int, scale: float = 0.01, **attributes: Any) -> Block:
    build = partial(of_one, operator=operator, scale=scale, **attributes)
    return Block(operator, build, ranks or ANY, quantises=True)


OF_ONE = (
    contributed("QLinearLeakyRelu", scale=0.02, alpha=0.3),
    contributed("QLinearSigmoid"),
    contributed("QLinearSoftmax", axis=1, opset=13),
    contributed(
        "QLinearAveragePool", IMAGE, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]
    ),
    contributed("QLinearGlobalAveragePool", IMAGE, channels_last=0),
)  # fmt: skip


def of_two(b: Builder, x: Stream, *, operator: str) -> Stream:
    out = scales(b, 0.03)
    first, second = quantised(b, x), quantised(b, b.op("Tanh", x))
    return real(b, b.op(operator, *first, *second, *out, domain=MICROSOFT), *out)


OF_TWO = tuple(
    Block(operator, partial(of_two, operator=operator), quantises=True)
    for operator in ("QLinearAdd", "QLinearMul")
)


@block(quantises=True)
def q_linear_concat(b: Builder, x: Stream) -> Stream:
    out = scales(b, 0.03)
    parts = [*quantised(b, x), *quantised(b, b.op("Neg", x))]
    shape = (2 * x.shape[0], *x.shape[1:])
    return real(b, b.op("QLinearConcat", *out, *parts, shape=shape, axis=1, domain=MICROSOFT), *out)


BLOCKS = (
    qdq, q_linear_conv, q_linear_matmul, q_gemm, conv_integer, matmul_integer, *OF_ONE, *OF_TWO,
    q_linear_concat,
)  # fmt: skip
