"""`expand-levels`: every event is a binary spike of one neuron at one level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.ir.codebooks import PowerOfTwo
from snnc.ir.shapes import static_dim
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.normalise_thresholds import along, scale_inputs
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True)
class ExpandLevels(Pass):
    """Give every multi-threshold neuron one binary line per level and sign, with weights of its own.

    The synapse behind it reads line k of channel c with W_c times the payload of line k: ±2^k, the negative
    ones times the neuron's `negative`. The network computes what it did; every spike is 0 or 1, and a synapse
    adds one weight per spike and shifts nothing. ECMT's parallel parameter normalisation, derived by algebra
    (absent from its public code). Run normalise-thresholds first: it folds scales and quanta.
    """

    name: ClassVar[str] = "expand-levels"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        return rewrite(graph, {"neuron": (expand,)}, context, self.name)


def expand(node: Node, rewriter: Rewriter) -> bool:
    """linear{W}(neuron(x)) -> linear{W ⊗ payloads}(neuron{level_axis}(x))"""
    graph = rewriter.graph
    given = graph.resolve(node)
    dead = not node.result.users and not graph.is_output(node.result)
    if given["level_axis"] is not None or dead:
        return False
    reason = obstacle(node, rewriter)
    if reason is not None:
        return rewriter.decline(node, reason)
    codebook = graph.sent_codebook(node)
    assert isinstance(codebook, PowerOfTwo)
    axis = channel_axis(next(iter(node.result.users)))
    channels = static_dim(node.result.type.shape[axis], "the channel axis")
    values = line_values(codebook, given["negative"], axis, channels)
    lines = rewriter.insert(node, "neuron", node.operands, {**node.attributes, "level_axis": axis})
    assert lines.node is not None
    graph.set_origin(lines.node, node.origin)
    lines.name = node.result.name
    for reader in list(node.result.users):
        attributes = graph.resolve(reader)
        copied = np.repeat(attributes["weight"], len(codebook.members), axis=1)
        weight = scale_inputs(reader, {**attributes, "weight": copied}, values).astype(np.float32)
        synapse = rewriter.insert(reader, reader.op.name, [lines], {**reader.attributes, "weight": weight})
        rewriter.replace(reader, synapse)
    return True


def obstacle(node: Node, rewriter: Rewriter) -> str | None:
    """Return why a neuron keeps its payloads, or None."""
    given = rewriter.graph.resolve(node)
    if not isinstance(given["codebook"], PowerOfTwo):
        return f"its codebook is {given['codebook'].name}, not pow2"
    if given["scale"] is not None:
        return "it has a scale; run normalise-thresholds first"
    if rewriter.graph.is_output(node.result):
        return "its spikes are an output of the network"
    other = [user.full_name for user in node.result.users if user.op.name not in ("linear", "conv")]
    if other:
        return f"{other[0]} reads it; only linear and conv can read lines"
    axes = {channel_axis(user) for user in node.result.users}
    if len(axes) != 1:
        return "the synapses that read it have their channels along different axes"
    if given["negative"] is not None and along(given["negative"], axes.pop()) is None:
        return "its negative quanta vary along another axis than the synapse's inputs"
    return None


def channel_axis(synapse: Node) -> int:
    return len(synapse.operands[0].type.shape) - 1 if synapse.op.name == "linear" else 1


def line_values(codebook: PowerOfTwo, negative: Array | None, axis: int, channels: int) -> Array:
    """Return what a spike on each line stands for, channel after channel."""
    members = np.tile(np.array(codebook.members, np.float32), (channels, 1))
    ratio = np.float32(1) if negative is None else np.asarray(along(negative, axis)).reshape(-1, 1)
    return np.where(members < 0, members * ratio, members).reshape(-1)
