"""Functions of one stream, arithmetic, normalisations and reductions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tests.generated.blocks import IMAGE, TOKENS, VECTOR, Block, block

if TYPE_CHECKING:
    from tests.generated.builder import Builder, Stream


def apply(b: Builder, x: Stream, *, operator: str, **attributes: Any) -> Stream:
    return b.op(operator, x, **attributes)


def function(operator: str, *, steep: bool = False, opset: int | None = None, **attributes: Any) -> Block:
    return Block(operator, partial(apply, operator=operator, **attributes), steep=steep, opset=opset)


SMOOTH = tuple(
    function(operator, **attributes)
    for operator, attributes in {
        "Relu": {},
        "LeakyRelu": {"alpha": 0.2},
        "Sigmoid": {},
        "HardSigmoid": {"alpha": 0.3},
        "HardSwish": {},
        "Tanh": {},
        "Erf": {},
        "Gelu": {"approximate": "tanh"},
        "Elu": {"alpha": 0.7},
        "Selu": {},
        "Celu": {"alpha": 1.3},
        "Softplus": {},
        "Softsign": {},
        "Mish": {},
        "Neg": {},
        "Abs": {},
        "Sin": {},
        "Cos": {},
        "Atan": {},
        "Identity": {},
        "Dropout": {},
    }.items()
)
STEEP = tuple(function(operator, steep=True) for operator in ("Floor", "Ceil", "Round", "Sign"))


def positive(b: Builder, x: Stream) -> Stream:
    """Return numbers from 0.5 up."""
    return b.op("Add", b.op("Sigmoid", x), b.constant(0.5, "f4"))


def of_positive(b: Builder, x: Stream, *, operator: str) -> Stream:
    return b.op(operator, positive(b, x))


POSITIVE = tuple(
    Block(operator, partial(of_positive, operator=operator)) for operator in ("Log", "Sqrt", "Reciprocal")
)


@block()
def exponential(b: Builder, x: Stream) -> Stream:
    return b.op("Exp", b.op("Tanh", x))


@block(steep=True)
def thresholded_relu(b: Builder, x: Stream) -> Stream:
    return b.op("ThresholdedRelu", x, alpha=0.3)


@block()
def clip(b: Builder, x: Stream) -> Stream:
    low, high = b.pick((0.0, 6.0), (-0.7, 0.5), (0.0, 1.0), (-0.4, None), (None, 0.6))
    bounds = ["" if bound is None else b.constant(bound, "f4") for bound in (low, high)]
    return b.op("Clip", x, *bounds)


@block()
def p_relu(b: Builder, x: Stream) -> Stream:
    channels = (x.shape[0], 1, 1) if len(x.shape) == IMAGE else (x.shape[-1],)
    return b.op("PRelu", x, b.real(*channels, low=0.1, high=0.9))


@block()
def casts(b: Builder, x: Stream) -> Stream:
    return b.op("Cast", b.op("CastLike", x, b.constant([0.0], "f8")), to=1)


@block(opset=24)
def swish(b: Builder, x: Stream) -> Stream:
    return b.op("Swish", x, alpha=b.pick(1.0, 1.7))


# Arithmetic.


def per_channel(b: Builder, x: Stream, low: float = -1.0, high: float = 1.0) -> str:
    return b.real(x.shape[0], *[1] * (len(x.shape) - 1), low=low, high=high)


@block()
def scale_and_shift(b: Builder, x: Stream) -> Stream:
    return b.op("Add", b.op("Mul", x, per_channel(b, x, 0.5, 1.5)), per_channel(b, x))


@block()
def subtract_and_divide(b: Builder, x: Stream) -> Stream:
    return b.op("Div", b.op("Sub", x, per_channel(b, x)), per_channel(b, x, 0.7, 1.4))


@block()
def divide_by_a_stream(b: Builder, x: Stream) -> Stream:
    return b.op("Div", b.op("Sub", b.constant(0.3, "f4"), x, shape=x.shape), positive(b, x))


@block()
def power(b: Builder, x: Stream) -> Stream:
    return b.op("Pow", positive(b, x), b.constant(b.pick(2.0, 0.5, 3.0, 1.3), "f4"))


@block()
def square(b: Builder, x: Stream) -> Stream:
    bounded = b.op("Tanh", x)
    return b.op("Mul", bounded, bounded)


@block()
def between(b: Builder, x: Stream) -> Stream:
    return b.op("Min", b.op("Max", x, per_channel(b, x, -1, -0.2)), per_channel(b, x, 0.2, 1))


@block()
def extremes_of_streams(b: Builder, x: Stream) -> Stream:
    return b.op(b.pick("Max", "Min"), x, b.op("Neg", x), b.op("Max", x, b.op("Min", x, b.real(1))))


@block()
def sum_and_mean(b: Builder, x: Stream) -> Stream:
    return b.op("Mean", b.op("Sum", x, per_channel(b, x), b.op("Sigmoid", x)), x)


@block(steep=True)
def remainder(b: Builder, x: Stream) -> Stream:
    return b.op("Mod", x, b.constant(0.7, "f4"), fmod=1)


@block(steep=True)
def choice(b: Builder, x: Stream) -> Stream:
    """Where(x > c, tanh x, x): a comparison of streams that chooses between two."""
    return b.op("Where", b.op("Greater", x, b.constant(0.1, "f4")), b.op("Tanh", x), x)


# Normalisations.


@block(IMAGE, VECTOR)
def batch_norm(b: Builder, x: Stream) -> Stream:
    channels = x.shape[0]
    parameters = [b.real(channels), b.real(channels), b.real(channels, low=-0.2, high=0.2)]
    return b.op("BatchNormalization", x, *parameters, b.real(channels, low=0.5, high=1.5))


@block(TOKENS, VECTOR)
def layer_norm(b: Builder, x: Stream) -> Stream:
    width = x.shape[-1]
    return b.op("LayerNormalization", x, b.real(width), b.real(width), epsilon=0.1)


@block(TOKENS, VECTOR)
def rms_norm(b: Builder, x: Stream) -> Stream:
    return b.op("RMSNormalization", x, b.real(x.shape[-1]), epsilon=0.1)


@block(IMAGE)
def instance_norm(b: Builder, x: Stream) -> Stream:
    return b.op("InstanceNormalization", x, b.real(x.shape[0]), b.real(x.shape[0]), epsilon=0.1)


@block(IMAGE)
def group_norm(b: Builder, x: Stream) -> Stream:
    channels = x.shape[0]
    return b.op("GroupNormalization", x, b.real(channels), b.real(channels), num_groups=channels, epsilon=0.1)


@block()
def lp_norm(b: Builder, x: Stream) -> Stream:
    return b.op("LpNormalization", positive(b, x), axis=1, p=b.pick(1, 2))


@block()
def softmax(b: Builder, x: Stream) -> Stream:
    return b.op("Softmax", x, axis=b.pick(1, -1))


@block()
def log_softmax(b: Builder, x: Stream) -> Stream:
    return b.op("LogSoftmax", x, axis=-1)


# Reductions: of the last axis, and added again, so that the shape stays.


def reduced(b: Builder, x: Stream, *, operator: str) -> Stream:
    read = positive(b, x) if operator in ("ReduceLogSum", "ReduceL2", "ReduceProd") else x
    last = len(x.shape)
    return b.op("Add", b.op(operator, read, b.ints(last), keepdims=1), x, shape=x.shape)


REDUCTIONS = tuple(
    Block(operator, partial(reduced, operator=operator))
    for operator in (
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "ReduceSumSquare",
    )
)  # fmt: skip


@block()
def cumulative_sum(b: Builder, x: Stream) -> Stream:
    return b.op("CumSum", x, b.constant(1, "i8"), reverse=b.pick(0, 1), exclusive=b.pick(0, 1))


BLOCKS = (
    *SMOOTH, *STEEP, *POSITIVE, *REDUCTIONS, exponential, thresholded_relu, clip, p_relu, casts, swish,
    scale_and_shift, subtract_and_divide, divide_by_a_stream, power, square, between, extremes_of_streams,
    sum_and_mean, remainder, choice, batch_norm, layer_norm, rms_norm, instance_norm, group_norm, lp_norm,
    softmax, log_softmax, cumulative_sum,
)  # fmt: skip
