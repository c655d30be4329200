"""What `snnc check` answers: the fate of every node of a model after the passes that decide it.

These are the default passes as far as thresholds, so no data are needed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnc.frontend.check import CheckReport, NodeReport, Outcome, build_report
from snnc.frontend.source import import_source
from snnc.ir.errors import UnsupportedOpError
from snnc.methods import DEFAULT, DIRECT, Settings
from snnc.passes.analysis import passes_mean, spikes_already, static_values
from snnc.passes.expectation_compensation import ExpectationCompensation, is_real
from snnc.passes.manager import PassManager

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Graph
    from snnc.passes.base import Pass


def check_model(
    model: str | Path | Any,
    *,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    dt: float | None = None,
    integration: str | None = None,
    on_pass: Callable[[Pass], None] | None = None,
) -> CheckReport:
    """Return what becomes of every node of a model (path or `ModelProto`).

    A model whose nodes cannot all be imported gets a forecast for the others.
    """
    imported = import_source(model, shapes=shapes, dt=dt, integration=integration)
    name = str(model) if isinstance(model, str | Path) else (model.graph.name or "model")
    if imported.rejected:
        return build_report(name, imported)
    graph = imported.graph
    if spikes_already(graph):
        PassManager(DIRECT.pipeline(Settings()), on_pass=on_pass).run(graph)
        return build_report(name, imported, graph)
    passes = DEFAULT.pipeline(Settings())
    until = next(i for i, pass_ in enumerate(passes) if isinstance(pass_, ExpectationCompensation))
    PassManager(passes[:until], on_pass=on_pass).run(graph)
    try:
        PassManager(passes[until : until + 1], on_pass=on_pass).run(graph)
    except UnsupportedOpError as refusal:
        return _with_refused(build_report(name, imported, graph), graph, refusal)
    return build_report(name, imported, graph)


def _with_refused(report: CheckReport, graph: Graph, refusal: UnsupportedOpError) -> CheckReport:
    """Mark as rejected the nodes that expectation compensation refuses."""
    static = static_values(graph)
    reasons = {
        name: f"it gives {node.result.type} from a stream that varies in time"
        for node in graph
        if not passes_mean(node, static) and not is_real(node)
        for name in node.origin
    }
    nodes: list[NodeReport] = [
        replace(node, outcome=Outcome.REJECTED, reason=reasons[node.name], help=refusal.help)
        if node.name in reasons
        else node
        for node in report.nodes
    ]
    return replace(report, nodes=tuple(nodes))
