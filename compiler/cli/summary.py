"""What `snnc compile` and `snnc opt` say about a graph and the passes that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnc.cli.show import Column, count, one_line, print_table, say, size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.cli.show import Notes
    from snnc.ir.graph import Graph
    from snnc.passes.base import Note, PassContext
    from snnc.passes.manager import PassRun


def describe_graph(graph: Graph) -> dict[str, Any]:
    """Return the figures of a graph as plain data; neurons are counted for one sample."""
    from snnc.ir.shapes import per_sample

    layers = [node for node in graph if node.op.neuron]
    return {
        "nodes": len(graph),
        "coding": graph.coding,
        "neuron_layers": len(layers),
        "neurons": sum(per_sample(node.result.type.shape) for node in layers),
        "expectation_nodes": sum(node.expect for node in graph),
        "parameters": sum(int(array.size) for array in graph.tensors.values()),
        **{
            key: graph.meta[key]
            for key in ("method", "pipeline", "calibration", "steps", "target", "machine")
            if key in graph.meta
        },
    }


def describe_runs(runs: Sequence[PassRun]) -> list[dict[str, Any]]:
    return [
        {
            "pass": run.text,
            "changed": run.changed,
            "seconds": run.seconds,
            "nodes_before": run.nodes_before,
            "nodes_after": run.nodes_after,
        }
        for run in runs
    ]


def describe_notes(notes: Sequence[Note]) -> list[dict[str, str]]:
    return [{"pass": note.pass_name, "node": note.node, "reason": note.reason} for note in notes]


def show_summary(output: Path, graph: Graph, seconds: float) -> None:
    """Say in two lines what was written."""
    from snnc.methods import DIRECT

    figures = describe_graph(graph)
    say(
        f"{one_line(str(output))}: {count(figures['nodes'], 'node')}, "
        f"{count(figures['neurons'], 'neuron')} in {count(figures['neuron_layers'], 'layer')}, "
        f"{count(figures['expectation_nodes'], 'expectation node')}, "
        f"{count(figures['parameters'], 'parameter')}; {size(output.stat().st_size)}, {seconds:.1f} s"
    )
    calibration = figures["calibration"]
    calibrated = (
        f"calibrated on {count(calibration['samples'], 'sample')} ({one_line(calibration['data'])})"
        if calibration["samples"]
        else "not calibrated"
    )
    if figures["method"] == DIRECT.name:
        calibrated = "the network spikes already and keeps its neurons"
    coding = "" if graph.coding == "rate" else f"{graph.coding} coding, "
    say(
        f"method {figures['method']}, {coding}{calibrated}, {count(figures['steps'], 'time step')} by default"
    )
    if "machine" in figures:
        from snnc.passes.widths import prove_widths, widths_of

        proof = prove_widths(graph, widths_of(graph))
        say(f"integers for {figures['machine']}; {proof.sentence()}")
    target = figures.get("target")
    if target:
        say(describe_target(target))


def describe_target(target: dict[str, float]) -> str:
    """Say what was asked for at T=1, and the estimate of what was found."""
    found = f"energy at T=1 estimated as {target['estimated_energy']:.3f} of the ANN's in float32"
    if "energy" in target:
        return f"{found} (asked for: {target['energy']:g})"
    samples = count(int(target["held_out"]), "sample")
    return (
        f"{found}, {target['measured_loss']:.2f} points lost on {samples} held out "
        f"(asked for: {target['max_loss']:g})"
    )


def show_runs(runs: Sequence[PassRun], *, to_stderr: bool = False) -> None:
    columns = [Column("pass"), Column("nodes", True), Column("ms", True), Column("")]
    rows = [
        (
            run.text,
            f"{run.nodes_before} -> {run.nodes_after}",
            f"{1000 * run.seconds:.1f}",
            "" if run.changed else "unchanged",
        )
        for run in runs
    ]
    print_table(columns, rows, to_stderr=to_stderr)


def remark(context: PassContext, explain: bool, notes: Notes) -> None:
    """Print on stderr the warnings of passes and, if asked for, why they left nodes alone."""
    for text in context.warnings:
        notes.warning(text)
    if not explain:
        return
    if context.notes:
        rows = [(note.pass_name, note.node, note.reason) for note in context.notes]
        print_table([Column("pass"), Column("node"), Column("reason")], rows, to_stderr=True)
    else:
        say("nothing to explain: no pass declined a node", to_stderr=True)
