"""The committed example networks and data are what examples/README.md says they are."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
NETWORKS = [
    "digits_cnn.onnx",
    "digits_vgg.onnx",
    "digits_plain.onnx",
    "digits_mlp.onnx",
    "digits_vit.onnx",
    "digits_vit_dynamo.onnx",
]
MIB = 1 << 20
# What an exporter run on somebody's machine leaves behind: home folders, installed packages, stack traces.
TRACES = [b"/root/", b"/home/", b"/tmp/", b"/usr/", b"site-packages", b'File "', b".py"]


def load(name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with np.load(DIGITS / name) as data:
        return data["x"], data["y"]


def logits(network: str, x: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(DIGITS / network, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"image": x.astype(np.float32) / 16})
    assert isinstance(result, np.ndarray)
    return result


@pytest.mark.parametrize("network", NETWORKS)
def test_accuracy_is_above_97_percent(network: str) -> None:
    x, y = load("digits_test.npz")
    assert np.mean(logits(network, x).argmax(axis=1) == y) > 0.97


@pytest.mark.parametrize("network", NETWORKS)
def test_the_batch_is_dynamic(network: str) -> None:
    x, _ = load("digits_test.npz")
    np.testing.assert_allclose(logits(network, x[:3])[2:], logits(network, x[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_is_small_and_whole(network: str) -> None:
    path = DIGITS / network
    assert path.stat().st_size < MIB
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_holds_no_traces_of_the_machine_that_made_it(network: str) -> None:
    content = (DIGITS / network).read_bytes()
    assert [trace for trace in TRACES if trace in content] == []


def test_both_exporters_wrote_the_same_vit() -> None:
    x, _ = load("digits_test.npz")
    difference = logits("digits_vit.onnx", x) - logits("digits_vit_dynamo.onnx", x)
    assert np.abs(difference).max() < 1e-5


@pytest.mark.parametrize("network", ["digits_cnn.onnx", "digits_vgg.onnx"])
def test_batch_norm_is_kept_in_the_cnns(network: str) -> None:
    nodes = onnx.load(DIGITS / network).graph.node
    convolutions = {node.output[0] for node in nodes if node.op_type == "Conv"}
    normalised = {node.input[0] for node in nodes if node.op_type == "BatchNormalization"}
    assert len(normalised) == 6
    assert normalised == convolutions


@pytest.mark.parametrize(("name", "samples"), [("digits_test.npz", 600), ("digits_calibration.npz", 128)])
def test_data_has_the_documented_form(name: str, samples: int) -> None:
    x, y = load(name)
    assert x.dtype == np.uint8
    assert x.shape == (samples, 1, 8, 8)
    assert y.dtype == np.int64
    assert y.shape == (samples,)
    assert (x.min(), x.max()) == (0, 16)
    assert np.ptp(np.bincount(y)) <= 0.02 * samples  # stratified: every digit is about equally frequent


def test_no_calibration_image_is_a_test_image() -> None:
    test, calibration = load("digits_test.npz")[0], load("digits_calibration.npz")[0]
    assert {image.tobytes() for image in test}.isdisjoint(image.tobytes() for image in calibration)


def test_the_test_file_is_the_split_that_data_py_makes() -> None:
    script: dict[str, Any] = runpy.run_path(str(DIGITS / "data.py"))
    _, test = script["load_split"]()
    x, y = load("digits_test.npz")
    np.testing.assert_array_equal(test.x, x)
    np.testing.assert_array_equal(test.y, y)
