"""Functions of one stream, applied to each element alone.

`cost` counts one for each addition, comparison or multiplication per element, an upper bound of
multiply-accumulates; `special` counts exp, log, tanh, erf, sine, root and division.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import Payload
from snnc.ir.errors import TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, same_type
from snnc.ir.shapes import Batch, Shape, show_shape
from snnc.ir.types import DTYPES, SpikeType, TensorType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.kernel_types import Array
    from snnc.ir.op import Infer, Kernel
    from snnc.ir.types import Type

# Klambauer et al. 2017, in single precision as ONNX states them.
SELU_ALPHA = 1.67326319217681884765625
SELU_GAMMA = 1.05070102214813232421875

# IEEE arithmetic: out of its domain or range a function gives nan or infinity, as in the source model.
ieee = np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def leaky_relu(x: Array, *, alpha: float) -> Array:
    return np.maximum(x, 0) + np.minimum(x, 0) * alpha


def prelu(x: Array, *, slope: Array) -> Array:
    result: Array = np.maximum(x, 0) + np.minimum(x, 0) * slope
    return result


def thresholded_relu(x: Array, *, alpha: float) -> Array:
    return np.where(x > alpha, x, 0)


def clip(x: Array, *, low: float | None, high: float | None) -> Array:
    return x if low is None and high is None else np.clip(x, low, high)


@ieee
def sigmoid(x: Array) -> Array:
    y = _one_and_exponential(x)
    return np.divide(1, y, out=y)


def _one_and_exponential(x: Array) -> Array:
    """Return 1 + exp(-x); where that overflows, whatever is divided by it is 0."""
    y = np.negative(x, out=np.empty_like(x))
    np.exp(y, out=y)
    y += 1
    return y


def hard_sigmoid(x: Array, *, alpha: float, beta: float) -> Array:
    return np.clip(x * alpha + beta, 0, 1)


def hard_swish(x: Array) -> Array:
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


# erf on [-4, 4] as x P(x²) / R(x²), highest power first: the coefficients of Eigen's and XLA's single
# precision erf. Evaluated in single precision the error is below 5e-7 everywhere.
ERF_NUMERATOR = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
ERF_DENOMINATOR = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip
BLOCK = 2**15  # elements whose intermediates stay in the cache


def in_blocks(function: Callable[[Array], Array], x: Array) -> Array:
    """Return a function of every element, some elements at a time."""
    flat = x.reshape(-1)
    result = np.empty_like(flat)
    for start in range(0, flat.size, BLOCK):
        result[start : start + BLOCK] = function(flat[start : start + BLOCK])
    return result.reshape(x.shape)


def erf(x: Array) -> Array:
    return in_blocks(_erf, x)


def _erf(x: Array) -> Array:
    z = x.clip(-4, 4)
    square = z * z
    z *= _polynomial(ERF_NUMERATOR, square)
    z /= _polynomial(ERF_DENOMINATOR, square)
    return z.clip(-1, 1, out=z)


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    result = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        result += coefficient
        result *= x
    result += coefficients[-1]
    return result


@ieee
def gelu(x: Array, *, approximate: str) -> Array:
    if approximate == "tanh":
        return x * (0.5 + 0.5 * np.tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)))
    return in_blocks(_gelu, x)


def _gelu(x: Array) -> Array:
    y = _erf(x * math.sqrt(0.5))
    y += 1
    y *= x
    y *= 0.5
    return y


@ieee
def silu(x: Array) -> Array:
    y = _one_and_exponential(x)
    return np.divide(x, y, out=y)


@ieee
def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def mish(x: Array) -> Array:
    return x * np.tanh(softplus(x))


@ieee
def elu(x: Array, *, alpha: float) -> Array:
    return np.maximum(x, 0) + np.expm1(np.minimum(x, 0)) * alpha


@ieee
def selu(x: Array, *, alpha: float, gamma: float) -> Array:
    return elu(x, alpha=alpha) * gamma


@ieee
def celu(x: Array, *, alpha: float) -> Array:
    return np.maximum(x, 0) + np.expm1(np.minimum(x / alpha, 0)) * alpha


def softsign(x: Array) -> Array:
    result: Array = x / (np.abs(x) + 1)
    return result


def cast(x: Array, *, to: str) -> Array:
    dtype = DTYPES[to]
    if x.dtype != object:
        with np.errstate(invalid="ignore"):
            return x.astype(dtype)
    convert: type[bool] | type[float] | type[int] = {"b": bool, "f": float}.get(dtype.kind, int)
    cast_one = np.frompyfunc(lambda dim: dim if isinstance(dim, Batch) else convert(dim), 1, 1)
    result: Array = np.asarray(cast_one(x), dtype=object)
    return result != 0 if convert is bool else result


def real(x: TensorType, **attributes: Any) -> TensorType:
    """The result has the type of its one operand, which must be real."""
    if not x.is_real:
        raise TypeInferenceError(f"the operand must be real, not {x}")
    return x


def broadcasts_into(parameter: Array, shape: Shape) -> bool:
    """Tell whether a parameter broadcasts against a shape without widening it."""
    pairs = zip(reversed(parameter.shape), reversed(shape), strict=False)
    return parameter.ndim <= len(shape) and all(size in (1, dim) for size, dim in pairs)


def infer_prelu(x: TensorType, *, slope: Array) -> TensorType:
    if not broadcasts_into(slope, x.shape):
        raise TypeInferenceError(
            f"slopes of shape {list(slope.shape)} do not broadcast against {show_shape(x.shape)}"
        )
    return real(x)


def infer_cast(x: TensorType, *, to: str) -> TensorType:
    return TensorType(to, x.shape)


def _unscaled(types: Sequence[Type]) -> Payload | None:
    """Return the payload of the one operand; None where its scale, which may be negative, is not folded."""
    first = types[0]
    return first.payload if isinstance(first, SpikeType) and not first.scaled else None


def payload_relu(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    payload = _unscaled(types)
    return payload and Payload(max(payload.lo, 0), max(payload.hi, 0), payload.powers_of_two)


def payload_abs(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    payload = _unscaled(types)
    if payload is None:
        return None
    largest = max(abs(payload.lo), abs(payload.hi))
    return Payload(max(payload.lo, -payload.hi, 0), largest, payload.powers_of_two)


def payload_neg(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    first = types[0]
    if not isinstance(first, SpikeType):
        return None
    return Payload(-first.payload.hi, -first.payload.lo, first.payload.powers_of_two)


def unary(
    name: str,
    equation: str,
    kernel: Kernel,
    *,
    cost: float = 0.0,
    special: float = 0.0,
    infer: Infer = real,
    role: Role = Role.NONLINEAR,
    **declared: Any,
) -> Op:
    """Declare a function of one stream; real unless `infer` says otherwise."""
    return Op(name, equation, ("x",), infer, kernel, role, cost=cost, special=special, **declared)


def number(default: float, doc: str) -> Attribute:
    return Attribute(Kind.FLOAT, default, doc)


RECTIFIERS = (
    unary(
        "relu", "y = max(x, 0)", relu, cost=1, infer=same_type, homogeneous=True, payload=payload_relu
    ),
    unary(
        "leaky_relu", "y = x where x >= 0, else alpha x", leaky_relu, cost=2, homogeneous=True,
        attributes={"alpha": number(0.01, "slope of the negative side")},
    ),
    unary(
        "prelu", "y = x where x >= 0, else slope x", prelu, cost=2, infer=infer_prelu, homogeneous=True,
        attributes={"slope": Attribute(Kind.TENSOR, doc="slope of the negative side, broadcast against x")},
    ),
    unary(
        "thresholded_relu", "y = x where x > alpha, else 0", thresholded_relu, cost=1,
        attributes={"alpha": number(1.0, "where the function jumps from 0 to alpha")},
    ),
    unary(
        "clip", "y = min(max(x, low), high)", clip, cost=2,
        attributes={
            "low": Attribute(Kind.FLOAT, None, "lower bound (absent: none)"),
            "high": Attribute(Kind.FLOAT, None, "upper bound (absent: none)"),
        },
    ),
    unary(
        "hard_sigmoid", "y = min(max(alpha x + beta, 0), 1)", hard_sigmoid, cost=3,
        attributes={"alpha": number(0.2, "slope"), "beta": number(0.5, "value at 0")},
    ),
    unary("hard_swish", "y = x min(max(x / 6 + 1/2, 0), 1)", hard_swish, cost=4),
)  # fmt: skip

SMOOTH = (
    unary("sigmoid", "y = 1 / (1 + exp(-x))", sigmoid, cost=1, special=2),
    unary("tanh", "y = tanh(x)", np.tanh, special=1),
    unary("erf", "y = erf(x)", erf, special=1),
    unary(
        "gelu", "y = x/2 (1 + erf(x / √2)), or x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))", gelu, cost=4,
        special=1,
        attributes={"approximate": Attribute(Kind.STRING, "none", "which equation", ("none", "tanh"))},
    ),
    unary("silu", "y = x / (1 + exp(-x))", silu, cost=2, special=2),
    unary("mish", "y = x tanh(log(1 + exp(x)))", mish, cost=2, special=3),
    unary(
        "elu", "y = x where x >= 0, else alpha (exp(x) - 1)", elu, cost=2, special=1,
        attributes={"alpha": number(1.0, "minus the limit at -∞")},
    ),
    unary(
        "selu", "y = gamma x where x >= 0, else gamma alpha (exp(x) - 1)", selu, cost=3, special=1,
        attributes={
            "alpha": number(SELU_ALPHA, "minus the limit at -∞, before gamma"),
            "gamma": number(SELU_GAMMA, "slope of the positive side"),
        },
    ),
    unary(
        "celu", "y = x where x >= 0, else alpha (exp(x / alpha) - 1)", celu, cost=3, special=1,
        attributes={"alpha": number(1.0, "minus the limit at -∞")},
    ),
    unary("softplus", "y = log(1 + exp(x))", softplus, cost=1, special=2),
    unary("softsign", "y = x / (1 + |x|)", softsign, cost=2, special=1),
)  # fmt: skip

FUNCTIONS = (
    unary("exp", "y = exp(x)", ieee(np.exp), special=1),
    unary("log", "y = log(x)", ieee(np.log), special=1),
    unary("sqrt", "y = √x", ieee(np.sqrt), special=1),
    unary("reciprocal", "y = 1 / x", ieee(np.reciprocal), special=1),
    unary("sin", "y = sin(x)", ieee(np.sin), special=1),
    unary("atan", "y = arctan(x)", ieee(np.arctan), special=1),
    unary("cos", "y = cos(x)", ieee(np.cos), special=1),
    unary(
        "neg", "y = -x", np.negative, cost=1, infer=same_type, role=Role.LINEAR, payload=payload_neg
    ),
    unary("abs", "y = |x|", np.abs, cost=1, infer=same_type, homogeneous=True, payload=payload_abs),
    unary("sign", "y = -1, 0 or 1 with the sign of x", np.sign, cost=1, infer=same_type),
    unary("floor", "y = the largest integer <= x", np.floor, cost=1),
    unary("ceil", "y = the smallest integer >= x", np.ceil, cost=1),
    unary("round", "y = the nearest integer, halves to even", np.rint, cost=1),
    unary(
        "cast", "y = x as another element type; integers drop the fraction", cast, infer=infer_cast,
        attributes={"to": Attribute(Kind.STRING, doc="element type of y", choices=tuple(DTYPES))},
    ),
)  # fmt: skip

OPS = (*RECTIFIERS, *SMOOTH, *FUNCTIONS)
