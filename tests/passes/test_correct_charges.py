"""Charges that make the mean output of few steps right: the law, by hand, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.ir.codebooks import Binary, Codebook, MultiSpike, Ternary
from snnc.ir.errors import OptionError, PassError
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.correct_charges import CorrectCharges
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.normalise_thresholds import NormaliseThresholds
from tests.passes.build import Builder, N, applied, only
from tests.passes.calibration import ArrayCalibration

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

STEPS = 2


def images(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0.3, 1, (count, 2, 6, 6)).astype(np.float32)


def cnn(codebook: Codebook) -> Graph:
    """conv, neuron, conv, residual addition, neuron, max pooling, linear."""
    random = np.random.default_rng(1)

    def weight(*shape: int) -> Array:
        return random.normal(0, 0.4, shape).astype(np.float32)

    b = Builder(N, 2, 6, 6)
    given: dict[str, Any] = {"codebook": codebook, "low": 0.0 if codebook.payload.lo == 0 else None}
    first = b("conv", b.x, weight=weight(4, 2, 3, 3), bias=weight(4), pads=(1, 1, 1, 1))
    one = b("neuron", first, **given, name="one")
    second = b("conv", one, weight=weight(4, 4, 3, 3), pads=(1, 1, 1, 1))
    two = b("neuron", b("add", second, first), **given, name="two")
    pooled = b("max_pool", two, kernel=(2, 2), strides=(2, 2), expect=True)
    flat = b("reshape", pooled, shape=(N, 36))
    return b.outputs(y=b("linear", flat, weight=weight(5, 36)))


def with_thresholds(
    codebook: Codebook, calibration: ArrayCalibration, rule: Literal["mse", "max"] = "mse"
) -> Graph:
    thresholds = ChooseThresholds(rule, initial=0.5, headroom=None, balanced=False, steps=STEPS)
    return applied(cnn(codebook), thresholds, calibration=calibration)[0]


def mean_errors(graph: Graph, x: Array, steps: int = STEPS) -> dict[str, Array]:
    """Return, per neuron and channel, the mean of the activation less that of the decoded output."""
    names = ["one", "two"]
    spikes = Simulator(graph).run(x, steps, record=names).spikes
    exact = applied(graph, IdentityNeurons())[0]
    nodes = {node.origin[-1]: node for node in exact if node.origin and node.origin[-1] in names}
    exact.outputs.clear()
    for name, node in nodes.items():
        exact.add_output(node.result, name)
    wanted = Simulator(exact).run(x, 1).outputs
    return {
        name: wanted[name][0].mean(axis=(0, 2, 3)) - spikes[name].mean(axis=(0, 1, 3, 4)) for name in names
    }


@pytest.mark.parametrize("codebook", [Binary(), Ternary(), MultiSpike(0, 3)], ids=str)
def test_the_mean_error_of_every_neuron_falls(codebook: Codebook) -> None:
    x = images(40)
    calibration = ArrayCalibration({"x": x})
    before = with_thresholds(codebook, calibration)
    after, _ = applied(before, CorrectCharges(STEPS), calibration=calibration)
    errors = mean_errors(before, x), mean_errors(after, x)
    for name in ("one", "two"):
        assert np.abs(errors[1][name]).sum() < 0.5 * np.abs(errors[0][name]).sum()
    # The first neuron reads the same in both: none of its channels may be worse.
    assert (np.abs(errors[1]["one"]) <= np.abs(errors[0]["one"]) + 1e-6).all()


def test_calibration_node_by_node_is_simulation_step_by_step() -> None:
    x = images(24)
    before = with_thresholds(Binary(), ArrayCalibration({"x": x}))
    found, _ = applied(before, CorrectCharges(3), calibration=DatasetCalibration(Dataset({"x": x})))
    wanted, _ = applied(before, CorrectCharges(3), calibration=ArrayCalibration({"x": x}))
    for one, other in zip(found, wanted, strict=True):
        if one.op.name == "neuron":
            charges = (found.resolve(one)["charge"], wanted.resolve(other)["charge"])
            np.testing.assert_allclose(*charges, atol=1e-5)
            assert charges[0].shape == (1, 4, 1, 1)
            assert np.abs(charges[0]).max() > 0.01


def test_a_charge_by_hand() -> None:
    """x = 0.75 q sends one spike in two steps; twice the missing q/4 as charge makes it two, q/4 too much."""
    b = Builder(N, 1)
    q = b.graph.add_tensor("q", np.full((1, 1), 2, np.float32))
    attributes = {"codebook": Binary(), "quantum": q, "scale": q, "unit": q, "low": 0.0}
    b.outputs(y=b("neuron", b.x, **attributes))
    calibration = ArrayCalibration({"x": np.full((3, 1), 1.5, np.float32)})
    graph, _ = applied(b.graph, CorrectCharges(2, rounds=1), calibration=calibration)
    assert "charge" not in only(graph, "neuron").attributes  # as far off with it as without
    calibration = ArrayCalibration({"x": np.array([[1.5], [0.9]], np.float32)})
    graph, _ = applied(b.graph, CorrectCharges(2, rounds=1), calibration=calibration)
    # e = (1.5 + 0.9) / 2 - (1 + 0) / 2 = 0.7; twice that is 0.7 q. Then 2 q and q are sent: e = -0.3.
    assert graph.resolve(only(graph, "neuron"))["charge"] == pytest.approx(0.7)


def test_a_charge_is_forgotten_with_time() -> None:
    x = images(20)
    calibration = ArrayCalibration({"x": x})
    before = with_thresholds(Ternary(), calibration, "max")
    after, _ = applied(before, CorrectCharges(STEPS), calibration=calibration)
    assert np.abs(mean_errors(after, x, 400)["one"]).max() < 0.02
    exact, corrected = (
        Simulator(applied(graph, IdentityNeurons())[0]).run(x, 1).outputs["y"] for graph in (before, after)
    )
    np.testing.assert_array_equal(exact, corrected)


def test_folding_quanta_keeps_the_charge() -> None:
    x = images(10)
    calibration = ArrayCalibration({"x": x})
    before, _ = applied(
        with_thresholds(Binary(), calibration), CorrectCharges(STEPS), calibration=calibration
    )
    after, _ = applied(before, NormaliseThresholds())
    found, wanted = (Simulator(graph).run(x, 4).outputs["y"] for graph in (after, before))
    assert np.isclose(found, wanted, atol=1e-4).mean() > 0.99


def test_differential_coding_is_refused() -> None:
    graph = cnn(Binary())
    graph.coding = "differential"
    with pytest.raises(PassError, match="is for rate coding") as caught:
        applied(graph, CorrectCharges(), calibration=ArrayCalibration({"x": images(2)}))
    assert caught.value.help


@pytest.mark.parametrize("reset", ["zero", "restart"])
def test_neurons_that_forget_are_left_alone(reset: str) -> None:
    graph = with_thresholds(Binary(), ArrayCalibration({"x": images(4)}))
    for node in graph:
        if node.op.name == "neuron":
            graph.set_attributes(node, reset=reset)
    after, notes = applied(graph, CorrectCharges(), calibration=ArrayCalibration({"x": images(4)}))
    assert all("charge" not in node.attributes for node in after)
    assert {note.reason for note in notes} == {"its reset forgets what it was charged with"}


def test_networks_that_spike_already_are_refused() -> None:
    b = Builder(N, 4)
    b.outputs(y=b("lif", b.x, threshold=np.ones((1, 1), np.float32)))
    with pytest.raises(PassError, match="this one has lif neurons"):
        applied(b.graph, CorrectCharges())


def test_calibration_is_needed() -> None:
    graph = with_thresholds(Binary(), ArrayCalibration({"x": images(4)}))
    with pytest.raises(PassError, match="needs calibration"):
        applied(graph, CorrectCharges())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "averaged over 0 steps"), ({"rounds": 0}, "0 rounds correct nothing")],
)
def test_options_without_meaning_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        CorrectCharges(**options)
    assert caught.value.help
