"""`snnc compile`: from an ONNX model to a spiking network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from snnc.cli import completion
from snnc.cli.choice import Choice
from snnc.cli.options import (
    FILE,
    MAX_RECORDED_STEPS,
    DataOptions,
    check_network_name,
    check_writable,
    data_options,
    example,
    json_option,
    load_option,
    quiet_option,
    registry_with,
    shape_option,
    timing_options,
    verbose_option,
)
from snnc.cli.progress import Activity
from snnc.cli.show import Notes, print_json
from snnc.cli.summary import (
    describe_graph,
    describe_notes,
    describe_runs,
    remark,
    show_runs,
    show_summary,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.driver import Compilation, Options
    from snnc.passes.registry import Registry


class MethodOption(click.Option):
    """`--method`, whose help lists the methods there are."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from snnc.methods import DIRECT, METHODS

        summaries = {method.name: method.summary for method in METHODS.values()}
        summaries[DIRECT.name] = DIRECT.summary
        listed = "; ".join(f"{name}: {summary}" for name, summary in summaries.items())
        self.help = f"How to convert. {listed}.  [default: multi-spike; direct if the network spikes already]"
        return super().get_help_record(ctx)


@click.command(
    "compile",
    epilog=example(
        "snnc compile model.onnx -o net.sir --calibration images.npz --scale 1/255",
        "snnc compile model.onnx -o net.sir --method if -T 64",
        "snnc compile model.onnx -o net.sir --calibration images.npz --scale 1/255 --energy 0.25",
        "snnc compile model.onnx -o net.sir --calibration images.npz --target loihi2",
        "snnc compile net.nir -o net.sir --dt 1e-3",
        'snnc compile model.onnx -o analog.sir -p "simplify,raise-patterns,fuse-batch-norm,dce"',
    ),
    short_help="Make a spiking network (.sir) of an ONNX model or a NIR graph.",
)
@click.argument("model", type=FILE)
@click.option("-o", "--output", required=True, type=FILE, metavar="NET.sir", help="The file to write.")
@click.option(
    "--calibration",
    type=FILE,
    metavar="DATA",
    help="Samples to choose thresholds from: .npz or .npy.  [default: synthetic inputs, with a warning]",
)
@data_options
@click.option("--method", cls=MethodOption, metavar="NAME", shell_complete=completion.methods)
@click.option(
    "-T",
    "--steps",
    type=click.IntRange(min=1, max=MAX_RECORDED_STEPS),
    default=4,
    show_default=True,
    metavar="T",
    help="Time steps that run, eval and verify take by default, and that some thresholds are chosen for.",
)
@click.option(
    "--levels",
    type=click.IntRange(min=1),
    metavar="N",
    help="Resolution: as fine as 2^N evenly spaced values per channel.  [default: the method's]",
)
@click.option(
    "--thresholds",
    type=Choice(["mse", "max", "percentile"]),
    help="Rule that chooses thresholds.  [default: the method's]",
)
@click.option(
    "--per",
    type=Choice(["channel", "tensor"]),
    help="One threshold for each channel, or for all.  [default: the method's]",
)
@click.option(
    "--batch-norm",
    type=Choice(["weights", "thresholds"]),
    help="What batch norm is fused into.  [default: weights]",
)
@click.option(
    "--coding",
    type=Choice(["rate", "differential"]),
    help="What spikes carry: values at every step, or after the first only their changes.  [default: rate]",
)
@click.option(
    "--reset",
    type=Choice(["subtract", "zero", "restart"]),
    help="What a step leaves in membranes: the rest (zero: none after a spike, for binary and ternary"
    " neurons), or what they began with.  [default: the method's]",
)
@click.option(
    "--energy",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATIO",
    help="Share out levels for the least error at this energy at T=1, all counted, over float32: 0.25.",
)
@click.option(
    "--max-loss",
    type=click.FloatRange(min=0, max=100),
    metavar="POINTS",
    help="Share out levels for the least energy that loses so many points at T=1, by half the calibration "
    "data: of accuracy, without labels of agreement: 0.3.",
)
@click.option(
    "--decode",
    type=Choice(["mean", "sum", "last"]),
    help="The answer after t steps: the outputs' mean or sum until then, or step t alone.  "
    "[default: as the model's metadata say, else mean]",
)
@click.option(
    "--target",
    type=Choice(["loihi2", "int8"]),
    help="Lower the network to integers: 8-bit weights and 24-bit membranes for loihi2; payloads of 8 bits "
    "besides for the integer kernels of processors (int8).",
)
@click.option(
    "--host-nodes",
    is_flag=True,
    help="With --target: what needs real numbers (softmax, layer norm, GELU, products) runs on a host.",
)
@click.option(
    "-p",
    "--pipeline",
    metavar="PASSES",
    shell_complete=completion.pipeline,
    help="Run these passes instead of the method's (see snnc passes).",
)
@load_option
@shape_option
@timing_options("NIR")
@click.option("--dump-ir", type=FILE, metavar="DIR", help="Write the graph to this folder after every pass.")
@click.option("--explain", is_flag=True, help="Say on stderr what passes did not do, and why.")
@json_option
@quiet_option
@verbose_option
def compile_(
    *,
    model: Path,
    output: Path,
    calibration: Path | None,
    data: DataOptions,
    load: Sequence[Path],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    explain: bool,
    **chosen: Any,
) -> None:
    """Compile MODEL to a spiking network, whole or not at all.

    Thresholds come from calibration data: a few hundred samples as the network sees them in use, normalised
    by --scale, --mean and --std. The normalisation is recorded in NET.sir; run, eval and verify use it too.
    """
    started = time.perf_counter()
    refuse_idle_options(calibration, data, load, chosen)
    check_writable(output, model, calibration)
    check_network_name(output)
    compilation = run_compiler(
        model=model,
        output=output,
        calibration=calibration,
        data=data,
        registry=registry_with(load),
        quiet=quiet,
        chosen=chosen,
    )
    seconds = time.perf_counter() - started
    remark(compilation.context, explain, Notes(quiet))
    if as_json:
        print_json(describe_compilation(output, compilation, seconds, explain))
        return
    if verbose:
        show_runs(compilation.runs)
    if not quiet:
        show_summary(output, compilation.graph, seconds)


def describe_compilation(
    output: Path, compilation: Compilation, seconds: float, explain: bool
) -> dict[str, Any]:
    """Return the result as plain data."""
    context = compilation.context
    return {
        "output": str(output),
        "bytes": output.stat().st_size,
        "seconds": seconds,
        **describe_graph(compilation.graph),
        "warnings": context.warnings,
        "passes": describe_runs(compilation.runs),
        **({"notes": describe_notes(context.notes)} if explain else {}),
    }


def refuse_idle_options(
    calibration: Path | None, data: DataOptions, load: Sequence[Path], chosen: dict[str, Any]
) -> None:
    """Refuse options that would have no effect beside the others."""
    data.refuse_idle(calibration)
    if chosen["pipeline"] is None:
        if load:
            raise click.UsageError("--load offers passes for --pipeline, which is not given.")
        return
    for name in (
        "method",
        "levels",
        "thresholds",
        "per",
        "batch_norm",
        "coding",
        "reset",
        "energy",
        "max_loss",
    ):
        if chosen[name] is not None:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} sets the method's passes, which --pipeline replaces.")


def run_compiler(
    *,
    model: Path,
    output: Path,
    calibration: Path | None,
    data: DataOptions,
    registry: Registry,
    quiet: bool,
    chosen: dict[str, Any],
) -> Compilation:
    """Compile and save."""
    from snnc.driver import compile_model
    from snnc.ir.archive import save

    options = build_options(output, chosen)
    dataset = None if calibration is None else data.load(calibration)
    with Activity("importing", quiet=quiet) as activity:
        compilation = compile_model(
            model,
            dataset,
            options,
            registry=registry,
            on_pass=lambda pass_: activity.stage(pass_.name),
            progress=activity.update,
        )
        activity.stage("saving")
        save(compilation.graph, output, compilation.graph.meta)
    return compilation


def build_options(output: Path, chosen: dict[str, Any]) -> Options:
    """Return what the driver wants to know; a crash leaves its reproducer beside the output."""
    from snnc.driver import Options
    from snnc.methods import Settings

    names = {"levels": "levels", "thresholds": "rule"} | {
        name: name for name in ("per", "batch_norm", "coding", "reset")
    }
    settings = Settings(**{field: chosen[name] for name, field in names.items() if chosen[name] is not None})
    return Options(
        method=chosen["method"],
        settings=settings,
        steps=chosen["steps"],
        pipeline=chosen["pipeline"],
        shapes=chosen["shapes"],
        dump_ir=chosen["dump_ir"],
        crash_dir=output.parent,
        energy=chosen["energy"],
        max_loss=chosen["max_loss"],
        decode=chosen["decode"],
        target=chosen["target"],
        host_nodes=chosen["host_nodes"],
        dt=chosen["dt"],
        integration=chosen["integration"],
    )
