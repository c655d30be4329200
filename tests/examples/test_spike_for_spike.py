"""The compiled SAFormers send the spikes that torch's send: every neuron, every step, every test sample."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch")

import snnc  # noqa: E402 -- after the skip
from snnc.backends.reference import Simulator  # noqa: E402 -- likewise
from snnc.nn import LIF, SAFormer, export_spiking_onnx, to_fixed_point  # noqa: E402 -- likewise
from snnc.passes.spikes_only import prove_spikes_only  # noqa: E402 -- likewise
from tests.nn.networks import image_grid, small_saformer  # noqa: E402 -- likewise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from snnc.ir.kernel_types import Array

EXAMPLES = Path(__file__).parents[2] / "examples"
if str(EXAMPLES / "saformer") not in sys.path:
    sys.path.append(str(EXAMPLES / "saformer"))

TEST_DATA = {"digits": EXAMPLES / "digits/digits_test.npz", "events": EXAMPLES / "saformer/events_test.npz"}
SCALE = {"digits": np.float32(1 / 16), "events": np.float32(1)}


def samples(kind: str) -> tuple[Array, Array]:
    """Return the inputs of the test set, [N, …] or [T, N, …], and its labels."""
    with np.load(TEST_DATA[kind]) as data:
        return data["x"].astype(np.float32) * SCALE[kind], data["y"]


def weights(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Return the parameters that an exported fixed-point network holds, by their names in torch."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Add" and node.input[0].endswith(".bias"):
            matrix = tensors[made_by[node.input[1]].input[1]]
            tensors[node.input[0].replace(".bias", ".weight")] = matrix.T
    return {name: torch.tensor(array.copy()) for name, array in tensors.items()}


def torch_network(kind: str, model: onnx.ModelProto) -> SAFormer:
    """Return the network of the file in torch: the structure of a fixed-point copy, with its weights."""
    from train import TASKS, make

    trained = make(TASKS[kind], "saformer")
    assert isinstance(trained, SAFormer)
    size = TASKS[kind].network
    network = to_fixed_point(trained, torch.zeros(1, size.channels, *size.image), input_bits=4)
    held = weights(model)
    network.load_state_dict({name: held[name] for name in network.state_dict()})
    return network


def torch_spikes(network: SAFormer, x: Array) -> tuple[dict[str, Array], Array]:
    """Return the spikes of every neuron, [T, N, …], and the output at every step, [T, N, classes]."""
    spikes: dict[str, Array] = {}
    hooks = [
        part.register_forward_hook(
            lambda _, __, sent, name=name: spikes.update({name: np.asarray(sent.detach())})  # type: ignore[misc]
        )
        for name, part in network.named_modules()
        if isinstance(part, LIF)
    ]
    with torch.no_grad():
        outputs = network.outputs(torch.tensor(x)).numpy()
    for hook in hooks:
        hook.remove()
    steps, count = outputs.shape[:2]
    return {name: sent.reshape(steps, count, *sent.shape[1:]) for name, sent in spikes.items()}, outputs


def compiled_spikes(path: Path, x: Array, steps: int) -> tuple[dict[str, Array], Array]:
    """Return the same of the compiled network, the mean of its output so far instead of the output."""
    graph = snnc.compile(path)
    sites = {str(node.attributes["site"]): node for node in graph if node.op.neuron}
    run = Simulator(graph).run({str(graph.inputs[0].name): x}, steps, record=list(sites))
    names = {site: site.removesuffix("/LIF_output_0").lstrip("/").replace("/", ".") for site in sites}
    (answer,) = run.outputs.values()
    return {names[site]: sent for site, sent in run.spikes.items()}, answer


def assert_same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for name, sent in expected.items():
        assert 0.05 < sent.mean() < 0.6, name
        np.testing.assert_array_equal(found[name], sent, err_msg=name)


@pytest.mark.parametrize(("kind", "neurons", "steps"), [("digits", 14, 4), ("events", 14, 8)])
def test_every_spike_is_the_same_and_so_is_the_accuracy(kind: str, neurons: int, steps: int) -> None:
    path = EXAMPLES / f"saformer/{kind}_saformer.onnx"
    x, labels = samples(kind)
    expected, outputs = torch_spikes(torch_network(kind, onnx.load(path)), x)
    found, answers = compiled_spikes(path, x, steps)
    assert len(found) == neurons
    assert_same(found, expected)
    means = np.cumsum(outputs, axis=0) / np.arange(1, steps + 1, dtype=np.float32).reshape(-1, 1, 1)
    np.testing.assert_array_equal(answers, means)
    recorded = json.loads((EXAMPLES / "saformer/accuracy.json").read_text())[f"{kind}_saformer"]
    accuracies = 100 * (answers.argmax(axis=2) == labels).mean(axis=1)
    assert accuracies.tolist() == pytest.approx(recorded, abs=0.01)


def test_without_exact_sums_hardly_a_spike_differs(tmp_path: Path) -> None:
    """Batch norm folded, sums in another order: only a membrane within rounding of the threshold may flip."""
    network = small_saformer(steps=4)
    x = image_grid(200) + 0.01
    export_spiking_onnx(network, x[:2], tmp_path / "small.onnx")
    expected, _ = torch_spikes(network, x.numpy())
    found, _ = compiled_spikes(tmp_path / "small.onnx", x.numpy(), 4)
    differing = sum(int((found[name] != sent).sum()) for name, sent in expected.items())
    assert differing <= 1e-4 * sum(sent.size for sent in expected.values())


@pytest.mark.parametrize("kind", TEST_DATA)
def test_the_compiled_network_computes_with_spikes_alone(kind: str) -> None:
    proof = prove_spikes_only(snnc.compile(EXAMPLES / f"saformer/{kind}_saformer.onnx"))
    assert proof.holds
    assert (proof.spiking_synapses, proof.input_synapses, proof.neurons) == (14, 1, 14)
