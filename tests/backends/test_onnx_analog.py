"""The analog ONNX model of a graph computes, in onnxruntime, what the kernels of the op table compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from snnc.backends.onnx import AnalogSession, emit_analog
from snnc.backends.onnx.emitters import EMITTERS
from snnc.backends.reference import Simulator
from snnc.frontend import import_onnx
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import BackendError, DataError
from snnc.ir.graph import Graph
from snnc.ir.op import Role
from snnc.ir.ops import op_table
from snnc.ir.shapes import Batch
from tests.backends.analog_cases import CASES, Case, draw, parse_type, real
from tests.harness import run_analog, run_onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.codebooks import Codebook
    from snnc.ir.kernel_types import Array


def assert_close(found: Array, expected: Array, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol)


# Every op of the table.


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_emitted_op_equals_its_kernel_at_every_batch_size(case: Case) -> None:
    graph = case.graph()
    session = AnalogSession(graph, threads=1)
    for batch in (1, 3):
        inputs = draw(graph, batch, case.within)
        assert_close(session.run(inputs).outputs["y"], run_analog(graph, inputs)["y"])


def test_every_pure_op_has_an_emitter_and_every_emitter_a_case() -> None:
    pure = {name for name, op in op_table().items() if op.role is not Role.STATEFUL}
    assert set(EMITTERS) == pure | {"neuron"}
    assert {case.op for case in CASES} == pure - {"constant"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_embedded_model_is_valid_onnx(case: Case) -> None:
    onnx.checker.check_model(emit_analog(case.graph()).embedded(), full_check=True)


# The batch size, where ONNX wants numbers.


def two_inputs_with_twelve_times_the_batch() -> Graph:
    graph = Graph("expand")
    x = graph.add_input("x", parse_type("f32 12N x 1 x 2"))
    token = graph.constant_value(real(1, 1, 2), "token")
    tokens = graph.append("expand", [token], {"shape": (Batch(12), 3, 2)})
    graph.add_output(graph.append("concat", [x, tokens], {"axis": 1}), "joined")
    single = graph.append("expand", [token], {"shape": (Batch(), 1, 2)})
    graph.add_output(graph.append("reshape", [x], {"shape": (Batch(), 12, 2)}), "rows")
    graph.add_output(single, "token")
    return graph


@pytest.mark.parametrize("batch", [1, 3])
def test_dimensions_are_multiples_of_the_batch_size_read_from_an_input(batch: int) -> None:
    graph = two_inputs_with_twelve_times_the_batch()
    inputs = draw(graph, batch)
    found = AnalogSession(graph, threads=1).run(inputs).outputs
    for name, expected in run_analog(graph, inputs).items():
        assert_close(found[name], expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_empty_tensor_keeps_its_batch_through_a_reshape(batch: int) -> None:
    graph = Graph("empty")
    x = graph.add_input("x", parse_type("f32 N x 3 x 12"))
    nothing = graph.append("slice", [x], {"axes": (1,), "starts": (3,), "ends": (3,), "steps": (1,)})
    graph.add_output(graph.append("reshape", [nothing], {"shape": (Batch(), 12, 0)}), "y")
    inputs = draw(graph, batch)
    assert_close(AnalogSession(graph, threads=1).run(inputs).outputs["y"], run_analog(graph, inputs)["y"])


def test_a_batch_size_without_an_input_that_has_it_is_refused() -> None:
    graph = Graph("static")
    x = graph.add_input("x", parse_type("f32 1 x 2"))
    graph.add_output(graph.append("expand", [x], {"shape": (Batch(), 2)}), "y")
    with pytest.raises(BackendError, match="none of its inputs has it"):
        emit_analog(graph)


# Neurons and expectation nodes.


def neuron_graph(**attributes: float | None) -> Graph:
    graph = Graph("neuron")
    x = graph.add_input("x", parse_type("f32 N x 3"))
    bias = graph.add_tensor("bias", np.array([[1, 0, -1]], np.float32))
    y = graph.append(
        "neuron", [x], {"codebook": MultiSpike(0, 3), "bias": bias, **attributes}, origin=["relu"]
    )
    graph.add_output(y, "y")
    return graph


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.0, None), (-0.5, 1.5)])
def test_a_neuron_without_a_threshold_is_the_activation_it_absorbed(
    low: float | None, high: float | None
) -> None:
    graph = neuron_graph(low=low, high=high)
    x = np.array([[-3, 0.2, 2], [4, -1, 1]], np.float32)
    shifted = x + np.array([[1, 0, -1]], np.float32)
    expected = np.clip(shifted, -np.inf if low is None else low, np.inf if high is None else high)
    assert_close(AnalogSession(graph, threads=1).run({"x": x}).outputs["y"], expected)


def test_not_a_number_is_found() -> None:
    graph = Case("is_nan", ("f32 N x 3",)).graph()
    x = np.array([[1, np.nan, np.inf]], np.float32)
    found = AnalogSession(graph, threads=1).run({"x0": x}).outputs["y"]
    assert found.tolist() == [[False, True, False]]


CODEBOOKS: list[Codebook] = [
    MultiSpike(-4, 3),
    MultiSpike(0, 3),
    MultiSpike(-4, 3, "floor"),
    MultiSpike(-12, 11, "burst"),
    MultiSpike(0, 11, "burst"),
    Binary(),
    Ternary(),
    PowerOfTwo(4),
    PowerOfTwo(4, False),
    PowerOfTwo(3, True, "nearest", 0.75),
    PowerOfTwo(3, True, "below", 0.9),
]


@pytest.mark.parametrize("codebook", CODEBOOKS)
@pytest.mark.parametrize(("initial", "charged"), [(0.0, False), (0.5, False), (0.5, True)])
@pytest.mark.parametrize("uneven", [False, True])
def test_a_neuron_with_a_threshold_is_its_first_step(
    codebook: Codebook, initial: float, charged: bool, uneven: bool
) -> None:
    graph = neuron_graph()
    quantum = graph.add_tensor("quantum", np.array([[0.5, 2, -1]], np.float32))
    ratio = graph.add_tensor("ratio", np.array([[0.5, 3, 1]], np.float32)) if uneven else None
    charge = graph.add_tensor("charge", np.array([[0.3, -0.7, 1.2]], np.float32)) if charged else None
    graph.set_attributes(
        next(iter(graph)),
        codebook=codebook,
        quantum=quantum,
        scale=quantum,
        negative=ratio,
        charge=charge,
        initial=initial or None,
    )
    x = draw(graph, 50)["x"] * 4
    expected = Simulator(graph).run(x, 1).outputs["y"][0]
    assert_close(AnalogSession(graph, threads=1).run({"x": x}).outputs["y"], expected)


def test_binary_lines_are_refused() -> None:
    graph = neuron_graph()
    quantum = graph.add_tensor("quantum", np.ones((1, 3), np.float32))
    graph.set_attributes(next(iter(graph)), codebook=PowerOfTwo(2), quantum=quantum, level_axis=1)
    with pytest.raises(BackendError, match="a binary line per payload"):
        emit_analog(graph)


def test_a_delay_is_refused() -> None:
    graph = Graph("delay")
    x = graph.add_input("x", parse_type("f32 N x 3"))
    graph.add_output(graph.append("delay", [x], origin=["feedback"]), "y")
    with pytest.raises(BackendError, match="keeps state"):
        emit_analog(graph)


def test_an_expectation_node_is_its_function() -> None:
    graph = Graph("expect")
    x = graph.add_input("x", parse_type("f32 N x 3"))
    graph.add_output(graph.append("softmax", [x], expect=True), "y")
    plain = Case("softmax", ("f32 N x 3",)).graph()
    array = draw(graph, 2)["x"]
    found = AnalogSession(graph, threads=1).run({"x": array}).outputs["y"]
    assert_close(found, run_analog(plain, {"x0": array})["y"])


# Extra outputs and names.


def test_extra_values_come_back_in_the_order_they_were_asked_for() -> None:
    graph = Graph("sites")
    x = graph.add_input("site_0", parse_type("f32 N x 3"))  # a name the emitter would like for itself
    doubled = graph.append("add", [x, x], origin=["double"])
    graph.add_output(x, "site_0")
    graph.add_output(graph.append("relu", [doubled], origin=["double"]), "y")
    emitted = emit_analog(graph, [doubled, x, doubled])
    assert emitted.sites == ("site_0.2", "site_1", "site_2")
    assert emitted.outputs == ("site_0.3", "y")
    array = np.array([[1, -2, 3]], np.float32)
    result = AnalogSession(graph, [doubled, x, doubled], threads=1).run({"site_0": array})
    assert list(result.outputs) == ["site_0", "y"]
    for found, expected in zip(result.values, [2 * array, array, 2 * array], strict=True):
        assert_close(found, expected)


def test_nodes_are_named_after_the_source_models_nodes() -> None:
    graph = Graph("names")
    x = graph.add_input("x", parse_type("f32 N x 3"))
    graph.add_output(graph.append("silu", [x], origin=["block/act", "block/mul"]), "y")
    names = [node.name for node in emit_analog(graph).model.graph.node]
    assert names == ["block/act:Sigmoid", "block/act:Mul", "y:Identity"]


def test_large_weights_are_referred_to_and_small_constants_are_shared() -> None:
    graph = Graph("weights")
    x = graph.add_input("x", parse_type("f32 N x 64"))
    weight = graph.add_tensor("weight", real(64, 64))
    hidden = graph.append("linear", [x], {"weight": weight})
    graph.add_output(graph.append("clip", [hidden], {"low": 0.0, "high": 1.0}), "y")
    graph.add_output(
        graph.append("clip", [graph.append("linear", [x], {"weight": weight})], {"low": 0.0}), "z"
    )
    emitted = emit_analog(graph)
    assert list(emitted.weights) == ["weight"]
    assert emitted.weights["weight"] is graph.tensors["weight"]
    assert len(emitted.model.graph.initializer) == 3


def test_a_model_beyond_protobufs_limit_is_not_embedded() -> None:
    graph = Graph("large")
    x = graph.add_input("x", parse_type("f32 N x 32768"))
    weight = np.broadcast_to(np.float32(0), (2**15, 2**15))  # four gigabytes that take no memory
    y = graph.append("linear", [x], {"weight": graph.add_tensor("weight", weight)})
    graph.add_output(y, "y")
    with pytest.raises(BackendError, match="one ONNX file without external data holds 2147483647"):
        emit_analog(graph).embedded()


# What a session refuses.


def test_inputs_that_do_not_fit_are_refused() -> None:
    session = AnalogSession(Case("relu", ("f32 N x 3",)).graph(), threads=1)
    with pytest.raises(DataError, match="input 'x0' has shape 2 x 4; the network takes N x 3"):
        session.run({"x0": np.zeros((2, 4), np.float32)})


def test_what_onnxruntime_cannot_run_is_a_backend_error() -> None:
    session = AnalogSession(Case("embedding", ("i64 N",), {"table": real(4, 2)}).graph(), threads=1)
    with pytest.raises(BackendError, match="onnxruntime cannot run the analog model"):
        session.run({"x0": np.array([9])})


def test_what_onnxruntime_cannot_build_is_a_backend_error() -> None:
    graph = Case("conv", ("f64 N x 1 x 3",), {"weight": real(1, 1, 2).astype(np.float64)}).graph()
    with pytest.raises(BackendError, match="onnxruntime refuses the analog model"):
        AnalogSession(graph, threads=1)


# Real networks, there and back again.


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mnist_cnn", "cifar10_resnet20", "cifar10_vit"])
def test_a_network_survives_the_way_to_sir_and_back(shared_models: Path, name: str) -> None:
    source = onnx.load(shared_models / f"{name}.onnx")
    graph = import_onnx(source)
    emitted = emit_analog(graph).embedded()
    onnx.checker.check_model(emitted, full_check=True)
    inputs = draw(graph, 2, (0.0, 1.0))
    expected = run_onnxruntime(source, inputs)
    for found in (
        run_onnxruntime(emitted, inputs),
        AnalogSession(graph, threads=1).run(inputs).outputs,
        run_analog(import_onnx(emitted), inputs),
    ):
        assert list(found) == list(expected)
        for key, array in expected.items():
            assert_close(found[key], array, rtol=1e-4, atol=1e-4)
