"""The torch backend computes what the reference simulator does: every codebook, every op, both codings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import BackendError, OptionError
from snnc.passes.base import PassContext
from snnc.passes.set_coding import SetCoding
from snnc.simulation import open_runner
from tests.backends.test_onnx_spiking import (
    CODEBOOKS,
    FORMS,
    LIF_FORMS,
    REAL,
    STEPS,
    WRAPPED,
    classifier,
    dyadic,
    expected,
    neuron,
    varying,
)
from tests.backends.test_onnx_spiking_networks import DIGITS, EXAMPLES, compiled, in_steps_of, on_an_edge
from tests.passes.build import Builder, N

pytest.importorskip("torch", reason='needs PyTorch: pip install -e ".[torch]"')

from snnc.backends.torch.kernels import KERNELS
from snnc.backends.torch.simulator import TorchSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from tests.backends.analog_cases import Case


def run_both(
    graph: Graph, inputs: Mapping[str, Array], steps: int = STEPS, group: int | None = 2
) -> tuple[dict[str, Array], dict[str, Array]]:
    found = TorchSimulator(graph, group=group).run(inputs, steps).outputs
    return found, Simulator(graph, threads=1).run(inputs, steps).outputs


def assert_identical(graph: Graph, inputs: Mapping[str, Array], steps: int = STEPS) -> None:
    found, wanted = run_both(graph, inputs, steps)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# What remembers, on numbers without rounding.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_a_neuron_sends_the_references_payloads(codebook: str, form: str) -> None:
    graph = neuron((N, 2, 40), codebook=CODEBOOKS[codebook], **FORMS[form])
    for inputs in ({"x": dyadic(3, 2, 40)}, {"x": dyadic(STEPS, 3, 2, 40, seed=1)}):
        assert_identical(graph, inputs)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "restarting"])
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_a_neuron_of_changes_sends_the_references_payloads(codebook: str, form: str) -> None:
    graph = neuron((N, 2, 40), codebook=CODEBOOKS[codebook], **FORMS[form])
    SetCoding("differential").run(graph, PassContext())
    graph.retype()
    found, wanted = run_both(graph, {"x": dyadic(3, 2, 40)})
    # A change is weighted by t, which is exact for t = 1, 2 and 4.
    np.testing.assert_array_equal(found["y"][:2], wanted["y"][:2])
    assert (np.abs(found["y"] - wanted["y"]) < 1e-5).mean() > 0.99


@pytest.mark.parametrize("codebook", [Binary(), Ternary()])
def test_a_neuron_that_is_reset_to_zero(codebook: Codebook) -> None:
    graph = neuron((N, 2, 40), codebook=codebook, reset="zero")
    assert_identical(graph, {"x": dyadic(STEPS, 3, 2, 40, spread=0.7)})


def test_a_neuron_with_a_line_per_level() -> None:
    graph = neuron((N, 2, 40), codebook=PowerOfTwo(3), level_axis=1)
    assert_identical(graph, {"x": dyadic(STEPS, 3, 2, 40)})


@pytest.mark.parametrize("form", LIF_FORMS)
@pytest.mark.parametrize("in_time", [False, True])
def test_a_lif_neuron_fires_when_the_reference_does(form: str, in_time: bool) -> None:
    b = Builder(N, 6)
    given = {"threshold": 1.0, **LIF_FORMS[form]}
    tensors = {
        key: np.full((1, 1), value, np.float32)
        if key in ("threshold", "leak", "gain", "bias", "rest")
        else value
        for key, value in given.items()
    }
    graph = b.outputs(s=b("lif", b.x, **tensors))
    assert_identical(graph, {"x": dyadic(STEPS, 20, 6) if in_time else dyadic(20, 6)})


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_delay_hands_streams_on_later(steps: int) -> None:
    b = Builder(N, 6)
    assert_identical(b.outputs(y=b("delay", b.x, steps=steps)), {"x": dyadic(STEPS, 4, 6)})


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("constant_first", [False, True])
def test_the_extremum_of_a_stream_and_a_constant(op: str, constant_first: bool) -> None:
    """F(S) stands for t F(S / t) only where all that F reads grows with t."""
    b = Builder(N, 6)
    both = [b.x, np.full((1, 1), 0.25, np.float32)]
    graph = b.outputs(y=b(op, *(both[::-1] if constant_first else both), expect=True))
    found, wanted = run_both(graph, {"x": dyadic(STEPS, 3, 6)})
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-6, atol=1e-6)


# Every op of the table.


def assert_close_or_refused(graph: Graph, case: Case) -> None:
    if not graph.outputs[0].value.type.is_real:
        graph.decode_outputs("last")
    for batch in (1, 3):
        inputs = varying(graph, case, batch)
        if case.op not in KERNELS:
            with pytest.raises(BackendError, match=f"the torch backend does not know {case.op}"):
                TorchSimulator(graph).run(inputs, STEPS)
            continue
        found, wanted = run_both(graph, inputs, group=None)
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", REAL, ids=str)
def test_an_op_acts_on_every_step_by_itself(case: Case) -> None:
    assert_close_or_refused(case.graph(), case)


@pytest.mark.parametrize("case", WRAPPED, ids=str)
def test_an_expectation_node_decodes_to_its_function_of_the_means(case: Case) -> None:
    assert_close_or_refused(expected(case), case)


def test_only_these_ops_are_refused_where_they_vary() -> None:
    lacking = {case.op for case in REAL} - KERNELS.keys()
    assert lacking == {
        "cast", "gather_elements", "gather_nd", "is_nan", "less", "quantise", "resize", "take",
    }  # fmt: skip


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
def test_outputs_are_decoded_after_every_step(decode: Any) -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 3), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=spikes, constant=b("mul", b.x, 2.0))
    graph.decode_outputs(decode)
    assert_identical(graph, {"x": dyadic(3, 6)})


def test_what_never_varies_may_be_of_any_type() -> None:
    b = Builder(N, 4, dtype="i64")
    table, mask = dyadic(9, 6), np.array([True, False, True, True])
    rows = b("embedding", b.x, table=table)
    kept = b("where", b("less", b.x, b.graph.constant_value(np.int64(5), "five")), b.x, b.x)
    graph = b.outputs(
        y=b("neuron", rows, codebook=MultiSpike(-3, 3), quantum=np.ones((1, 1, 1), np.float32)),
        ids=kept,
        mask=b("logical_not", b.constant(mask)),
    )
    assert_identical(graph, {"x": np.arange(8).reshape(2, 4)})


# Compiled networks.


@pytest.fixture(scope="module")
def images() -> Array:
    return np.asarray(np.load(DIGITS / "digits_test.npz")["x"][:24], np.float32) / 16


@pytest.mark.parametrize("method", ["multi-spike", "if", "ternary", "ecmt"])
def test_where_sums_are_exact_every_payload_is(method: str, images: Array) -> None:
    graph = in_steps_of(compiled("digits_cnn", method=method), 2**-8)
    assert_identical(graph, {"image": images}, 4)


class Watch:
    """Keeps payloads and membranes of all neurons."""

    def __init__(self) -> None:
        self.seen: dict[tuple[Node, int], tuple[Array, Array]] = {}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if node.op.name == "neuron" and membrane is not None:
            self.seen[node, t] = value.copy(), membrane.copy()


@pytest.mark.parametrize("coding", ["rate", "differential"])
@pytest.mark.parametrize("model", ["digits_cnn", "digits_vit"])
def test_payloads_part_on_an_edge_only(model: str, coding: str, images: Array) -> None:
    graph, found, wanted = compiled(model, coding=coding), Watch(), Watch()
    TorchSimulator(graph).run({"image": images}, 3, observers=[found])
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


@pytest.mark.parametrize("target", [None, "loihi2"])
def test_integer_networks_are_exact(target: str | None, images: Array) -> None:
    graph = compiled("digits_cnn", target=target, host_nodes=target is not None)
    if target is None:
        graph = in_steps_of(graph, 2**-8)
    assert graph.computes_integers == (target is not None)
    assert_identical(graph, {"image": images}, 3)


def test_spiking_transformers_send_exactly_the_references_spikes() -> None:
    graph = snnc.compile(EXAMPLES / "saformer" / "events_saformer.onnx")
    x = np.load(EXAMPLES / "saformer" / "events_test.npz")["x"][:, :4].astype(np.float32)
    assert_identical(graph, {graph.inputs[0].name or "": x}, len(x))


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_evaluation_counts_the_same_spikes_by_any_backend(backend: Any, images: Array) -> None:
    graph = in_steps_of(compiled("digits_cnn"), 2**-8)
    model, data = DIGITS / "digits_cnn.onnx", {"image": images}
    wanted, found = (
        snnc.evaluate(graph, model, data, 3, backend=one).to_json() for one in ("reference", backend)
    )
    assert {**found, "seconds": 0} == {**wanted, "seconds": 0}


# Refusals.


def test_what_cannot_run_is_named_at_once() -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=Binary(), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=b("cast", spikes, to="i64", name="a"), z=b("cast", spikes, to="i32", name="b"))
    with pytest.raises(BackendError) as caught:
        TorchSimulator(graph)
    assert str(caught.value) == (
        "this network cannot be run with PyTorch:\n"
        "  a: the torch backend does not know cast\n"
        "  b: the torch backend does not know cast\n"
        "  help: --backend reference runs every network"
    )


def test_devices_that_are_not_there() -> None:
    with pytest.raises(BackendError, match="the device 'gpu' cannot be used"):
        TorchSimulator(classifier(), device="gpu")
    with pytest.raises(BackendError, match="there is no device 'meta' for networks"):
        TorchSimulator(classifier(), device="meta")
    with pytest.raises(OptionError, match="reference runs on the processor"):
        open_runner(classifier(), "reference", "cuda")


def test_the_command_line_runs_and_evaluates_with_it(tmp_path: Path, images: Array) -> None:
    from click.testing import CliRunner

    from snnc.cli import main

    network, data = tmp_path / "net.sir", tmp_path / "x.npy"
    snnc.save(in_steps_of(compiled("digits_cnn"), 2**-8), network)
    np.save(data, images)
    outputs = {}
    for backend in ("reference", "onnx", "torch"):
        target = tmp_path / f"{backend}.npy"
        arguments = ["run", network, "--input", data, "--scale", "1", "-T", "2", "-o", target]
        result = CliRunner().invoke(main, [*map(str, arguments), "--backend", backend])
        assert result.exit_code == 0, result.output
        outputs[backend] = np.load(target)
    np.testing.assert_array_equal(outputs["torch"], outputs["reference"])
    np.testing.assert_array_equal(outputs["onnx"], outputs["reference"])
    arguments = ["eval", network, "--model", DIGITS / "digits_cnn.onnx", "--data", data, "--scale", "1"]
    result = CliRunner().invoke(main, [*map(str, arguments), "--backend", "torch", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "24 samples" in result.output
