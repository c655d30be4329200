"""Normalisations as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.onnx.emitters.simple import one_node
from snnc.ir.shapes import element_count, normalise_axis, static_dim
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def batch_norm(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    parameters = [model.tensor(node, name) for name in ("gamma", "beta", "mean", "variance")]
    epsilon = model.graph.resolve(node)["epsilon"]
    return model.add("BatchNormalization", [inputs[0], *parameters], epsilon=epsilon)


def layer_norm(model: ModelBuilder, node: Node, inputs: Sequence[str], times: int = 1) -> str:
    """ONNX requires a scale, and scale and shift of exactly the normalised axes; others follow as nodes.

    `times` n: write n F(x/n), which is F with n² epsilon, n gamma and n beta.
    """
    attributes, x = model.graph.resolve(node), node.operands[0].type
    axis = normalise_axis(attributes["axis"], len(x.shape))
    shape = tuple(static_dim(dim, "a normalised axis") for dim in x.shape[axis:])
    inside = all(
        parameter is None or parameter.shape == shape
        for parameter in (attributes["gamma"], attributes["beta"])
    )
    gamma, beta = model.multiple(node, "gamma", times), model.multiple(node, "beta", times)
    ones = np.full(shape, 1 if gamma else times, DTYPES[x.dtype])
    scale = gamma if inside and gamma else model.constant(ones)
    operands = [inputs[0], scale, beta] if inside and beta else [inputs[0], scale]
    epsilon = attributes["epsilon"] * times**2
    result = model.add("LayerNormalization", operands, axis=axis, epsilon=epsilon)
    if inside:
        return result
    result = model.add("Mul", [result, gamma]) if gamma else result
    return model.add("Add", [result, beta]) if beta else result


def rms_norm(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = gamma x / sqrt(mean(x²) + epsilon); ONNX has no such node before opset 23."""
    attributes, x = model.graph.resolve(node), node.operands[0]
    rank = len(x.type.shape)
    axes = model.ints(range(normalise_axis(attributes["axis"], rank), rank))
    square = model.add("Mul", [inputs[0], inputs[0]])
    mean = model.add("ReduceMean", [square, axes], keepdims=1)
    root = model.add("Sqrt", [model.add("Add", [mean, model.scalar(attributes["epsilon"], x)])])
    result = model.add("Div", [inputs[0], root])
    gamma = model.tensor(node, "gamma")
    return model.add("Mul", [result, gamma]) if gamma else result


def group_norm(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """Instance normalisation of x reshaped to N x groups x rest, then gamma and beta per channel."""
    attributes, x = model.graph.resolve(node), node.operands[0].type
    groups: int = attributes["groups"]
    ones = np.ones(groups, DTYPES[x.dtype])
    size = static_dim(element_count(x.shape[1:]), "an axis that is normalised") // groups
    grouped = model.reshape(inputs[0], (x.shape[0], groups, size))
    normal = model.add(
        "InstanceNormalization",
        [grouped, model.constant(ones), model.constant(0 * ones)],
        epsilon=attributes["epsilon"],
    )
    result = model.reshape(normal, x.shape)
    column = (-1, *(1,) * (len(x.shape) - 2))
    if attributes["gamma"] is not None:
        result = model.add("Mul", [result, model.constant(attributes["gamma"].reshape(column))])
    if attributes["beta"] is not None:
        result = model.add("Add", [result, model.constant(attributes["beta"].reshape(column))])
    return result


EMITTERS: dict[str, Emitter] = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "softmax": one_node("Softmax", axis="axis"),
    "log_softmax": one_node("LogSoftmax", axis="axis"),
    "lp_norm": one_node("LpNormalization", axis="axis", p="p"),
}
