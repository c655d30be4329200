"""Synapses: the ops that multiply a stream by weights, and the product of two streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role, require_rank, same_dtype
from snnc.ir.ops.convolution import Window, convolve, convolve_transposed, windows
from snnc.ir.shapes import Dim, broadcast, show_shape, static_dim
from snnc.ir.types import SpikeType, TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from snnc.ir.codebooks import Payload
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Shape
    from snnc.ir.types import Type

Ints = tuple[int, ...]

MOST_EXPONENT = 15  # together with 8-bit weights a power of two still fits 24 bits


def add_channel_bias(y: Array, bias: Array | None) -> Array:
    """Add bias [C] to a fresh array y [n, C, …] in place."""
    if bias is None:
        return y
    return np.add(y, bias.reshape(-1, *(1,) * (y.ndim - 2)), out=y)


def check_bias(bias: Array | None, features: int) -> None:
    if bias is not None and bias.shape != (features,):
        raise TypeInferenceError(f"bias has shape {list(bias.shape)}; the op has {features} outputs")


def check_weight(x: TensorType, weight: Array, bias: Array | None, exponent: int, what: str) -> None:
    """Refuse real weights on a stream of integers, which has no decoded value, and integer ones on reals."""
    real = weight.dtype.kind == "f"
    if real and not x.is_real:
        raise TypeInferenceError(f"{what} with real weights needs a real stream, not {x}")
    if x.is_real and not real:
        raise TypeInferenceError(
            f"{what} with integer weights needs spikes, not {x}", help="put a neuron in front of it"
        )
    if bias is not None and (bias.dtype.kind == "f") != real:
        raise TypeInferenceError(f"{what} with {weight.dtype} weights cannot have a bias of {bias.dtype}")
    if exponent and (real or not 0 < exponent <= MOST_EXPONENT):
        raise TypeInferenceError(
            f"{what} exponent {exponent}: integer weights have one from 0 to {MOST_EXPONENT}, real ones none"
        )


def raised(y: Array, exponent: int) -> Array:
    """Return 2^exponent y."""
    return y if exponent == 0 else np.multiply(y, 2**exponent, out=y)


def spatial_sizes(x: TensorType, weight: Array, what: str) -> Ints:
    """Return the spatial sizes of x [N, C, …]; refuse ranks that do not fit the weight."""
    require_rank(x, 3, what)
    if weight.ndim != len(x.shape):
        raise TypeInferenceError(
            f"{what} weight {list(weight.shape)} needs an operand with {weight.ndim} axes, "
            f"got {show_shape(x.shape)}"
        )
    return tuple(static_dim(dim, f"a spatial axis of {what}") for dim in x.shape[2:])


def check_geometry(what: str, rank: int, *, pairs: Ints, **singles: Ints) -> None:
    """Refuse strides, dilations (positive) or pads (not negative) that do not fit the spatial rank."""
    for name, values in singles.items():
        if values and (len(values) != rank or min(values) < 1):
            raise TypeInferenceError(f"{what} {name} {list(values)} must be {rank} positive integers")
    if pairs and (len(pairs) != 2 * rank or min(pairs) < 0):
        raise TypeInferenceError(f"{what} pads {list(pairs)} must be {2 * rank} integers, none negative")


# Convolution.


def conv(
    x: Array,
    *,
    weight: Array,
    bias: Array | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    group: int,
    exponent: int = 0,
) -> Array:
    axes = windows(x.shape[2:], weight.shape[2:], strides, pads, dilations)
    if exponent == 0:
        return convolve(x, weight, bias, axes, group)
    return add_channel_bias(raised(convolve(x, weight, None, axes, group), exponent), bias)


def infer_conv(
    x: TensorType,
    *,
    weight: Array,
    bias: Array | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    group: int,
    exponent: int = 0,
) -> TensorType:
    sizes = spatial_sizes(x, weight, "conv")
    check_weight(x, weight, bias, exponent, "conv")
    check_geometry("conv", len(sizes), pairs=pads, strides=strides, dilations=dilations)
    outputs, inner = weight.shape[:2]
    if group < 1 or x.shape[1] != inner * group or outputs % group:
        raise TypeInferenceError(
            f"conv weight {list(weight.shape)} with group {group} does not fit {show_shape(x.shape)}"
        )
    check_bias(bias, outputs)
    axes = windows(sizes, weight.shape[2:], strides, pads, dilations)
    for axis in axes:
        if axis.extent > axis.size + axis.before + axis.after:
            raise ShapeError(f"conv kernel spans {axis.extent} positions; the padded input has fewer")
    return x.with_shape((x.shape[0], outputs, *(axis.output for axis in axes)))


def outer_product(counts: Sequence[Array]) -> Array:
    """Return the product of per-axis counts as an array [1, *sizes]."""
    result: Array = np.ones(1, np.int64)
    for count in counts:
        result = result[..., None] * count
    return result


def fan_out_conv(
    shape: Ints,
    result_shape: Ints,
    *,
    weight: Array,
    bias: Array | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    group: int,
    exponent: int = 0,
) -> Array:
    axes = windows(shape[2:], weight.shape[2:], strides, pads, dilations)
    drives = outer_product([axis.drives for axis in axes])
    return np.multiply(drives[None], len(weight) // group)


# Transposed convolution.


def transposed_sizes(axes: Sequence[Window], output_padding: Ints) -> Ints:
    extra = output_padding or (0,) * len(axes)
    return tuple(
        (axis.size - 1) * axis.stride + axis.extent + more - axis.before - axis.after
        for axis, more in zip(axes, extra, strict=True)
    )


def conv_transpose(
    x: Array,
    *,
    weight: Array,
    bias: Array | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    output_padding: Ints,
    group: int,
    exponent: int = 0,
) -> Array:
    axes = windows(x.shape[2:], weight.shape[2:], strides, pads, dilations)
    sizes = transposed_sizes(axes, output_padding)
    return add_channel_bias(raised(convolve_transposed(x, weight, axes, sizes, group), exponent), bias)


def infer_conv_transpose(
    x: TensorType,
    *,
    weight: Array,
    bias: Array | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    output_padding: Ints,
    group: int,
    exponent: int = 0,
) -> TensorType:
    sizes = spatial_sizes(x, weight, "conv_transpose")
    check_weight(x, weight, bias, exponent, "conv_transpose")
    check_geometry("conv_transpose", len(sizes), pairs=pads, strides=strides, dilations=dilations)
    if output_padding and (len(output_padding) != len(sizes) or min(output_padding) < 0):
        raise TypeInferenceError(f"conv_transpose output_padding {list(output_padding)} does not fit")
    if group < 1 or x.shape[1] != len(weight) or len(weight) % group:
        raise TypeInferenceError(
            f"conv_transpose weight {list(weight.shape)} with group {group} does not fit "
            f"{show_shape(x.shape)}"
        )
    outputs = weight.shape[1] * group
    check_bias(bias, outputs)
    axes = windows(sizes, weight.shape[2:], strides, pads, dilations)
    result = transposed_sizes(axes, output_padding)
    if min(result) < 1:
        raise ShapeError(f"conv_transpose pads {list(pads)} leave nothing of the result")
    return x.with_shape((x.shape[0], outputs, *result))


def fan_out_conv_transpose(
    shape: Ints,
    result_shape: Ints,
    *,
    weight: Array,
    bias: Array | None,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    output_padding: Ints,
    group: int,
    exponent: int = 0,
) -> Array:
    axes = windows(shape[2:], weight.shape[2:], strides, pads, dilations)
    counts: list[Array] = []
    for axis, size in zip(axes, result_shape[2:], strict=True):
        taps = np.arange(axis.kernel) * axis.dilation - axis.before
        reached = np.arange(axis.size)[:, None] * axis.stride + taps
        counts.append(((reached >= 0) & (reached < size)).sum(axis=1))
    return np.multiply(outer_product(counts)[None], weight.shape[1])


# Linear and matrix product.


def linear(x: Array, *, weight: Array, bias: Array | None, exponent: int = 0) -> Array:
    # One matrix product over all leading axes: a batch of small ones is several times slower.
    rows: Array = raised(np.matmul(x.reshape(-1, x.shape[-1]), weight.T), exponent)
    if bias is not None:
        rows += bias
    return rows.reshape(*x.shape[:-1], len(weight))


def infer_linear(x: TensorType, *, weight: Array, bias: Array | None, exponent: int = 0) -> TensorType:
    require_rank(x, 1, "linear")
    check_weight(x, weight, bias, exponent, "linear")
    if weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise TypeInferenceError(f"linear weight {list(weight.shape)} does not fit {show_shape(x.shape)}")
    check_bias(bias, len(weight))
    return x.with_shape((*x.shape[:-1], len(weight)))


def fan_out_linear(
    shape: Ints, result_shape: Ints, *, weight: Array, bias: Array | None, exponent: int = 0
) -> Array:
    return np.full((1,) * len(shape), len(weight))


def matmul(a: Array, b: Array) -> Array:
    product: Array = np.matmul(a, b)
    return product


def infer_matmul(a: TensorType, b: TensorType) -> TensorType:
    require_rank(a, 1, "matmul")
    require_rank(b, 1, "matmul")
    left: Shape = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right: Shape = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    inner, other = (static_dim(dim, "the summed axis of matmul") for dim in (left[-1], right[-2]))
    if inner != other:
        raise ShapeError(f"matmul of {show_shape(a.shape)} and {show_shape(b.shape)}: {inner} is not {other}")
    shape: list[Dim] = [*broadcast(left[:-2], right[:-2])]
    if len(a.shape) > 1:
        shape.append(left[-2])
    if len(b.shape) > 1:
        shape.append(right[-1])
    return TensorType(same_dtype(a, b), tuple(shape))


def summed_products(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Sums of products of two streams: spikes if both are, with scale 1, while their payload has a price."""
    a, b = types
    if not isinstance(a, SpikeType) or not isinstance(b, SpikeType) or a.scaled or b.scaled:
        return None
    return a.payload.times(b.payload, static_dim(a.shape[-1], "the summed axis of matmul"))


EXPONENT = Attribute(Kind.INT, 0, "integer weights stand for weight 2^exponent")


def _geometry(weight: str) -> dict[str, Attribute]:
    return {
        "weight": Attribute(Kind.TENSOR, doc=weight),
        "bias": Attribute(Kind.TENSOR, None, "added to every output of the channel"),
        "exponent": EXPONENT,
        "strides": Attribute(Kind.INTS, (), "one per spatial axis (absent: ones)"),
        "pads": Attribute(Kind.INTS, (), "zeros before every spatial axis, then after (absent: none)"),
        "dilations": Attribute(Kind.INTS, (), "distance of kernel taps (absent: ones)"),
    }


_GROUP = Attribute(Kind.INT, 1, "number of channel groups that do not see each other")

OPS = (
    Op(
        "conv",
        "y[n,o,p] = bias[o] + 2^exponent Σ_c,k weight[o,c,k] x[n, c, p strides + k dilations - pads]",
        ("x",),
        infer_conv,
        conv,
        Role.LINEAR,
        {**_geometry("[O, C/group, *kernel]"), "group": _GROUP},
        synaptic=True,
        fan_out=fan_out_conv,
        constant_term=("bias",),
    ),
    Op(
        "conv_transpose",
        "y[n, o, p strides + k dilations - pads] += 2^exponent weight[c,o,k] x[n,c,p], starting from bias[o]",
        ("x",),
        infer_conv_transpose,
        conv_transpose,
        Role.LINEAR,
        {
            **_geometry("[C, O/group, *kernel]"),
            "output_padding": Attribute(Kind.INTS, (), "extra size at the end of each axis (absent: none)"),
            "group": _GROUP,
        },
        synaptic=True,
        fan_out=fan_out_conv_transpose,
        constant_term=("bias",),
    ),
    Op(
        "linear",
        "y[…,o] = bias[o] + 2^exponent Σ_i weight[o,i] x[…,i]",
        ("x",),
        infer_linear,
        linear,
        Role.LINEAR,
        {
            "weight": Attribute(Kind.TENSOR, doc="[outputs, inputs]"),
            "bias": Attribute(Kind.TENSOR, None, "[outputs]"),
            "exponent": EXPONENT,
        },
        synaptic=True,
        fan_out=fan_out_linear,
        constant_term=("bias",),
    ),
    Op(
        "matmul",
        "y[…,i,j] = Σ_k a[…,i,k] b[…,k,j], leading axes broadcast",
        ("a", "b"),
        infer_matmul,
        matmul,
        Role.MULTILINEAR,
        synaptic=True,
        payload=summed_products,
    ),
)
