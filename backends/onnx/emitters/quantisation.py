"""Quantisers as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from snnc.backends.onnx.emitters.elementwise import bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array


def quantise(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes, x = model.graph.resolve(node), node.operands[0]
    zero_point: Array = attributes["zero_point"]
    if zero_point.dtype.itemsize == 1:
        parameters = [_along_axis(model, attributes[name]) for name in ("scale", "zero_point")]
        return model.add("QuantizeLinear", [inputs[0], *parameters], axis=attributes["axis"])
    scale, shift = _parameters(model, node)
    level = model.add("Add", [model.add("Round", [model.add("Div", [inputs[0], scale])]), shift])
    limits = np.iinfo(zero_point.dtype)
    level = bounds(model, level, x, float(limits.min), float(limits.max))
    return model.add("Cast", [level], to=helper.np_dtype_to_tensor_dtype(zero_point.dtype))


def dequantise(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    if node.operands[0].type.dtype in ("i8", "u8", "i32"):
        given = [attributes[name] for name in ("scale", "zero_point") if attributes[name] is not None]
        parameters = [_along_axis(model, array) for array in given]
        return model.add("DequantizeLinear", [inputs[0], *parameters], axis=attributes["axis"])
    scale, shift = _parameters(model, node)
    level = model.add("Cast", inputs, to=TensorProto.FLOAT)
    return model.add("Mul", [model.add("Sub", [level, shift]), scale])


def _along_axis(model: ModelBuilder, parameter: Array) -> str:
    """Return a parameter as ONNX's quantisers want it: a vector along the axis, or a scalar."""
    return model.constant(parameter.reshape(()) if parameter.size == 1 else parameter)


def _parameters(model: ModelBuilder, node: Node) -> tuple[str, str]:
    """Return scale and zero point as f32 that broadcast: ONNX quantises to 16 bits only from opset 21 on."""
    attributes, shape = model.graph.resolve(node), node.operands[0].type.shape
    axis = attributes["axis"] % len(shape)
    scale: Array = attributes["scale"]
    zero_point = attributes["zero_point"] if attributes["zero_point"] is not None else np.zeros(1)
    column = (-1, *(1,) * (len(shape) - axis - 1))
    return (
        model.constant(scale.reshape(column)),
        model.constant(zero_point.astype(np.float32).reshape(column)),
    )


def fake_quantise(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = scale clip(round(x / scale), lo, hi), as its own nodes: no ONNX quantiser has free bounds."""
    attributes, scale = model.graph.resolve(node), model.tensor(node, "scale")
    level = model.add("Div", [inputs[0], scale])
    if attributes["rounding"] == "floor":
        level = model.add("Floor", [model.add("Add", [level, model.constant(np.asarray(0.5, np.float32))])])
    else:
        level = model.add("Round", [level])
    level = bounds(model, level, node.operands[0], attributes["lo"], attributes["hi"])
    return model.add("Mul", [level, scale])


EMITTERS: dict[str, Emitter] = {
    "quantise": quantise,
    "dequantise": dequantise,
    "fake_quantise": fake_quantise,
}
