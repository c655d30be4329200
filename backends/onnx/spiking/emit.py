"""Writes T time steps of a SIR graph as one ONNX model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx import helper

from snnc.backends.inputs import refuse_larger_sums
from snnc.backends.onnx.builder import ModelBuilder, value_info
from snnc.backends.onnx.emit import EmittedModel, finished_model
from snnc.backends.onnx.emitters import EMITTERS
from snnc.backends.onnx.spiking.averages import Adder, Averager, Stepper
from snnc.backends.onnx.spiking.blocks import NO_BLOCKS, Blocks, in_blocks
from snnc.backends.onnx.spiking.codebook import QUANTISERS
from snnc.backends.onnx.spiking.host_units import host_in_units
from snnc.backends.onnx.spiking.merged import MergedWriter, merged_steps
from snnc.backends.onnx.spiking.precision import plan_precision
from snnc.backends.onnx.spiking.units import in_units
from snnc.backends.onnx.spiking.unroll import STATEFUL, Unroller
from snnc.backends.outputs import check_outputs
from snnc.ir.errors import BackendError, OptionError
from snnc.passes.analysis import answers_by_averages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import onnx

    from snnc.backends.onnx.spiking.precision import Plan
    from snnc.ir.graph import Graph, Node, Value


@dataclass(frozen=True, slots=True)
class SpikingModel(EmittedModel):
    """T steps of a network. Outputs are decoded after every step, [T, N, …]; sites are streams, [T, N, …]."""

    steps: int


def emit_spiking(
    graph: Graph,
    steps: int,
    *,
    timed: frozenset[str] = frozenset(),
    sites: Sequence[Value] = (),
    single: bool = False,
    many: bool = False,
    times: Sequence[int] = (),
    blocks: bool = False,
) -> SpikingModel:
    """Return the model that computes what the reference simulator's run of so many steps returns.

    Inputs in `timed` vary in time and have shape [T, N, …]. The streams of `sites` are given under the names
    `site_0`, … behind the outputs. `many`: batches will be large; where no step needs the one before, steps
    are then not joined to one batch but written one by one; `times` are the steps to answer after, of a
    network where none needs the one before. `blocks`: for onnxruntime's CPU kernels, neurons between
    convolutions round in the layout these have. `BackendError` names every node that cannot be written.
    """
    refuse_what_cannot_be_written(graph, steps, single=single)
    refuse_larger_sums(graph, steps)
    factors: dict[Value, float] = {}
    free = not (sites or timed or graph.computes_integers) and answers_by_averages(graph)
    laid = worthwhile_blocks(graph, steps) if blocks and free else NO_BLOCKS
    averaged = bool(laid.neurons) or (free and not many and steps > 1)
    if not graph.computes_integers:
        units, sites = in_units(graph, steps, sites, by_averages=averaged, blocks=laid)
        graph, factors, laid = units.graph, units.factors, units.blocks
    elif single and not by_sums(graph):
        graph, sites = host_in_units(graph, steps, sites)
    model = ModelBuilder(graph, [value.name or "" for value in graph.inputs], timed)
    site_names = [model.unique(f"site_{index}") for index in range(len(sites))]
    outputs = [model.unique(output.name) for output in graph.outputs]
    times = times or range(1, steps + 1)
    writer: Unroller | MergedWriter
    if averaged:
        writer = averager(model, times, plan_precision(graph, steps, blocks=blocks), laid)
    else:
        adds = free and steps > 1
        writer = step_by_step(model, steps, times, single=single, adds=adds, blocks=blocks)
    writer.write(graph)
    for output, name in zip(graph.outputs, outputs, strict=True):
        with model.computing(writer.answers(output.value)):
            model.rename(writer.decoded(output.value, output.decode), name)
    for value, name in zip(sites, site_names, strict=True):
        with model.computing(writer.answers(value)):
            model.rename(writer.watched(value, factors.get(value, 1)), name)
    model.finish([*outputs, *site_names])
    results = [*(output.value for output in graph.outputs), *sites]
    named = zip([*outputs, *site_names], results, strict=True)
    proto = finished_model(
        model,
        [stepped(x.name or "", x, steps if x.name in timed else 0) for x in graph.inputs],
        [stepped(name, x, len(times), writer.answers(x)) for name, x in named],
    )
    proto.metadata_props.add(key="snnc.steps", value=str(steps))
    return SpikingModel(proto, model.weights, tuple(outputs), tuple(site_names), steps)


def worthwhile_blocks(graph: Graph, steps: int) -> Blocks:
    """Return what is written for images in blocks: nothing where it would part the steps of other layers."""
    laid = in_blocks(graph, steps)
    few = 2 * len(laid.neurons) < sum(node.op.neuron for node in graph)
    return NO_BLOCKS if few and steps > 1 else laid


def averager(model: ModelBuilder, times: Sequence[int], plan: Plan, blocks: Blocks) -> Averager:
    return Stepper(model, times, plan, blocks) if blocks.neurons else Averager(model, times, plan)


def step_by_step(
    model: ModelBuilder, steps: int, times: Sequence[int], *, single: bool, adds: bool, blocks: bool
) -> Unroller | MergedWriter:
    """Return what writes one step after the other; whole numbers that depend on sums by their `times`."""
    if by_sums(model.graph):
        refuse_varying(model.timed)
        return MergedWriter(model, times, single=single, blocks=blocks)
    plan = plan_precision(model.graph, steps, single=single, blocks=blocks)
    return (Adder if adds else Unroller)(model, steps, plan)


def by_sums(graph: Graph) -> bool:
    """Tell whether every step of a network of integers is written as a network of one step."""
    return graph.computes_integers and any(node.attributes.get("bounds") == "sum" for node in graph)


def refuse_varying(timed: frozenset[str]) -> None:
    if timed:
        raise BackendError(
            f"the input {min(timed)!r} varies in time; networks of integers with bounds = sum are written "
            "for inputs that do not",
            help="run it with --backend fast",
        )


def stepped(name: str, value: Value, steps: int, dtype: np.dtype[Any] | None = None) -> onnx.ValueInfoProto:
    """Return the declaration of an input or output; with a time axis in front unless there are 0 steps."""
    info = value_info(name, value.type, dtype)
    if not steps:
        return info
    dims = [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]
    return helper.make_tensor_value_info(name, info.type.tensor_type.elem_type, [steps, *dims])


def refuse_what_cannot_be_written(graph: Graph, steps: int = 1, *, single: bool = False) -> None:
    """Raise `BackendError` with everything in the graph that this backend has no ONNX for."""
    if steps < 1:
        raise OptionError(f"cannot write {steps} time steps", help="give at least 1")
    if graph.coding != "rate":
        raise BackendError(
            f"the ONNX backend writes networks in rate coding, not in {graph.coding} coding",
            help="compile with --coding rate, or run this network with --backend reference",
        )
    check_outputs(graph)
    if by_sums(graph):
        merged = merged_steps(graph, steps, single=single)
        graph, plan = merged.graph, merged.plan
    else:
        plan = plan_precision(graph, steps, single=single)
    problems = [
        f"{', '.join(node.origin) or node.op.name}: {why}"
        for node in graph
        if (why := problem(node) or plan.problem(node))
    ]
    if problems:
        raise BackendError(
            "this network cannot be written as an ONNX model:\n"
            + "\n".join(f"  {line}" for line in problems),
            help="--backend reference runs every network",
        )


def problem(node: Node) -> str | None:
    """Return why a node cannot be written, or None."""
    assert node.graph is not None
    if node.op.name not in EMITTERS and node.op.name not in STATEFUL:
        return f"the ONNX backend does not know {node.op.name}"
    if node.op.name != "neuron":
        return None
    attributes = node.graph.resolve(node)
    if attributes["quantum"] is None:
        return "a neuron has no threshold yet (choose-thresholds sets it; snnc compile runs that)"
    codebook = attributes["codebook"]
    return None if type(codebook) in QUANTISERS else f"the ONNX backend does not know {codebook.name} neurons"
