"""The leaky integrate-and-fire neuron, step by step against a scalar one in the same float32 arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.backends.reference import Simulator
from snnc.energy import ActivityMeter, count_step
from snnc.ir.errors import TypeInferenceError, VerifyError
from snnc.ir.types import SpikeType
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

STEPS = 12
FORMS: dict[str, dict[str, Any]] = {
    "hard": {},
    "hard to a rest": {"rest": -0.25},
    "soft": {"reset": "soft"},
    "soft, decayed input": {"reset": "soft", "gain": 0.3, "bias": 0.01},
    "integrate and fire": {"reset": "soft", "leak": 1.0},
    "strict": {"strict": True},
    "delayed soft": {"reset": "soft", "delayed": True, "strict": True},
    "delayed hard": {"delayed": True, "rest": 0.125, "bias": -0.05},
    "charged": {"initial": 0.75},
    "never reset": {"reset": "none"},
}


def scalar_lif(x: np.float32, given: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return spikes and membranes of one neuron, one rounded operation at a time."""
    f = np.float32
    leak, gain, bias = f(given.get("leak", 0.9)), f(given.get("gain", 1.0)), f(given.get("bias", 0.0))
    threshold, rest = f(given.get("threshold", 1.0)), f(given.get("rest", 0.0))
    soft, strict, delayed = given.get("reset") == "soft", given.get("strict"), given.get("delayed")

    def fires(m: np.float32) -> bool:
        return bool(m > threshold if strict else m >= threshold)

    v = f(given.get("initial", 0.0))
    spikes, membranes = [], []
    for _ in range(STEPS):
        due = fires(v) if delayed else False
        m = f(f(leak * v) + f(gain * x)) + bias
        if due:
            m = f(m - threshold) if soft else rest
        s = fires(m)
        v = m
        if s and not delayed and given.get("reset") != "none":
            v = f(m - threshold) if soft else rest
        spikes.append(float(s))
        membranes.append(float(v))
    return spikes, membranes


def lif(width: int, **given: Any) -> Graph:
    """A layer of neurons; numbers among the attributes hold for all of them."""
    b = Builder(N, width)
    given = {"leak": 0.9, "threshold": 1.0, **given}
    for name in ("leak", "gain", "bias", "threshold", "rest"):
        if name in given:
            given[name] = np.asarray(given[name], np.float32).reshape(1, -1)
    return b.outputs(y=b("lif", b.x, name="spikes", **given))


def run(graph: Graph, x: Array, steps: int = STEPS) -> tuple[Array, Array]:
    recorded = Simulator(graph).run(x, steps, record=["spikes"])
    return recorded.spikes["spikes"], recorded.membranes["spikes"]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(currents=st.lists(st.floats(-2, 3, width=32), min_size=4, max_size=4))
def test_a_lif_neuron_follows_its_equations(form: str, currents: list[float]) -> None:
    x = np.array([currents], np.float32)
    spikes, membranes = run(lif(4, **FORMS[form]), x)
    for index, current in enumerate(x[0]):
        expected, potentials = scalar_lif(current, FORMS[form])
        assert spikes[:, 0, index].tolist() == expected
        assert membranes[:-1, 0, index].tolist() == potentials[:-1]
    assert isinstance(lif(4).outputs[0].value.type, SpikeType)


def test_parameters_may_differ_from_channel_to_channel() -> None:
    leaks, thresholds = [0.5, 0.9, 1.0], [0.5, 1.0, 2.0]
    spikes, _ = run(lif(3, leak=leaks, threshold=thresholds), np.full((2, 3), 0.4, np.float32))
    for index, (leak, threshold) in enumerate(zip(leaks, thresholds, strict=True)):
        expected, _ = scalar_lif(np.float32(0.4), {"leak": leak, "threshold": threshold})
        assert spikes[:, 1, index].tolist() == expected


@pytest.mark.parametrize("strict", [False, True])
def test_a_membrane_at_the_threshold_fires_unless_strict(strict: bool) -> None:
    spikes, _ = run(lif(1, strict=strict), np.array([[1.0]], np.float32), 1)
    assert spikes.item() == (not strict)


def test_a_run_starts_afresh() -> None:
    simulator, x = Simulator(lif(2, initial=0.5)), np.array([[0.3, 0.7]], np.float32)
    first = simulator.run(x, 5).outputs["y"]
    np.testing.assert_array_equal(simulator.run(x, 5).outputs["y"], first)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"reset": "soft", "rest": 0.5}, "has a rest where its reset is hard"),
        ({"leak": [0.5, 0.5]}, "does not broadcast"),
        ({"reset": "never"}, "must be one of hard, soft, none"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises((TypeInferenceError, VerifyError), match=reason):
        lif(3, **given)


def test_every_neuron_compares_and_only_factors_that_are_no_shift_multiply() -> None:
    shifts, decays = count_step(lif(8, leak=0.5, gain=0.25)), count_step(lif(8, leak=0.9, gain=0.1, bias=0.5))
    assert (shifts.neurons, shifts.multiply_accumulates, shifts.accumulates) == (8, 0, 8)
    assert (decays.multiply_accumulates, decays.accumulates) == (16, 16)


def test_adding_currents_multiplies_nothing_in_a_network_that_spikes() -> None:
    """Elsewhere an addition of real streams is charged as its op declares: a multiply-accumulate."""
    b = Builder(N, 4)
    one = np.ones((1, 1), np.float32)
    twice = [b("linear", b("lif", b.x, threshold=one), weight=np.eye(4, dtype=np.float32)) for _ in range(2)]
    spiking = count_step(b.outputs(y=b("add", *twice)))
    assert (spiking.multiply_accumulates, spiking.accumulates) == (0, 4 + 4 + 4)
    analog = Builder(N, 4)
    assert count_step(analog.outputs(y=analog("add", analog.x, analog.x))).multiply_accumulates == 4


def test_its_spikes_are_metered() -> None:
    b = Builder(N, 2)
    spikes = b("lif", b.x, threshold=np.ones((1, 1), np.float32), reset="soft")
    graph = b.outputs(y=b("linear", spikes, weight=np.ones((5, 2), np.float32)))
    meter = ActivityMeter(graph, 4)
    Simulator(graph).run(np.array([[0.5, 1.0]], np.float32), 4, observers=[meter])
    assert meter.unit_spikes.tolist() == [1, 2, 1, 2]
    assert meter.accumulates.tolist() == [6, 12, 6, 12]  # five synapses and one reset each
