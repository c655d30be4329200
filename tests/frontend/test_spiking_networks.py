"""Networks that spike already, exported as one time step: states become neurons, spike for spike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import snnc
from snnc.backends.reference import Simulator
from snnc.frontend import import_onnx
from snnc.ir.errors import ModelError, OptionError, PassError, UnsupportedOpError
from tests.harness import onnx_model, step_onnxruntime
from tests.sasa import sasa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

STEPS = 8
"""A short run: on the binary grid of the weights no sum has more than 24 bits yet."""


def lifs(graph: Graph) -> list[Node]:
    return [node for node in graph if node.op.name == "lif"]


def assert_spikes_agree(model: onnx.ModelProto, graph: Graph, inputs: Mapping[str, Array]) -> None:
    """Every neuron sends, at every step, exactly the spikes that onnxruntime computes step by step."""
    sites = [str(node.attributes["site"]) for node in lifs(graph)]
    run = Simulator(graph).run(inputs, STEPS, record=sites)
    expected = step_onnxruntime(model, inputs, STEPS, sites)
    for site in sites:
        np.testing.assert_array_equal(run.spikes[site], expected[site])
    means = np.cumsum(expected["y"], axis=0) / np.arange(1, STEPS + 1).reshape(-1, 1, 1)
    np.testing.assert_allclose(run.outputs["y"], means, rtol=1e-5, atol=1e-6)
    assert 0.01 < np.mean([run.spikes[site].mean() for site in sites]) < 0.9


# Neurons in standard operators, as frameworks write them.

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tests.frontend.spiking_networks import NEURONS, export, grid_inputs, torch_step  # noqa: E402

FORMS = {
    "spikingjelly_lif": {"leak": 0.5, "gain": 0.5, "threshold": 1.0, "reset": "hard"},
    "spikingjelly_lif_to_a_rest": {"leak": 0.5, "gain": 0.5, "bias": 0.125, "rest": 0.25, "reset": "hard"},
    "spikingjelly_lif_undecayed_soft": {"leak": 0.75, "threshold": 0.5, "reset": "soft"},
    "spikingjelly_if": {"threshold": 1.0, "reset": "soft"},
    "snntorch_subtract": {"leak": 0.5, "reset": "soft", "strict": True, "delayed": True},
    "snntorch_zero": {"leak": 0.5, "reset": "hard", "strict": True},
    "snntorch_zero_of_older_versions": {"leak": 0.5, "reset": "hard", "strict": True, "delayed": True},
    "snntorch_none": {"leak": 0.5, "reset": "none", "strict": True},
    "norse_lif_box": {"leak": 0.75, "gain": 0.25, "threshold": 0.25, "reset": "hard", "strict": True},
    "with_where": {"leak": 0.5, "reset": "hard", "rest": 0.125},
    "with_sign": {"leak": 0.75, "reset": "soft", "strict": True},
    "with_negated_comparison": {"leak": 0.5, "gain": 0.5, "threshold": 0.5, "reset": "hard"},
}


@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_in_standard_operators_is_recognised(name: str) -> None:
    model = torch_step(name)
    graph = snnc.compile(model)
    assert [value.name for value in graph.inputs] == ["x"]
    assert [output.name for output in graph.outputs] == ["y"]
    assert len(lifs(graph)) == 2
    given = graph.resolve(lifs(graph)[0])
    found = {key: float(item.item()) if isinstance(item, np.ndarray) else item for key, item in given.items()}
    defaults = {"leak": None, "gain": None, "bias": None, "rest": None, "strict": False, "delayed": False}
    expected = {**defaults, "threshold": 1.0, "reset": "hard", **FORMS[name]}
    assert {key: found[key] for key in expected} == expected
    assert_spikes_agree(model, graph, {"x": grid_inputs()})


@pytest.mark.parametrize("name", ["snntorch_subtract", "spikingjelly_lif"])
def test_a_batch_that_the_exporter_fixed_becomes_symbolic(name: str) -> None:
    model = torch_step(name)
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.shape.dim[0].dim_value = 1
    graph = import_onnx(model)
    assert str(graph.inputs[0].type) == "tensor<f32, N x 6>"
    assert len(lifs(graph)) == 2


def test_parameters_may_be_learnt_per_channel() -> None:
    beta = torch.tensor([0.5, 0.25, 1.0])

    class Learnt(torch.nn.Module):
        def forward(self, x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            m = beta.clamp(0, 1) * v + x
            s = (m >= beta * 2).float()
            return s, m - s * (beta * 2)

    zeros = torch.zeros(1, 3)
    graph = import_onnx(export(Learnt(), [zeros, zeros], {"inputs": ["x", "v"], "outputs": ["y", "v_next"]}))
    given = graph.resolve(lifs(graph)[0])
    assert given["leak"].tolist() == [[0.5, 0.25, 1.0]]
    assert given["threshold"].tolist() == [[1.0, 0.5, 2.0]]


def test_a_neuron_may_add_up_what_it_integrates() -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, z: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
            m = 0.5 * v + torch.relu(x) + torch.relu(z)
            s = (m >= 1).float()
            return s, m - s

    names = {"inputs": ["x", "z", "v"], "outputs": ["y", "v_next"]}
    model = export(Two(), [torch.zeros(1, 3)] * 3, names)
    graph = import_onnx(model)
    assert [node.op.name for node in graph] == ["relu", "relu", "add", "lif"]
    random = np.random.default_rng(7)
    given = {name: (random.integers(-4, 6, (8, 3)) / 4).astype(np.float32) for name in "xz"}
    assert_spikes_agree(model, graph, given)


def weighs_differently(x: torch.Tensor, v: torch.Tensor) -> Any:
    m = v + 0.5 * x - torch.relu(x)
    return spike(m), m * (1 - spike(m))


def one_state(step: Any) -> onnx.ModelProto:
    """A step of three neurons: step(x, v) -> (y, v_next)."""

    class Step(torch.nn.Module):
        def forward(self, x: torch.Tensor, v: torch.Tensor) -> Any:
            return step(x, v)

    zeros = torch.zeros(1, 3)
    return export(Step(), [zeros, zeros], {"inputs": ["x", "v"], "outputs": ["y", "v_next"]})


def spike(m: torch.Tensor, threshold: float = 1.0) -> torch.Tensor:
    return (m >= threshold).float()


def adaptive(x: torch.Tensor, v: torch.Tensor) -> Any:
    m = v * torch.sigmoid(v) + x
    return spike(m), m * (1 - spike(m))


def integrator(x: torch.Tensor, v: torch.Tensor) -> Any:
    return spike(x), 0.5 * v + x


def resets_too_little(x: torch.Tensor, v: torch.Tensor) -> Any:
    return spike(v + x), v + x - 0.5 * spike(v + x)


def resets_to_a_share(x: torch.Tensor, v: torch.Tensor) -> Any:
    return spike(v + x), torch.where(v + x >= 1, 0.5 * (v + x), v + x)


def compares_something_else(x: torch.Tensor, v: torch.Tensor) -> Any:
    return spike(v + 2 * x), (v + x) * (1 - spike(v + 2 * x))


def snntorch_without_delay(x: torch.Tensor, mem: torch.Tensor) -> Any:
    reset = (mem - 1 > 0).float()
    mem = 0.5 * mem + x - reset
    spk = (mem - 1 > 0).float()
    return spk, mem - (spk - reset)


def membrane_is_read(x: torch.Tensor, v: torch.Tensor) -> Any:
    m = v + x
    return spike(m) + torch.tanh(m), m * (1 - spike(m))


def negative_leak(x: torch.Tensor, v: torch.Tensor) -> Any:
    m = x - 0.5 * v
    return spike(m), m * (1 - spike(m))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (adaptive, "not computed from it by sums, constant factors and comparisons"),
        (integrator, "no threshold is compared with it"),
        (resets_too_little, "subtracts something else than the threshold"),
        (resets_to_a_share, "neither subtracts a constant nor sets one"),
        (compares_something_else, "not the membrane that is reset"),
        (snntorch_without_delay, "depends on another comparison"),
        (membrane_is_read, "its membrane is read by tanh"),
        (weighs_differently, "weighs the 2 streams it integrates differently"),
        (negative_leak, "not a sum of it, by a positive factor, and an input"),
    ],
)
def test_a_state_that_is_no_plain_neuron_is_rejected_with_a_reason(step: Any, reason: str) -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        import_onnx(one_state(step))
    assert 'node "/' in caught.value.message
    assert "the state 'v' is no neuron's membrane" in caught.value.message
    assert reason in caught.value.message
    assert "a plain LIF has one state" in caught.value.message


def test_a_second_state_is_rejected_by_name() -> None:
    """snnTorch's Synaptic: the synaptic current decays too."""

    class Synaptic(torch.nn.Module):
        def forward(self, x: torch.Tensor, syn: torch.Tensor, mem: torch.Tensor) -> Any:
            syn = 0.5 * syn + x
            mem = 0.5 * mem + syn - spike(mem)
            return spike(mem), syn, mem

    names = {"inputs": ["x", "syn", "mem"], "outputs": ["y", "syn_next", "mem_next"]}
    model = export(Synaptic(), [torch.zeros(1, 3)] * 3, names)
    with pytest.raises(UnsupportedOpError, match="the state 'syn' is no neuron's membrane"):
        import_onnx(model)


def test_a_state_that_is_not_declared_is_refused_and_the_help_says_how() -> None:
    model = torch_step("spikingjelly_if")
    rename(model, "lif2.v", "mem")
    with pytest.raises(ModelError, match=r"'lif2[.]v_next' is the next value of the input 'mem'") as caught:
        import_onnx(model)
    assert caught.value.help is not None
    assert "call the output 'mem_next'" in caught.value.help
    model.metadata_props.add(key="snnc.state", value='{"mem": "lif2.v_next"}')
    assert len(lifs(import_onnx(model))) == 2


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for info in model.graph.input:
        info.name = new if info.name == old else info.name
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = new if name == old else name


# Neurons and aggregation as operators of the project's own domain.


@pytest.mark.parametrize("bodies", [True, False], ids=["with bodies", "without"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_operators_of_the_domain_are_recognised_by_name(reset: str, bodies: bool) -> None:
    model = sasa(reset)
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    if not bodies:
        del bare.functions[:]
    graph = snnc.compile(bare)
    assert [str(node.attributes["site"]) for node in lifs(graph)] == ["in.s", "q.s", "k.s", "a.s", "o.s"]
    x = (np.random.default_rng(2).integers(-4, 13, (8, 4, 6)) / 4).astype(np.float32)
    assert_spikes_agree(model, graph, {"x": x})


def test_a_function_body_that_says_otherwise_is_not_believed() -> None:
    model = sasa("hard")
    body = next(function for function in model.functions if function.name == "LIF")
    next(node for node in body.node if node.op_type == "GreaterOrEqual").op_type = "Less"
    assert "strict" not in lifs(import_onnx(model))[0].attributes


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (sasa("hard", version=2), "version 2 of domain ai.snnc is not known"),
        (sasa("hard", op="LIFE"), "domain ai.snnc has no operator LIFE .help: did you mean 'LIF'?"),
        (sasa("sometimes"), "its reset is 'sometimes' .help: it can be 'hard' or 'soft'"),
        (sasa("hard", threshold=float("nan")), "its threshold is nan, not a finite number"),
    ],
    ids=["version", "operator", "reset", "number"],
)
def test_what_the_domain_does_not_have_is_rejected(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(UnsupportedOpError, match=reason):
        import_onnx(model)


@pytest.mark.parametrize("state", ["a constant", "not fed back"])
def test_a_neuron_without_a_state_of_the_model_is_rejected(state: str) -> None:
    model = sasa("hard")
    for info in [info for info in model.graph.output if info.name == "q.v_next"]:
        model.graph.output.remove(info)
    if state == "a constant":
        for info in [info for info in model.graph.input if info.name == "q.v"]:
            model.graph.input.remove(info)
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 4, 6), np.float32), "q.v"))
    with pytest.raises(UnsupportedOpError, match=r'node "q" \(LIF\): its membrane is no state of the model'):
        import_onnx(model)


def test_a_neuron_may_forget_everything_at_once() -> None:
    """tau = 1: what is left of the membrane is 0."""
    model = sasa("hard", leak=0.0, gain=1.0)
    graph = import_onnx(model)
    assert graph.resolve(lifs(graph)[0])["leak"].item() == 0
    x = (np.random.default_rng(2).integers(-4, 13, (8, 4, 6)) / 4).astype(np.float32)
    assert_spikes_agree(model, graph, {"x": x})


# What compiling does with such a network.


def test_the_method_is_direct_and_needs_no_data(recwarn: pytest.WarningsRecorder) -> None:
    graph = snnc.compile(sasa("soft"))
    assert graph.meta["method"] == "direct"
    assert not recwarn.list
    assert not any(node.expect for node in graph)


def test_other_methods_and_passes_are_refused_with_help() -> None:
    with pytest.raises(OptionError, match="the network spikes already") as caught:
        snnc.compile(sasa("soft"), method="multi-spike")
    assert caught.value.help == "leave the method out: direct keeps the neurons that were trained"
    for name in ("insert-neurons", "expectation-compensation", "identity-neurons"):
        with pytest.raises(PassError, match="this one has lif neurons"):
            snnc.compile(sasa("soft"), pipeline=name)


def test_what_direct_has_no_use_for_is_refused() -> None:
    relu = onnx_model([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", 3)}, {"y": ("N", 3)})
    with pytest.raises(OptionError, match=r"no spiking .lif. neurons"):
        snnc.compile(relu, method="direct")
    with pytest.raises(OptionError, match="direct chooses no levels"):
        snnc.compile(sasa("soft"), levels=4)
    with pytest.raises(OptionError, match="no levels to share out"):
        snnc.compile(sasa("soft"), energy=0.5)


def test_check_knows_its_nodes() -> None:
    report = snnc.check(sasa("hard"))
    outcomes = {node.name: node.outcome.value for node in report.nodes}
    assert report.compiles
    assert outcomes["q"] == "neuron"
    assert {outcomes[name] for name in ("query", "sum", "product")} == {"exact"}
