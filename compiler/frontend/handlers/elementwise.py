"""Functions of one tensor: activations, casts, and what does nothing at inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from snnc.frontend.context import to_supported
from snnc.ir.graph import Value
from snnc.ir.ops.elementwise import SELU_ALPHA, SELU_GAMMA
from snnc.ir.types import DTYPE_NAMES, FLOATS

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.kernel_types import Array

LARGEST = float(np.finfo(np.float32).max)


def function(op: str, **defaults: float | str) -> Handler:
    """Return the handler of a function whose ONNX attributes are the op's."""

    def handler(ctx: NodeContext) -> Entry:
        attributes = {name: ctx.attribute(name, default) for name, default in defaults.items()}
        return ctx.emit(op, [ctx.entry(0)], attributes)

    return handler


def identity(ctx: NodeContext) -> Entry:
    return ctx.entry(0)


def swish(ctx: NodeContext, alpha: float = 1.0) -> Entry:
    """x / (1 + exp(-alpha x)); `alpha` is the operator's default"""
    x, alpha = ctx.entry(0), ctx.attribute("alpha", alpha)
    if alpha == 1:
        return ctx.emit("silu", [x])
    scaled = ctx.emit("mul", [x, np.asarray(alpha, np.float32)])
    return ctx.emit("mul", [x, ctx.emit("sigmoid", [scaled])])


def dropout(ctx: NodeContext) -> Entry:
    if ctx.known_or(2, "training mode", np.array(False)).any():
        ctx.reject("it drops elements at random (training mode)", "export the model for inference")
    return ctx.entry(0)


def prelu(ctx: NodeContext) -> Entry:
    return ctx.emit("prelu", [ctx.entry(0)], {"slope": ctx.known(1, "slope")})


def clip(ctx: NodeContext) -> Entry:
    x = ctx.entry(0)
    low = ctx.entry(1) if ctx.has(1) else None
    high = ctx.entry(2) if ctx.has(2) else None
    if is_real(x) and not isinstance(low, Value) and not isinstance(high, Value):
        return clip_real(ctx, x, low, high)
    # Integers and dimensions keep their element type in max and min; so do bounds that vary.
    if low is not None:
        x = ctx.emit("max", [x, low])
    return x if high is None else ctx.emit("min", [x, high])


def clip_real(ctx: NodeContext, x: Entry, low: Array | None, high: Array | None) -> Entry:
    """Clip to known bounds; those that no single precision number exceeds bound nothing."""
    least = -LARGEST if low is None else float(low.item())
    most = LARGEST if high is None else float(high.item())
    bounds = {"low": least if least > -LARGEST else None, "high": most if most < LARGEST else None}
    return x if bounds == {"low": None, "high": None} else ctx.emit("clip", [x], bounds)


def is_real(entry: Entry) -> bool:
    """Tell whether a stream or known array holds reals; an object array of dimensions does not."""
    if isinstance(entry, Value):
        return entry.type.dtype in FLOATS
    return DTYPE_NAMES.get(to_supported(entry).dtype) in FLOATS


def cast(ctx: NodeContext) -> Entry:
    number = ctx.attribute("to")
    if number not in onnx.helper.get_all_tensor_dtypes():
        ctx.reject(f"it casts to the unknown element type {number}")
    return cast_entry(ctx, ctx.entry(0), element_type(ctx, onnx.helper.tensor_dtype_to_np_dtype(number)))


def cast_like(ctx: NodeContext) -> Entry:
    model = ctx.entry(1)
    to = model.type.dtype if isinstance(model, Value) else element_type(ctx, model.dtype)
    return cast_entry(ctx, ctx.entry(0), to)


def element_type(ctx: NodeContext, dtype: np.dtype[Any]) -> str:
    """Return the IR's name of an element type; half and double precision are single."""
    name = DTYPE_NAMES.get(to_supported(np.empty(0, dtype)).dtype)
    return name or ctx.reject(f"it casts to {dtype}, which the IR cannot hold")


def cast_entry(ctx: NodeContext, entry: Entry, to: str) -> Entry:
    """Cast to an element type of the IR."""
    if isinstance(entry, Value) and entry.type.dtype == to:
        return entry
    return ctx.emit("cast", [entry], {"to": to})


HANDLERS: dict[str, Handler] = {
    "Relu": function("relu"),
    "LeakyRelu": function("leaky_relu", alpha=0.01),
    "PRelu": prelu,
    "ThresholdedRelu": function("thresholded_relu", alpha=1.0),
    "Clip": clip,
    "Sigmoid": function("sigmoid"),
    "HardSigmoid": function("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": function("hard_swish"),
    "Tanh": function("tanh"),
    "Erf": function("erf"),
    "Gelu": function("gelu", approximate="none"),
    "Elu": function("elu", alpha=1.0),
    "Selu": function("selu", alpha=SELU_ALPHA, gamma=SELU_GAMMA),
    "Celu": function("celu", alpha=1.0),
    "Softplus": function("softplus"),
    "Softsign": function("softsign"),
    "Swish": swish,
    "Mish": function("mish"),
    "Exp": function("exp"),
    "Log": function("log"),
    "Sqrt": function("sqrt"),
    "Reciprocal": function("reciprocal"),
    "Neg": function("neg"),
    "Abs": function("abs"),
    "Floor": function("floor"),
    "Ceil": function("ceil"),
    "Round": function("round"),
    "Sign": function("sign"),
    "Sin": function("sin"),
    "Atan": function("atan"),
    "Cos": function("cos"),
    "Cast": cast,
    "CastLike": cast_like,
    "Identity": identity,
    "Dropout": dropout,
}
