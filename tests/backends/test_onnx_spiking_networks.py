"""Compiled networks as ONNX models: the reference's payloads, but for sums that end on the edge of two.

A sum of float32 numbers depends on its order in the last bit, so a membrane exactly between two payloads may
send either. From there on the sample takes another course; until then every payload is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking import emit_spiking
from snnc.backends.reference import Simulator
from snnc.ir.shapes import batch_axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits"
# How near to an edge sums of some hundred terms may part: in quanta, and relative to the largest payload.
TIE, RELATIVE_TIE = 2e-3, 1e-4


def run_both(
    graph: Graph, inputs: Mapping[str, Array], steps: int
) -> tuple[dict[Node, Array], dict[Node, Array], dict[Node, Array], list[tuple[Array, Array]]]:
    """Return payloads of the ONNX model, payloads and membranes of the reference, pairs of outputs."""
    neurons = [node for node in graph if node.op.neuron]
    names = [str(node.attributes.get("site")) for node in neurons]
    run = Simulator(graph, threads=1).run(inputs, steps, record=names)
    timed = frozenset(v.name or "" for v in graph.inputs if inputs[v.name or ""].ndim > len(v.type.shape))
    emitted = emit_spiking(graph, steps, timed=timed, sites=[node.result for node in neurons])
    model = RuntimeModel(emitted, "spiking", threads=1, packed=True)
    outputs = model.run(emitted.outputs, inputs)
    payloads = model.run(emitted.sites, inputs)
    return (
        dict(zip(neurons, payloads, strict=True)),
        {node: run.spikes[name] for node, name in zip(neurons, names, strict=True)},
        {node: run.membranes[name] for node, name in zip(neurons, names, strict=True)},
        [(found, run.outputs[output.name]) for output, found in zip(graph.outputs, outputs, strict=True)],
    )


def by_sample(node: Node, array: Array) -> Array:
    """Return one step of a stream as [N, …]."""
    axis = batch_axis(node.result.type.shape)
    assert axis is not None
    return np.moveaxis(array, axis, 0)


def on_an_edge(node: Node, payload: Array, membrane: Array) -> Array:
    """Tell which membranes had hardly any way to another payload, given what was sent and what was left."""
    assert node.graph is not None
    given = node.graph.resolve(node)
    u = (membrane + given["quantum"] * payload) / given["quantum"]
    if given["negative"] is not None:
        worth = np.where(payload < 0, payload * given["negative"], payload)
        u = (membrane + given["quantum"] * worth) / given["quantum"]
        u = np.where(u < 0, u / given["negative"], u)
    near = TIE + RELATIVE_TIE * given["codebook"].payload.hi
    below, above = (given["codebook"].quantise(u + step) for step in (-near, near))
    return np.asarray(below != above)


def assert_same_but_for_ties(graph: Graph, inputs: Mapping[str, Array], steps: int, fewest: float) -> None:
    """Where a sample's payloads first differ, membranes are on an edge; the share `fewest` never differs."""
    found, wanted, membranes, outputs = run_both(graph, inputs, steps)
    samples = len(by_sample(next(iter(found)), next(iter(found.values()))[0]))
    parted = np.zeros(samples, bool)
    for t in range(steps):
        for node, payloads in found.items():
            differs = by_sample(node, payloads[t] != wanted[node][t])
            rows = differs.any(axis=tuple(range(1, differs.ndim))) & ~parted
            edge = by_sample(node, on_an_edge(node, wanted[node][t], membranes[node][t]))
            assert edge[rows][differs[rows]].all(), f"{node} at step {t + 1}"
            parted |= rows
    for output, reference in outputs:
        same = np.isclose(output, reference, rtol=1e-3, atol=1e-3)
        assert same[:, ~parted].all()
    assert (~parted).mean() >= fewest


def compiled(model: str, **options: Any) -> Graph:
    calibration = snnc.load_data(
        DIGITS / "digits_calibration.npz", normalise=snnc.Normalise(1 / 16), limit=48
    )
    return snnc.compile(DIGITS / f"{model}.onnx", calibration, **options)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("method", ["multi-spike", "if", "ternary", "ecmt"])
@pytest.mark.parametrize("model", ["digits_cnn", "digits_vit"])
def test_digits_networks_send_the_references_spikes(
    model: str, method: str, steps: int, images: Array
) -> None:
    assert_same_but_for_ties(compiled(model, method=method), {"image": images}, steps, fewest=0.5)


def in_steps_of(graph: Graph, grid: float) -> Graph:
    """Round every tensor of a graph to multiples of a power of two."""
    for name, array in graph.tensors.items():
        if array.dtype == np.float32:
            graph.tensors[name] = (np.round(array / grid) * grid).astype(np.float32)
    return graph


@pytest.mark.parametrize("method", ["multi-spike", "if", "ternary"])
def test_where_sums_are_exact_every_payload_and_output_is(method: str, images: Array) -> None:
    graph = in_steps_of(compiled("digits_cnn", method=method), 2**-8)
    found, wanted, _, outputs = run_both(graph, {"image": images}, 4)
    for node, payloads in found.items():
        np.testing.assert_array_equal(payloads, wanted[node], err_msg=str(node))
    for output, reference in outputs:
        np.testing.assert_array_equal(output, reference)


@pytest.mark.parametrize("kind", ["digits", "events"])
def test_spiking_transformers_send_exactly_the_references_spikes(kind: str, images: Array) -> None:
    graph = snnc.compile(EXAMPLES / "saformer" / f"{kind}_saformer.onnx")
    if kind == "digits":
        x = images
    else:
        x = np.load(EXAMPLES / "saformer" / "events_test.npz")["x"][:, :8].astype(np.float32)
    found, wanted, _, outputs = run_both(
        graph, {graph.inputs[0].name or "": x}, 4 if kind == "digits" else len(x)
    )
    for node, payloads in found.items():
        np.testing.assert_array_equal(payloads, wanted[node], err_msg=str(node))
    for output, reference in outputs:
        np.testing.assert_array_equal(output, reference)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "normalise"),
    [
        ("cifar10_resnet20", snnc.Normalise(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("cifar10_vit", snnc.Normalise(1 / 255, (0.5,), (0.5,))),
    ],
)
def test_shared_networks_send_the_references_spikes(
    model: str, normalise: snnc.Normalise, shared_models: Path
) -> None:
    calibration = snnc.load_data(shared_models / "cifar10_calibration.npz", normalise=normalise, limit=32)
    graph = snnc.compile(shared_models / f"{model}.onnx", calibration)
    data = snnc.load_data(shared_models / "cifar10_test.npz", normalise=normalise, limit=8)
    inputs, _ = next(data.batches(graph, 8))
    assert_same_but_for_ties(graph, inputs, 2, fewest=0.0)
