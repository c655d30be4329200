"""A NIR graph without subgraphs, in order, and without the one kind of cycle that means a plain neuron."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import networkx as nx

from snnc.backends.nir.package import nir_package
from snnc.ir.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Subtracting:
    """An integrator whose spikes come back to it: I, Threshold, and Scale from Threshold to I.

    It goes by the name of its threshold; `absorbed` names the two others, with their primitives.
    """

    integrator: Any
    threshold: Any
    feedback: Any
    absorbed: tuple[tuple[str, str], tuple[str, str]]


@dataclass(slots=True)
class Flat:
    """Nodes by name and edges, subgraphs taken apart: their own Input and Output nodes pass streams on."""

    nodes: dict[str, Any] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    passing: set[str] = field(default_factory=set)
    recurrent: set[str] = field(default_factory=set)

    def digraph(self) -> nx.DiGraph:
        digraph = nx.DiGraph()
        digraph.add_nodes_from(sorted(self.nodes))
        digraph.add_edges_from(self.edges)
        return digraph

    def ordered(self) -> list[str]:
        """Return the names in an order of execution; those in cycles last."""
        digraph = self.digraph()
        digraph.remove_edges_from(
            [(a, b) for a, b in self.edges if a in self.recurrent and b in self.recurrent]
        )
        return list(nx.lexicographical_topological_sort(digraph))


def flatten(graph: Any) -> Flat:
    """Return the graph in one level, resets by subtraction recognised, other cycles in `recurrent`.

    An edge that is listed twice counts once, as in NIR's other readers.
    """
    flat = Flat()
    take_apart(graph, "", flat)
    for cycle in cycles(flat):
        if not join(flat, cycle):
            flat.recurrent |= cycle
    return flat


def take_apart(graph: Any, prefix: str, flat: Flat) -> None:
    """Add the nodes of a graph under a prefix, those of its subgraphs among them."""
    nir = nir_package()
    sources, targets = {}, {}
    for name, node in graph.nodes.items():
        full = prefix + name
        sources[name] = targets[name] = full
        if isinstance(node, nir.NIRGraph):
            sources[name], targets[name] = port(node, full, nir.Output), port(node, full, nir.Input)
            take_apart(node, full + ".", flat)
            flat.passing |= {sources[name], targets[name]}
        else:
            flat.nodes[full] = node
    for source, target in graph.edges:
        for name in (source, target):
            if name not in graph.nodes:
                raise ModelError(f"an edge names the node {prefix + name!r}, which is not there")
        flat.edges[sources[source], targets[target]] = None


def port(subgraph: Any, name: str, kind: Any) -> str:
    """Return the full name of a subgraph's one Input or Output."""
    found = [inner for inner, node in subgraph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise ModelError(
            f"the subgraph {name!r} has {len(found)} nodes of type {kind.__name__}",
            help="give it one; edges of a graph do not say which they mean",
        )
    return f"{name}.{found[0]}"


def cycles(flat: Flat) -> list[set[str]]:
    digraph = flat.digraph()
    return [
        part
        for part in nx.strongly_connected_components(digraph)
        if len(part) > 1 or any(digraph.has_edge(name, name) for name in part)
    ]


def join(flat: Flat, cycle: set[str]) -> bool:
    """Put one neuron in the place of integrator, threshold and feedback, if the cycle is that."""
    kinds = {type(flat.nodes[name]).__name__: name for name in cycle}
    if len(cycle) != 3 or kinds.keys() != {"I", "Threshold", "Scale"}:
        return False
    integrator, threshold, back = kinds["I"], kinds["Threshold"], kinds["Scale"]
    inner = {(integrator, threshold), (threshold, back), (back, integrator)}
    touching = {
        (source, target)
        for source, target in flat.edges
        if source in (integrator, back) or target in (threshold, back) or {source, target} <= cycle
    }
    if touching != inner:
        return False
    flat.nodes[threshold] = Subtracting(
        flat.nodes[integrator],
        flat.nodes[threshold],
        flat.nodes[back],
        ((integrator, "I"), (back, "Scale")),
    )
    flat.edges = {
        (source, threshold if target == integrator else target): None
        for source, target in flat.edges
        if (source, target) not in inner
    }
    del flat.nodes[integrator], flat.nodes[back]
    return True


def live(flat: Flat, outputs: Mapping[str, Any]) -> set[str]:
    """Return the names that some output depends on."""
    digraph = flat.digraph()
    found = set(outputs)
    for name in outputs:
        found |= nx.ancestors(digraph, name)
    return found
