"""One time step as ONNX: standard runtimes run it, and it is torch's step to the bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402 -- after the skip

from snnc.ir.errors import OptionError, UnsupportedOpError  # noqa: E402 -- after the skip
from snnc.nn import LIF, export_spiking_onnx, reset_state, to_fixed_point  # noqa: E402 -- after the skip
from snnc.nn.lif import neurons  # noqa: E402 -- after the skip
from tests.nn.networks import image_grid, small_saformer  # noqa: E402 -- after the skip

if TYPE_CHECKING:
    from pathlib import Path


def steps_of(path: Path, frames: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Run a file in onnxruntime over [T, N, ..]: every output at every step. The loop is the caller's."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x, *states = session.get_inputs()
    membranes = {one.name: np.zeros((frames.shape[1], *one.shape[1:]), np.float32) for one in states}
    names = [one.name for one in session.get_outputs()]
    results = []
    for frame in frames:
        results.append(dict(zip(names, session.run(None, {x.name: frame, **membranes}), strict=True)))
        membranes = {name: results[-1][f"{name}_next"] for name in membranes}
    return results


def assert_equal_to_torch(network: nn.Module, path: Path, frames: Tensor, output: str = "output") -> None:
    """Compare the output and every membrane of every step, bit for bit."""
    advance = getattr(network, "advance", network)
    reset_state(network)
    with torch.no_grad():
        for frame, found in zip(frames, steps_of(path, frames.numpy()), strict=True):
            np.testing.assert_array_equal(found[output], advance(frame))
            for name, part in neurons(network).items():
                np.testing.assert_array_equal(found[f"{name}.v_next"], part.v, err_msg=name)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    network = to_fixed_point(small_saformer(), torch.zeros(1, 1, 8, 8), input_bits=4)
    path = tmp_path_factory.mktemp("onnx") / "saformer.onnx"
    export_spiking_onnx(network, image_grid(2), path)
    return network, path


def test_onnxruntime_computes_torchs_spikes(exported: tuple[Any, Path]) -> None:
    network, path = exported
    assert_equal_to_torch(network, path, image_grid(20).reshape(4, 5, 1, 8, 8))


def test_the_loop_over_time_is_not_in_the_file(exported: tuple[Any, Path]) -> None:
    network, path = exported
    model = onnx.load(path)
    lifs = [node for node in model.graph.node if node.op_type == "LIF"]
    assert len(lifs) == len(neurons(network)) == 14
    assert {node.domain for node in lifs} == {"ai.snnc"}
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in lifs[0].attribute}
    assert attributes == {"leak": 0.5, "gain": 0.5, "threshold": 1.0, "rest": 0.0, "reset": b"hard"}
    aggregates = [node for node in model.graph.node if node.op_type == "SpikeAggregate"]
    assert [onnx.helper.get_attribute_value(node.attribute[0]) for node in aggregates] == [2, 2]


def test_names_shapes_and_records(exported: tuple[Any, Path]) -> None:
    """The answer first, then the states; the batch is free; the decode and the domain are written down."""
    network, path = exported
    model = onnx.load(path)
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    assert inputs == ["input", *(f"{name}.v" for name in neurons_in_order(model))]
    assert outputs == ["output", *(f"{name}.v_next" for name in neurons_in_order(model))]
    assert set(neurons_in_order(model)) == set(neurons(network))
    for value in (*model.graph.input, *model.graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == "N"
        assert all(one.dim_value > 0 for one in others), value.name
    assert {prop.key: prop.value for prop in model.metadata_props} == {"snnc.decode": "mean"}
    assert {one.domain: one.version for one in model.opset_import}["ai.snnc"] == 1
    assert {one.name for one in model.functions} == {"LIF", "SpikeAggregate"}
    assert str(path.parent) not in str(model)


def neurons_in_order(model: onnx.ModelProto) -> list[str]:
    return [node.input[1].removesuffix(".v") for node in model.graph.node if node.op_type == "LIF"]


@pytest.mark.parametrize(
    "neuron",
    [
        LIF(reset="soft"),
        LIF(4.0, 0.75, rest=-0.25, decay_input=False),
        LIF(math.inf, decay_input=False, reset="soft"),
        LIF(3.0),  # its constants are rounded once, to float32, in torch and in the file
    ],
    ids=["soft", "rest", "integrate and fire", "slow"],
)
def test_any_network_of_lif_layers_can_be_exported(neuron: LIF, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), neuron, nn.Linear(64, 3)).eval()
    path = tmp_path / "net.onnx"
    frames = torch.randn(6, 4, 1, 8, 8) * 2
    export_spiking_onnx(network, frames[0], path, input_name="frame", output_name="y", decode="last")
    found = steps_of(path, frames.numpy())
    reset_state(network)
    with torch.no_grad():
        for frame, one in zip(frames, found, strict=True):
            np.testing.assert_allclose(one["y"], network(frame), rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(one["1.v_next"], neuron.v)
    assert onnx.load(path).metadata_props[0].value == "last"


def test_exporting_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = small_saformer().train()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    export_spiking_onnx(network, image_grid(2), tmp_path / "net.onnx")
    assert network.training
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    shared = LIF()
    twice = nn.Sequential(nn.Linear(2, 2), shared, nn.Linear(2, 2), shared)
    with pytest.raises(UnsupportedOpError, match="the neurons '1' run more than once"):
        export_spiking_onnx(twice, torch.zeros(1, 2), tmp_path / "net.onnx")
    with pytest.raises(OptionError, match="no decode 'median'"):
        export_spiking_onnx(LIF(), torch.zeros(1, 2), tmp_path / "net.onnx", decode="median")
