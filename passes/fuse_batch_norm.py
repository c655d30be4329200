"""`fuse-batch-norm`: batch norm disappears into the weights before it or the thresholds after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True)
class FuseBatchNorm(Pass):
    """Fold y = g x + c, with g = γ/√(variance + ε) and c = β - g mean, per channel.

    into=weights: W' = g W, b' = g b + c, when the batch norm alone reads a synapse, or transposes of it.
    into=thresholds: k = Q((v + x + c/g) / (q/g)) in the neuron that reads the batch norm alone; a negative
    g gives a negative quantum, which mirrors the neuron. g = 0 cannot be divided by: those are left to
    into=weights. A lif neuron takes them into gain and bias: gain' = gain g, bias' = bias + gain c.
    """

    name: ClassVar[str] = "fuse-batch-norm"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING
    into: Literal["weights", "thresholds"] = "weights"

    def run(self, graph: Graph, context: PassContext) -> bool:
        pattern = into_weights if self.into == "weights" else into_threshold
        return rewrite(graph, {"batch_norm": (pattern,)}, context, self.name)


def gain_and_offset(node: Node, rewriter: Rewriter) -> tuple[Array, Array]:
    """Return g and c of a batch norm, in double precision."""
    given = rewriter.graph.resolve(node)
    gain = given["gamma"].astype(np.float64) / np.sqrt(
        given["variance"].astype(np.float64) + given["epsilon"]
    )
    return gain, given["beta"] - gain * given["mean"]


def into_weights(node: Node, rewriter: Rewriter) -> bool:
    producer, axis = synapse_before(node)
    if producer is None or producer.op.name not in ("conv", "conv_transpose", "linear"):
        return rewriter.decline(node, "it does not read a convolution or linear layer")
    if any(len(value.users) > 1 or rewriter.graph.is_output(value) for value in path(producer, node)):
        return rewriter.decline(node, "the layer before it is read elsewhere too")
    outputs = len(producer.result.type.shape) - 1 if producer.op.name == "linear" else 1
    if axis != outputs:
        layer = "linear layer" if producer.op.name == "linear" else "convolution"
        return rewriter.decline(node, f"its channel axis is not the {layer}'s output axis")
    gain, offset = gain_and_offset(node, rewriter)
    given = rewriter.graph.resolve(producer)
    weight = scale_outputs(producer, given, gain)
    bias = offset if given["bias"] is None else given["bias"] * gain + offset
    attributes = {
        **producer.attributes,
        "weight": weight.astype(np.float32),
        "bias": bias.astype(np.float32),
    }
    value = rewriter.insert(producer, producer.op.name, producer.operands, attributes)
    if node.operands[0] is producer.result:
        rewriter.replace(node, value, absorbed=[producer])
        return True
    moved = node.operands[0]
    rewriter.replace(producer, value)
    rewriter.replace(node, moved)
    return True


def synapse_before(node: Node) -> tuple[Node | None, int]:
    """Return what gives a batch norm's operand, transposes left out, and where its channel axis is there."""
    axis, producer = 1, node.operands[0].node
    while producer is not None and producer.op.name == "transpose":
        perm = producer.attributes["perm"]
        assert isinstance(perm, tuple)
        axis, producer = int(perm[axis]), producer.operands[0].node  # type: ignore[arg-type]  # ints
    return producer, axis


def path(producer: Node, node: Node) -> list[Value]:
    """Return the values from a synapse to the batch norm that reads it through transposes."""
    values = [node.operands[0]]
    while values[-1] is not producer.result:
        mover = values[-1].node
        assert mover is not None
        values.append(mover.operands[0])
    return values


def scale_outputs(node: Node, attributes: dict[str, Array], factor: Array) -> Array:
    """Return a synapse's weight with every output channel multiplied by its factor."""
    weight = attributes["weight"]
    if node.op.name == "conv_transpose":
        group = int(attributes["group"])
        inputs, per_group, *kernel = weight.shape
        grouped = weight.reshape(group, inputs // group, per_group, *kernel)
        factors = factor.reshape(group, 1, per_group, *([1] * len(kernel)))
        scaled: Array = (grouped * factors).reshape(weight.shape)
        return scaled
    result: Array = weight * factor.reshape(-1, *([1] * (weight.ndim - 1)))
    return result


def into_threshold(node: Node, rewriter: Rewriter) -> bool:
    graph = rewriter.graph
    readers = list(node.result.users)
    if len(readers) != 1 or not readers[0].op.neuron or graph.is_output(node.result):
        return rewriter.decline(node, "it is not read by one neuron alone")
    neuron = readers[0]
    if neuron.op.name == "lif":
        return into_gain(node, neuron, rewriter)
    given = graph.resolve(neuron)
    if given["quantum"] is None:
        return rewriter.decline(node, "the neuron has no threshold yet; run choose-thresholds first")
    gain, offset = gain_and_offset(node, rewriter)
    if (gain == 0).any():
        return rewriter.decline(node, f"gamma is 0 in {int((gain == 0).sum())} channels")
    gain, offset = per_channel(node, gain), per_channel(node, offset)
    bias = offset if given["bias"] is None else given["bias"] + offset
    attributes = {
        **neuron.attributes,
        "quantum": (given["quantum"] / gain).astype(np.float32),
        "bias": (bias / gain).astype(np.float32),
    }
    value = rewriter.insert(neuron, "neuron", node.operands, attributes)
    rewriter.replace(neuron, value, absorbed=[node])
    return True


def per_channel(node: Node, array: Array) -> Array:
    """Return channels as an array with every axis of a batch norm's result."""
    shape = [1] * len(node.result.type.shape)
    shape[1] = -1
    return array.reshape(shape)


def into_gain(node: Node, neuron: Node, rewriter: Rewriter) -> bool:
    given = rewriter.graph.resolve(neuron)
    gain, offset = (per_channel(node, array) for array in gain_and_offset(node, rewriter))
    before = 1.0 if given["gain"] is None else given["gain"].astype(np.float64)
    bias = 0.0 if given["bias"] is None else given["bias"]
    attributes = {
        **neuron.attributes,
        "gain": (before * gain).astype(np.float32),
        "bias": (bias + before * offset).astype(np.float32),
    }
    value = rewriter.insert(neuron, "lif", node.operands, attributes)
    rewriter.replace(neuron, value, absorbed=[node])
    return True
