"""The unrolled ONNX model of a spiking network computes what the reference simulator computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking, simulator
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import BackendError
from snnc.ir.graph import Graph
from snnc.ir.op import Role
from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch
from tests.backends.analog_cases import CASES, Case, parse_type
from tests.harness import run_onnxruntime
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array

STEPS = 5


def dyadic(*shape: int, seed: int = 0, spread: float = 2.0) -> Array:
    """Return multiples of 1/64: sums of some thousand of them are exact in float32, in any order."""
    noise = spread * np.random.default_rng(seed).standard_normal(shape)
    return (np.round(64 * noise) / 64).astype(np.float32)


def run_both(
    graph: Graph, inputs: Mapping[str, Array], steps: int = STEPS
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the decoded outputs of the ONNX model and of the reference simulator."""
    found = OnnxSimulator(graph, threads=1).run(inputs, steps).outputs
    return found, Simulator(graph, threads=1).run(inputs, steps).outputs


def assert_identical(graph: Graph, inputs: Mapping[str, Array], steps: int = STEPS) -> None:
    found, wanted = run_both(graph, inputs, steps)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# Neurons: every codebook and every parameter, on numbers without rounding.

CODEBOOKS: dict[str, Codebook] = {
    "binary": Binary(),
    "ternary": Ternary(),
    "multi": MultiSpike(-7, 7),
    "multi of one sign": MultiSpike(0, 3),
    "floor": MultiSpike(0, 7, "floor"),
    "floor of both signs": MultiSpike(-2, 7, "floor"),
    "burst": MultiSpike(-15, 15, "burst"),
    "burst of one sign": MultiSpike(0, 7, "burst"),
    "pow2": PowerOfTwo(4),
    "pow2 of one sign": PowerOfTwo(3, signed=False),
    "pow2, nearest": PowerOfTwo(4, firing="nearest", dead_zone=0.75),
    "pow2, dead zone": PowerOfTwo(4, dead_zone=1.5),
}
FORMS: dict[str, dict[str, Any]] = {
    "normalised": {},
    "biased": {"bias": np.array([[0.25], [-0.5]], np.float32)},
    "charged": {"initial": 0.5},
    "charged per channel": {"initial": 0.5, "charge": np.array([[0.25], [-0.75]], np.float32)},
    "scaled": {
        "quantum": np.array([[0.5], [2.0]], np.float32),
        "scale": np.array([[0.5], [4.0]], np.float32),
    },
    "mirrored": {"quantum": np.array([[-0.5], [1.0]], np.float32)},
    "two quanta": {"negative": np.array([[0.5], [2.0]], np.float32)},
    "restarting": {"reset": "restart", "initial": 0.25},
    "all at once": {
        "quantum": np.array([[0.5], [2.0]], np.float32),
        "bias": np.array([[0.25], [-0.5]], np.float32),
        "scale": np.array([[0.5], [4.0]], np.float32),
        "negative": np.array([[0.5], [2.0]], np.float32),
        "initial": 0.5,
    },
}


def neuron(x: Sequence[int | Batch], **attributes: Any) -> Graph:
    """One neuron with a parameter per channel."""
    b = Builder(*x)
    given = {"quantum": np.ones((1, 1), np.float32), **attributes}
    shaped = {
        key: value.reshape(1, -1, 1) if isinstance(value, np.ndarray) else value
        for key, value in given.items()
    }
    return b.outputs(y=b("neuron", b.x, **shaped))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("codebook", CODEBOOKS)
@pytest.mark.parametrize("steps", [1, STEPS])
def test_a_neuron_sends_the_references_payloads(codebook: str, form: str, steps: int) -> None:
    graph = neuron((N, 2, 40), codebook=CODEBOOKS[codebook], **FORMS[form])
    constant, varying = dyadic(3, 2, 40), dyadic(steps, 3, 2, 40, seed=1)
    assert_identical(graph, {"x": constant}, steps)
    assert_identical(graph, {"x": varying}, steps)


@pytest.mark.parametrize("codebook", [Binary(), Ternary()])
def test_a_neuron_that_is_reset_to_zero(codebook: Codebook) -> None:
    graph = neuron((N, 2, 40), codebook=codebook, reset="zero")
    assert_identical(graph, {"x": dyadic(STEPS, 3, 2, 40, spread=0.7)})


def test_a_neuron_with_a_line_per_level() -> None:
    graph = neuron((N, 2, 40), codebook=PowerOfTwo(3), level_axis=1)
    assert_identical(graph, {"x": dyadic(STEPS, 3, 2, 40)})


def test_a_constant_current_has_no_copy_for_every_step() -> None:
    graph = neuron((N, 2, 40), codebook=MultiSpike(-7, 7))
    written = [node.op_type for node in emit_spiking(graph, 3).model.graph.node]
    assert "Split" not in written
    assert written.count("Round") == 3


def test_one_step_of_a_neuron_is_a_quantiser() -> None:
    graph = neuron((N, 2, 40), codebook=MultiSpike(-7, 7))
    written = [node.op_type for node in emit_spiking(graph, 1).model.graph.node]
    assert written[:2] == ["Clip", "Round"]
    assert "Sub" not in written


LIF_FORMS: dict[str, dict[str, Any]] = {
    "hard": {"leak": 0.5},
    "hard to a rest": {"leak": 0.5, "rest": -0.25},
    "soft": {"leak": 0.5, "reset": "soft"},
    "soft, with gain and bias": {"reset": "soft", "gain": 0.25, "bias": 0.125, "leak": 0.75},
    "integrate and fire": {"reset": "soft"},
    "strict": {"strict": True, "leak": 0.5},
    "delayed soft": {"reset": "soft", "delayed": True, "leak": 0.5},
    "delayed hard": {"delayed": True, "rest": 0.125, "bias": -0.0625},
    "charged": {"initial": 0.75, "leak": 0.5},
    "charged, delayed": {"initial": 1.5, "leak": 0.5, "delayed": True},
    "never reset": {"reset": "none", "leak": 0.5},
}


@pytest.mark.parametrize("form", LIF_FORMS)
@pytest.mark.parametrize("varying", [False, True])
def test_a_lif_neuron_fires_when_the_reference_does(form: str, varying: bool) -> None:
    b = Builder(N, 6)
    given = {"threshold": 1.0, **LIF_FORMS[form]}
    tensors = {
        key: np.full((1, 1), value, np.float32)
        if key in ("threshold", "leak", "gain", "bias", "rest")
        else value
        for key, value in given.items()
    }
    graph = b.outputs(s=b("lif", b.x, **tensors))
    assert_identical(graph, {"x": dyadic(STEPS, 20, 6) if varying else dyadic(20, 6)})


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_delay_hands_streams_on_later(steps: int) -> None:
    b = Builder(N, 6)
    assert_identical(b.outputs(y=b("delay", b.x, steps=steps)), {"x": dyadic(STEPS, 4, 6)})


# Every op: in one batch of all steps where that is sound, in an expectation node, and of constants.


def varying(graph: Graph, case: Case, batch: int) -> dict[str, Array]:
    """Draw inputs that vary in time where they may."""
    generator, arrays = np.random.default_rng(batch), {}
    for value in graph.inputs:
        shape = [dim.coefficient * batch if isinstance(dim, Batch) else dim for dim in value.type.shape]
        if value.type.is_real:
            shape = [STEPS, *shape]
            drawn = generator.uniform(*case.within, shape)
            arrays[value.name or ""] = drawn.astype("f4" if value.type.dtype == "f32" else "f8")
        else:
            top = 2 if value.type.dtype == "bool" else case.within[1]
            whole = np.floor(generator.uniform(0 if top == 2 else case.within[0], top, shape))
            arrays[value.name or ""] = whole.astype(snnc_dtype(value.type.dtype))
    return arrays


def snnc_dtype(name: str) -> np.dtype[Any]:
    from snnc.ir.types import DTYPES

    return DTYPES[name]


def expected(case: Case) -> Graph:
    """The case with its op wrapped in an expectation node where it may be."""
    plain = case.graph()
    graph = Graph("expected")
    graph.tensors.update(plain.tensors)
    (node,) = plain
    operands = [graph.add_input(value.name or "", parse_type(text))
                for value, text in zip(plain.inputs, case.operands, strict=True)]  # fmt: skip
    read = operands if node.op.operands else []
    graph.add_output(graph.append(node.op.name, read, node.attributes, expect=True), "y")
    return graph


REAL = [case for case in CASES if any(text.startswith("f32") for text in case.operands)]
WRAPPED = [
    case
    for case in REAL
    if get_op(case.op).role is not Role.LINEAR
    and get_op(case.op).expectation
    and case.graph().outputs[0].value.type.is_real
]


def assert_close_on_varying_inputs(graph: Graph, case: Case) -> None:
    if not graph.outputs[0].value.type.is_real:
        graph.decode_outputs("last")
    for batch in (1, 3):
        inputs = varying(graph, case, batch)
        found, wanted = run_both(graph, inputs)
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", REAL, ids=str)
def test_an_op_acts_on_every_step_by_itself(case: Case) -> None:
    assert_close_on_varying_inputs(case.graph(), case)


@pytest.mark.parametrize(("op", "function"), [("max", np.maximum), ("min", np.minimum)])
def test_a_bound_that_does_not_vary_holds_at_every_step(op: str, function: Any) -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=b(op, b.x, np.float32(0.2), expect=True))
    x = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    means = x.cumsum(axis=0) / np.arange(1, 6)[:, None, None]
    for found in run_both(graph, {"x": x}):
        np.testing.assert_allclose(found["y"], function(means, 0.2), atol=1e-5)


@pytest.mark.parametrize("case", WRAPPED, ids=str)
def test_an_expectation_node_decodes_to_its_function_of_the_means(case: Case) -> None:
    assert_close_on_varying_inputs(expected(case), case)


def test_what_goes_from_neuron_to_neuron_is_neither_joined_nor_cut() -> None:
    b = Builder(N, 6)
    given = {"codebook": MultiSpike(-7, 7), "quantum": np.ones((1, 1), np.float32)}
    graph = b.outputs(y=b("neuron", b("mul", b("neuron", b.x, **given), 0.75), **given))
    written = [node.op_type for node in emit_spiking(graph, 3).model.graph.node]
    assert "Split" not in written
    assert written.count("Concat") == 1  # the output's steps
    assert_identical(graph, {"x": dyadic(3, 6)})


def test_streams_without_a_batch_go_step_by_step() -> None:
    b = Builder(4, 6)
    hidden = b("linear", b.x, weight=dyadic(5, 6), bias=dyadic(5))
    spikes = b("neuron", hidden, codebook=MultiSpike(-7, 7), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=b("matmul", b("transpose", spikes, perm=(1, 0)), spikes, expect=True))
    assert_identical(graph, {"x": dyadic(4, 6)}, steps=2)


def test_a_constant_with_a_batch_meets_a_stream_that_varies() -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=MultiSpike(-7, 7), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=b("add", spikes, b("mul", b.x, 0.5)))
    assert_identical(graph, {"x": dyadic(3, 6)})


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
def test_outputs_are_decoded_after_every_step(decode: Any) -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 3), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=spikes, constant=b("mul", b.x, 2.0))
    graph.decode_outputs(decode)
    assert_identical(graph, {"x": dyadic(3, 6)})


# The file.


def classifier() -> Graph:
    """A convolution, a neuron, max pooling, a linear layer."""
    b = Builder(N, 1, 6, 6)
    current = b("conv", b.x, weight=dyadic(4, 1, 3, 3), bias=dyadic(4))
    spikes = b("neuron", current, codebook=MultiSpike(0, 7), quantum=np.ones((1, 1, 1, 1), np.float32))
    pooled = b("max_pool", spikes, kernel=(2, 2), strides=(2, 2), expect=True)
    rows = b("reshape", pooled, shape=(N, 16))
    return b.outputs(y=b("linear", rows, weight=dyadic(3, 16), bias=dyadic(3)))


def test_the_file_is_standard_onnx_that_plain_onnxruntime_runs_at_any_batch_size() -> None:
    graph = classifier()
    model = emit_spiking(graph, STEPS).embedded()
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert {node.domain for node in model.graph.node} == {""}
    for batch in (1, 3):
        inputs = {"x": dyadic(batch, 1, 6, 6)}
        found = run_onnxruntime(model, inputs)["y"]
        np.testing.assert_array_equal(found, Simulator(graph).run(inputs, STEPS).outputs["y"])


def test_all_steps_go_through_a_layer_at_once() -> None:
    model = emit_spiking(classifier(), STEPS).model.graph
    written = [node.op_type for node in model.node]
    assert [written.count(op) for op in ("Conv", "Gemm")] == [1, 1]
    (conv,) = [node for node in model.node if node.op_type == "Conv"]
    assert conv.input[0] == "x"  # a constant input: the first layer sees N samples, not T N


# The simulator.


class Watcher:
    """Keeps what every neuron sent at every step, in the order in which it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Array]] = []

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if node.op.neuron:
            self.seen.append((t, value.copy()))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 2, 7])
def test_chunks_of_samples_run_side_by_side(
    threads: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "CHUNK_BYTES", 2 * 4 * 64 * STEPS)  # two samples of the spikes
    graph, inputs = classifier(), {"x": dyadic(samples, 1, 6, 6)}
    watcher, expected = Watcher(), Simulator(graph).run(inputs, STEPS).outputs["y"]
    runner = OnnxSimulator(graph, threads=threads)
    np.testing.assert_array_equal(runner.run(inputs, STEPS).outputs["y"], expected)
    np.testing.assert_array_equal(runner.run(inputs, STEPS, observers=[watcher]).outputs["y"], expected)
    for t in range(1, STEPS + 1):
        assert sum(len(array) for step, array in watcher.seen if step == t) == samples
        assert max(len(array) for _, array in watcher.seen) <= 2 or samples < threads


# Refusals.


def test_every_node_that_cannot_be_written_is_named_at_once() -> None:
    b = Builder(N, 6)
    first = b("neuron", b.x, codebook=Binary(), name="first")
    graph = b.outputs(y=b("neuron", first, codebook=Binary(), name="second"))
    with pytest.raises(BackendError) as caught:
        emit_spiking(graph, 2)
    assert str(caught.value) == (
        "this network cannot be written as an ONNX model:\n"
        "  first: a neuron has no threshold yet (choose-thresholds sets it; snnc compile runs that)\n"
        "  second: a neuron has no threshold yet (choose-thresholds sets it; snnc compile runs that)\n"
        "  help: --backend reference runs every network"
    )


def test_differential_coding_is_refused() -> None:
    with pytest.raises(BackendError, match="writes networks in rate coding, not in differential coding"):
        OnnxSimulator(Graph("changes", coding="differential"))


def test_a_mean_of_integers_that_vary_is_refused() -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=Binary(), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=b("cast", spikes, to="i64"))
    with pytest.raises(BackendError, match="an output of i64 varies in time"):
        emit_spiking(graph, 2)


# Units: factors that move into weights.


def two_layers(weight: Array, quantum: float, **more: Any) -> Graph:
    """Convolution, bursts, convolution and a residual, bursts."""
    b = Builder(N, 4, 6, 6)
    given = {"codebook": MultiSpike(0, 31, "burst"), "quantum": np.full((1, 4, 1, 1), quantum, np.float32)}
    first = b("neuron", b("conv", b.x, weight=weight, bias=weight[:, 0, 0, 0]), **given | more)
    current = b("conv", b("max_pool", first, kernel=(1, 1), strides=(1, 1), expect=True), weight=weight)
    second = b("neuron", b("add", current, b("mul", first, dyadic(1, 4, 1, 1))), **given | more)
    return b.outputs(y=b("mul", second, 0.5))


def written(graph: Graph, steps: int) -> list[str]:
    return [node.op_type for node in emit_spiking(graph, steps).model.graph.node]


@pytest.mark.parametrize("steps", [1, 3])
def test_factors_in_front_of_a_table_and_behind_it_are_in_the_weights(steps: int) -> None:
    noise = np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)
    ops = written(two_layers(noise, 0.3), steps)
    assert ops.count("Mul") == 2 * steps  # the graph's own two
    assert ops.count("Div") == steps - 1  # means of the answer


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("quantum", [1.0, 0.5, 0.375])
def test_no_payload_changes_where_sums_are_exact(quantum: float, steps: int) -> None:
    graph = two_layers(dyadic(4, 4, 1, 1), quantum)
    assert_identical(graph, {"x": dyadic(3, 4, 6, 6)}, steps)


def test_watched_spikes_are_payloads_whatever_their_unit() -> None:
    graph, inputs = two_layers(dyadic(4, 4, 1, 1), 1.0), {"x": dyadic(3, 4, 6, 6)}
    spiking = [node.result for node in graph if node.op.neuron]
    emitted = emit_spiking(graph, 3, sites=spiking)
    found = run_onnxruntime(emitted.embedded(), inputs)
    recorder = Watcher()
    Simulator(graph, threads=1).run(inputs, 3, observers=[recorder])
    for site, start in zip(emitted.sites, range(len(spiking)), strict=True):
        expected = [array for _, array in recorder.seen[start :: len(spiking)]]
        np.testing.assert_array_equal(found[site], np.stack(expected))


def test_what_no_output_needs_is_not_written() -> None:
    """A neuron that nobody reads, and the table it looks its payloads up in."""
    b = Builder(N, 3, 4, 4)
    one = np.ones((1, 1, 1, 1), np.float32)
    b("neuron", b.x, codebook=MultiSpike(-15, 15, "burst"), quantum=one)
    graph = b.outputs(y=b("mul", b.x, 0.5))
    assert_identical(graph, {"x": dyadic(2, 3, 4, 4)})
    emitted = emit_spiking(graph, STEPS)
    assert not emitted.weights
    assert len(emitted.model.graph.initializer) <= 2


# Sums: what streams add up to, from one expectation node to the next.


def between_expectations(**more: Any) -> Graph:
    """Maximum, layer with bias, neuron, product with itself: everything exact on dyadic numbers."""
    b = Builder(N, 4, 8)
    given = {"codebook": MultiSpike(-7, 7), "quantum": np.ones((1, 1, 1), np.float32), **more}
    first = b("neuron", b.x, **given)
    larger = b("max", first, b("neg", first), expect=True)
    spikes = b("neuron", b("linear", larger, weight=dyadic(8, 8), bias=dyadic(8)), **given)
    shifted = b("add", spikes, np.float32(0.25))
    return b.outputs(y=b("matmul", shifted, b("transpose", shifted, perm=(0, 2, 1)), expect=True))


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize(
    "more", [{}, {"initial": 0.5}, {"bias": np.full((1, 1, 8), 0.25, np.float32)}, {"scale": dyadic(1, 1, 8)}]
)
def test_sums_count_every_constant_once_per_step(steps: int, more: dict[str, Any]) -> None:
    graph = between_expectations(**more)
    for x in (dyadic(3, 4, 8), dyadic(steps, 3, 4, 8)):
        found, wanted = run_both(
            graph, {"x": x}, steps
        )  # thirds round; a payload would make more of a difference
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-6, atol=1e-4)


def test_no_difference_is_taken_between_expectation_nodes() -> None:
    ops, steps = written(between_expectations(), 4), 4
    assert ops.count("Sub") == 2 * (steps - 1)  # what each neuron's reset takes away
    assert ops.count("Gemm") == steps


def test_normalisation_of_a_sum_takes_the_number_of_steps_into_its_parameters() -> None:
    b = Builder(N, 8)
    spikes = b("neuron", b.x, codebook=MultiSpike(-7, 7), quantum=np.ones((1, 1), np.float32))
    normal = b(
        "layer_norm", spikes, axis=1, gamma=dyadic(8), beta=dyadic(8, seed=1), epsilon=0.5, expect=True
    )
    graph, inputs = b.outputs(y=normal), {"x": dyadic(STEPS, 3, 8)}
    found, wanted = run_both(graph, inputs)
    np.testing.assert_allclose(found["y"], wanted["y"], atol=1e-5)
    ops = written(graph, STEPS)
    assert ops.count("Div") == STEPS - 1  # means of the answer
    assert "Mul" not in ops
