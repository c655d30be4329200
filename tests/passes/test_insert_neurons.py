"""Where `insert-neurons` puts neurons, and where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.ir.codebooks import Binary, MultiSpike, Ternary
from snnc.ir.errors import OptionError, PassError
from snnc.passes.insert_neurons import InsertNeurons
from tests.passes.build import Builder, N, applied, only, ops

if TYPE_CHECKING:
    from snnc.ir.graph import Value

SQUARE = np.eye(4, dtype=np.float32)


def linear(b: Builder, x: Value, name: str | None = None) -> Value:
    return b("linear", x, name=name, weight=SQUARE)


def test_a_relu_becomes_the_neuron() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=linear(b, b("relu", linear(b, b.x), name="relu")))
    spiking, _ = applied(graph, InsertNeurons(levels=4))
    assert ops(spiking) == ["linear", "neuron", "linear"]
    neuron = only(spiking, "neuron")
    assert neuron.attributes == {"codebook": MultiSpike(0, 15, "burst"), "low": 0.0, "site": "relu_out"}
    assert neuron.origin == ("relu",)


def test_synapses_share_the_neuron_of_the_value_they_read() -> None:
    b = Builder(N, 4)
    hidden = b("gelu", linear(b, b.x))
    graph = b.outputs(a=linear(b, hidden), b=linear(b, hidden), c=b("matmul", hidden, np.ones((4, 2))))
    spiking, _ = applied(graph, InsertNeurons())
    assert ops(spiking).count("neuron") == 1
    assert len(only(spiking, "neuron").result.users) == 3


@pytest.mark.parametrize(
    "activation",
    [
        {"op": "clip", "high": 1.0},
        {"op": "fake_quantise", "scale": np.full((1, 1), 0.5, np.float32), "lo": -8, "hi": 7},
    ],
    ids=["clip", "fake_quantise"],
)
def test_a_reader_of_the_value_before_an_activation_has_its_own_neuron(activation: dict[str, Any]) -> None:
    b = Builder(N, 4)
    hidden = linear(b, b.x)
    op = activation.pop("op")
    graph = b.outputs(y=linear(b, b(op, hidden, **activation)), z=linear(b, hidden, "beside"))
    spiking, _ = applied(graph, InsertNeurons())
    assert ops(spiking).count("neuron") == 2
    (beside,) = [node for node in spiking if node.origin == ("beside",)]
    assert beside.operands[0].node is not None
    assert {"quantum", "low", "high"}.isdisjoint(beside.operands[0].node.attributes)


def test_what_no_synapse_reads_stays_analog() -> None:
    b = Builder(N, 4)
    spiking, _ = applied(b.outputs(y=b("relu", linear(b, b.x))), InsertNeurons())
    assert ops(spiking) == ["linear", "relu"]


@pytest.mark.parametrize(
    ("low", "high", "codebook"),
    [
        (0.0, 6.0, MultiSpike(0, 15, "burst")),
        (0.0, None, MultiSpike(0, 15, "burst")),
        (None, 6.0, MultiSpike(-7, 7, "burst")),
        (-1.0, 1.0, MultiSpike(-7, 7, "burst")),
    ],
)
def test_bounds_become_the_neurons(low: float | None, high: float | None, codebook: MultiSpike) -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=linear(b, b("clip", linear(b, b.x), low=low, high=high)))
    spiking, _ = applied(graph, InsertNeurons(levels=4))
    found = spiking.resolve(only(spiking, "neuron"))
    assert (found["low"], found["high"], found["codebook"]) == (low, high, codebook)


def test_bounds_that_exclude_zero_are_declined() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=linear(b, b("clip", linear(b, b.x), low=0.5, high=2.0)))
    spiking, notes = applied(graph, InsertNeurons())
    assert ops(spiking) == ["linear", "clip", "neuron", "linear"]
    assert [note.reason for note in notes] == ["its bounds exclude zero"]


@pytest.mark.parametrize(("first", "count"), [("analog", 0), ("neuron", 1)])
def test_the_first_layer(first: Any, count: int) -> None:
    b = Builder(N, 2, 2)
    moved = b("reshape", b("transpose", b.x, perm=(0, 2, 1)), shape=(N, 4))
    spiking, _ = applied(b.outputs(y=linear(b, moved)), InsertNeurons(first=first))
    assert ops(spiking).count("neuron") == count


def test_a_layer_behind_a_nonlinearity_of_the_input_is_not_the_first() -> None:
    b = Builder(N, 4)
    spiking, _ = applied(b.outputs(y=linear(b, b("tanh", b.x))), InsertNeurons())
    assert ops(spiking) == ["tanh", "neuron", "linear"]


def test_constants_have_no_neurons() -> None:
    b = Builder(N, 4)
    hidden = b("gelu", linear(b, b.x))
    spiking, _ = applied(
        b.outputs(y=b("matmul", np.ones((1, 4)), b("reshape", hidden, shape=(4, N)))), InsertNeurons()
    )
    assert ops(spiking).count("neuron") == 1


def test_both_factors_of_a_product_spike() -> None:
    b = Builder(N, 3, 4)
    query, key = linear(b, b.x), linear(b, b.x)
    scores = b("matmul", query, b("transpose", key, perm=(0, 2, 1)))
    spiking, _ = applied(b.outputs(y=scores), InsertNeurons())
    product = only(spiking, "matmul")
    assert [operand.node.op.name for operand in product.operands if operand.node] == ["neuron", "neuron"]


def test_a_square_has_one_neuron() -> None:
    b = Builder(N, 4, 4)
    hidden = b("gelu", b.x)
    spiking, _ = applied(b.outputs(y=b("matmul", hidden, hidden)), InsertNeurons())
    assert ops(spiking).count("neuron") == 1


def test_a_text_encoder_spikes_behind_its_first_layer() -> None:
    """Token ids do not vary in time, but what is computed from their embeddings is activity."""
    b = Builder(N, 3, dtype="i64")
    table = np.arange(20, dtype=np.float32).reshape(5, 4)
    words = b("layer_norm", b("embedding", b.x, table=table))
    spiking, _ = applied(b.outputs(y=linear(b, b("gelu", linear(b, words)))), InsertNeurons())
    assert ops(spiking) == ["embedding", "layer_norm", "neuron", "linear", "gelu", "neuron", "linear"]


def test_integer_streams_have_no_neurons() -> None:
    b = Builder(N, 4, dtype="i64")
    mask = b("cast", b.x, to="f32")
    spiking, _ = applied(b.outputs(y=linear(b, mask)), InsertNeurons())
    assert ops(spiking) == ["cast", "linear"]


def test_a_quantiser_becomes_the_neuron_that_computes_it() -> None:
    b = Builder(N, 4)
    scale = np.array([[0.5, 0.25, 1.0, 2.0]], np.float32)
    graph = b.outputs(y=linear(b, b("fake_quantise", linear(b, b.x), scale=scale, lo=-128, hi=127)))
    spiking, _ = applied(graph, InsertNeurons())
    found = spiking.resolve(only(spiking, "neuron"))
    assert found["codebook"] == MultiSpike(-128, 127)
    for name in ("quantum", "scale", "unit"):
        np.testing.assert_array_equal(found[name], scale)


def quantised(lo: int, hi: int, **attributes: Any) -> Builder:
    b = Builder(N, 4)
    scale = np.full((1, 1), 0.5, np.float32)
    hidden = b("fake_quantise", linear(b, b.x), scale=scale, lo=lo, hi=hi, **attributes)
    b.outputs(y=linear(b, hidden))
    return b


def test_a_quantiser_that_rounds_halves_up_is_half_charged_and_rounds_down() -> None:
    spiking, _ = applied(quantised(-3, 12, rounding="floor").graph, InsertNeurons())
    found = spiking.resolve(only(spiking, "neuron"))
    assert (found["codebook"], found["initial"]) == (MultiSpike(-3, 12, "floor"), 0.5)
    assert (found["low"], found["high"]) == (-1.5, 6.0)


@pytest.mark.parametrize(
    ("lo", "hi", "codebook", "threshold", "initial"),
    [(0, 8, Binary(), 4.0, 0.5), (-8, 4, Ternary(), 4.0, 0.0)],
)
def test_a_quantiser_spread_over_steps(
    lo: int, hi: int, codebook: object, threshold: float, initial: float
) -> None:
    spiking, _ = applied(quantised(lo, hi, rounding="floor").graph, InsertNeurons(quantisers="rate"))
    found = spiking.resolve(only(spiking, "neuron"))
    assert (found["codebook"], found["initial"]) == (codebook, initial)
    assert found["quantum"].tolist() == found["scale"].tolist() == [[threshold]]


def test_quantisers_that_repeat_restart_and_other_neurons_keep_their_remainder() -> None:
    b = Builder(N, 4)
    scale = np.full((1, 1), 0.5, np.float32)
    inner = linear(b, b("fake_quantise", linear(b, b.x), scale=scale, lo=-8, hi=7))
    spiking, _ = applied(b.outputs(y=linear(b, inner)), InsertNeurons(quantisers="repeat"))
    neurons = [spiking.resolve(node) for node in spiking if node.op.name == "neuron"]
    assert [given["reset"] for given in neurons] == ["restart", "subtract"]


def test_quantisers_cannot_repeat_in_differential_coding() -> None:
    graph = quantised(0, 15).graph
    graph.coding = "differential"
    with pytest.raises(OptionError, match="differential coding cannot restart"):
        applied(graph, InsertNeurons(quantisers="repeat"))


def test_a_quantiser_of_spikes_is_one_more_neuron() -> None:
    b = Builder(N, 4)
    scales = [np.full((1, 1), scale, np.float32) for scale in (0.5, 0.7)]
    inner = b("fake_quantise", linear(b, b.x), scale=scales[0], lo=-8, hi=7)
    outer = b("fake_quantise", inner, scale=scales[1], lo=-8, hi=7)
    spiking, _ = applied(b.outputs(y=linear(b, outer)), InsertNeurons())
    assert ops(spiking) == ["linear", "neuron", "neuron", "linear"]


def test_a_network_without_quantisers_is_refused_where_they_are_required() -> None:
    applied(quantised(0, 15).graph, InsertNeurons(trained=True))
    b = Builder(N, 4)
    plain = b.outputs(y=linear(b, b("relu", linear(b, b.x))))
    with pytest.raises(PassError, match="carries no quantiser") as caught:
        applied(plain, InsertNeurons(trained=True))
    assert "--method multi-spike" in (caught.value.help or "")


def test_a_sum_of_activations_gets_a_neuron_of_its_own() -> None:
    """Each summand's payloads will be worth something else, so the sum is none of spikes."""
    b = Builder(N, 4)
    both = b("add", b("relu", linear(b, b.x)), b("relu", linear(b, b.x)))
    pooled = b("reshape", both, shape=(N, 2, 2))
    spiking, _ = applied(
        b.outputs(y=b("linear", pooled, weight=np.eye(2, dtype=np.float32))), InsertNeurons()
    )
    assert ops(spiking) == ["linear", "neuron", "linear", "neuron", "add", "reshape", "neuron", "linear"]


@pytest.mark.parametrize(
    ("name", "unsigned", "signed"),
    [("binary", Binary(), Ternary()), ("ternary", Ternary(), Ternary())],
)
def test_binary_and_ternary(name: Any, unsigned: object, signed: object) -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=linear(b, b("tanh", linear(b, b("relu", linear(b, b.x))))))
    spiking, _ = applied(graph, InsertNeurons(codebook=name))
    assert [node.attributes["codebook"] for node in spiking if node.op.name == "neuron"] == [unsigned, signed]


def test_bounds_that_hold_for_sums_are_those_of_every_neuron() -> None:
    """Of ReLUs, of values that have both signs, and of trained quantisers."""
    b = Builder(N, 4)
    scale = np.full((1, 1), 0.5, np.float32)
    hidden = linear(b, b("tanh", linear(b, b("relu", linear(b, b.x)))))
    graph = b.outputs(y=linear(b, b("fake_quantise", hidden, scale=scale, lo=-8, hi=7)))
    spiking, _ = applied(graph, InsertNeurons(rounding="nearest", levels=4, bounds="sum"))
    found = [spiking.resolve(node) for node in spiking if node.op.name == "neuron"]
    assert [given["bounds"] for given in found] == ["sum"] * 3
    assert [given["codebook"] for given in found] == [MultiSpike(0, 15), MultiSpike(-7, 7), MultiSpike(-8, 7)]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "round to the nearest"),
        ({"codebook": "binary"}, "round to the nearest"),
        ({"rounding": "nearest", "reset": "restart"}, "cannot forget"),
        ({"rounding": "nearest", "quantisers": "repeat"}, "cannot forget"),
    ],
    ids=str,
)
def test_bounds_of_sums_are_for_neurons_that_round_and_remember(options: dict[str, Any], why: str) -> None:
    with pytest.raises(OptionError, match=why) as caught:
        InsertNeurons(bounds="sum", **options)
    assert caught.value.help


def test_in_differential_coding_bounds_of_sums_go_without_saying() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=linear(b, b("relu", linear(b, b.x))))
    graph.coding = "differential"
    with pytest.raises(OptionError, match="all neurons take back") as caught:
        applied(graph, InsertNeurons(rounding="nearest", bounds="sum"))
    assert caught.value.help == "leave out bounds=sum, or use rate coding"


@pytest.mark.parametrize("levels", [0, -1, 16])
def test_impossible_levels_are_refused(levels: int) -> None:
    with pytest.raises(OptionError, match=rf"2\^{levels} payloads") as caught:
        InsertNeurons(levels=levels)
    assert caught.value.help == "give 1 to 15 levels"


def pooled(b: Builder) -> Value:
    x = b("relu", b("conv", b.x, weight=np.ones((2, 1, 1, 1), np.float32)), name="relu")
    x = b("avg_pool", x, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    return b("linear", b("reshape", x, shape=(N, 8)), weight=np.ones((3, 8), np.float32))


@pytest.mark.parametrize(("choice", "neurons"), [("neuron", 2), ("current", 1)])
def test_a_layer_may_read_the_mean_of_spikes_as_it_is(choice: Any, neurons: int) -> None:
    b = Builder(N, 1, 4, 4)
    graph, _ = applied(b.outputs(y=pooled(b)), InsertNeurons(codebook="binary", pooled=choice))
    assert ops(graph).count("neuron") == neurons


def test_only_what_pools_spikes_is_read_as_it_is() -> None:
    b = Builder(N, 1, 4, 4)
    mean = b(
        "avg_pool", b("conv", b.x, weight=np.ones((2, 1, 1, 1), np.float32)), kernel=(2, 2), strides=(2, 2)
    )
    graph = b.outputs(y=b("linear", b("reshape", mean, shape=(N, 8)), weight=np.ones((3, 8), np.float32)))
    spiking, _ = applied(graph, InsertNeurons(codebook="binary", pooled="current"))
    assert ops(spiking).count("neuron") == 1
