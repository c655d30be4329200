"""The fate of every ONNX node: what `snnc check` shows.

A report is built from the import and a graph. With the graph that the default pipeline leaves, the fates
are final; with the imported graph they are a forecast from the op table.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import onnx

from snnc.frontend.importer import import_model
from snnc.frontend.walk import Fate
from snnc.ir.op import Role
from snnc.passes.analysis import spikes_already

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.frontend.signature import Pins
    from snnc.frontend.walk import Imported
    from snnc.ir.graph import Graph, Node, Value


class Outcome(Enum):
    """What an ONNX node becomes. Where it becomes several nodes, the first of these that applies."""

    NEURON = "neuron"
    EXPECTATION = "expectation"
    EXACT = "exact"
    FOLDED = "folded"  # computed at import, or merged into a neighbour without a trace
    UNUSED = "unused"  # no output of the model depends on it
    REJECTED = "rejected"
    BLOCKED = "depends on rejected"


_AT_IMPORT = {
    Fate.UNUSED: Outcome.UNUSED,
    Fate.REJECTED: Outcome.REJECTED,
    Fate.BLOCKED: Outcome.BLOCKED,
}
_COVERED = (Outcome.NEURON, Outcome.EXPECTATION, Outcome.EXACT, Outcome.FOLDED)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One ONNX node: its name, operator and outcome; why it was rejected, and what helps."""

    name: str
    op_type: str
    outcome: Outcome
    reason: str = ""
    help: str | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All nodes of a model in its order, and the model's signature as text."""

    model: str
    opset: int | None
    inputs: tuple[tuple[str, str], ...]
    nodes: tuple[NodeReport, ...]

    @property
    def rejected(self) -> tuple[NodeReport, ...]:
        return tuple(node for node in self.nodes if node.outcome is Outcome.REJECTED)

    @property
    def compiles(self) -> bool:
        return not self.rejected

    @property
    def counts(self) -> dict[Outcome, int]:
        """Return how many nodes have each outcome, in the order of `Outcome`."""
        found = Counter(node.outcome for node in self.nodes)
        return {outcome: found[outcome] for outcome in Outcome if found[outcome]}

    @property
    def coverage(self) -> float:
        """Return the share of nodes, in percent, that compile; nodes that nothing uses do not count."""
        counts = self.counts
        total = len(self.nodes) - counts.get(Outcome.UNUSED, 0)
        covered = sum(counts.get(outcome, 0) for outcome in _COVERED)
        return 100.0 * covered / total if total else 100.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "model": self.model,
            "opset": self.opset,
            "compiles": self.compiles,
            "coverage": round(self.coverage, 2),
            "counts": {outcome.value: count for outcome, count in self.counts.items()},
            "inputs": dict(self.inputs),
            "nodes": [{**asdict(node), "outcome": node.outcome.value} for node in self.nodes],
        }


def check_model(source: str | Path | onnx.ModelProto, shapes: Pins | None = None) -> CheckReport:
    """Return what becomes of every node of a model, forecast from its import."""
    imported = import_model(source, shapes=shapes)
    name = (source.graph.name or "model") if isinstance(source, onnx.ModelProto) else str(source)
    return build_report(name, imported)


def build_report(model: str, imported: Imported, graph: Graph | None = None) -> CheckReport:
    """Return the report for a graph that was made from the import (None: the imported graph itself)."""
    graph = imported.graph if graph is None else graph
    outcomes = node_outcomes(graph)
    return CheckReport(
        model,
        imported.opset,
        tuple((value.name or "", str(value.type)) for value in imported.graph.inputs),
        tuple(
            NodeReport(
                fate.name,
                fate.op_type,
                _AT_IMPORT.get(fate.fate) or outcomes.get(fate.name, Outcome.FOLDED),
                fate.reason,
                fate.help,
            )
            for fate in imported.fates
        ),
    )


def node_outcomes(graph: Graph) -> dict[str, Outcome]:
    """Return the outcome of every ONNX node that some node of the graph has in its origin."""
    order = list(Outcome)
    # What a network of lif neurons computes at a step is what it means: nothing is wrapped.
    varying = set() if spikes_already(graph) else varying_values(graph)
    result: dict[str, Outcome] = {}
    for node in graph:
        outcome = _outcome(node, varying)
        for name in node.origin:
            result[name] = min(outcome, result.get(name, outcome), key=order.index)
    return result


def _outcome(node: Node, varying: set[Value]) -> Outcome:
    if node.op.neuron:
        return Outcome.NEURON
    if node.expect or _needs_expectation(node, varying):
        return Outcome.EXPECTATION
    return Outcome.EXACT


def _needs_expectation(node: Node, varying: set[Value]) -> bool:
    """Tell whether the op is not linear in the operands that vary from step to step."""
    operands = [operand in varying for operand in node.operands]
    match node.op.role:
        case Role.NONLINEAR:
            return any(operands)
        case Role.MULTILINEAR:
            return sum(operands) > 1
        case Role.NUMERATOR:
            return any(operands[1:])
        case _:
            return False


def varying_values(graph: Graph) -> set[Value]:
    """Return the values that may change from step to step.

    In a compiled graph these follow a neuron; in an imported one, a synaptic op, before which one will be.
    Inputs and constants are presented unchanged at every step.
    """
    compiled = any(node.op.role is Role.STATEFUL for node in graph)
    varying: set[Value] = set()
    for node in graph:
        source = node.op.role is Role.STATEFUL if compiled else node.op.synaptic
        if source or any(operand in varying for operand in node.operands):
            varying.add(node.result)
    return varying
