"""Quantisers as trained networks carry them: ONNX's pair of a scale and a zero point, and their product.

A scale of one element holds for the whole tensor, a vector along `axis`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role
from snnc.ir.ops.elementwise import broadcasts_into
from snnc.ir.shapes import normalise_axis, show_shape
from snnc.ir.types import TensorType, dtype_name

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

LEVELS = ("i8", "u8", "i16", "u16")  # wider integers are not exact in single precision


def along_axis(parameter: Array, axis: int, rank: int) -> Array:
    """Return a parameter so that it broadcasts against a tensor of that rank."""
    if parameter.size == 1:
        return parameter.reshape(())
    return parameter.reshape([-1 if index == axis % rank else 1 for index in range(rank)])


@np.errstate(over="ignore", invalid="ignore")
def quantise(x: Array, *, scale: Array, zero_point: Array, axis: int) -> Array:
    limits = np.iinfo(zero_point.dtype)
    level = np.rint(x / along_axis(scale, axis, x.ndim))
    shifted = level + along_axis(zero_point, axis, x.ndim).astype(level.dtype)
    result: Array = np.clip(shifted, limits.min, limits.max).astype(zero_point.dtype)
    return result


def dequantise(x: Array, *, scale: Array, zero_point: Array | None, axis: int) -> Array:
    level = x.astype(scale.dtype)
    if zero_point is not None:
        level = level - along_axis(zero_point, axis, x.ndim).astype(scale.dtype)
    result: Array = level * along_axis(scale, axis, x.ndim)
    return result


def fake_quantise(x: Array, *, scale: Array, lo: int, hi: int, rounding: str) -> Array:
    level = np.rint(x / scale) if rounding == "nearest" else np.floor(x / scale + np.float32(0.5))
    return np.clip(level, lo, hi) * scale


def check_scale(scale: Array) -> None:
    if scale.dtype != np.float32 or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise TypeInferenceError("quantisation scales must be positive finite f32 numbers")


def check_parameters(x: TensorType, scale: Array, zero_point: Array | None, axis: int) -> None:
    """Refuse scales and zero points that are neither one number nor one per index of the axis."""
    check_scale(scale)
    if zero_point is not None and zero_point.shape != scale.shape:
        raise TypeInferenceError(
            f"zero points of shape {list(zero_point.shape)} do not match scales of shape {list(scale.shape)}"
        )
    if scale.size == 1:
        return
    axis = normalise_axis(axis, len(x.shape))
    if scale.ndim != 1 or scale.size != x.shape[axis]:
        raise TypeInferenceError(
            f"scales of shape {list(scale.shape)} do not fit axis {axis} of {show_shape(x.shape)}"
        )


def infer_quantise(x: TensorType, *, scale: Array, zero_point: Array, axis: int) -> TensorType:
    if not x.is_real:
        raise TypeInferenceError(f"only real streams are quantised, not {x}")
    if dtype_name(zero_point) not in LEVELS:
        raise TypeInferenceError(f"levels are one of {', '.join(LEVELS)}, not {zero_point.dtype}")
    check_parameters(x, scale, zero_point, axis)
    return TensorType(dtype_name(zero_point), x.shape)


def infer_dequantise(x: TensorType, *, scale: Array, zero_point: Array | None, axis: int) -> TensorType:
    if x.dtype == "bool":
        raise TypeInferenceError(f"only numbers are dequantised, not {x}")
    check_parameters(x, scale, zero_point, axis)
    return TensorType("f32", x.shape)


def infer_fake_quantise(x: TensorType, *, scale: Array, lo: int, hi: int, rounding: str) -> TensorType:
    if not x.is_real:
        raise TypeInferenceError(f"only real streams are quantised, not {x}")
    check_scale(scale)
    if scale.ndim != len(x.shape) or not broadcasts_into(scale, x.shape):
        raise TypeInferenceError(
            f"scales of shape {list(scale.shape)} do not broadcast against {show_shape(x.shape)}"
        )
    if lo > hi:
        raise TypeInferenceError(f"the range of levels {lo}..{hi} is empty")
    return x


SCALE = Attribute(Kind.TENSOR, doc="real value of one level")
AXIS = Attribute(Kind.INT, 1, "axis along which scales and zero points differ")

OPS = (
    Op(
        "quantise",
        "y = clip(round(x / scale) + zero_point, the range of zero_point's type), halves to even",
        ("x",),
        infer_quantise,
        quantise,
        Role.NONLINEAR,
        {"scale": SCALE, "zero_point": Attribute(Kind.TENSOR, doc="level of 0"), "axis": AXIS},
        cost=3.0,  # sum and both bounds
        special=1.0,  # division
    ),
    Op(
        "dequantise",
        "y = scale (x - zero_point)",
        ("x",),
        infer_dequantise,
        dequantise,
        Role.LINEAR,
        {"scale": SCALE, "zero_point": Attribute(Kind.TENSOR, None, "level of 0 (absent: 0)"), "axis": AXIS},
        cost=1.0,
        constant_term=("zero_point",),
    ),
    Op(
        "fake_quantise",
        "y = scale clip(round(x / scale), lo, hi), halves to even (nearest) or up (floor)",
        ("x",),
        infer_fake_quantise,
        fake_quantise,
        Role.NONLINEAR,
        {
            "scale": Attribute(Kind.TENSOR, doc="real value of one level, every axis present"),
            "lo": Attribute(Kind.INT, doc="smallest level"),
            "hi": Attribute(Kind.INT, doc="largest level"),
            "rounding": Attribute(
                Kind.STRING, "nearest", "halves to even, or floor(x / scale + 1/2)", ("nearest", "floor")
            ),
        },
        cost=3.0,  # both bounds and the product
        special=1.0,  # division
    ),
)
