"""The reference simulator against its own equations, evaluated element by element in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.backends.reference.program import Program, invariant_values, last_uses
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import BackendError, OptionError, TypeInferenceError
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

STEPS = 5
CODEBOOKS = (
    Binary(),
    Ternary(),
    MultiSpike(0, 7),
    MultiSpike(-3, 3),
    MultiSpike(-2, 5, "floor"),
    MultiSpike(-8, 7, "burst"),
)


def samples(count: int = 3, width: int = 4, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 2, (count, width)).astype(np.float32)


def full(*values: float) -> Array:
    return np.array([values], np.float32)


def naive_neuron(x: float, codebook: Codebook, given: dict[str, float]) -> tuple[list[float], list[float]]:
    """Return y(t) and v(t) of one neuron fed x at every step, one operation per line of the equation."""
    quantum, bias, scale = np.float32(given["quantum"]), given.get("bias", 0.0), given.get("scale", 1.0)
    outputs, membranes = [], []
    v = np.float32(given.get("initial", 0.0) + given.get("charge", 0.0)) * quantum
    for _ in range(STEPS):
        m = np.float32(v + np.float32(x)) + np.float32(bias)
        k = codebook.quantise(np.array([m / quantum], np.float32))[0]
        v = m - quantum * k
        outputs.append(float(np.float32(scale) * k))
        membranes.append(float(v))
    return outputs, membranes


@pytest.mark.parametrize(
    "given",
    [
        {"quantum": 1.0},
        {"quantum": 0.7},
        {"quantum": -0.7},
        {"quantum": 1.0, "bias": 0.3},
        {"quantum": 0.7, "bias": -0.2, "scale": 0.7},
        {"quantum": 1.0, "initial": 0.5},
        {"quantum": 0.7, "initial": 0.5, "bias": 0.1, "scale": 2.0},
        {"quantum": -0.7, "charge": 1.4},
        {"quantum": 0.7, "initial": 0.5, "charge": -0.8, "bias": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
def test_a_neuron_follows_its_equations(codebook: Codebook, given: dict[str, float]) -> None:
    b = Builder(N, 4)
    parameters: dict[str, Any] = {name: full(value) for name, value in given.items() if name != "initial"}
    neuron = b("neuron", b.x, codebook=codebook, initial=given.get("initial"), **parameters, name="n")
    run = Simulator(b.outputs(y=neuron)).run(samples(), STEPS, record=["n"])
    for index in np.ndindex(3, 4):
        outputs, membranes = naive_neuron(float(samples()[index]), codebook, given)
        np.testing.assert_allclose(run.spikes["n"][:, *index], outputs, atol=1e-6)
        np.testing.assert_allclose(run.membranes["n"][:, *index], membranes, atol=1e-5)
        means = np.cumsum(outputs) / np.arange(1, STEPS + 1)
        np.testing.assert_allclose(run.outputs["y"][:, *index], means, atol=1e-5)


@pytest.mark.parametrize("given", [{"quantum": 0.9}, {"quantum": -0.7, "initial": 0.5, "bias": 0.2}], ids=str)
@pytest.mark.parametrize("codebook", [Binary(), Ternary()], ids=str)
def test_a_reset_to_zero_forgets_the_rest(codebook: Codebook, given: dict[str, float]) -> None:
    b = Builder(N, 4)
    parameters: dict[str, Any] = {name: full(value) for name, value in given.items() if name != "initial"}
    neuron = b(
        "neuron", b.x, codebook=codebook, reset="zero", initial=given.get("initial"), **parameters, name="n"
    )
    run = Simulator(b.outputs(y=neuron)).run(samples(), STEPS, record=["n"])
    for index in np.ndindex(3, 4):
        v = given.get("initial", 0.0) * given["quantum"]
        for t in range(STEPS):
            v += float(samples()[index]) + given.get("bias", 0.0)
            sends = v / given["quantum"] >= 1 or (codebook == Ternary() and v / given["quantum"] <= -1)
            spike = np.sign(v / given["quantum"]) if sends else 0
            v = 0.0 if sends else v
            assert run.spikes["n"][t, *index] == spike
            assert run.membranes["n"][t, *index] == pytest.approx(v, abs=1e-5)


@pytest.mark.parametrize("codebook", [MultiSpike(0, 7), PowerOfTwo(4)], ids=str)
def test_neurons_that_send_what_is_there_cannot_forget_the_rest(codebook: Codebook) -> None:
    b = Builder(N, 4)
    with pytest.raises(TypeInferenceError, match="cannot reset to zero"):
        b("neuron", b.x, codebook=codebook, quantum=full(1.0), reset="zero")


@pytest.mark.parametrize("given", [{"quantum": -0.7, "bias": 0.3}, {"quantum": 0.7, "initial": 0.5}], ids=str)
@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
def test_a_neuron_that_restarts_repeats_its_first_step(codebook: Codebook, given: dict[str, float]) -> None:
    """The input is constant, and nothing of a step is left for the next."""
    b = Builder(N, 4)
    parameters: dict[str, Any] = {name: full(value) for name, value in given.items() if name != "initial"}
    start = given.get("initial", 0.0)
    neuron = b("neuron", b.x, codebook=codebook, reset="restart", initial=start, **parameters, name="n")
    run = Simulator(b.outputs(y=neuron)).run(samples(), STEPS, record=["n"])
    for index in np.ndindex(3, 4):
        first = naive_neuron(float(samples()[index]), codebook, given)[0][0]
        np.testing.assert_allclose(run.spikes["n"][:, *index], [first] * STEPS, atol=1e-6)
    np.testing.assert_allclose(run.membranes["n"], start * given["quantum"], rtol=1e-6)


def test_a_neuron_without_a_threshold_is_refused() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=b("neuron", b.x, codebook=Binary()))
    with pytest.raises(BackendError, match="no threshold"):
        Simulator(graph).run(samples(), 1)


def streams(graph_of: Any) -> tuple[Graph, list[str]]:
    """Return the graph of an op on two neurons' spikes, which vary in time."""
    b = Builder(N, 4)
    first = b("neuron", b.x, codebook=MultiSpike(-3, 3), quantum=full(0.9), name="a")
    other = b("mul", b.x, -0.4)
    second = b("neuron", other, codebook=MultiSpike(-7, 7), quantum=full(0.3), name="b")
    return b.outputs(y=graph_of(b, first, second)), ["a", "b"]


@pytest.mark.parametrize(
    ("graph_of", "function"),
    [
        (lambda b, x, y: b("max", x, y, expect=True), np.maximum),
        (lambda b, x, y: b("max", x, np.float32(-0.5), expect=True), lambda x, y: np.maximum(x, -0.5)),
        (lambda b, x, y: b("min", np.float32(0.4), y, expect=True), lambda x, y: np.minimum(0.4, y)),
        (lambda b, x, y: b("mul", x, y, expect=True), np.multiply),
        (lambda b, x, y: b("mul", x, np.float32(3), expect=True), lambda x, y: 3 * x),
        (lambda b, x, y: b("tanh", b("add", x, y), expect=True), lambda x, y: np.tanh(x + y)),
        (lambda b, x, y: b("clip", x, low=None, high=None, expect=True), lambda x, y: x),
        (lambda b, x, y: b("pow", b("abs", x, expect=True), 2.0, expect=True), lambda x, y: x**2),
    ],
    ids=[
        "homogeneous",
        "bounded below",
        "bounded above",
        "product",
        "constant factor",
        "general",
        "aliasing",
        "static operand",
    ],
)
def test_an_expectation_node_decodes_to_the_function_of_the_means(graph_of: Any, function: Any) -> None:
    graph, names = streams(graph_of)
    run = Simulator(graph).run(samples(), STEPS, record=names)
    times = np.arange(1, STEPS + 1)[:, None, None]
    means = [run.spikes[name].cumsum(axis=0) / times for name in names]
    np.testing.assert_allclose(run.outputs["y"], function(*means), atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, STEPS])
def test_a_delay_waits(steps: int) -> None:
    b = Builder(N, 4)
    neuron = b("neuron", b.x, codebook=MultiSpike(-3, 3), quantum=full(0.9), name="n")
    graph = b.outputs(y=b("delay", neuron, steps=steps))
    simulator = Simulator(graph)
    for _ in range(2):  # a second run starts from an empty delay
        run = simulator.run(samples(), STEPS, record=["n"])
        late = np.zeros_like(run.spikes["n"])
        late[steps:] = run.spikes["n"][:-steps]
        times = np.arange(1, STEPS + 1)[:, None, None]
        np.testing.assert_allclose(run.outputs["y"], late.cumsum(axis=0) / times, atol=1e-6)


def network() -> Graph:
    """Return neurons, expectation nodes and a residual that is constant in time."""
    b = Builder(N, 4)
    rng = np.random.default_rng(1)
    early = b("relu", b.x)
    neuron = b("neuron", b.x, codebook=MultiSpike(-3, 3), quantum=full(0.5, 0.7, 0.9, 1.1), name="first")
    hidden = b("linear", neuron, weight=rng.normal(size=(4, 4)).astype(np.float32))
    smooth = b("softmax", hidden, expect=True)
    last = b("neuron", b("add", smooth, early), codebook=MultiSpike(0, 7), quantum=full(0.2), name="last")
    # Read after everything else, though it never varies: it must survive every step.
    return b.outputs(y=b("add", b("mul", last, 0.2), b("neg", early)))


@pytest.mark.parametrize("group", [1, 2, 3, 7, 100])
def test_samples_do_not_depend_on_their_group(group: int) -> None:
    whole = Simulator(network(), group=7).run(samples(7), STEPS, record=["first", "last"])
    done: list[int] = []
    split = Simulator(network(), group=group).run(
        samples(7), STEPS, record=["first", "last"], progress=done.append
    )
    assert sum(done) == 7
    np.testing.assert_allclose(split.outputs["y"], whole.outputs["y"], atol=1e-6)
    for name in ("first", "last"):
        np.testing.assert_array_equal(split.spikes[name], whole.spikes[name])
        np.testing.assert_allclose(split.membranes[name], whole.membranes[name], atol=1e-6)


def test_what_is_recorded_is_joined_along_its_batch_axis_if_it_has_one() -> None:
    b = Builder(N, 4)
    b("neuron", b.x, codebook=Binary(), quantum=full(0.5), name="rows")
    turned = b("transpose", b.x, perm=(1, 0))
    columns = b("neuron", turned, codebook=Binary(), quantum=full(0.5), name="columns")
    graph = b.outputs(y=b("transpose", columns, perm=(1, 0)))
    run = Simulator(graph, group=2, threads=1).run(samples(5), 3, record=["rows", "columns"])
    assert run.spikes["columns"].shape == (3, 4, 5)
    for found in (run.spikes, run.membranes):
        np.testing.assert_array_equal(found["columns"].swapaxes(1, 2), found["rows"])


def test_a_simulator_starts_every_run_afresh() -> None:
    simulator = Simulator(network(), group=3)
    first = simulator.run(samples(7), STEPS).outputs["y"]
    simulator.run(samples(5, seed=1), 2)
    np.testing.assert_array_equal(simulator.run(samples(7), STEPS).outputs["y"], first)
    np.testing.assert_array_equal(simulator.run(samples(7), 2).outputs["y"], first[:2])


def test_a_run_leaves_its_inputs_alone() -> None:
    x = samples(7)
    Simulator(network(), group=3).run(x, STEPS)
    np.testing.assert_array_equal(x, samples(7))


def test_observers_see_every_moving_stream_at_every_step_and_constant_ones_once() -> None:
    graph, seen = network(), []

    class Observer:
        def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
            assert (membrane is not None) == (node.op.name == "neuron")
            seen.append((node, t))

    Simulator(graph).run(samples(), 2, observers=[Observer()])
    invariant = invariant_values(graph)
    once = [(node, 1) for node in graph]
    again = [(node, 2) for node in graph if node.result not in invariant]
    assert seen == once + again


def test_values_that_a_later_step_needs_are_kept() -> None:
    graph = network()
    invariant = invariant_values(graph)
    dead = {value for values in last_uses(graph, invariant).values() for value in values}
    relu = next(node.result for node in graph if node.op.name == "relu")
    assert relu in invariant
    assert relu not in dead


def test_recording_an_unknown_neuron_suggests_a_known_one() -> None:
    with pytest.raises(OptionError, match="no neuron 'frist'") as caught:
        Simulator(network()).run(samples(), 1, record=["frist"])
    assert "first" in (caught.value.help or "")


def test_threads_share_the_samples_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnc.backends.reference.simulator.THREAD_BYTES", 3 * 4 * 4)  # three samples

    class Told(Simulator):
        def _make_program(self, batch: int, timed: frozenset[str]) -> Program:
            sizes.append(batch)
            return super()._make_program(batch, timed)

    for group, threads, expected in ((100, 1, [7]), (100, 2, [3, 4]), (100, 9, [3, 4]), (2, 3, [1, 2])):
        sizes: list[int] = []
        Told(network(), group=group, threads=threads).run(samples(7), 1)
        assert sorted(set(sizes)) == expected


def test_threads_change_nothing() -> None:
    """Groups of samples run side by side, each from its own first step."""
    alone = Simulator(network(), group=4, threads=1).run(samples(23), STEPS, record=["first", "last"])
    simulator = Simulator(network(), group=4, threads=3)
    for _ in range(2):
        beside = simulator.run(samples(23), STEPS, record=["first", "last"])
        np.testing.assert_allclose(beside.outputs["y"], alone.outputs["y"], atol=1e-6)
        for name in ("first", "last"):
            np.testing.assert_array_equal(beside.spikes[name], alone.spikes[name])
