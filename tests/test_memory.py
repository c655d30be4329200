"""Bytes moved between memory and arithmetic, against counting them by hand on small networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.data import Normalise, load_data
from snnc.driver import compile_model
from snnc.evaluation import evaluate
from snnc.ir.codebooks import Binary, MultiSpike, Payload, PowerOfTwo
from snnc.memory import (
    DRAM_PJ,
    SRAM_PJ,
    SpikeTraffic,
    Storage,
    Traffic,
    least_bytes,
    memory_steps,
    payload_count,
)
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[1] / "examples" / "digits"


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def test_a_layer_with_neurons() -> None:
    """linear 4 -> 6, neurons, linear 6 -> 3: sums go into the neurons without lying in memory."""
    b = Builder(N, 4)
    first = b("linear", b.x, weight=ones(6, 4), bias=ones(6))
    spikes = b("neuron", first, codebook=MultiSpike(0, 15), quantum=ones(1, 6) / 2, unit=ones(1, 6))
    found = Storage.of(b.outputs(y=b("linear", spikes, weight=ones(3, 6))))
    assert found.weights == 6 * 4 + 6 + 6 + 3 * 6  # the quantum is read, the record of the unit is not
    assert found.real == 4 + 3  # the input read, the output written
    assert [(one.value, one.moves) for one in found.spikes] == [(spikes, 2)]  # written and read
    assert found.state == 6


def test_thresholds_of_one_are_not_read() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=b("neuron", b.x, codebook=Binary(), quantum=ones(1, 4)))
    assert Storage.of(graph).weights == 0


def test_a_stream_with_two_readers_is_stored_and_read_twice() -> None:
    """x -> linear -> abs, and linear -> linear: written once, read by both."""
    b = Builder(N, 5)
    made = b("linear", b.x, weight=ones(5, 5))
    graph = b.outputs(y=b("abs", made), z=b("linear", made, weight=ones(2, 5)))
    assert Storage.of(graph).real == 5 + 3 * 5 + 5 + 2


def test_a_window_reads_a_stream_once() -> None:
    b = Builder(N, 2, 4, 4)
    made = b("conv", b.x, weight=ones(3, 2, 3, 3), pads=(1, 1, 1, 1))
    graph = b.outputs(y=b("avg_pool", made, kernel=(3, 3)))
    assert Storage.of(graph).real == 2 * 16 + 2 * 3 * 16 + 3 * 4


def test_rearranging_moves_nothing_and_a_slice_is_read_as_far_as_it_goes() -> None:
    b = Builder(N, 6)
    made = b("linear", b.x, weight=ones(6, 6))
    turned = b("transpose", b("reshape", made, shape=(N, 2, 3)), perm=(0, 2, 1))
    part = b("slice", turned, axes=(1,), starts=(0,), ends=(1,), steps=(1,))
    graph = b.outputs(y=b("linear", part, weight=ones(4, 2)))
    assert Storage.of(graph).real == pytest.approx(6 + (6 + 2) + 4)


def test_long_and_branched_rearrangements_are_followed_once() -> None:
    b = Builder(N, 1, 4)
    made = b("linear", b.x, weight=ones(4, 4))
    x = made
    for _ in range(2000):
        x = b("reshape", x, shape=(N, 1, 4))
    x = b("slice", b("concat", x, x, axis=1), axes=(1,), starts=(0,), ends=(1,), steps=(1,))
    graph = b.outputs(y=b("linear", x, weight=ones(2, 4)))
    assert Storage.of(graph).real == 4 + 2 * 4 + 2


def test_constants_are_weights() -> None:
    b = Builder(N, 6)
    found = Storage.of(b.outputs(y=b("add", b.x, ones(1, 6))))
    assert (found.weights, found.real) == (6, 6 + 6)


def test_what_expectation_nodes_keep() -> None:
    """softmax: S and its last result; a product: both sums and its last result; a constant operand: none."""
    b = Builder(N, 3, 4)
    graph = b.outputs(
        s=b("softmax", b("neuron", b.x, codebook=Binary(), quantum=ones(1, 1, 1)), axis=2, expect=True)
    )
    assert Storage.of(graph).state == 12 + (12 + 12)
    b = Builder(N, 3, 4)
    a, c = (
        b("neuron", x, codebook=Binary(), quantum=ones(1, 1, 1)) for x in (b.x, b.input("other", N, 4, 5))
    )
    graph = b.outputs(y=b("matmul", a, c, expect=True))
    assert Storage.of(graph).state == 12 + 20 + (12 + 20 + 15)


def test_delays_keep_as_many_steps() -> None:
    b = Builder(N, 3)
    assert Storage.of(b.outputs(y=b("delay", b.x, steps=4))).state == 4 * 3


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        (Binary().payload, 1),
        (Payload(-1, 1), 2),
        (MultiSpike(0, 15).payload, 15),
        (MultiSpike(-7, 7).payload, 14),
        (PowerOfTwo(4).payload, 8),
        (PowerOfTwo(4, signed=False).payload, 4),
    ],
)
def test_payloads_that_are_spikes(payload: Payload, count: int) -> None:
    assert payload_count(payload) == count


@pytest.mark.parametrize(
    ("payload", "events", "bytes_"),
    [
        (Payload(0, 1), 0, 0),
        (Payload(0, 1), 2, 2 * 4),  # an address says it all
        (Payload(0, 1), 80, 80 / 8),  # a bit per neuron is less
        (Payload(0, 15), 5, 5 * (4 + 1)),
        (Payload(0, 15), 80, 80 * 4 / 8),
        (Payload(-300, 300), 3, 3 * (4 + 2)),
        (Payload(-8, 8, powers_of_two=True), 70, 80 * 4 / 8),
    ],
)
def test_spikes_travel_as_events_or_packed(payload: Payload, events: int, bytes_: float) -> None:
    assert least_bytes(payload, events, 80) == bytes_


def spiking() -> Graph:
    b = Builder(N, 40)
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 15), quantum=ones(1, 1))
    return b.outputs(y=b("linear", spikes, weight=ones(3, 40)))


def test_spikes_are_measured() -> None:
    """Few spikes in one step, many in the next; both written and read once."""
    graph = spiking()
    x = np.zeros((2, 40), np.float32)
    x[:, :3] = 0.5  # half a quantum: sent at every second step
    x[:, 5] = 1
    meter = SpikeTraffic(graph, 2)
    sent = []

    class Keep:
        def observe(self, node: object, t: int, value: Array, membrane: Array | None) -> None:
            if value.shape == (2, 40):
                sent.append(int(np.count_nonzero(value)))

    Simulator(graph).run({"x": x}, 2, observers=[meter, Keep()])
    assert sent == [2, 8]
    assert meter.bytes.tolist() == [2 * min(2 * 5, 2 * 40 / 2), 2 * min(8 * 5, 2 * 40 / 2)]


def test_the_spiking_network_pays_per_step_and_the_source_once() -> None:
    graph = spiking()
    meter = SpikeTraffic(graph, 3, samples=2)
    meter.bytes[:] = (10, 20, 30)
    b = Builder(N, 40)
    source = b.outputs(y=b("linear", b.x, weight=ones(3, 40)))
    steps = memory_steps(source, meter, stepped=False)
    for t, step in enumerate(steps, 1):
        assert step.ann_fp32 == Traffic(4 * 120, 4 * (40 + 3), 0)
        assert step.ann_int8 == Traffic(120, 40 + 3, 0)
        spikes = sum((10, 20, 30)[:t]) / 2
        state = 2 * (t - 1) * 40 * 4  # none at t = 1
        assert step.snn_fp32 == Traffic(4 * 120 * t, 4 * (40 + 3) * t + spikes, state)
        assert step.snn_int8 == Traffic(120 * t, (40 + 3) * t + spikes, state)
    stepped = memory_steps(source, meter, stepped=True)
    assert stepped[2].ann_fp32 == Traffic(3 * 4 * 120, 3 * 4 * 43, 0)


def test_bytes_are_priced_by_where_they_lie() -> None:
    """Horowitz, ISSCC 2014: 64 bits from a cache of 1 MB 100 pJ, from DRAM 1.3 nJ."""
    assert (SRAM_PJ, DRAM_PJ) == (12.5, 162.5)
    moved = Traffic(weights=100, streams=10, state=1)
    assert moved.bytes == 111
    assert moved.on_chip_pj == 111 * 12.5
    assert moved.weights_off_chip_pj == 100 * 162.5 + 11 * 12.5


def test_a_whole_network() -> None:
    """At t = 1 payloads save traffic and no state is kept; later the ANN moves less."""
    data = load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16), limit=20)
    model = DIGITS / "digits_cnn.onnx"
    graph = compile_model(model, data).graph
    assert evaluate(graph, model, data, 1).memory is None
    result = evaluate(graph, model, data, 3, memory=True)
    assert result.memory is not None
    first, *_, last = result.memory
    assert first.snn_fp32.state == 0
    assert first.snn_fp32.bytes < first.ann_fp32.bytes
    assert last.snn_fp32.bytes > last.ann_fp32.bytes
    # Weights and biases once, besides thresholds that could not be folded.
    parameters = sum(array.size for array in graph.tensors.values())
    assert 0.8 * parameters < first.snn_int8.weights <= parameters
    plain = json.loads(json.dumps(result.to_json()))
    assert [step["t"] for step in plain["memory"]] == [1, 2, 3]
    assert plain["memory"][0]["snn_fp32"]["state"] == 0
