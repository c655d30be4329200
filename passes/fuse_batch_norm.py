"""`fuse-batch-norm`: batch norm disappears into the weights before it or the thresholds after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snnc.passes.base import Pass, PassContext
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True)
class FuseBatchNorm(Pass):
    """Fold y = g x + c, with g = γ/√(variance + ε) and c = β - g mean, per channel.

    into=weights: W' = g W, b' = g b + c, when the batch norm reads a synapse alone.
    into=thresholds: k = Q((v + x + c/g) / (q/g)) in the neuron that reads the batch norm alone; a negative
    g gives a negative quantum, which mirrors the neuron. g = 0 cannot be divided by: those are left to
    into=weights.
    """

    name: ClassVar[str] = "fuse-batch-norm"
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
    producer = node.operands[0].node
    if producer is None or producer.op.name not in ("conv", "conv_transpose", "linear"):
        return rewriter.decline(node, "it does not read a convolution or linear layer")
    if len(producer.result.users) > 1 or rewriter.graph.is_output(producer.result):
        return rewriter.decline(node, "the layer before it is read elsewhere too")
    if producer.op.name == "linear" and len(node.result.type.shape) != 2:
        return rewriter.decline(node, "its channel axis is not the linear layer's output axis")
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
    rewriter.replace(node, value, absorbed=[producer])
    return True


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
    if len(readers) != 1 or readers[0].op.name != "neuron" or graph.is_output(node.result):
        return rewriter.decline(node, "it is not read by one neuron alone")
    neuron = readers[0]
    given = graph.resolve(neuron)
    if given["quantum"] is None:
        return rewriter.decline(node, "the neuron has no threshold yet; run choose-thresholds first")
    gain, offset = gain_and_offset(node, rewriter)
    if (gain == 0).any():
        return rewriter.decline(node, f"gamma is 0 in {int((gain == 0).sum())} channels")
    per_channel = [1] * len(node.result.type.shape)
    per_channel[1] = -1
    gain, offset = gain.reshape(per_channel), offset.reshape(per_channel)
    bias = offset if given["bias"] is None else given["bias"] + offset
    attributes = {
        **neuron.attributes,
        "quantum": (given["quantum"] / gain).astype(np.float32),
        "bias": (bias / gain).astype(np.float32),
    }
    value = rewriter.insert(neuron, "neuron", node.operands, attributes)
    rewriter.replace(neuron, value, absorbed=[node])
    return True
