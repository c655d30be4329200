"""Normalisations: shift and scale to given or measured statistics, and the softmaxes.

Sums over short rows go through BLAS, many times faster there than numpy's own; all others are accumulated in
double precision. A parameter per channel applies to axis 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, require_rank
from snnc.ir.ops.reduction import reduce_l1, reduce_l2, reduce_max, reduce_mean, reduce_sum
from snnc.ir.shapes import broadcast, normalise_axis, show_shape, static_dim

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import TensorType


def per_channel(parameter: Array, rank: int) -> Array:
    """Return a vector of C as 1 x C x 1 x ..., to meet axis 1 of a rank-`rank` array."""
    return parameter.reshape(1, -1, *(1,) * (rank - 2))


def trailing(axis: int, rank: int) -> tuple[int, ...]:
    """Return the axes from `axis` to the last."""
    return tuple(range(axis % rank, rank))


SHORT_ROW = 2048  # elements that single precision adds up without harm


def is_short_row(x: Array, axes: tuple[int, ...]) -> bool:
    """Tell whether the axes are the last one alone, and short."""
    return axes in ((-1,), (x.ndim - 1,)) and x.shape[-1] <= SHORT_ROW


def total(x: Array, axes: tuple[int, ...]) -> Array:
    """Return Σ x over the axes, which stay with size 1."""
    if is_short_row(x, axes):
        return np.asarray(np.matmul(x, np.ones((x.shape[-1], 1), x.dtype)))
    return reduce_sum(x, axes=axes, keepdims=True)


def mean_square(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean of x² over the axes, which stay with size 1."""
    if is_short_row(x, axes):
        return np.asarray(np.vecdot(x, x)[..., None] / x.dtype.type(x.shape[-1]))
    return reduce_mean(np.square(x), axes=axes, keepdims=True)


def standardise(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """Return (x - mean) / √(variance + epsilon), statistics over the axes."""
    mean = total(x, axes) / x.dtype.type(math.prod(x.shape[axis] for axis in axes))
    centred: Array = x - mean
    centred *= 1 / np.sqrt(mean_square(centred, axes) + epsilon)
    return centred


def affine(y: Array, gamma: Array | None, beta: Array | None) -> Array:
    """Return gamma y + beta, written over y, which the caller owns."""
    if gamma is not None:
        y *= gamma
    if beta is not None:
        y += beta
    return y


def batch_norm(x: Array, *, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float) -> Array:
    scale = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
    shift = beta - mean * scale
    y = x * per_channel(scale.astype(x.dtype), x.ndim)
    y += per_channel(shift.astype(x.dtype), x.ndim)
    return y


def layer_norm(x: Array, *, axis: int, gamma: Array | None, beta: Array | None, epsilon: float) -> Array:
    return affine(standardise(x, trailing(axis, x.ndim), epsilon), gamma, beta)


def rms_norm(x: Array, *, axis: int, gamma: Array | None, epsilon: float) -> Array:
    power = mean_square(x, trailing(axis, x.ndim))
    return affine(x * (1 / np.sqrt(power + epsilon)), gamma, None)


def group_norm(x: Array, *, groups: int, gamma: Array | None, beta: Array | None, epsilon: float) -> Array:
    y = standardise(x.reshape(x.shape[0], groups, -1), (2,), epsilon).reshape(x.shape)
    return affine(
        y,
        None if gamma is None else per_channel(gamma, x.ndim),
        None if beta is None else per_channel(beta, x.ndim),
    )


def softmax(x: Array, *, axis: int) -> Array:
    y = x - reduce_max(x, axes=(axis,), keepdims=True)
    np.exp(y, out=y)
    y *= 1 / total(y, (axis,))
    return y


def log_softmax(x: Array, *, axis: int) -> Array:
    y: Array = x - reduce_max(x, axes=(axis,), keepdims=True)
    y -= np.log(total(np.exp(y), (axis,)))
    return y


def lp_norm(x: Array, *, axis: int, p: int) -> Array:
    norm = (reduce_l1 if p == 1 else reduce_l2)(x, axes=(axis,), keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)


def require_real(x: TensorType) -> None:
    """Refuse integers and booleans."""
    if not x.is_real:
        raise TypeInferenceError(f"it needs a real stream, not {x}")


def check_channels(x: TensorType, **parameters: Array | None) -> int:
    """Return the channels C of axis 1; refuse parameters that are not vectors of C."""
    require_real(x)
    require_rank(x, 2, "a normalisation of channels")
    channels = static_dim(x.shape[1], "the channel axis")
    for name, array in parameters.items():
        if array is not None and array.shape != (channels,):
            raise ShapeError(f"{name} of shape {show_shape(array.shape)} does not fit {channels} channels")
    return channels


def infer_batch_norm(
    x: TensorType, *, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> TensorType:
    check_channels(x, gamma=gamma, beta=beta, mean=mean, variance=variance)
    return x


def infer_group_norm(
    x: TensorType, *, groups: int, gamma: Array | None, beta: Array | None, epsilon: float
) -> TensorType:
    channels = check_channels(x, gamma=gamma, beta=beta)
    for dim in x.shape[2:]:
        static_dim(dim, "a normalised axis")
    if groups < 1 or channels % groups:
        raise ShapeError(f"{channels} channels do not divide into {groups} groups")
    return x


def infer_layer_norm(
    x: TensorType, *, axis: int, epsilon: float, gamma: Array | None, beta: Array | None = None
) -> TensorType:
    require_real(x)
    for dim in x.shape[normalise_axis(axis, len(x.shape)) :]:
        static_dim(dim, "a normalised axis")
    for name, array in (("gamma", gamma), ("beta", beta)):
        if array is not None and broadcast(x.shape, array.shape) != x.shape:
            raise ShapeError(
                f"{name} of shape {show_shape(array.shape)} is larger than {show_shape(x.shape)}"
            )
    return x


def infer_along_axis(x: TensorType, *, axis: int) -> TensorType:
    require_real(x)
    static_dim(x.shape[normalise_axis(axis, len(x.shape))], "the normalised axis")
    return x


def infer_lp_norm(x: TensorType, *, axis: int, p: int) -> TensorType:
    if p not in (1, 2):
        raise TypeInferenceError(f"lp_norm knows p = 1 and p = 2, not {p}")
    return infer_along_axis(x, axis=axis)


EPSILON = Attribute(Kind.FLOAT, 1e-5, "added to the variance")
GAMMA = Attribute(Kind.TENSOR, None, "scale (absent: 1)")
BETA = Attribute(Kind.TENSOR, None, "shift (absent: 0)")
FIRST_AXIS = Attribute(Kind.INT, -1, "the first of the normalised axes, which reach to the last")
ONE_AXIS = Attribute(Kind.INT, -1, "the normalised axis")

# `cost` per element: one accumulate for each statistic, one multiplication for each scale.
OPS = (
    Op(
        "batch_norm",
        "y = gamma (x - mean) / √(variance + epsilon) + beta per channel",
        ("x",),
        infer_batch_norm,
        batch_norm,
        Role.LINEAR,
        {
            "gamma": Attribute(Kind.TENSOR, doc="scale per channel"),
            "beta": Attribute(Kind.TENSOR, doc="shift per channel"),
            "mean": Attribute(Kind.TENSOR, doc="mean per channel"),
            "variance": Attribute(Kind.TENSOR, doc="variance per channel"),
            "epsilon": EPSILON,
        },
        cost=1.0,
        constant_term=("mean", "beta"),
    ),
    Op(
        "layer_norm",
        "y = gamma (x - μ) / √(σ² + epsilon) + beta, μ and σ² over the last axes",
        ("x",),
        infer_layer_norm,
        layer_norm,
        Role.NONLINEAR,
        {"axis": FIRST_AXIS, "gamma": GAMMA, "beta": BETA, "epsilon": EPSILON},
        cost=3.0,
    ),
    Op(
        "rms_norm",
        "y = gamma x / √(mean(x²) + epsilon), mean over the last axes",
        ("x",),
        infer_layer_norm,
        rms_norm,
        Role.NONLINEAR,
        {"axis": FIRST_AXIS, "gamma": GAMMA, "epsilon": EPSILON},
        cost=2.0,
    ),
    Op(
        "group_norm",
        "y = gamma (x - μ) / √(σ² + epsilon) + beta, μ and σ² over each group of channels and all positions",
        ("x",),
        infer_group_norm,
        group_norm,
        Role.NONLINEAR,
        {
            "groups": Attribute(Kind.INT, doc="how many groups (as many as channels: instance norm)"),
            "gamma": GAMMA,
            "beta": BETA,
            "epsilon": EPSILON,
        },
        cost=3.0,
    ),
    Op(
        "softmax",
        "y = exp(x) / Σ exp(x) along axis",
        ("x",),
        infer_along_axis,
        softmax,
        Role.NONLINEAR,
        {"axis": ONE_AXIS},
        cost=2.0,
        special=1.0,
    ),
    Op(
        "log_softmax",
        "y = x - log Σ exp(x) along axis",
        ("x",),
        infer_along_axis,
        log_softmax,
        Role.NONLINEAR,
        {"axis": ONE_AXIS},
        cost=2.0,
        special=1.0,
    ),
    Op(
        "lp_norm",
        "y = x / (Σ |x|^p)^(1/p) along axis, 0 where the norm is 0",
        ("x",),
        infer_lp_norm,
        lp_norm,
        Role.NONLINEAR,
        {"axis": ONE_AXIS, "p": Attribute(Kind.INT, 2, "1 or 2")},
        cost=2.0,
    ),
)
