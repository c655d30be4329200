"""Elementwise functions as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from snnc.backends.onnx.emitters.simple import one_node
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node, Value


def bounds(model: ModelBuilder, x: str, like: Value, low: float | None, high: float | None) -> str:
    """Add clip(x, low, high); None leaves a side open."""
    given = [model.scalar(bound, like) if bound is not None else "" for bound in (low, high)]
    return model.add("Clip", [x, *given])


def clip(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    return bounds(model, inputs[0], node.operands[0], attributes["low"], attributes["high"])


def prelu(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    return model.add("PRelu", [inputs[0], model.tensor(node, "slope")])


def silu(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    return model.add("Mul", [inputs[0], model.add("Sigmoid", inputs)])


def cast(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    to = DTYPES[model.graph.resolve(node)["to"]]
    real = model.real if to == np.float32 else helper.np_dtype_to_tensor_dtype(np.dtype(to))
    return model.add("Cast", inputs, to=real)


def mod(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """ONNX has the remainder with y's sign only for integers; for reals it is z = x - y floor(x / y)."""
    if model.graph.resolve(node)["truncated"]:
        return model.add("Mod", inputs, fmod=1)
    if not node.operands[0].type.is_real:
        return model.add("Mod", inputs)
    x, y = inputs
    quotient = model.add("Floor", [model.add("Div", inputs)])
    return model.add("Sub", [x, model.add("Mul", [y, quotient])])


def select(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    half = model.scalar(0.5, node.operands[0])
    return model.add("Where", [model.add("Greater", [inputs[0], half]), *inputs[1:]])


EMITTERS: dict[str, Emitter] = {
    "relu": one_node("Relu"),
    "leaky_relu": one_node("LeakyRelu", alpha="alpha"),
    "prelu": prelu,
    "clip": clip,
    "sigmoid": one_node("Sigmoid"),
    "hard_sigmoid": one_node("HardSigmoid", alpha="alpha", beta="beta"),
    "hard_swish": one_node("HardSwish"),
    "tanh": one_node("Tanh"),
    "erf": one_node("Erf"),
    "gelu": one_node("Gelu", approximate="approximate"),
    "silu": silu,
    "mish": one_node("Mish"),
    "elu": one_node("Elu", alpha="alpha"),
    "selu": one_node("Selu", alpha="alpha", gamma="gamma"),
    "celu": one_node("Celu", alpha="alpha"),
    "softplus": one_node("Softplus"),
    "softsign": one_node("Softsign"),
    "thresholded_relu": one_node("ThresholdedRelu", alpha="alpha"),
    "exp": one_node("Exp"),
    "log": one_node("Log"),
    "sqrt": one_node("Sqrt"),
    "reciprocal": one_node("Reciprocal"),
    "neg": one_node("Neg"),
    "abs": one_node("Abs"),
    "floor": one_node("Floor"),
    "ceil": one_node("Ceil"),
    "round": one_node("Round"),
    "sign": one_node("Sign"),
    "sin": one_node("Sin"),
    "atan": one_node("Atan"),
    "cos": one_node("Cos"),
    "add": one_node("Add"),
    "sub": one_node("Sub"),
    "mul": one_node("Mul"),
    "div": one_node("Div"),
    "pow": one_node("Pow"),
    "min": one_node("Min"),
    "max": one_node("Max"),
    "mod": mod,
    "where": one_node("Where"),
    "select": select,
    "cast": cast,
}
