"""The proof that a network computes with spikes alone, and the first node that stands against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from snnc.ir.codebooks import Binary, MultiSpike, Payload
from snnc.ir.types import SpikeType
from snnc.passes.expectation_compensation import ExpectationCompensation
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.spikes_only import Kind, prove_spikes_only
from tests.passes.build import Builder, N, applied, only
from tests.sasa import sasa

if TYPE_CHECKING:
    from snnc.ir.graph import Value

ONE = np.ones((1, 1), np.float32)
EYE = np.eye(4, dtype=np.float32)


def lif(b: Builder, x: Value) -> Value:
    return b("lif", x, threshold=np.ones((1,) * len(x.type.shape), np.float32))


def test_attention_of_spikes_is_proved() -> None:
    proof = prove_spikes_only(snnc.compile(sasa("soft")))
    assert proof.holds
    assert (proof.neurons, proof.spiking_synapses, proof.input_synapses) == (5, 3, 0)
    kinds = {edge.made_by.split(" ")[0]: edge.kind for edge in proof.edges}
    assert kinds == {
        "input": Kind.INPUT, "lif": Kind.SPIKES, "linear": Kind.CURRENT, "reduce_mean": Kind.CURRENT,
        "reshape": Kind.SPIKES, "reduce_sum": Kind.SUM, "mul": Kind.SPIKES,
    }  # fmt: skip


def test_a_synapse_may_read_the_input_and_be_added_to_others() -> None:
    b = Builder(N, 4)
    first = b("linear", b.x, weight=EYE)
    second = b("linear", lif(b, first), weight=EYE)
    total = b("add", first, second)
    graph = b.outputs(y=b("linear", lif(b, total), weight=EYE))
    proof = prove_spikes_only(graph)
    assert proof.holds
    assert (proof.spiking_synapses, proof.input_synapses) == (2, 1)


def batch_norm(b: Builder, x: Value) -> Value:
    given = {name: np.ones(4, np.float32) for name in ("gamma", "beta", "mean", "variance")}
    return b("batch_norm", x, **given)


def scaled(b: Builder, x: Value) -> Value:
    return b("neuron", x, codebook=Binary(), quantum=ONE[None] * 2, scale=ONE[None] * 2)


# What is done to spikes s and a current u; the node that is named, and why.
OFFENCES: dict[str, tuple[Any, str, str]] = {
    "a synapse on a current": (
        lambda b, s, u: b("conv_transpose", u, weight=EYE[..., None]), "conv_transpose", "multiply a current",
    ),
    "two currents": (lambda b, s, u: b("mul", u, u), "mul", "two streams that are not both spikes"),
    "spikes and a current": (lambda b, s, u: b("mul", s, u), "mul", "two streams that are not both spikes"),
    "a current and a constant": (lambda b, s, u: b("mul", u, 0.5), "mul", "a real stream by a constant"),
    "a nonlinearity": (lambda b, s, u: b("relu", u), "relu", "it computes with real numbers"),
    "batch norm": (lambda b, s, u: batch_norm(b, u), "batch_norm", "it computes with real numbers"),
    "expectation": (lambda b, s, u: b("softmax", s, expect=True), "expect.softmax", "expectation node"),
    "scaled spikes": (lambda b, s, u: scaled(b, u), "neuron", "its spikes have a scale other than 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", OFFENCES)
def test_the_first_node_that_needs_more_than_spikes_is_named(case: str) -> None:
    offend, name, reason = OFFENCES[case]
    b = Builder(N, 4, 3)
    spikes = lif(b, b.x)
    current = b("conv", spikes, weight=EYE[..., None])
    graph = b.outputs(y=b("tanh", offend(b, spikes, current)))
    offence = prove_spikes_only(graph).offence
    assert offence is not None
    assert offence.node.startswith(f"{name} from")
    assert reason in offence.reason
    operands = only(graph, name.split(".")[-1]).operands
    assert [type_ for _, type_, _ in offence.operands] == [str(o.type) for o in dict.fromkeys(operands)]


def test_leaks_that_are_no_shift_are_counted() -> None:
    b = Builder(N, 4)
    leaks = np.array([[0.5, 0.25, 0.9, 1.0]], np.float32)
    fast = b("lif", b.x, threshold=ONE, leak=leaks[:, :2].repeat(2, 1))
    graph = b.outputs(y=b("lif", fast, threshold=ONE, leak=leaks, gain=ONE * 0.3))
    assert prove_spikes_only(graph).membrane_multiplications == 2 * 4


def test_a_weight_per_spike_is_a_synapse_too() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=b("mul", lif(b, b.x), np.arange(4.0)))
    assert prove_spikes_only(graph).edges[-1].kind is Kind.CURRENT


# What the types say of products.


@pytest.mark.parametrize(
    ("lo", "hi", "product"), [(0, 1, Payload(0, 7)), (-3, 2, Payload(-21, 14)), (-1, 1, Payload(-7, 7))]
)
def test_the_product_of_spikes_is_spikes(lo: int, hi: int, product: Payload) -> None:
    b = Builder(N, 4)
    x = b("neuron", b.x, codebook=MultiSpike(lo, hi), quantum=ONE)
    y = b("neuron", b.x, codebook=MultiSpike(0, 7), quantum=ONE)
    assert b("mul", x, y).type == SpikeType(product, (N, 4))
    assert not isinstance(b("mul", x, b.x).type, SpikeType)


def test_a_sum_of_products_of_spikes_is_spikes_while_its_payload_has_a_price() -> None:
    b = Builder(N, 3, 4)
    x, y = (b("neuron", b.x, codebook=MultiSpike(-n, n), quantum=ONE[None]) for n in (7, 3))
    turned = b("transpose", y, perm=(0, 2, 1))
    assert b("matmul", x, turned).type == SpikeType(Payload(-84, 84), (N, 3, 3))
    large = b("neuron", b.x, codebook=MultiSpike(-4000, 4000), quantum=ONE[None])
    assert not isinstance(b("matmul", large, turned).type, SpikeType)


@pytest.mark.parametrize("op", ["mul", "matmul"])
def test_a_product_in_a_converted_network_stays_real_and_gets_a_neuron(op: str) -> None:
    """Its expectation node sends real numbers, whatever the types say before there is one."""
    b = Builder(N, 4, 4)
    x, y = b("relu", b.x), b("relu", b("neg", b.x))
    moved = b("transpose", b(op, x, y), perm=(0, 2, 1))
    graph = b.outputs(y=b("linear", moved, weight=EYE))
    converted, _ = applied(graph, InsertNeurons(), ExpectationCompensation())
    synapse = only(converted, "linear")
    assert synapse.operands[0].node is not None
    assert synapse.operands[0].node.op.neuron
    assert only(converted, op).expect
    assert not isinstance(only(converted, op).result.type, SpikeType)
