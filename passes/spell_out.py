"""Linear operations on spikes, written as the synapses a machine without multipliers has.

A factor of spikes and an average are synapses with fixed weights: a diagonal one and a pooling one. Behind
these patterns every current is a sum of synapses, moved and added.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.shapes import Batch, concrete, static_dim
from snnc.ir.types import SpikeType
from snnc.passes.fuse_batch_norm import scale_outputs
from snnc.passes.normalise_thresholds import along

if TYPE_CHECKING:
    from snnc.ir.graph import Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.passes.rewriter import Pattern, Rewriter

SYNAPSES = ("conv", "conv_transpose", "linear")


def is_spikes(value: Value) -> bool:
    return isinstance(value.type, SpikeType) and not value.type.scaled


CARRYING = ("add", "sub", "mul", "reshape", "transpose", "concat", "slice", "pad", "expand")


def stays_on_chip(value: Value) -> bool:
    """Tell whether a current reaches a neuron or an output through nothing but sums, factors and movements.

    Where all that reads it computes with real numbers, a synapse would only delay the host.
    """
    waiting, seen = [value], {value}
    while waiting:
        current = waiting.pop()
        for user in current.users:
            assert user.graph is not None
            if user.op.neuron:
                return True
            carries = user.op.name in CARRYING and not user.expect
            if (carries or user.op.name == "max_pool") and user.result not in seen:
                seen.add(user.result)
                waiting.append(user.result)
        producer = current.node
        if producer is not None and producer.graph is not None and producer.graph.is_output(current):
            return True
    return False


def is_synapse(value: Value) -> bool:
    """Tell whether a value is a current straight from a synapse."""
    node = value.node
    return node is not None and node.op.name in SYNAPSES and not node.expect


def channel_axis(value: Value) -> int:
    """Return where a synapse's outputs lie: axis 1 of a convolution, the last one of a linear layer."""
    assert value.node is not None
    return len(value.type.shape) - 1 if value.node.op.name == "linear" else 1


def diagonal(before: Node, spikes: Value, factor: Array, rewriter: Rewriter) -> Value | None:
    """Return factor spikes as a synapse: depthwise for images, a diagonal matrix otherwise; None if neither.

    `factor` has every axis of the spikes and varies along one at most.
    """
    rank = len(spikes.type.shape)
    varying = [axis for axis, size in enumerate(factor.shape) if size > 1]
    axis = varying[0] if varying else (1 if rank >= 3 else rank - 1)
    if len(varying) > 1 or rank < 2 or isinstance(spikes.type.shape[axis], Batch):
        return None
    channels = static_dim(spikes.type.shape[axis], "the channel axis")
    factors = np.broadcast_to(factor.reshape(-1), (channels,)).astype(np.float32)
    if axis == 1 and rank >= 3:
        kernel = (1,) * (rank - 2)
        attributes: dict[str, Any] = {"weight": factors.reshape(channels, 1, *kernel), "group": channels}
        return rewriter.insert(before, "conv", [spikes], attributes)
    if axis == rank - 1:
        return rewriter.insert(before, "linear", [spikes], {"weight": np.diag(factors)})
    return None


def factor_to_synapse(node: Node, rewriter: Rewriter) -> bool:
    """mul(spikes, c) -> diagonal synapse; mul(synapse{W, b}(x), c) -> synapse{c W, c b}(x)"""
    graph = rewriter.graph
    if node.expect or not stays_on_chip(node.result):
        return False
    for position in (0, 1):
        factor = graph.constant(node.operands[1 - position])
        x = node.operands[position]
        if factor is None or factor.dtype != np.float32 or len(node.result.type.shape) != len(x.type.shape):
            continue
        full = factor.reshape((1,) * (len(x.type.shape) - factor.ndim) + factor.shape)
        value = None
        if is_spikes(x):
            value = diagonal(node, x, full, rewriter)
        elif len(x.users) == 1 and not graph.is_output(x):
            value = scaled_synapse(x, full, rewriter) if is_synapse(x) else scaled_vector(x, full, rewriter)
        if value is not None:
            rewriter.replace(node, value)
            return True
    return False


def scaled_synapse(current: Value, factor: Array, rewriter: Rewriter) -> Value | None:
    """Return the synapse with its outputs multiplied by a factor; None if it varies along another axis."""
    node, axis = current.node, channel_axis(current)
    assert node is not None
    factors = along(factor, axis)
    if factors is None:
        return None
    given = rewriter.graph.resolve(node)
    outputs = static_dim(current.type.shape[axis], "the channel axis")
    factors = np.broadcast_to(factors, (outputs,)).astype(np.float64)
    attributes = {**node.attributes, "weight": scale_outputs(node, given, factors).astype(np.float32)}
    if given["bias"] is not None:
        attributes["bias"] = (given["bias"] * factors).astype(np.float32)
    value = rewriter.insert(node, node.op.name, node.operands, attributes)
    assert value.node is not None
    rewriter.graph.set_origin(value.node, node.origin)
    return value


def scaled_vector(current: Value, factor: Array, rewriter: Rewriter) -> Value | None:
    """Return reshape(synapse) with its channels multiplied, where only axes of size 1 are behind them."""
    flat = current.node
    if flat is None or flat.op.name != "reshape":
        return None
    inner, shape = flat.operands[0], flat.operands[0].type.shape
    squeezed = is_synapse(inner) and len(current.type.shape) == 2 and set(shape[2:]) <= {1}
    if not squeezed or shape[1] != current.type.shape[1] or len(inner.users) > 1:
        return None
    value = scaled_synapse(inner, factor.reshape(1, -1, *(1,) * (len(shape) - 2)), rewriter)
    if value is None:
        return None
    return rewriter.insert(flat, "reshape", [value], flat.attributes)


def pooling_to_synapse(node: Node, rewriter: Rewriter) -> bool:
    """avg_pool(spikes) -> depthwise convolution with equal weights"""
    (x,) = node.operands
    if not is_spikes(x) or not stays_on_chip(node.result):
        return False
    given = rewriter.graph.resolve(node)
    if any(given["pads"]) and not given["count_include_pad"]:
        return rewriter.decline(node, "its windows average fewer elements at the border")
    if given.get("ceil"):
        return rewriter.decline(node, "its last window is not whole")
    channels = static_dim(x.type.shape[1], "the channel axis")
    kernel = given["kernel"]
    weight = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
    attributes = {
        "weight": weight, "group": channels,
        "strides": given["strides"], "pads": given["pads"], "dilations": given["dilations"],
    }  # fmt: skip
    rewriter.replace(node, rewriter.insert(node, "conv", [x], attributes))
    return True


def mean_to_synapse(node: Node, rewriter: Rewriter) -> bool:
    """reduce_mean over all positions of spikes -> depthwise convolution over them; else -> 1/n reduce_sum"""
    (x,) = node.operands
    if not is_spikes(x) or node.expect or not stays_on_chip(node.result):
        return False
    given, shape = rewriter.graph.resolve(node), concrete(x.type.shape, 1)
    axes = sorted({axis % len(shape) for axis in given["axes"]} or range(len(shape)))
    count = math.prod(shape[axis] for axis in axes)
    if len(shape) > 2 and axes == list(range(2, len(shape))):
        weight = np.full((shape[1], 1, *shape[2:]), 1 / count, np.float32)
        value = rewriter.insert(node, "conv", [x], {"weight": weight, "group": shape[1]})
        if not given["keepdims"]:
            value = rewriter.insert(node, "reshape", [value], {"shape": node.result.type.shape})
    else:
        summed = rewriter.insert(node, "reduce_sum", [x], node.attributes)
        factor = np.full((1,) * len(node.result.type.shape), 1 / count, np.float32)
        value = rewriter.insert(node, "mul", [summed, rewriter.constant(node, factor, "factor")])
    rewriter.replace(node, value)
    return True


def spikes_to_current(node: Node, rewriter: Rewriter) -> bool:
    """neuron(k) -> neuron(synapse{1}(k)), add(k, current) -> add(synapse{1}(k), current), for spikes k"""
    if not (node.op.neuron or stays_on_chip(node.result)):
        return False
    changed = False
    for index, x in enumerate(node.operands):
        if not is_spikes(x) or isinstance(node.result.type, SpikeType) is not node.op.neuron:
            continue
        value = diagonal(node, x, np.ones((1,) * len(x.type.shape), np.float32), rewriter)
        if value is None:
            return rewriter.decline(node, "no synapse hands these spikes on")
        rewriter.set_operand(node, index, value)
        changed = True
    return changed


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "mul": (factor_to_synapse,),
    "avg_pool": (pooling_to_synapse,),
    "reduce_mean": (mean_to_synapse,),
    "neuron": (spikes_to_current,),
    "lif": (spikes_to_current,),
    "add": (spikes_to_current,),
    "sub": (spikes_to_current,),
}
