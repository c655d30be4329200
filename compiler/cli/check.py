"""`snnc check`: what becomes of every node of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.options import FILE, example, json_option, quiet_option, shape_option, timing_options
from snnc.cli.progress import Activity
from snnc.cli.show import Column, count, one_line, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.frontend.check import CheckReport


@click.command(
    epilog=example(
        "snnc check model.onnx",
        "snnc check bert.onnx --shape input_ids=N,128 --json",
        "snnc check net.nir --dt 1e-3",
        "snnc check net.sir --spikes-only",
    ),
    short_help="What would compile, node by node.",
)
@click.argument("model", type=FILE)
@click.option(
    "--spikes-only",
    is_flag=True,
    help="Prove that MODEL (.sir, or .onnx that spikes) computes with spikes alone, edge by edge.",
)
@shape_option
@timing_options("NIR")
@json_option
@quiet_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    model: Path,
    spikes_only: bool,
    shapes: dict[str, Sequence[int | str]] | None,
    dt: float | None,
    integration: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what becomes of every node of MODEL, without data and without writing anything.

    \b
    exact        computes the same on means over time
    neuron       becomes a spiking neuron
    expectation  a nonlinearity or a product of two streams, wrapped so that means pass through it
    folded       computed already, or merged into a neighbour
    unused       no output depends on it
    rejected     cannot be compiled, and why

    The exit code is 1 if any node is rejected.

    With --spikes-only, show what travels on every edge instead, and whether no two real streams are
    multiplied and every synapse but the first reads spikes; the exit code is 1 if not.
    """
    if spikes_only:
        ctx.exit(0 if prove(model, shapes, as_json) else 1)
    from snnc.checking import check_model

    with Activity("checking", quiet=quiet) as activity:
        report = check_model(
            model,
            shapes=shapes,
            dt=dt,
            integration=integration,
            on_pass=lambda pass_: activity.stage(pass_.name),
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report)
    ctx.exit(0 if report.compiles else 1)


def prove(model: Path, shapes: dict[str, Sequence[int | str]] | None, as_json: bool) -> bool:
    from snnc.cli.spikes_only import describe_proof, print_proof
    from snnc.spiking_proof import prove_file

    proof = prove_file(model, shapes=shapes)
    if as_json:
        print_json(describe_proof(proof))
    else:
        print_proof(proof)
    return proof.holds


def print_report(report: CheckReport) -> None:
    reasons = any(node.reason for node in report.nodes)
    columns = [Column("node"), Column("operator"), Column("fate"), *([Column("reason")] if reasons else [])]
    rows = []
    for node in report.nodes:
        reason = node.reason + (f" (help: {node.help})" if node.help else "")
        rows.append((node.name, node.op_type, node.outcome.value, *([reason] if reasons else [])))
    print_table(columns, rows)
    say()
    for name, type_ in report.inputs:
        say(f"input {one_line(name)}: {type_}")
    fates = ", ".join(f"{number} {outcome.value}" for outcome, number in report.counts.items())
    format = "NIR" if report.opset is None else f"opset {report.opset}"
    say(f"{count(len(report.nodes), 'node')} ({format}): {fates}")
    verdict = "" if report.compiles else "; the model cannot be compiled as it is"
    say(f"coverage {report.coverage:.1f} %{verdict}")
