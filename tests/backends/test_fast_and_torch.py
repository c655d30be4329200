"""The fast and the torch backend compute what the reference does: every op, every state, both codings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import BackendError
from tests.backends.against_reference import assert_identical, run_both, simulator
from tests.backends.test_onnx_spiking import (
    CODEBOOKS,
    FORMS,
    LIF_FORMS,
    REAL,
    STEPS,
    WRAPPED,
    dyadic,
    expected,
    neuron,
    varying,
)
from tests.backends.test_onnx_spiking_networks import EXAMPLES, compiled, in_steps_of, on_an_edge
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from tests.backends.analog_cases import Case

both = pytest.mark.parametrize("backend", ["fast", "torch"])

# The fast backend compiles a kernel for each; test_fast.py has the others, without a graph.
STATES = [("torch", codebook, form) for codebook in CODEBOOKS for form in FORMS]
STATES += [
    ("fast", codebook, form)
    for codebook in ("binary", "multi", "burst")
    for form in ("normalised", "charged per channel", "scaled", "restarting")
]


# What remembers, on numbers without rounding.


@pytest.mark.parametrize(("backend", "codebook", "form"), STATES)
def test_a_neuron_sends_the_references_payloads(backend: str, codebook: str, form: str) -> None:
    graph = neuron((N, 2, 40), codebook=CODEBOOKS[codebook], **FORMS[form])
    for inputs in ({"x": dyadic(3, 2, 40)}, {"x": dyadic(STEPS, 3, 2, 40, seed=1)}):
        assert_identical(backend, graph, inputs)


@both
@pytest.mark.parametrize("codebook", [Binary(), Ternary()])
def test_a_neuron_that_is_reset_to_zero(backend: str, codebook: Codebook) -> None:
    graph = neuron((N, 2, 40), codebook=codebook, reset="zero")
    assert_identical(backend, graph, {"x": dyadic(STEPS, 3, 2, 40, spread=0.7)})


@both
def test_a_neuron_with_a_line_per_level(backend: str) -> None:
    graph = neuron((N, 2, 40), codebook=PowerOfTwo(3), level_axis=1)
    assert_identical(backend, graph, {"x": dyadic(STEPS, 3, 2, 40)})


@both
@pytest.mark.parametrize("form", LIF_FORMS)
@pytest.mark.parametrize("in_time", [False, True])
def test_a_lif_neuron_fires_when_the_reference_does(backend: str, form: str, in_time: bool) -> None:
    b = Builder(N, 6)
    given = {"threshold": 1.0, **LIF_FORMS[form]}
    tensors = {
        key: np.full((1, 1), value, np.float32)
        if key in ("threshold", "leak", "gain", "bias", "rest")
        else value
        for key, value in given.items()
    }
    graph = b.outputs(s=b("lif", b.x, **tensors))
    assert_identical(backend, graph, {"x": dyadic(STEPS, 20, 6) if in_time else dyadic(20, 6)})


@both
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_delay_hands_streams_on_later(backend: str, steps: int) -> None:
    b = Builder(N, 6)
    assert_identical(backend, b.outputs(y=b("delay", b.x, steps=steps)), {"x": dyadic(STEPS, 4, 6)})


@both
@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("constant_first", [False, True])
def test_the_extremum_of_a_stream_and_a_constant(backend: str, op: str, constant_first: bool) -> None:
    """F(S) stands for t F(S / t) only where all that F reads grows with t."""
    b = Builder(N, 6)
    both = [b.x, np.full((1, 1), 0.25, np.float32)]
    graph = b.outputs(y=b(op, *(both[::-1] if constant_first else both), expect=True))
    found, wanted = run_both(backend, graph, {"x": dyadic(STEPS, 3, 6)})
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-6, atol=1e-6)


# Every op of the table.


def knows(backend: str, op: str) -> bool:
    if backend == "fast":
        return True
    return op in pytest.importorskip("snnc.backends.torch.kernels", reason="needs PyTorch").KERNELS


def assert_close_or_refused(backend: str, graph: Graph, case: Case) -> None:
    if not graph.outputs[0].value.type.is_real:
        graph.decode_outputs("last")
    for batch in (1, 3):
        inputs = varying(graph, case, batch)
        if not knows(backend, case.op):
            with pytest.raises(BackendError, match=f"the {backend} backend does not know {case.op}"):
                simulator(backend, graph).run(inputs, STEPS)
            continue
        found, wanted = run_both(backend, graph, inputs, group=None)
        assert found["y"].dtype == wanted["y"].dtype
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-4, atol=1e-4)


@both
@pytest.mark.parametrize("case", REAL, ids=str)
def test_an_op_acts_on_every_step_by_itself(backend: str, case: Case) -> None:
    assert_close_or_refused(backend, case.graph(), case)


@both
@pytest.mark.parametrize("case", WRAPPED, ids=str)
def test_an_expectation_node_decodes_to_its_function_of_the_means(backend: str, case: Case) -> None:
    assert_close_or_refused(backend, expected(case), case)


@both
@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
def test_outputs_are_decoded_after_every_step(backend: str, decode: Any) -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 3), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=spikes, constant=b("mul", b.x, 2.0))
    graph.decode_outputs(decode)
    assert_identical(backend, graph, {"x": dyadic(3, 6)})


@both
def test_what_never_varies_may_be_of_any_type(backend: str) -> None:
    b = Builder(N, 4, dtype="i64")
    table, mask = dyadic(9, 6), np.array([True, False, True, True])
    rows = b("embedding", b.x, table=table)
    kept = b("where", b("less", b.x, b.graph.constant_value(np.int64(5), "five")), b.x, b.x)
    graph = b.outputs(
        y=b("neuron", rows, codebook=MultiSpike(-3, 3), quantum=np.ones((1, 1, 1), np.float32)),
        ids=kept,
        mask=b("logical_not", b.constant(mask)),
    )
    assert_identical(backend, graph, {"x": np.arange(8).reshape(2, 4)})


# Compiled networks.


@both
@pytest.mark.parametrize("method", ["multi-spike", "if", "ternary", "ecmt"])
def test_where_sums_are_exact_every_payload_is(backend: str, method: str, images: Array) -> None:
    graph = in_steps_of(compiled("digits_cnn", method=method), 2**-8)
    assert_identical(backend, graph, {"image": images}, 4)


@both
def test_one_simulator_runs_any_batch_and_number_of_steps(backend: str, images: Array) -> None:
    graph = in_steps_of(compiled("digits_cnn"), 2**-8)
    runner, reference = simulator(backend, graph, group=5), Simulator(graph, threads=1)
    for steps, count in ((4, 24), (1, 24), (7, 3), (2, 1), (4, 24)):
        found, wanted = (one.run(images[:count], steps).outputs["logits"] for one in (runner, reference))
        np.testing.assert_array_equal(found, wanted)


class Watch:
    """Keeps payloads and membranes of all neurons."""

    def __init__(self) -> None:
        self.seen: dict[tuple[Node, int], tuple[Array, Array]] = {}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if node.op.name == "neuron" and membrane is not None:
            self.seen[node, t] = value.copy(), membrane.copy()


@both
@pytest.mark.parametrize("coding", ["rate", "differential"])
@pytest.mark.parametrize("model", ["digits_cnn", "digits_vit"])
def test_payloads_part_on_an_edge_only(backend: str, model: str, coding: str, images: Array) -> None:
    graph, found, wanted = compiled(model, coding=coding), Watch(), Watch()
    simulator(backend, graph, group=len(images)).run({"image": images}, 3, observers=[found])
    Simulator(graph, group=len(images)).run({"image": images}, 3, observers=[wanted])
    assert found.seen.keys() == wanted.seen.keys()
    parted = np.zeros(len(images), bool)
    for (node, t), (payload, membrane) in wanted.seen.items():
        differs = found.seen[node, t][0] != payload
        rows = differs.any(axis=tuple(range(1, differs.ndim))) & ~parted
        if coding == "rate":
            assert on_an_edge(node, payload, membrane)[rows][differs[rows]].all()
        parted |= rows
    assert parted.mean() <= 0.5


@both
@pytest.mark.parametrize("target", [None, "loihi2", "int8"])
def test_integer_networks_are_exact(backend: str, target: str | None, images: Array) -> None:
    graph = compiled("digits_cnn", target=target, host_nodes=target is not None)
    if target is None:
        graph = in_steps_of(graph, 2**-8)
    assert graph.computes_integers == (target is not None)
    assert_identical(backend, graph, {"image": images}, 3)


@both
def test_spiking_transformers_send_exactly_the_references_spikes(backend: str) -> None:
    graph = snnc.compile(EXAMPLES / "saformer" / "events_saformer.onnx")
    x = np.load(EXAMPLES / "saformer" / "events_test.npz")["x"][:, :4].astype(np.float32)
    assert_identical(backend, graph, {graph.inputs[0].name or "": x}, len(x))
