"""Local functions of a model: replaced by their bodies, if that ends and stays within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import networkx as nx
import onnx
from onnx import inliner

from snnc.frontend.handlers.spiking import DOMAIN
from snnc.ir.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Name: TypeAlias = tuple[str, str, str]  # domain, name, overload

MAX_NODES = 2**20
"""Nodes after inlining. Thirty functions that each call the one before twice would be 2^30."""


def inlined(model: onnx.ModelProto, where: str | None) -> onnx.ModelProto:
    """Return the model with calls of its local functions replaced by their bodies.

    Those of this project's own domain stay: their handlers say what they mean, whatever a body says.
    """
    known = [(entry.domain, entry.name) for entry in model.functions if entry.domain == DOMAIN]
    if len(known) == len(model.functions):
        return model
    _refuse_too_many(model, where)
    try:
        return inliner.inline_selected_functions(model, known, exclude=True)
    except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError) as problem:
        raise ModelError(
            f"the model's local functions cannot be inlined: {problem}", where=where
        ) from problem


def _refuse_too_many(model: onnx.ModelProto, where: str | None) -> None:
    """Refuse functions that call each other in a circle, or whose bodies would become too many nodes."""
    bodies = {(entry.domain, entry.name, entry.overload): entry.node for entry in model.functions}
    calls = nx.DiGraph()
    calls.add_nodes_from(bodies)
    for caller, body in bodies.items():
        calls.add_edges_from(
            (callee, caller) for callee in map(_called, _all_nodes(body)) if callee in bodies
        )
    sizes: dict[Name, int] = {}
    try:
        for name in nx.topological_sort(calls):
            sizes[name] = _size(bodies[name], sizes)
    except nx.NetworkXUnfeasible:
        raise ModelError("the model's local functions call each other in a circle", where=where) from None
    total = _size(model.graph.node, sizes)
    if total > MAX_NODES:
        raise ModelError(
            f"the model would have {_show(total)} nodes with its local functions inlined; "
            f"the limit is {MAX_NODES}",
            where=where,
        )


def _size(nodes: Iterable[onnx.NodeProto], sizes: Mapping[Name, int]) -> int:
    """Return how many nodes these become; `sizes` are those of the functions they may call."""
    return sum(sizes.get(_called(node), 1) for node in _all_nodes(nodes))


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)


def _called(node: onnx.NodeProto) -> Name:
    return node.domain, node.op_type, node.overload


def _show(count: int) -> str:
    """Return a number at a readable length: Python refuses to write one of thousands of digits."""
    return str(count) if count < 10**15 else f"about 2^{count.bit_length() - 1}"
