"""Which nodes become layers of a chip, and which stay on the host."""

from __future__ import annotations

import numpy as np

from snnc.ir.codebooks import MultiSpike, PowerOfTwo
from snnc.placement.grouping import group
from tests.passes.build import Builder, N
from tests.placement.networks import FIRE, fire, ones


def test_a_residual_block_adds_connections() -> None:
    b = Builder(N, 2, 4, 4)
    start = fire(b, b("conv", b.x, weight=ones(3, 2, 1, 1)), "start")
    inner = fire(b, b("conv", start, weight=ones(3, 3, 3, 3), pads=(1, 1, 1, 1)), "inner")
    summed = b("add", b("conv", inner, weight=ones(3, 3, 1, 1)), b("mul", start, 0.5))
    network = group(b.outputs(y=fire(b, summed, "end")))
    assert [(layer.name, layer.depth, layer.longest_delay) for layer in network.layers] == [
        ("start", 1, 0),
        ("inner", 2, 0),
        ("end", 3, 1),  # the skip waits for inner
    ]
    end = network.layers[-1]
    assert end.axons(end.whole) == 48 + 48
    assert end.bytes(end.whole, shared=False) == 48 * 3 + 48
    assert end.bytes(end.whole, shared=True) == 9 + 1
    assert network.unplaced == ()


def test_answers_and_sums_before_a_synapse_need_neurons_of_their_own() -> None:
    b = Builder(N, 4, 4, 4)
    pooled = b("avg_pool", fire(b, b("conv", b.x, weight=ones(4, 4, 1, 1)), "a"), name="pool", kernel=(4, 4))
    graph = b.outputs(y=b("linear", b("reshape", pooled, shape=(N, 4)), name="classes", weight=ones(10, 4)))
    layers = group(graph).layers
    assert [(layer.kind, layer.neurons) for layer in layers] == [
        ("neurons", 64),
        ("relay", 4),
        ("readout", 10),
    ]


def test_a_sum_that_several_read_is_computed_once() -> None:
    b = Builder(N, 4)
    spikes = fire(b, b("linear", b.x, weight=ones(4, 4)), "spikes")
    stream = b("add", b("linear", spikes, weight=ones(4, 4)), spikes, name="stream")
    inner = fire(b, stream, "inner")
    further = b("add", stream, b("linear", inner, weight=ones(4, 4)), name="further")
    layers = group(b.outputs(y=fire(b, further, "end"))).layers
    assert [(layer.name, layer.kind) for layer in layers] == [
        ("spikes", "neurons"),
        ("stream", "relay"),
        ("inner", "neurons"),
        ("end", "neurons"),
    ]
    assert layers[-1].axons(layers[-1].whole) == 4 + 4


def test_a_sum_that_the_host_reads_as_well_comes_from_there() -> None:
    b = Builder(N, 4)
    spikes = fire(b, b("linear", b.x, weight=ones(4, 4)), "spikes")
    stream = b("add", b("linear", spikes, weight=ones(4, 4)), spikes, name="stream")
    normal = b("layer_norm", stream, name="norm", expect=True, axis=1)
    back = b("linear", b("neuron", normal, name="back", **FIRE), weight=ones(4, 4))
    network = group(b.outputs(y=b("add", stream, back, name="sum")))
    assert [(layer.name, layer.kind) for layer in network.layers] == [
        ("spikes", "neurons"),
        ("stream", "readout"),
        ("sum", "readout"),
    ]
    # The host adds to the second what it had of the first.
    assert [len(layer.connections) for layer in network.layers] == [1, 2, 1]


def test_what_computes_with_real_numbers_stays_on_the_host() -> None:
    b = Builder(N, 4)
    hidden = fire(b, b("linear", b.x, weight=ones(6, 4)), "hidden")
    other = fire(b, b("linear", b.x, weight=ones(6, 4)), "other")
    gate = b("mul", hidden, other, name="gate", expect=True)
    curved = b("gelu", b("linear", hidden, name="current", weight=ones(5, 6)), name="gelu", expect=True)
    encoded = b("neuron", curved, name="encoder", **FIRE)
    graph = b.outputs(y=b("linear", encoded, name="out", weight=ones(2, 5)), gate=gate)
    network = group(graph)
    assert [node.name for node in network.unplaced] == [
        "expect.mul gate",
        "expect.gelu gelu",
        "neuron encoder",
    ]
    assert [(layer.name, layer.kind) for layer in network.layers] == [
        ("hidden", "neurons"),
        ("other", "neurons"),
        ("current", "readout"),
        ("out", "readout"),
    ]


def test_a_maximum_takes_a_compartment_per_window_element() -> None:
    b = Builder(N, 2, 4, 4)
    spikes = fire(b, b("conv", b.x, weight=ones(2, 2, 1, 1)), "spikes")
    graph = b.outputs(
        y=fire(b, b("max_pool", spikes, name="pool", expect=True, kernel=(2, 2), strides=(2, 2)), "y")
    )
    _, pool, last = group(graph).layers
    assert (pool.kind, pool.elements, pool.neurons) == ("pool", 8, 32)
    assert last.axons(last.whole) == 8


def test_binary_lines_are_axons_of_their_own() -> None:
    b = Builder(N, 3)
    lines = b(
        "neuron", b("linear", b.x, weight=ones(5, 3)), name="lines", codebook=PowerOfTwo(2), level_axis=1
    )
    count = lines.type.shape[1]
    assert isinstance(count, int)
    graph = b.outputs(y=fire(b, b("linear", lines, weight=ones(2, count)), "y"))
    first, second = group(graph).layers
    assert first.neurons == 5
    assert first.numbers.shape == (1, 5, count // 5)
    assert second.axons(second.whole) == count


def test_a_delay_adds_to_what_streams_wait() -> None:
    b = Builder(N, 3)
    spikes = fire(b, b("linear", b.x, weight=ones(3, 3)), "spikes")
    graph = b.outputs(y=fire(b, b("linear", b("delay", spikes, steps=4), weight=ones(3, 3)), "late"))
    assert [layer.longest_delay for layer in group(graph).layers] == [0, 4]


def test_constants_that_are_joined_to_a_stream_are_no_axons() -> None:
    b = Builder(N, 1, 4)
    spikes = fire(b, b("linear", b.x, weight=ones(4, 4)), "spikes")
    padded = b("pad", spikes, pads=(0, 1, 0, 0, 0, 0))
    graph = b.outputs(y=fire(b, b("linear", padded, weight=ones(2, 4)), "y"))
    _, second = group(graph).layers
    assert second.shape == (1, 2, 2)
    assert second.axons(second.whole) == 4
    assert np.array_equal(second.connections[0].sources(((0, 1), (0, 1), (0, 2))), [])


def test_a_network_of_integers_says_so_and_its_encoder_stays_on_the_host() -> None:
    b = Builder(N, 3)
    encoded = b("neuron", b.x, name="encoder", codebook=MultiSpike(-127, 127))
    weights = {"weight": np.ones((4, 3), np.int8), "bias": np.ones(4, np.int32), "exponent": 2}
    quantum = np.full((1, 4), 9, np.int32)
    hidden = b("neuron", b("linear", encoded, **weights), name="hidden", quantum=quantum, width=24, **FIRE)
    sums = b("linear", hidden, name="sums", weight=np.ones((2, 4), np.int8))
    scaled = b("dequantise", sums, name="scale", scale=np.array(0.5, np.float32))
    network = group(b.outputs(y=scaled))
    assert network.integer
    assert [(layer.name, layer.kind) for layer in network.layers] == [
        ("hidden", "neurons"),
        ("sums", "readout"),
    ]
    assert [node.name for node in network.unplaced] == ["neuron encoder"]


def test_a_neuron_behind_the_host_of_an_integer_network_is_the_hosts() -> None:
    """The chip has integers; what reads real numbers again sends spikes from the host."""
    b = Builder(N, 4)
    unit = np.ones((1, 4), np.float32)
    spikes = b("neuron", b.x, codebook=MultiSpike(-7, 7), quantum=unit, name="encoder")
    first = b("linear", spikes, weight=np.eye(4, dtype=np.int8), name="first")
    theta = np.full((1, 4), 3, np.int32)
    chip = b("neuron", first, codebook=MultiSpike(0, 7), quantum=theta, width=24, name="chip")
    second = b("linear", chip, weight=np.eye(4, dtype=np.int8), name="second")
    real = b("dequantise", second, scale=np.full(4, 0.5, np.float32), name="real")
    back = b(
        "neuron",
        b("gelu", real, expect=True, name="gelu"),
        codebook=MultiSpike(-7, 7),
        quantum=unit,
        name="back",
    )
    last = b("linear", back, weight=np.eye(4, dtype=np.int8), name="last")
    network = group(b.outputs(y=b("dequantise", last, scale=np.full(4, 0.5, np.float32), name="answer")))
    assert network.integer
    assert [layer.name for layer in network.layers if layer.kind == "neurons"] == ["chip"]
    assert [unplaced.name for unplaced in network.unplaced] == [
        "neuron encoder",
        "expect.gelu gelu",
        "neuron back",
    ]
