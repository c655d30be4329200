"""The parts of the fast backend; that it computes what the reference does: test_fast_and_torch.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from snnc.backends.reference import Simulator
from snnc.backends.reference.state import NeuronState
from snnc.ir.codebooks import Binary, MultiSpike, Ternary, bursts
from snnc.passes.base import PassContext
from snnc.passes.set_coding import SetCoding
from tests.backends.against_reference import assert_identical, run_both
from tests.backends.test_onnx_spiking import CODEBOOKS, FORMS, STEPS, dyadic, neuron
from tests.backends.test_onnx_spiking_networks import DIGITS, compiled, in_steps_of
from tests.passes.build import Builder, N

pytest.importorskip("numba", reason='needs numba: pip install -e ".[fast]"')

from snnc.backends.fast import FastSimulator
from snnc.backends.fast.fused import is_fused
from snnc.backends.fast.kernels.functions import exponential
from snnc.backends.fast.kernels.quantisers import burst
from snnc.backends.fast.memory import Lifetime, plan
from snnc.backends.fast.neuron import FastNeuronState
from snnc.backends.fast.partition import Stretch, partition
from snnc.backends.fast.program import Code
from snnc.backends.fast.stretch import shares_cores
from snnc.backends.inputs import even_group
from snnc.backends.reference.program import invariant_values

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array


# Kernels: bit by bit, whatever the currents.


def attributes_of(codebook: Codebook, **given: Any) -> dict[str, Any]:
    absent = dict.fromkeys(("bias", "scale", "negative", "level_axis", "charge", "width"))
    return {
        "codebook": codebook,
        "quantum": np.ones((1, 1), np.float32),
        "initial": 0.0,
        "reset": "subtract",
    } | (absent | given)


# Every codebook with nothing else and with everything; every parameter with one codebook.
PAIRS = [(codebook, form) for codebook in CODEBOOKS for form in ("normalised", "all at once")]
PAIRS += [("burst", form) for form in FORMS if form not in ("normalised", "all at once")]


@pytest.mark.parametrize(("codebook", "form"), PAIRS)
@pytest.mark.parametrize("shape", [(3, 2, 40), (2, 2, 5)], ids=["rows", "elements"])
def test_a_kernel_rounds_as_the_reference_does(codebook: str, form: str, shape: tuple[int, ...]) -> None:
    given = {
        name: value.reshape(1, -1, 1) if isinstance(value, np.ndarray) else value
        for name, value in FORMS[form].items()
    }
    attributes = attributes_of(CODEBOOKS[codebook], **{"quantum": np.full((1, 1, 1), 0.3, "f4"), **given})
    assert_same_steps(attributes, np.random.default_rng(0).normal(0, 4, (4, *shape)).astype(np.float32))


@pytest.mark.parametrize(
    ("codebook", "more"),
    [
        (Binary(), {"reset": "zero"}),
        (Ternary(), {"reset": "zero"}),
        (MultiSpike(0, 7), {"reset": "restart"}),
        (MultiSpike(-7, 7), {"width": 4}),
        (MultiSpike(0, 7, "burst"), {"quantum": np.array([[0.5, 3.0, -2.0]])}),
    ],
)
def test_resets_widths_and_double_precision_are_the_references(
    codebook: Codebook, more: dict[str, Any]
) -> None:
    for precision in (np.float32, np.float64):
        attributes = attributes_of(codebook, **more)
        attributes["quantum"] = attributes["quantum"].astype(precision)
        assert_same_steps(attributes, np.random.default_rng(0).normal(0, 4, (4, 5, 3)).astype(precision))


def assert_same_steps(attributes: dict[str, Any], currents: Array) -> None:
    ours = FastNeuronState(attributes, "x", currents.shape[1:], currents.dtype)
    theirs = NeuronState(attributes, "x")
    for t, x in enumerate(currents, start=1):
        found, wanted = ours.step(t, [x], False), theirs.step(t, [x.copy()], False)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(ours.membrane, theirs.membrane)
    in_place = currents[0].copy()
    ours.step_into(1, in_place, in_place, last=True)
    np.testing.assert_array_equal(in_place, theirs.step(1, [currents[0]], True))


@pytest.mark.parametrize("reach", [1, 2, 3, 7, 1000, 2**15 - 1])
def test_a_burst_is_found_in_the_binary_digits(reach: int) -> None:
    quarters = np.arange(4 * reach + 1)
    found = [burst(np.float32(i / 4), False) for i in quarters[-5000:]]
    np.testing.assert_array_equal(found, bursts(reach)[-5000:])


def test_a_neuron_of_changes_sends_the_references_payloads() -> None:
    graph = neuron((N, 2, 40), codebook=CODEBOOKS["burst"])
    SetCoding("differential").run(graph, PassContext())
    graph.retype()
    assert_identical("fast", graph, {"x": dyadic(3, 2, 40)})


# Functions, groups and threads.


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("gelu", {}),
        ("softmax", {"axis": -1}),
        ("layer_norm", {"axis": 2, "epsilon": 1e-5, "gamma": dyadic(65), "beta": dyadic(65, seed=1)}),
        ("layer_norm", {"axis": -1, "epsilon": 1e-3}),
    ],
)
def test_functions_compiled_with_their_sums(op: str, attributes: dict[str, Any]) -> None:
    b = Builder(N, 3, 65)
    graph = b.outputs(y=b(op, b.x, expect=True, **attributes))
    (node,) = (node for node in graph if node.op.name == op)
    assert is_fused(graph, node, [0])
    for steps in (1, 5):
        found, wanted = run_both("fast", graph, {"x": dyadic(steps, 5, 3, 65, spread=30)}, steps)
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-5, atol=2e-6)


def test_exponentials_are_those_of_single_precision() -> None:
    x = np.linspace(-87, 0, 5001, dtype=np.float32)
    found = np.array([exponential(one) for one in x])
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=2e-7)


@pytest.mark.parametrize(
    ("samples", "largest", "threads", "size"),
    [(100, 32, 2, 25), (100, 512, 2, 50), (1, 32, 2, 1), (7, 2, 2, 2), (5, 1, 1, 1)],
)
def test_groups_are_equal_and_as_many_for_every_thread(
    samples: int, largest: int, threads: int, size: int
) -> None:
    assert even_group(samples, largest, threads) == size


def large_convolution() -> Graph:
    """Spikes into 21 million multiply-accumulates a sample, and then into hardly any."""
    b = Builder(N, 64, 24, 24)
    weight = dyadic(64, 64, 3, 3)
    one = {"codebook": MultiSpike(-3, 3), "quantum": np.ones((1, 1, 1, 1), np.float32)}
    sums = b("conv", b("neuron", b.x, **one), weight=weight, pads=(1, 1, 1, 1))
    small = b("conv", b("neuron", sums, **one), weight=weight[:1])
    return b.outputs(y=small)


def test_large_stretches_of_a_single_sample_take_all_cores() -> None:
    graph = large_convolution()
    large, small = (node for node in graph if node.op.name == "conv")
    assert shares_cores(graph, [large])
    assert not shares_cores(graph, [small])
    simulator, inputs = FastSimulator(graph, threads=2), {"x": dyadic(1, 64, 24, 24)}
    found = simulator.run(inputs, 3).outputs["y"]
    assert [code.threads for code in simulator._codes.values()] == [2]
    np.testing.assert_array_equal(found, Simulator(graph, threads=1).run(inputs, 3).outputs["y"])


def test_groups_side_by_side_have_a_core_each() -> None:
    simulator = FastSimulator(large_convolution(), group=1, threads=2)
    simulator.run({"x": dyadic(2, 64, 24, 24)}, 1)
    assert [code.threads for code in simulator._codes.values()] == [1]


# The partition and the memory.


def residual() -> Graph:
    """Spikes that go through two layers and, scaled, around them."""
    b = Builder(N, 4)
    one = {"codebook": MultiSpike(-7, 7), "quantum": np.ones((1, 1), np.float32)}
    first = b("neuron", b("linear", b.x, weight=dyadic(4, 4), bias=dyadic(4)), **one)
    around = b("mul", first, 0.25)
    second = b("neuron", b("linear", first, weight=dyadic(4, 4), bias=dyadic(4)), **one)
    last = b("linear", second, weight=dyadic(4, 4), bias=dyadic(4))
    return b.outputs(y=b("neuron", b("add", around, last), **one))


def names(graph: Graph) -> list[str]:
    parts = partition(graph, invariant_values(graph), watched=False)
    return [
        " ".join(node.op.name for node in unit.nodes) if isinstance(unit, Stretch) else unit.op.name
        for unit in (*parts.once, *parts.repeated)
    ]


def test_what_is_added_later_is_computed_where_it_is_added() -> None:
    graph = residual()
    assert names(graph) == ["linear", "neuron", "linear", "neuron", "mul linear add", "neuron"]
    assert_identical("fast", graph, {"x": dyadic(5, 4)})


def test_a_constant_current_is_computed_once_and_kept() -> None:
    graph = residual()
    timed = invariant_values(graph, frozenset({"x"}))
    assert not partition(graph, timed, watched=False).once
    assert_identical("fast", graph, {"x": dyadic(STEPS, 5, 4)})


def test_what_is_alive_at_the_same_time_does_not_overlap() -> None:
    generator = np.random.default_rng(0)
    ends = np.sort(generator.integers(0, 20, (60, 2)), axis=1)
    lifetimes = [Lifetime(int(generator.integers(1, 2000)), int(a), int(b)) for a, b in ends]
    offsets, size = plan(lifetimes)
    placed = list(zip(offsets, lifetimes, strict=True))
    for index, (start, one) in enumerate(placed):
        assert start % 64 == 0
        assert start + one.size <= size
        for other_start, other in placed[:index]:
            if one.meets(other):
                assert start >= other_start + other.size or other_start >= start + one.size
    alive = max(sum(one.size for one in lifetimes if one.first <= t <= one.last) for t in range(20))
    assert size < 1.5 * alive + 64 * 60


def attention() -> Graph:
    """A product of spikes, scaled, through softmax, to spikes; and around it a neuron with a bias."""
    b = Builder(N, 4, 6)
    one = {"codebook": MultiSpike(-15, 15), "quantum": np.full((1, 1, 1), 0.125, np.float32), "initial": 0.3}
    left, right = b("neuron", b.x, **one), b("neuron", b("mul", b.x, 0.5), **one)
    product = b("matmul", left, b("transpose", right, perm=(0, 2, 1)), expect=True)
    soft = b("softmax", b("mul", product, 0.25), axis=2, expect=True)
    spikes = b("neuron", b("reshape", soft, shape=(N, 2, 8)), **one)
    pooled = b("max", spikes, b("mul", spikes, 0.5), expect=True)
    biased = b("neuron", b("gelu", pooled, expect=True), **one, bias=np.full((1, 1, 1), 0.25, np.float32))
    return b.outputs(y=spikes, z=biased)


def test_totals_go_from_what_remembers_to_what_remembers() -> None:
    graph = attention()
    code = Code(graph, frozenset({"x"}), watched=False, threads=1)
    kept = [node.op.name for node in graph if node.result in code.totals]
    # The transposed spikes and the scaled product on the way are totals too; the output and what is read
    # twice are not, nor what a neuron with a bias reads.
    assert kept == ["neuron", "neuron", "transpose", "matmul", "mul", "softmax", "reshape", "max"]
    assert not Code(graph, frozenset({"x"}), watched=True, threads=1).totals


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_totals_change_no_payload(steps: int) -> None:
    found, wanted = run_both("fast", attention(), {"x": dyadic(steps, 6, 4, 6)}, steps)
    for name, array in wanted.items():
        off = np.abs(found[name] - array) > 1e-5
        assert off.mean() < 0.01, name


def test_a_neuron_of_totals_rounds_as_one_of_currents() -> None:
    attributes = attributes_of(MultiSpike(-7, 7, "burst"), initial=0.25, quantum=np.full((1, 1), 0.5, "f4"))
    currents = dyadic(6, 3, 5)
    plain = NeuronState(attributes, "x")
    ours = FastNeuronState(
        attributes, "x", (3, 5), np.dtype(np.float32), reads_totals=True, sends_totals=True
    )
    y, sent = np.full((3, 5), np.nan, np.float32), np.zeros((3, 5), np.float32)
    for t in range(1, 7):
        ours.step_into(t, currents[:t].sum(axis=0, dtype=np.float32), y, last=False)
        sent += plain.step(t, [currents[t - 1].copy()], False)
        np.testing.assert_array_equal(y, sent)


# Compiled networks.


def test_more_steps_take_no_more_memory_and_nothing_new_to_open(images: Array) -> None:
    simulator = FastSimulator(compiled("digits_vit"), threads=1)
    simulator.run(images, 2)
    planned, codes = simulator.planned_bytes, dict(simulator._codes)
    simulator.run(images, 40)
    assert simulator.planned_bytes == planned
    assert simulator._codes == codes


def test_the_command_line_evaluates_with_it(tmp_path: Path, images: Array) -> None:
    from click.testing import CliRunner

    from snnc.cli import main

    network, data = tmp_path / "net.sir", tmp_path / "x.npy"
    snnc.save(in_steps_of(compiled("digits_cnn"), 2**-8), network)
    np.save(data, images)
    arguments = ["eval", network, "--model", DIGITS / "digits_cnn.onnx", "--data", data, "--scale", "1"]
    result = CliRunner().invoke(main, [*map(str, arguments), "--backend", "fast", "-v"])
    assert result.exit_code == 0, result.output
    assert "24 samples" in result.output
    assert "MiB planned for streams, sums and membranes" in result.output
    result = CliRunner().invoke(main, [*map(str, arguments), "--backend", "fast", "-v", "--json", "-q"])
    taken = json.loads(result.output)
    assert 0 < taken["planned_bytes"] < 2**21 < taken["peak_bytes"]
