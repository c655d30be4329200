"""`snnc opt`: run passes on a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli import completion
from snnc.cli.options import (
    FILE,
    DataOptions,
    check_network_name,
    check_writable,
    data_options,
    example,
    load_option,
    network_argument,
    quiet_option,
    registry_with,
    verbose_option,
)
from snnc.cli.progress import Activity
from snnc.cli.show import Notes
from snnc.cli.summary import remark, show_runs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.ir.graph import Graph
    from snnc.passes.base import Pass, PassContext
    from snnc.passes.manager import PassRun


@click.command(
    epilog=example(
        'snnc opt net.sir -p "simplify,dce"',
        'snnc opt analog.sir -p "insert-neurons{levels=3},expectation-compensation" -o net.sir',
        "snnc opt net.sir -p my-pass --load my_pass.py --explain -o better.sir",
    ),
    short_help="Run passes on a .sir file.",
)
@network_argument
@click.option(
    "-p",
    "--pipeline",
    required=True,
    metavar="PASSES",
    shell_complete=completion.pipeline,
    help='Passes to run: "name,name{option=value}".',
)
@click.option(
    "-o", "--output", type=FILE, metavar="OUT.sir", help="The file to write.  [default: print the text]"
)
@load_option
@click.option(
    "--calibration", type=FILE, metavar="DATA", help="Samples for passes that measure: .npz or .npy."
)
@data_options
@click.option("--dump-ir", type=FILE, metavar="DIR", help="Write the graph to this folder after every pass.")
@click.option("--explain", is_flag=True, help="Say on stderr what passes did not do, and why.")
@quiet_option
@verbose_option
def opt(
    *,
    network: Path,
    pipeline: str,
    output: Path | None,
    load: Sequence[Path],
    calibration: Path | None,
    data: DataOptions,
    dump_ir: Path | None,
    explain: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run passes on NET.sir; print the text of the result, or write it with -o."""
    from snnc.api import load as load_network
    from snnc.ir.text import print_graph
    from snnc.passes.pipeline import parse_pipeline

    data.refuse_idle(calibration)
    if output is not None:
        check_writable(output, calibration)
        check_network_name(output)
    passes = parse_pipeline(pipeline, registry_with(load))
    graph, notes = load_network(network), Notes(quiet)
    with Activity("optimising", quiet=quiet) as activity:
        context = context_for(graph, calibration, data, notes, activity)
        runs = run_passes(graph, passes, context, activity, output=output, dump_ir=dump_ir)
    remark(context, explain, notes)
    if verbose:
        show_runs(runs, to_stderr=True)
    if output is None:
        click.echo(print_graph(graph).encode(), nl=False)


def run_passes(
    graph: Graph,
    passes: Sequence[Pass],
    context: PassContext,
    activity: Activity,
    *,
    output: Path | None,
    dump_ir: Path | None,
) -> list[PassRun]:
    """Run the passes, put them on the graph's record, and save the result if it is wanted."""
    from snnc.ir.archive import save
    from snnc.passes.manager import PassManager
    from snnc.passes.pipeline import show_pipeline

    crash_dir = None if output is None else output.parent
    manager = PassManager(passes, context, dump_ir, crash_dir, lambda pass_: activity.stage(pass_.name))
    runs = manager.run(graph)
    earlier = graph.meta.get("pipeline")
    graph.meta["pipeline"] = f"{earlier},{show_pipeline(passes)}" if earlier else show_pipeline(passes)
    if output is not None:
        save(graph, output, graph.meta)
    return runs


def context_for(
    graph: Graph, calibration: Path | None, data: DataOptions, notes: Notes, activity: Activity
) -> PassContext:
    """Return what the passes share; calibration data go on the graph's record."""
    from snnc.calibration import DatasetCalibration
    from snnc.driver import describe_calibration
    from snnc.passes.base import PassContext

    context = PassContext()
    if calibration is not None:
        dataset = data.load_for(graph, calibration, notes).averaged(graph)
        context.calibration = DatasetCalibration(dataset, activity.update)
        graph.meta["calibration"] = describe_calibration(graph, dataset)
    return context
