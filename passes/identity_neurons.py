"""`identity-neurons`: put back the analog activation of every neuron, to tell its error from all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.ir.codebooks import PowerOfTwo
from snnc.ir.shapes import static_dim
from snnc.passes.analysis import refuse_spiking
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class IdentityNeurons(Pass):
    """Replace every neuron by the activation it approximates.

    y = clip((x + bias) unit / quantum, low, high) scale / unit. Where the neuron has a binary line per
    payload, y takes the line of payload 1.

    The clip runs as an expectation node. With no neuron left, the decoded output equals the source
    network's at every t up to rounding, whatever the other passes did: the compiler's strongest test, and
    the user's way to tell "the neurons lose accuracy" from "something else is wrong".
    """

    name: ClassVar[str] = "identity-neurons"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION

    def run(self, graph: Graph, context: PassContext) -> bool:
        refuse_spiking(graph, self.name)
        return rewrite(graph, {"neuron": (replace_neuron,)}, context, self.name)


def replace_neuron(node: Node, rewriter: Rewriter) -> bool:
    given = rewriter.graph.resolve(node)
    value = node.operands[0]
    if given["bias"] is not None:
        value = rewriter.insert(node, "add", [value, rewriter.constant(node, given["bias"], "bias")])
    if given["quantum"] is not None:
        factor = 1 / given["quantum"]
        factor = factor * (given["unit"] if given["unit"] is not None else 1)
        value = rewriter.insert(node, "mul", [value, rewriter.constant(node, factor, "to_unit")])
    if given["low"] is not None or given["high"] is not None:
        bounds = {"low": given["low"], "high": given["high"]}
        value = rewriter.insert(node, "clip", [value], bounds, expect=True)
    if given["quantum"] is not None:
        back = 1.0 if given["scale"] is None else given["scale"]
        back = back / (given["unit"] if given["unit"] is not None else 1)
        factor = np.asarray(back, np.float32)
        value = rewriter.insert(node, "mul", [value, rewriter.constant(node, factor, "to_payload")])
    if given["level_axis"] is not None:
        value = on_first_lines(node, value, rewriter)
    rewriter.replace(node, value)
    return True


def on_first_lines(node: Node, value: Value, rewriter: Rewriter) -> Value:
    """Return y on the line of payload 1 of every channel, 0 on the others."""
    given = rewriter.graph.resolve(node)
    codebook = rewriter.graph.sent_codebook(node)
    assert isinstance(codebook, PowerOfTwo)
    axis, lines = given["level_axis"], len(codebook.members)
    channels = static_dim(value.type.shape[axis], "the channel axis")
    first = np.tile(np.eye(1, lines, dtype=np.float32)[0], channels)
    shape = [-1 if index == axis else 1 for index in range(len(value.type.shape))]
    indices = np.repeat(np.arange(channels), lines)
    copied = rewriter.insert(node, "gather", [value], {"axis": axis, "indices": indices})
    return rewriter.insert(node, "mul", [copied, rewriter.constant(node, first.reshape(shape), "line")])
