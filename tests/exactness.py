"""The law of networks that carry quantisers: at T=1 the spiking network is the quantised one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from snnc.backends.reference import Simulator
from snnc.driver import Options, compile_model
from snnc.frontend import import_onnx
from snnc.passes.manager import PassManager
from snnc.passes.raise_quantisers import RaiseQuantisers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

EXACT = 1e-5  # relative error of a sample's output
TIE = 2e-3  # quanta from an edge between two levels; sums of some hundred float32 levels differ by that


def run_source(path: Path, names: Sequence[str], x: Array) -> dict[str, Array]:
    """Return the outputs and the named tensors of a model, every node computed as the file says."""
    model = onnx.load(path)
    outputs = [output.name for output in model.graph.output]
    for name in names:
        if name not in outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    # Optimised, onnxruntime computes QDQ networks with integer kernels that round otherwise.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    wanted = list(dict.fromkeys([*outputs, *names]))
    return dict(zip(wanted, session.run(wanted, {session.get_inputs()[0].name: x}), strict=True))


def quantiser_inputs(path: Path) -> dict[str, tuple[str, Array, str]]:
    """Return, per quantised tensor of a model, what it is quantised from, with which scale and rounding."""
    graph = import_onnx(path)
    PassManager([RaiseQuantisers()]).run(graph)
    found = {}
    for node in graph:
        if node.op.name == "fake_quantise":
            given = graph.resolve(node)
            found[str(node.result.name)] = (str(node.operands[0].name), given["scale"], given["rounding"])
    return found


def assert_exact_at_the_first_step(path: Path, x: Array, *, fewest: float) -> Graph:
    """Hold the spiking network's payloads and outputs at T=1 against the model's codes and outputs.

    A sample whose codes differ anywhere must have, where they first do, a value on the edge between two
    levels, so that the order of a sum decides; at least the share `fewest` of the samples has no such value.
    """
    graph = compile_model(path, None, Options(method="pmsm")).graph
    assert graph.meta["method"] == "pmsm"
    quantised = quantiser_inputs(path)
    sites = [str(node.attributes["site"]) for node in graph if node.op.name == "neuron"]
    assert set(sites) <= set(quantised)
    source = run_source(path, [*sites, *(quantised[site][0] for site in sites)], x)
    run = Simulator(graph).run(x, 1, record=sites)
    settled = np.zeros(len(x), bool)  # samples that met an edge already
    for site in sites:
        name, scale, rounding = quantised[site]
        wanted = np.rint(source[site] / scale)
        differs = (run.spikes[site][0] != wanted).reshape(len(x), -1)
        u = (source[name] / scale).astype(np.float64) + (0.5 if rounding == "floor" else 0.0)
        edge = np.abs(u - np.rint(u)) if rounding == "floor" else np.abs(u - np.floor(u) - 0.5)
        edge = np.broadcast_to(edge, wanted.shape).reshape(len(x), -1)
        first = differs.any(axis=1) & ~settled
        assert (edge[first] * differs[first] <= TIE).all(), site
        settled |= first
    assert (~settled).mean() >= fewest
    for output, wanted in source.items():
        if output in run.outputs:
            assert (relative_errors(run.outputs[output][0], wanted)[~settled] <= EXACT).all()
    return graph


def relative_errors(found: Array, wanted: Array) -> Array:
    difference = (found - wanted).reshape(len(wanted), -1)
    norms: Array = np.linalg.norm(difference, axis=1) / np.linalg.norm(
        wanted.reshape(len(wanted), -1), axis=1
    )
    return norms
