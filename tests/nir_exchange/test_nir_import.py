"""Graphs that others wrote: every node exact or rejected by name."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import nir
import numpy as np
import pytest

import snnc
from snnc.backends.reference import Simulator
from snnc.frontend.nir import import_nir
from snnc.frontend.source import import_network
from snnc.ir.errors import ModelError, OptionError, UnsupportedOpError
from tests.nir_exchange.interpreter import Interpreter

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

F = np.float32


def full(value: float, *shape: int) -> Array:
    return np.full(shape, value)


def chain(*nodes: Any, shape: tuple[int, ...] = (3,), **metadata: Any) -> Any:
    """Return the graph input -> node_1 -> node_2 … -> output."""
    named = {"input": nir.Input(np.array(shape))} | {f"node_{i}": node for i, node in enumerate(nodes, 1)}
    names = [*named, "output"]
    named["output"] = nir.Output(None)
    edges = list(pairwise(names))
    return nir.NIRGraph(named, edges, metadata=metadata, type_check=True)


def stored(graph: Any, folder: Path) -> Path:
    path = folder / "net.nir"
    nir.write(path, graph)
    return path


def imported(graph: Any, folder: Path, **options: Any) -> Graph:
    return import_network(stored(graph, folder), **options)


def attributes(graph: Graph) -> dict[str, Any]:
    (node,) = (node for node in graph if node.op.name == "lif")
    return {name: value for name, value in graph.resolve(node).items() if value is not None}


def run(graph: Graph, x: Array) -> Array:
    graph.decode_outputs("last")
    (y,) = Simulator(graph).run({graph.inputs[0].name or "": x}, len(x)).outputs.values()
    return y


# Neurons.


def test_if_takes_dt_and_resistance_for_its_gain(tmp_path: Path) -> None:
    net = chain(nir.IF(full(500, 3), full(1, 3), full(0, 3)))
    found = attributes(imported(net, tmp_path, dt=1e-3))
    assert found["gain"].ravel() == F(0.5)
    assert (found["strict"], found["reset"]) == (True, "hard")
    assert "rest" not in found


@pytest.mark.parametrize(
    ("integration", "share"), [("euler", 0.1), ("exponential", 1 - math.exp(-0.1))], ids=str
)
def test_lif_is_integrated_as_asked(integration: str, share: float, tmp_path: Path) -> None:
    net = chain(nir.LIF(full(1e-2, 3), full(2, 3), full(0.5, 3), full(1, 3), full(0, 3)))
    found = attributes(imported(net, tmp_path, dt=1e-3, integration=integration))
    assert found["leak"].ravel() == F(1 - share)
    assert found["gain"].ravel() == F(2 * share)
    assert found["bias"].ravel() == F(0.5 * share)


def test_dt_is_what_the_file_says_and_a_default_is_remarked_on(tmp_path: Path) -> None:
    neuron = nir.IF(full(10, 3), full(1, 3), full(0, 3))
    said = stored(chain(neuron, dt=0.05), tmp_path)
    assert attributes(import_network(said))["gain"].ravel() == F(0.5)
    assert attributes(import_network(said, dt=0.1)).get("gain") is None
    with pytest.warns(UserWarning, match="does not say how long a time step is: 0.0001 s taken"):
        snnc.compile(stored(chain(neuron), tmp_path))


def test_parameters_may_be_one_number_or_vary(tmp_path: Path) -> None:
    one = nir.IF(full(1, 1), full(2, 1), full(0, 1))
    some = nir.IF(full(1, 2, 4, 4), np.arange(2.0).reshape(2, 1, 1) + full(1, 2, 4, 4), full(0, 2, 4, 4))
    net = nir.NIRGraph(
        {
            "input": nir.Input(np.array([2, 4, 4])),
            "a": one,
            "b": some,
            "output": nir.Output(np.array([2, 4, 4])),
        },
        [("input", "a"), ("a", "b"), ("b", "output")],
        type_check=False,
    )
    graph = imported(net, tmp_path, dt=1)
    first, second = (graph.resolve(node)["threshold"] for node in graph)
    assert first.shape == (1, 1, 1, 1)
    assert second.shape == (1, 2, 1, 1)


def test_a_membrane_starts_where_it_is_reset_to(tmp_path: Path) -> None:
    net = chain(nir.IF(full(1, 3), full(1, 3), full(-0.5, 3)))
    found = attributes(imported(net, tmp_path, dt=1))
    assert (found["initial"], float(found["rest"].ravel()[0])) == (-0.5, -0.5)


# Graphs.


def test_subgraphs_are_taken_apart(tmp_path: Path) -> None:
    inner = chain(nir.Scale(full(2, 3)), nir.IF(full(1, 3), full(1, 3), full(0, 3)))
    graph = imported(chain(nir.Scale(full(0.25, 3)), inner), tmp_path, dt=1)
    assert [node.op.name for node in graph] == ["constant", "mul", "constant", "mul", "lif"]
    x = np.ones((6, 1, 3), F)
    np.testing.assert_array_equal(run(graph, x)[:, 0, 0], [0, 0, 1, 0, 0, 1])


def test_edges_into_a_node_add_up_and_one_listed_twice_counts_once(tmp_path: Path) -> None:
    nodes = {
        "input": nir.Input(np.array([3])),
        "a": nir.Scale(full(2, 3)),
        "b": nir.Scale(full(0.5, 3)),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output"), ("a", "output")]
    graph = imported(nir.NIRGraph(nodes, edges, type_check=False), tmp_path)
    np.testing.assert_array_equal(run(graph, np.ones((1, 1, 3), F)), np.full((1, 1, 3), 2.5))


def test_inputs_and_outputs_keep_the_names_in_their_metadata(tmp_path: Path) -> None:
    net = chain(nir.Scale(full(2, 3)))
    net.nodes["input"].metadata["name"] = "image"
    net.nodes["output"].metadata |= {"name": "scores", "decode": "sum"}
    graph = imported(net, tmp_path)
    assert graph.inputs[0].name == "image"
    assert [(output.name, output.decode) for output in graph.outputs] == [("scores", "sum")]


@pytest.mark.parametrize(("padding", "size"), [("same", 6), ("valid", 3), (1, 5), (0, 3)], ids=str)
def test_padding_in_words(padding: str | int, size: int, tmp_path: Path) -> None:
    weight = np.arange(4, dtype=F).reshape(1, 1, 4)
    net = chain(nir.Conv1d(6, weight, 1, padding, 1, 1, np.zeros(1, F)), shape=(1, 6))
    graph = imported(net, tmp_path)
    x = np.arange(6, dtype=F).reshape(1, 1, 1, 6)
    found = run(graph, x)
    assert found.shape[-1] == size
    if padding == "same":  # as in PyTorch, the odd one behind
        padded = np.pad(x.ravel(), (1, 2))
        assert found.ravel().tolist() == [float(padded[i : i + 4] @ weight.ravel()) for i in range(6)]


def test_unused_nodes_are_reported_and_left_out(tmp_path: Path) -> None:
    net = chain(nir.Scale(full(2, 3)))
    net.nodes["idle"] = nir.Scale(full(3, 3))
    net.edges.append(("input", "idle"))
    report = snnc.check(stored(net, tmp_path))
    fates = {node.name: node.outcome.value for node in report.nodes}
    assert (fates["idle"], fates["node_1"], report.compiles) == ("unused", "exact", True)


# Refusals.

LIF = nir.LIF(full(1e-3, 3), full(1, 3), full(0, 3), full(1, 3), full(0, 3))
CUBA = nir.CubaLIF(*(full(1, 3) for _ in range(6)))

REJECTED: dict[str, tuple[Any, str]] = {
    "an integrator": (nir.I(full(1, 3)), "an integrator that sends its membrane"),
    "a leaky integrator": (nir.LI(full(1, 3), full(1, 3), full(0, 3)), "a leaky integrator that sends"),
    "a synaptic current": (CUBA, "a synaptic current with a time constant"),
    "a delay between steps": (nir.Delay(full(0.5, 3)), "which is 0.5 time steps of 1 s"),
    "delays that differ": (nir.Delay(np.arange(3.0)), "delayed differently"),
    "a step beyond tau": (LIF, "Euler's method overshoots"),
    "resets that differ": (nir.IF(full(1, 3), full(1, 3), np.arange(3.0)), "v_reset varies over neurons"),
    "no number": (nir.Scale(full(np.nan, 3)), "not finite"),
    "a number too large": (nir.Scale(full(1e300, 3)), "beyond single precision"),
    "another size": (nir.Scale(full(1, 4)), r"has the shape \[4\], a sample has \[3\]"),
    "another matrix": (nir.Linear(np.ones((2, 5))), "linear"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_has_no_exact_counterpart_is_rejected(name: str, tmp_path: Path) -> None:
    node, message = REJECTED[name]
    nodes = {"input": nir.Input(np.array([3])), "culprit": node, "output": nir.Output(None)}
    net = nir.NIRGraph(nodes, [("input", "culprit"), ("culprit", "output")], type_check=False)
    net.nodes["output"] = nir.Output(np.array([3]))
    with pytest.raises(UnsupportedOpError, match=rf'node "culprit" \(\w+\): .*{message}'):
        imported(net, tmp_path, dt=1)


def test_a_recurrent_connection_is_rejected(tmp_path: Path) -> None:
    net = chain(LIF, nir.Linear(np.eye(3)))
    net.edges.append(("node_2", "node_1"))
    report = snnc.check(stored(net, tmp_path))
    assert [node.name for node in report.rejected] == ["node_1", "node_2"]
    assert "part of a cycle" in report.rejected[0].reason


def test_feedback_of_another_size_than_the_threshold_is_rejected(tmp_path: Path) -> None:
    net = chain(nir.I(full(1, 3)), nir.Threshold(full(1, 3)))
    net.nodes["back"] = nir.Scale(full(-0.5, 3))
    net.edges += [("node_2", "back"), ("back", "node_1")]
    with pytest.raises(UnsupportedOpError, match="is not its threshold"):
        imported(net, tmp_path, dt=1)


def test_feedback_past_the_scale_is_another_cycle(tmp_path: Path) -> None:
    net = chain(nir.I(full(1, 3)), nir.Threshold(full(1, 3)))
    net.nodes["back"] = nir.Scale(full(-1, 3))
    net.edges += [("node_2", "back"), ("back", "node_1"), ("node_2", "node_1")]
    with pytest.raises(UnsupportedOpError, match="part of a cycle"):
        imported(net, tmp_path, dt=1)


def test_feedback_that_subtracts_the_threshold_is_one_neuron(tmp_path: Path) -> None:
    net = chain(nir.I(full(1, 3)), nir.Threshold(full(1, 3)))
    net.nodes["back"] = nir.Scale(full(-1, 3))
    net.edges += [("node_2", "back"), ("back", "node_1")]
    graph = imported(net, tmp_path, dt=1)
    x = np.random.default_rng(0).integers(-2, 7, (8, 2, 3)).astype(F) / 4
    one = Interpreter(net, 1.0)
    np.testing.assert_array_equal(run(graph, x)[:, 0], [one.step(step[0]) for step in x])


def test_an_output_that_says_another_shape_is_rejected(tmp_path: Path) -> None:
    net = chain(nir.Scale(full(2, 3)))
    net.nodes["output"] = nir.Output(np.array([4]))
    with pytest.raises(UnsupportedOpError, match=r"says the shape \[4\]"):
        imported(net, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: net.edges.append(("input", "nowhere")), "names the node 'nowhere'"),
        (lambda net: net.nodes.pop("output") and net.edges.pop(), "the graph has no Output"),
        (lambda net: net.metadata.update(dt="soon"), "give no time step: dt is 'soon'"),
        (lambda net: net.metadata.update(dt=-1.0), "give no time step"),
    ],
)
def test_a_graph_that_is_none_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    net = chain(nir.Scale(full(2, 3)))
    change(net)
    with pytest.raises(ModelError, match=message):
        import_nir(stored(net, tmp_path))


def test_a_subgraph_with_two_inputs_is_refused(tmp_path: Path) -> None:
    inner = chain(nir.Scale(full(2, 3)))
    inner.nodes["more"] = nir.Input(np.array([3]))
    inner.edges.append(("more", "node_1"))
    net = nir.NIRGraph(
        {"input": nir.Input(np.array([3])), "sub": inner, "output": nir.Output(np.array([3]))},
        [("input", "sub"), ("sub", "output")],
        type_check=False,
    )
    with pytest.raises(ModelError, match="the subgraph 'sub' has 2 nodes of type Input"):
        import_nir(stored(net, tmp_path))


def test_options_of_one_format_are_refused_for_the_other(tmp_path: Path) -> None:
    path = stored(chain(nir.Scale(full(2, 3))), tmp_path)
    with pytest.raises(OptionError, match="there is nothing to pin"):
        import_network(path, shapes={"input": ("N", 3)})
    with pytest.raises(OptionError, match="--dt is for NIR graphs"):
        import_network("model.onnx", dt=1e-3)
