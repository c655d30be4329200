"""merge-steps: one step of the merged network answers what the original answers after all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import OptionError, PassError
from snnc.ir.types import SpikeType
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager
from snnc.passes.merge_steps import MergeSteps
from tests.passes.build import Builder, N, applied, ops

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
EIGHTHS = np.arange(-24, 24, dtype=np.float32).reshape(12, 4) / 8


def counting(b: Builder, x: Value, size: float = 0.25, **given: Any) -> Value:
    given = {"codebook": MultiSpike(-15, 15), "quantum": np.full((1, 4), size, np.float32)} | given
    return b("neuron", x, bounds="sum", **given)


def assert_merges(graph: Graph, x: Array = EIGHTHS, rtol: float = 0) -> None:
    """Hold every number of steps to the law."""
    wanted = Simulator(graph).run({"x": x}, 6).outputs
    for t in range(1, 7):
        merged, _ = applied(graph, MergeSteps(steps=t))
        for name, found in Simulator(merged).run({"x": x}, 1).outputs.items():
            np.testing.assert_allclose(
                found[0], wanted[name][t - 1], rtol=rtol, atol=rtol, err_msg=f"{t} {name}"
            )


def test_a_neuron_gets_t_fold_bounds_and_a_finer_quantum() -> None:
    b = Builder(N, 4)
    unit = np.full((1, 4), 0.5, np.float32)
    merged, _ = applied(b.outputs(y=counting(b, b.x, unit=unit)), MergeSteps(steps=4))
    (neuron, quarter, _) = merged
    given = merged.resolve(neuron)
    assert given["codebook"] == MultiSpike(-60, 60)
    assert given["bounds"] == "step"
    assert (given["quantum"] == 0.25 / 4).all()
    assert (given["unit"] == 0.5 / 4).all()
    assert isinstance(neuron.result.type, SpikeType)
    assert neuron.result.type.payload.hi == 60
    assert ops(merged) == ["neuron", "div"]  # the answer is a mean
    assert quarter.op.name == "constant"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"bias": np.full((1, 4), 0.375, np.float32)},
        {"initial": 0.5, "codebook": MultiSpike(0, 15, "floor")},
        {"charge": np.full((1, 4), 0.25, np.float32)},
        {"scale": np.full((1, 4), 0.5, np.float32)},
    ],
    ids=["plain", "bias", "initial", "charge", "scale"],
)
def test_a_neuron_sends_its_sum(given: dict[str, Any]) -> None:
    b = Builder(N, 4)
    assert_merges(b.outputs(y=counting(b, b.x, **given)), rtol=1e-6)


def layers(b: Builder) -> Value:
    """A synapse with a bias in front of a neuron and one behind."""
    weight, bias = np.eye(4, dtype=np.float32)[::-1].copy(), np.array([0.5, 0, -0.25, 1], np.float32)
    return b("linear", counting(b, b("linear", b.x, weight=weight, bias=bias)), weight=weight, bias=bias)


def constant_rows(b: Builder) -> Value:
    """A constant for every sample, which is none in the graph."""
    return b("expand", np.ones((1, 3)), shape=(N, 3))


NETWORKS = {
    "a bias behind spikes counts t times": lambda b: counting(b, layers(b)),
    "a residual connection": lambda b: counting(b, b("add", layers(b), b.x)),
    "a constant that is added": lambda b: counting(b, b("add", layers(b), np.ones((1, 4)))),
    "a constant that is joined": lambda b: b("concat", layers(b), constant_rows(b), axis=1),
    "a padding": lambda b: b("pad", layers(b), pads=(0, 1, 0, 1), value=0.5),
    "a factor": lambda b: counting(b, b("mul", counting(b, b.x), np.full((1, 4), 0.75))),
    "a divisor": lambda b: counting(b, b("div", layers(b), np.full((1, 4), 4.0))),
    "a product of streams": lambda b: counting(b, b("mul", layers(b), counting(b, b.x), expect=True)),
    "a softmax of spikes": lambda b: counting(b, b("softmax", counting(b, b.x), axis=-1, expect=True), 2**-6),
    "a relu of spikes": lambda b: counting(b, b("relu", counting(b, b.x), expect=True)),
    "a clip": lambda b: counting(b, b("clip", layers(b), low=-1.0, high=0.75, expect=True)),
    "the larger of two streams": lambda b: b("max", layers(b), b.x, expect=True),
    "the larger of a stream and a constant": lambda b: b("max", layers(b), np.full((1, 4), 0.5), expect=True),
    "a batch norm": lambda b: counting(
        b,
        b(
            "batch_norm", layers(b),
            **{name: np.full(4, size, np.float32)
               for name, size in {"gamma": 0.5, "beta": -1.0, "mean": 0.25, "variance": 1.0}.items()},
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_of_everything_there_is(network: str) -> None:
    b = Builder(N, 4)
    assert_merges(b.outputs(y=NETWORKS[network](b)), rtol=1e-5)


@pytest.mark.parametrize("decode", ["mean", "sum"])
def test_outputs_decode_to_what_they_did(decode: Any) -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=layers(b), spikes=counting(b, b.x))
    graph.decode_outputs(decode)
    assert_merges(graph, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"target": "int8"}], ids=["real", "8 bits"])
def test_the_digits_network(options: dict[str, Any]) -> None:
    with np.load(DIGITS / "digits_calibration.npz") as file:
        calibration = (file["x"][:128] / 16).astype(np.float32)
    with np.load(DIGITS / "digits_test.npz") as file:
        images = (file["x"][:50] / 16).astype(np.float32)
    graph = snnc.compile(DIGITS / "digits_cnn.onnx", calibration, method="signed-memory", **options)
    wanted = Simulator(graph).run(images, 5).outputs["logits"]
    for t in range(1, 6):
        merged, _ = applied(graph, MergeSteps(steps=t))
        found = Simulator(merged).run(images, 1).outputs["logits"][0]
        if options:
            np.testing.assert_array_equal(found, wanted[t - 1])
        else:  # a membrane on an edge may send either
            assert (np.abs(found - wanted[t - 1]).max(axis=-1) < 1e-4).mean() >= 0.95


# What is refused.


def test_a_network_that_depends_on_steps_is_left_with_a_warning() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=b("neuron", b.x, codebook=MultiSpike(0, 7), quantum=np.ones((1, 4), np.float32)))
    context = PassContext()
    (run,) = PassManager([MergeSteps(steps=2)], context).run(graph)
    assert not run.changed
    assert context.warnings == ["merge-steps merged nothing: no neuron has bounds = sum"]


def test_what_remembers_otherwise_is_refused_by_name() -> None:
    b = Builder(N, 4)
    one = np.ones((1, 4), np.float32)
    plain = b("neuron", counting(b, b.x), codebook=MultiSpike(0, 7), quantum=one, name="plain")
    graph = b.outputs(y=b("delay", plain, steps=1, name="late"))
    with pytest.raises(
        PassError, match=r"plain.*its bounds hold for every step\n.*late.*it remembers"
    ) as refused:
        applied(graph, MergeSteps())
    assert "--method signed-memory" in (refused.value.help or "")


def test_the_last_step_is_no_sum() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=counting(b, b.x))
    graph.decode_outputs("last")
    with pytest.raises(PassError, match="of the output 'y' only the last step counts"):
        applied(graph, MergeSteps())


def test_sums_beyond_the_largest_payload_are_refused_by_name() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=counting(b, b.x, codebook=MultiSpike(0, 255), name="large"))
    with pytest.raises(PassError, match='"large": 200 payloads of 255 exceed the largest') as refused:
        applied(graph, MergeSteps(steps=200))
    assert refused.value.help == "merge at most 128 steps, or compile with fewer --levels"


def test_nothing_runs_for_no_steps() -> None:
    with pytest.raises(OptionError, match="0 steps cannot be merged"):
        MergeSteps(steps=0)


def test_membranes_that_could_saturate_on_the_way_are_refused_by_name() -> None:
    """The first neuron's currents reach 64 * 15 in a step, and 16 bits hold 32767."""
    b = Builder(N, 2)
    spikes = counting(b, b.x, codebook=MultiSpike(0, 15), quantum=np.full((1, 1), 0.25, np.float32))
    current = b("linear", spikes, weight=np.array([[64, 0], [0, -64]], np.int8))
    theta = np.full((1, 2), 20, np.int32)
    graph = b.outputs(y=counting(b, current, quantum=theta, width=16, name="narrow"))
    merged, _ = applied(graph, MergeSteps(steps=30))
    assert ops(merged)[-2:] == ["neuron", "div"]
    with pytest.raises(PassError, match=r'"narrow" could in step \d+') as refused:
        applied(graph, MergeSteps(steps=60))
    assert "merge at most" in (refused.value.help or "")
