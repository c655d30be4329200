"""Differential coding against its definition: r(t) = r(t-1) + x(t)/t, for every op of the table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import BackendError, TypeInferenceError
from snnc.ir.graph import Graph
from snnc.ir.op import Role
from snnc.ir.ops import op_table
from snnc.ir.types import SpikeType
from snnc.passes.base import PassContext
from snnc.passes.expectation_compensation import ExpectationCompensation
from tests.backends.analog_cases import CASES, Case, draw
from tests.harness import run_analog
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.codebooks import Codebook
    from snnc.ir.kernel_types import Array

STEPS = 6
TIMES = np.arange(1, STEPS + 1)


def decoded(changes: Array) -> Array:
    """Return r(t) for changes [T, …]."""
    times = TIMES[: len(changes)].reshape(-1, *[1] * (changes.ndim - 1))
    return np.asarray((changes / times).cumsum(axis=0))


def full(*values: float) -> Array:
    return np.array([values], np.float32)


# The neuron, against one that keeps both decoded values and knows its rounding from words.


def fire(u: float, codebook: Codebook, wider: int) -> float:
    """Return the payload of either sign that u selects, with so many more levels."""
    match codebook:
        case Binary():
            return min(max(math.floor(u), -1), 1)
        case Ternary():
            return min(max(math.trunc(u), -1), 1)
        case MultiSpike(rounding="burst"):
            reach = max(-codebook.lo, codebook.hi)
            left = min(max(u, -reach), reach)
            sent = 0.0
            while abs(left) >= 0.75:
                sent += math.copysign(2.0 ** math.floor(math.log2(abs(left) / 0.75)), left)
                left = min(max(u, -reach), reach) - sent
            return sent
        case MultiSpike():
            reach = max(-codebook.lo, codebook.hi)
            whole = math.floor(u) if codebook.rounding == "floor" else round(u)
            return min(max(whole, -reach), reach)
        case PowerOfTwo():
            if abs(u) < codebook.dead_zone:
                return 0.0
            edge = 0.5 if codebook.firing == "below" else 0.0
            reached = [
                2**k
                for k in range(codebook.levels + wider)
                if abs(u) >= (2**k - edge if codebook.firing == "below" else 0.75 * 2**k)
            ]
            return math.copysign(max(reached, default=1), u)


def scalar_neuron(changes: Sequence[float], codebook: Codebook, given: Mapping[str, float]) -> list[float]:
    """Return what one neuron sends, in quanta, for the changes it receives.

    Its membrane is worked out anew at every step from the decoded input and the decoded output.
    """
    quantum, ratio = given.get("quantum", 1.0), given.get("negative", 1.0)
    lo, hi = codebook.payload.lo, codebook.payload.hi
    wider = math.ceil(abs(math.log2(ratio)))  # as far in the smaller quantum as in the larger
    received = emitted = 0.0
    series = []
    for t, change in enumerate(changes, 1):
        received += (change + (given.get("bias", 0.0) if t == 1 else 0.0)) / t
        wanted = given.get("initial", 0.0) + given.get("charge", 0.0) + t * (received / quantum - emitted)
        low, high = (t * (end - emitted) for end in (lo * ratio, hi))
        wanted, low, high = (value / ratio if value < 0 else value for value in (wanted, low, high))
        k = fire(min(max(wanted, round(low)), round(high)), codebook, wider)
        sent = k * ratio if k < 0 else k
        emitted += sent / t
        series.append(sent)
    return series


NEURONS: list[tuple[Codebook, dict[str, float]]] = [
    (MultiSpike(0, 7), {"quantum": 0.31}),
    (MultiSpike(-3, 3), {"quantum": 0.71}),
    (MultiSpike(-8, 7, "burst"), {"quantum": 0.23}),
    (MultiSpike(-2, 5), {"quantum": -0.43, "bias": 0.2}),
    (MultiSpike(0, 5, "floor"), {"quantum": 0.61, "initial": 0.5, "bias": -0.3}),
    (Binary(), {"quantum": 0.83, "initial": 0.5}),
    (Binary(), {"quantum": 1.37}),
    (MultiSpike(-3, 3), {"quantum": 0.71, "initial": 0.5, "charge": 0.3}),
    (Binary(), {"quantum": -0.83, "charge": -0.4}),
    (Ternary(), {"quantum": 0.77, "bias": 0.1}),
    (PowerOfTwo(5), {"quantum": 0.13}),
    (PowerOfTwo(4, False, "nearest", 0.75), {"quantum": 0.17}),
    (PowerOfTwo(5), {"quantum": 0.13, "negative": 0.37}),
    (PowerOfTwo(3, True, "nearest", 0.75), {"quantum": 0.21, "negative": 2.9}),
]


def neuron_behind_spikes(codebook: Codebook, given: Mapping[str, float], **attributes: Any) -> Graph:
    """Return a graph whose neuron `n` reads the changes of a finer one, `source`, times -0.6."""
    b = Builder(N, 40)
    b.graph.coding = "differential"
    source = b("neuron", b.x, codebook=MultiSpike(-9, 9), quantum=full(0.37), name="source")
    parameters: dict[str, Any] = {name: full(value) for name, value in given.items() if name != "initial"}
    if "level_axis" not in attributes:
        parameters["scale"] = full(given["quantum"])
    read = b("mul", source, -0.6)
    initial = given.get("initial")
    return b.outputs(
        y=b("neuron", read, codebook=codebook, initial=initial, **parameters, **attributes, name="n")
    )


def inputs() -> Array:
    return np.random.default_rng(1).normal(0, 2, (8, 40)).astype(np.float32)


@pytest.mark.parametrize(("codebook", "given"), NEURONS, ids=str)
def test_a_neuron_sends_what_its_decoded_output_lacks(codebook: Codebook, given: dict[str, float]) -> None:
    run = Simulator(neuron_behind_spikes(codebook, given)).run(inputs(), STEPS, record=["source", "n"])
    wanted = np.empty_like(run.spikes["n"])
    for index in np.ndindex(inputs().shape):
        changes = [float(value) * -0.6 for value in run.spikes["source"][:, *index]]
        wanted[:, *index] = scalar_neuron(changes, codebook, given)
    sent = run.spikes["n"] / given["quantum"]
    # float32 may fall on the other side of an edge, and the steps after it differ then.
    same = np.isclose(sent, wanted, atol=1e-4).all(axis=0)
    assert same.mean() > 0.95
    np.testing.assert_allclose(run.outputs["y"], decoded(run.spikes["n"]), atol=1e-5)


@pytest.mark.parametrize("codebook", [MultiSpike(0, 7), MultiSpike(-7, 7)], ids=str)
def test_what_a_neuron_loses_falls_like_one_over_t(codebook: Codebook) -> None:
    """At most half a quantum over t, within the bounds and beyond them."""
    quantum, ends = 0.31, (0.31 * codebook.lo, 0.31 * 7)
    run = Simulator(neuron_behind_spikes(codebook, {"quantum": quantum})).run(inputs(), 40, record=["source"])
    times = np.arange(1, 41)[:, None, None]
    received = (-0.6 * run.spikes["source"] / times).cumsum(axis=0)
    lost = np.abs(run.outputs["y"] - np.clip(received, *ends))
    assert (lost <= 0.5 * quantum / times + 1e-4).all()


def test_a_value_falls_as_fast_as_it_rose() -> None:
    """Although a negative payload is worth a thirtieth of a positive one."""
    b = Builder(N, 1)
    b.graph.coding = "differential"
    rise = b("neuron", b.x, codebook=Binary(), quantum=full(4.0), scale=full(12.0), initial=0.5, name="rise")
    uneven = {"quantum": full(0.1), "scale": full(0.1), "negative": full(1 / 30)}
    graph = b.outputs(y=b("neuron", rise, codebook=PowerOfTwo(8, True, "nearest", 0.75), **uneven))
    run = Simulator(graph).run(np.array([[2.2]], np.float32), STEPS, record=["rise"])
    wanted = decoded(run.spikes["rise"])
    assert wanted.ravel().tolist() == [12.0, 6.0, 6.0, 6.0, 6.0, 6.0]
    assert np.abs(run.outputs["y"] - wanted)[3:].max() < 0.1


@pytest.mark.parametrize(("codebook", "given"), NEURONS, ids=str)
def test_the_first_step_is_that_of_rate_coding(codebook: Codebook, given: dict[str, float]) -> None:
    graph = neuron_behind_spikes(codebook, given)
    first = Simulator(graph).run(inputs(), 1).outputs["y"]
    graph.coding = "rate"
    np.testing.assert_array_equal(Simulator(graph).run(inputs(), 1).outputs["y"], first)


def test_lines_carry_the_payloads_of_both_signs() -> None:
    codebook, given = PowerOfTwo(3, False), {"quantum": 0.21}
    payloads = Simulator(neuron_behind_spikes(codebook, given)).run(inputs(), STEPS).outputs["y"]
    graph = neuron_behind_spikes(codebook, given, level_axis=1)
    assert isinstance(type_ := graph.outputs[0].value.type, SpikeType)
    assert (type_.payload.lo, type_.shape) == (0, (N, 40 * 6))
    lines = Simulator(graph).run(inputs(), STEPS).outputs["y"]
    sums = lines.reshape(STEPS, 8, 40, 6) @ np.array([1, 2, 4, -1, -2, -4], np.float32)
    np.testing.assert_allclose(0.21 * sums, payloads, atol=1e-5)


# Every op: a network without further neurons decodes to its function of the decoded inputs, at every step.


def spiking(case: Case, moving: Sequence[int]) -> Graph:
    """Return the case's graph with a neuron on some operands, whose changes vary in time."""
    plain, b = case.graph(), Graph(case.op, "differential")
    values = []
    for index, value in enumerate(plain.inputs):
        entry = b.add_input(value.name or "", value.type)
        if index in moving:
            quantum = b.add_tensor("q", np.full([1] * len(value.type.shape), 0.11, np.float32))
            attributes = {"codebook": MultiSpike(-99, 99), "quantum": quantum, "scale": quantum}
            entry = b.append("neuron", [entry], attributes, origin=[f"n{index}"])
        values.append(entry)
    attributes = {
        name: b.add_tensor(name, value) if isinstance(value, np.ndarray) else value
        for name, value in case.attributes.items()
    }
    b.add_output(b.append(case.op, values, attributes), "y")
    ExpectationCompensation().run(b, PassContext())
    b.retype()
    return b


def variants() -> list[Any]:
    """All cases with a real result, with all their real operands moving, and with one of several.

    Not `mod`, which jumps; nor `range`, which reads nothing.
    """
    found = []
    for case in CASES:
        graph = case.graph()
        real = [i for i, value in enumerate(graph.inputs) if value.type.is_real]
        if not real or not graph.outputs[0].value.type.is_real or case.op in ("range", "mod"):
            continue
        sets = [real, *([index] for index in real if len(real) > 1)]
        found += [pytest.param(case, moving, id=f"{case}-{moving}") for moving in sets]
    return found


@pytest.mark.parametrize(("case", "moving"), variants())
def test_every_op_decodes_to_its_function(case: Case, moving: list[int]) -> None:
    graph, plain = spiking(case, moving), case.graph()
    low, high = case.within
    given = draw(graph, 2, (low + 0.06, high - 0.06))  # half a quantum inside
    names = [f"n{index}" for index in moving]
    run = Simulator(graph).run(given, 4, record=names)
    for t in range(4):
        operands = dict(given)
        for index, name in zip(moving, names, strict=True):
            operands[f"x{index}"] = decoded(run.spikes[name][: t + 1])[-1].astype(np.float32)
        wanted = run_analog(plain, operands)["y"]
        scale = 1 + np.abs(np.nan_to_num(wanted)).max()
        np.testing.assert_allclose(
            run.outputs["y"][t] / scale, wanted / scale, atol=3e-5, err_msg=f"t={t + 1}"
        )


def test_constant_terms_are_those_of_ops_that_have_one() -> None:
    declared = {name for name, op in op_table().items() if op.constant_term or op.branches}
    assert declared == {"conv", "conv_transpose", "linear", "batch_norm", "dequantise", "pad", "where"}
    assert all(op.role is Role.LINEAR or not op.constant_term for op in op_table().values())


# What cannot be.


def test_a_nonlinearity_that_is_not_compensated_is_refused() -> None:
    b = Builder(N, 4)
    b.graph.coding = "differential"
    spikes = b("neuron", b.x, codebook=MultiSpike(-3, 3), quantum=full(0.5))
    graph = b.outputs(y=b("tanh", spikes))
    with pytest.raises(BackendError, match="tanh of changes") as caught:
        Simulator(graph).run(np.zeros((1, 4), np.float32), 2)
    assert "expectation-compensation" in (caught.value.help or "")


def test_a_delay_is_refused() -> None:
    b = Builder(N, 4)
    b.graph.coding = "differential"
    with pytest.raises(TypeInferenceError, match="delay cannot work in differential coding"):
        b("delay", b.x, steps=1)


def test_a_reset_to_zero_is_refused() -> None:
    b = Builder(N, 4)
    b.graph.coding = "differential"
    with pytest.raises(TypeInferenceError, match="forgets what it has not sent"):
        b("neuron", b.x, codebook=Binary(), quantum=full(1.0), reset="zero")


def test_outputs_decode_to_mean_and_sum_but_not_to_one_step() -> None:
    graph = neuron_behind_spikes(MultiSpike(-7, 7), {"quantum": 0.31})
    mean = Simulator(graph).run(inputs(), STEPS).outputs["y"]
    graph.decode_outputs("sum")
    total = Simulator(graph).run(inputs(), STEPS).outputs["y"]
    np.testing.assert_allclose(total, mean * TIMES[:, None, None], rtol=1e-6)
    graph.decode_outputs("last")
    with pytest.raises(BackendError, match="it carries changes"):
        Simulator(graph)
