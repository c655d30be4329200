"""Networks that Lava's own processes can run: a chain of synapses and integrate-and-fire neurons.

Lava's LIF resets to zero, has one threshold, and counts in 64ths within 24 bits. `chain_of` returns the chain
or refuses the first node that is anything else; what it returns computes the same numbers there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.partition import cut
from snnc.backends.lava.refusals import describe, refuse_what_lava_lacks
from snnc.ir.codebooks import Binary
from snnc.ir.errors import BackendError
from snnc.ir.shapes import concrete
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from snnc.backends.lava.partition import Partition, Piece
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

# lava-nc 0.10, proc/lif/models.py: input and threshold are shifted by 6 bits, u and v have 24.
MEMBRANE = (1 << 23) // 64 - 1
LARGEST_THRESHOLD = (1 << 17) - 1
BIAS_BITS = 13
OPTIONS = "leave out --stock: snnc's own processes do this"


@dataclass(frozen=True, slots=True)
class Link:
    """One layer. weight [O, I/group, h, w] or [O, I] stands for weight 2^exponent; shapes without the batch.

    `threshold`: it fires where the membrane exceeds this; None: its currents are the answer.
    `flatten`: it reads [C, H, W] as one row.
    """

    node: Node
    weight: Array
    exponent: int
    bias: Array
    geometry: dict[str, Any]
    flatten: bool
    reads: tuple[int, ...]
    shape: tuple[int, ...]
    threshold: int | None

    @property
    def name(self) -> str:
        return describe(self.node)


def refuse(node: Node, why: str, help: str = OPTIONS) -> BackendError:
    return BackendError(f"Lava's own processes cannot run {describe(node)}: {why}", help=help)


def chain_of(graph: Graph, steps: int) -> tuple[Partition, list[Link]]:
    """Return a graph as a chain that is exact for samples of `steps` steps."""
    refuse_what_lava_lacks(graph)
    partition = cut(graph)
    if len(partition.sources) != 1 or len(partition.sinks) != 1:
        raise BackendError(
            f"a chain has one input and one output; this network has {len(partition.sources)} and "
            f"{len(partition.sinks)}",
            help=OPTIONS,
        )
    links: list[Link] = []
    before = partition.sources[0]
    for piece in partition.layers:
        if piece.reads != [before]:
            raise refuse(piece.nodes[-1], "it is not one of a chain of layers")
        links.append(link_of(graph, piece, steps))
        before = piece.sends
    if partition.sinks != [before]:
        raise refuse(partition.layers[-1].nodes[-1], "it is not the only output")
    return partition, links


def link_of(graph: Graph, piece: Piece, steps: int) -> Link:
    nodes, flatten = list(piece.nodes), False
    while nodes and nodes[0].op.name == "reshape":
        flatten = len(nodes.pop(0).operands[0].type.shape) == 4
    neuron = nodes.pop() if nodes and nodes[-1].op.neuron else None
    if len(nodes) != 1 or nodes[0].op.name not in ("conv", "linear"):
        other = next((n for n in nodes if n.op.name not in ("conv", "linear")), piece.nodes[-1])
        raise refuse(other, "only convolutions and linear layers in front of neurons are there")
    synapse = nodes[0]
    attributes = graph.resolve(synapse)
    check_geometry(synapse, attributes)
    bias = attributes["bias"]
    link = Link(
        neuron or synapse,
        attributes["weight"].astype(np.int64),
        attributes["exponent"],
        np.zeros(len(attributes["weight"]), np.int64) if bias is None else bias.astype(np.int64),
        {key: attributes[key] for key in ("strides", "pads", "dilations", "group") if key in attributes},
        flatten,
        per_sample_shape(synapse.operands[0]),
        per_sample_shape(synapse.result),
        None if neuron is None else threshold_of(graph, neuron),
    )
    if neuron is not None:
        check_range(link, piece.reads[0], steps)
    return link


def per_sample_shape(value: Value) -> tuple[int, ...]:
    return concrete(value.type.shape, 1)[1:]


def check_geometry(node: Node, attributes: dict[str, Any]) -> None:
    if node.op.name == "linear":
        if len(node.result.type.shape) != 2:
            raise refuse(node, "it has more than one row")
        return
    if attributes["weight"].ndim != 4:
        raise refuse(node, "Lava's convolution is two-dimensional")
    pads = attributes["pads"]
    if pads and pads[:2] != pads[2:]:
        raise refuse(node, f"its pads {list(pads)} are not the same on both sides")


def threshold_of(graph: Graph, node: Node) -> int:
    """Return the membrane that an integrate-and-fire neuron must exceed; refuse any other neuron."""
    given = graph.resolve(node)
    if node.op.name == "neuron":
        hard = isinstance(given["codebook"], Binary) and given["reset"] == "zero"
        plain = given["initial"] == 0 and given["charge"] is None and given["bias"] is None
        threshold, strict = given["quantum"], False
    else:
        hard = given["reset"] == "hard" and not given["delayed"]
        absent = all(given[name] is None or not np.any(given[name]) for name in ("bias", "rest"))
        unity = all(given[name] is None or np.all(given[name] == 1) for name in ("leak", "gain"))
        plain = given["initial"] == 0 and absent and unity
        threshold, strict = given["threshold"], given["strict"]
    if not hard:
        raise refuse(node, "Lava's LIF sends 0 or 1 and resets to zero")
    if not plain:
        raise refuse(node, "it leaks or charges, which Lava's LIF does in steps of 1/64")
    if threshold.min() != threshold.max():
        raise refuse(node, f"its thresholds, {threshold.min()} to {threshold.max()}, are not one number")
    limit = int(threshold.max()) - (not strict)
    if not 0 <= limit <= LARGEST_THRESHOLD:
        raise refuse(node, f"its threshold {limit} does not fit 17 bits")
    return limit


def check_range(link: Link, reads: Value, steps: int) -> None:
    """Refuse a membrane that could leave Lava's 24 bits, where it wraps or saturates otherwise than ours."""
    assert isinstance(reads.type, SpikeType), "a synapse reads spikes"
    lo, hi = reads.type.payload.lo, reads.type.payload.hi
    rows = (link.weight << link.exponent).reshape(len(link.weight), -1)
    most = np.maximum(rows * lo, rows * hi).sum(axis=1) + link.bias
    least = np.minimum(rows * lo, rows * hi).sum(axis=1) + link.bias
    assert link.threshold is not None
    reach = max(int(most.max()) + link.threshold, -int(least.min()) * steps, int(np.abs(link.bias).max()))
    if reach > MEMBRANE:
        raise refuse(
            link.node, f"its membrane may reach {reach} in {steps} steps, and Lava's end at {MEMBRANE}"
        )
    if np.abs(link.bias).max(initial=0) >= 1 << (BIAS_BITS - 1):
        raise refuse(link.node, f"its bias {np.abs(link.bias).max()} does not fit {BIAS_BITS} bits")
