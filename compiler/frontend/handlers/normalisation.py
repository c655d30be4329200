"""Handlers of the normalisations and softmaxes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.context import AlwaysRejected
from snnc.ir.graph import Value
from snnc.ir.shapes import normalise_axis, static_dim

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.kernel_types import Array

EPSILON = 1e-5  # the default of every ONNX normalisation


def batch_normalisation(ctx: NodeContext) -> Entry:
    # Before opset 14 a second output is what asks for training mode.
    training = ctx.attribute("training_mode", 0) if ctx.opset >= 14 else len(ctx.node.output) > 1
    mean, variance = batch_statistics(ctx) if training else (ctx.known(3, "mean"), ctx.known(4, "variance"))
    attributes = {
        "gamma": ctx.known(1, "scale"),
        "beta": ctx.known(2, "bias"),
        "mean": mean,
        "variance": variance,
        "epsilon": ctx.attribute("epsilon", EPSILON),
    }
    return ctx.emit("batch_norm", [ctx.entry(0)], attributes)


def batch_statistics(ctx: NodeContext) -> tuple[Array, Array]:
    """Return mean and variance of each channel of a known array; standardised weights are written so."""
    x = ctx.entry(0)
    if isinstance(x, Value):
        ctx.reject("it is in training mode", "export the model in evaluation mode (model.eval())")
    if not x.size:
        ctx.reject("it normalises an empty array")
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    return x.mean(axis=others), x.var(axis=others)


def layer_normalisation(ctx: NodeContext) -> Entry:
    attributes = {
        "axis": axis(ctx),
        "gamma": ctx.known(1, "scale"),
        "beta": ctx.known_or(2, "bias", None),
        "epsilon": ctx.attribute("epsilon", EPSILON),
    }
    return ctx.emit("layer_norm", [ctx.entry(0)], attributes)


def rms_normalisation(ctx: NodeContext) -> Entry:
    attributes = {
        "axis": axis(ctx),
        "gamma": ctx.known(1, "scale"),
        "epsilon": ctx.attribute("epsilon", EPSILON),
    }
    return ctx.emit("rms_norm", [ctx.entry(0)], attributes)


def group_normalisation(ctx: NodeContext) -> Entry:
    groups = ctx.attribute("num_groups")
    if groups < 1:
        ctx.reject(f"its num_groups is {groups}; it must be at least 1")
    gamma, beta = ctx.known(1, "scale"), ctx.known(2, "bias")
    if ctx.opset < 21:  # until then one scale per group, not per channel
        width = channels(ctx) // groups
        ctx.claim(gamma.size + beta.size, width)
        gamma, beta = np.repeat(gamma, width), np.repeat(beta, width)
    attributes = {
        "groups": groups,
        "gamma": gamma,
        "beta": beta,
        "epsilon": ctx.attribute("epsilon", EPSILON),
    }
    return ctx.emit("group_norm", [ctx.entry(0)], attributes)


def instance_normalisation(ctx: NodeContext) -> Entry:
    attributes = {
        "groups": channels(ctx),
        "gamma": ctx.known(1, "scale"),
        "beta": ctx.known(2, "bias"),
        "epsilon": ctx.attribute("epsilon", EPSILON),
    }
    return ctx.emit("group_norm", [ctx.entry(0)], attributes)


def lp_normalisation(ctx: NodeContext) -> Entry:
    return ctx.emit("lp_norm", [ctx.entry(0)], {"axis": axis(ctx), "p": ctx.attribute("p", 2)})


def along_axis(ctx: NodeContext, op: str) -> Entry:
    return ctx.emit(op, [ctx.entry(0)], {"axis": axis(ctx)})


def axis(ctx: NodeContext) -> int:
    """Return the node's axis (by default the last), counted from the front."""
    return normalise_axis(ctx.attribute("axis", -1), len(ctx.shape(ctx.entry(0))))


def channels(ctx: NodeContext) -> int:
    """Return the size of axis 1."""
    shape = ctx.shape(ctx.entry(0))
    return static_dim(shape[normalise_axis(1, len(shape))], "the channel axis")


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": batch_normalisation,
    "GroupNormalization": group_normalisation,
    "Hardmax": AlwaysRejected(
        "the place of a maximum has no mean over time",
        "use Softmax, or end the model at the scores and take the maximum from the decoded output",
    ),
    "InstanceNormalization": instance_normalisation,
    "LayerNormalization": layer_normalisation,
    "LogSoftmax": partial(along_axis, op="log_softmax"),
    "LpNormalization": lp_normalisation,
    "RMSNormalization": rms_normalisation,
    "Softmax": partial(along_axis, op="softmax"),
}
