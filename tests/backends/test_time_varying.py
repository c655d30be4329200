"""Inputs with a time axis and ways of decoding, against a loop over the steps in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.backends.onnx.session import AnalogSession
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import DataError
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

STEPS, SAMPLES, WIDTH = 6, 5, 4
WEIGHT = np.random.default_rng(2).normal(size=(3, WIDTH)).astype(np.float32)


def network(decode: Decode = "mean") -> Graph:
    """linear -> neuron (multi(-3, 3), quantum 0.5) -> delay by one step, plus the input's sum."""
    b = Builder(N, WIDTH)
    hidden = b("linear", b.x, weight=WEIGHT)
    spikes = b("neuron", hidden, codebook=MultiSpike(-3, 3), quantum=np.array([[0.5]], np.float32), name="if")
    total = b("reduce_sum", b.x, axes=(1,), keepdims=True)
    graph = b.outputs(y=b("add", b("delay", spikes, steps=1), total))
    graph.decode_outputs(decode)
    return graph


def events(samples: int = SAMPLES, steps: int = STEPS, seed: int = 0) -> Array:
    return np.random.default_rng(seed).poisson(0.7, (steps, samples, WIDTH)).astype(np.float32)


def stepped(x: Array) -> Array:
    """Return y(t) of the network above, [T, N, 3]: the equations of `docs/semantics.md`, sample by sample."""
    steps, samples, _ = x.shape
    y = np.zeros((steps, samples, 3), np.float32)
    for sample in range(samples):
        membrane, waiting = np.zeros(3, np.float32), np.zeros(3, np.float32)
        for t in range(steps):
            m = membrane + WEIGHT @ x[t, sample]
            payload = np.clip(np.rint(m / np.float32(0.5)), -3, 3)
            membrane = m - np.float32(0.5) * payload
            y[t, sample] = waiting + x[t, sample].sum()
            waiting = payload
    return y


def decoded(y: Array, decode: Decode) -> Array:
    sums = np.stack([y[: t + 1].sum(axis=0) for t in range(len(y))])
    counts = np.arange(1, len(y) + 1, dtype=np.float32).reshape(-1, *[1] * (y.ndim - 1))
    return {"mean": sums / counts, "sum": sums, "last": y}[decode]


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
@pytest.mark.parametrize("varying", [True, False])
def test_every_step_reads_its_own_frame(decode: Decode, varying: bool) -> None:
    x = events()
    given = x if varying else x[0]
    found = Simulator(network(decode)).run(given, STEPS).outputs["y"]
    presented = x if varying else np.broadcast_to(x[0], x.shape)
    np.testing.assert_allclose(found, decoded(stepped(presented), decode), atol=1e-5)


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
def test_equal_frames_are_a_constant_input_bit_for_bit(decode: Decode) -> None:
    x = events()[0]
    simulator = Simulator(network(decode), group=2)
    constant = simulator.run(x, STEPS, record=["if"])
    varying = simulator.run(np.stack([x] * STEPS), STEPS, record=["if"])
    np.testing.assert_array_equal(varying.outputs["y"], constant.outputs["y"])
    np.testing.assert_array_equal(varying.spikes["if"], constant.spikes["if"])
    np.testing.assert_array_equal(varying.membranes["if"], constant.membranes["if"])


def test_the_first_steps_are_taken() -> None:
    x = events()
    few = Simulator(network()).run(x, 2).outputs["y"]
    np.testing.assert_array_equal(few, Simulator(network()).run(x, STEPS).outputs["y"][:2])


@pytest.mark.parametrize("group", [1, 2, 3, 100])
def test_samples_depend_neither_on_their_group_nor_on_their_place(group: int) -> None:
    x, order = events(7), np.array([3, 0, 6, 1, 5, 2, 4])
    whole = Simulator(network(), group=7).run(x, STEPS, record=["if"])
    shuffled = Simulator(network(), group=group, threads=2).run(x[:, order], STEPS, record=["if"])
    np.testing.assert_array_equal(shuffled.spikes["if"], whole.spikes["if"][:, order])
    np.testing.assert_allclose(shuffled.outputs["y"], whole.outputs["y"][:, order], atol=1e-6)


def test_one_simulator_serves_constant_and_varying_inputs_in_turn() -> None:
    x, simulator = events(), Simulator(network(), group=2)
    constant = simulator.run(x[0], STEPS).outputs["y"]
    varying = simulator.run(x, STEPS).outputs["y"]
    np.testing.assert_array_equal(simulator.run(x[0], STEPS).outputs["y"], constant)
    np.testing.assert_array_equal(simulator.run(x, STEPS).outputs["y"], varying)


def test_an_expectation_node_follows_the_running_mean() -> None:
    b = Builder(N, WIDTH)
    graph = b.outputs(y=b("softmax", b.x, axis=1, expect=True))
    x = events()
    found = Simulator(graph).run(x, STEPS).outputs["y"]
    for t in range(1, STEPS + 1):
        mean = x[:t].mean(axis=0)
        wanted = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[t - 1], wanted, atol=1e-5)


def test_constant_inputs_may_stand_beside_varying_ones() -> None:
    b = Builder(N, WIDTH)
    other = b.input("other", N, WIDTH)
    graph = b.outputs(y=b("mul", b.x, b("relu", other), expect=True))
    x, constant = events(), events(seed=1)[0] - 1
    found = Simulator(graph, group=2).run({"x": x, "other": constant}, STEPS).outputs["y"]
    for t in range(1, STEPS + 1):
        wanted = x[:t].mean(axis=0) * np.maximum(constant, 0)
        np.testing.assert_allclose(found[t - 1], wanted, atol=1e-5)


# Refusals.


def test_more_steps_than_the_data_have() -> None:
    with pytest.raises(DataError, match=f"cannot run 7 time steps: the data have {STEPS}"):
        Simulator(network()).run(events(), 7)


@pytest.mark.parametrize("shape", [(4,), (6, 5, 3), (6, 5, 1, 4), (5, 3)])
def test_other_shapes_are_refused_naming_both_that_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="takes N x 4, or T x N x 4 where it varies in time"):
        Simulator(network()).run(np.zeros(shape, np.float32), 1)


@pytest.mark.parametrize(("shape", "what"), [((0, 5, 4), "time steps"), ((6, 0, 4), "samples")])
def test_no_steps_and_no_samples_are_refused(shape: tuple[int, ...], what: str) -> None:
    with pytest.raises(DataError, match=f"input 'x' holds no {what}"):
        Simulator(network()).run(np.zeros(shape, np.float32), 1)


def test_inputs_of_different_length_are_refused() -> None:
    b = Builder(N, WIDTH)
    graph = b.outputs(y=b("add", b.x, b.input("z", N, WIDTH)))
    with pytest.raises(DataError, match=r"different numbers of time steps \(x: 6, z: 3\)"):
        Simulator(graph).run({"x": events(), "z": events(steps=3)}, 2)


def test_integer_inputs_never_vary() -> None:
    b = Builder(N, 4, dtype="i64")
    graph = b.outputs(y=b("embedding", b.x, table=WEIGHT))
    with pytest.raises(DataError, match="input 'x' has a time axis, but it is i64") as caught:
        Simulator(graph).run(np.zeros((3, 5, 4), np.int64), 2)
    assert "N x 4" in (caught.value.help or "")


def test_the_analog_model_has_no_steps() -> None:
    b = Builder(N, WIDTH)
    session = AnalogSession(b.outputs(y=b("relu", b.x)))
    with pytest.raises(DataError, match="input 'x' varies in time; the analog model has no steps"):
        session.run(events())
