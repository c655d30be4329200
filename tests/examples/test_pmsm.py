"""The committed fine-tuned networks are what examples/pmsm/README.md says they are, exactly at T=1."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from snnc.backends.reference import Simulator
from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.methods import Settings
from tests.exactness import assert_exact_at_the_first_step
from tests.examples.test_examples import DIGITS, TRACES, load

PMSM = Path(__file__).parents[2] / "examples" / "pmsm"
NETWORKS = ["digits_cnn_4bit.onnx", "digits_vgg_4bit.onnx", "digits_vit_4bit.onnx"]
KIB = 1 << 10


@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_is_small_whole_and_holds_no_traces(network: str) -> None:
    path = PMSM / network
    assert path.stat().st_size < 300 * KIB
    onnx.checker.check_model(onnx.load(path, load_external_data=False), full_check=True)
    assert [trace for trace in TRACES if trace in path.read_bytes()] == []


@pytest.mark.parametrize("network", NETWORKS)
def test_every_payload_is_the_trained_code_and_more_steps_lose_nothing(network: str) -> None:
    """Every step sends what the first did; where a sum's order decides on a level, a sample may differ."""
    x, y = load("digits_test.npz")
    images = x.astype(np.float32) / 16
    graph = assert_exact_at_the_first_step(PMSM / network, images[:200], fewest=0.95)
    outputs = Simulator(graph).run(images, 4).outputs["logits"]
    right = [np.sum(decoded.argmax(axis=1) == y) for decoded in outputs]
    assert min(right[1:]) >= right[0]
    for decoded in outputs[1:]:
        same = np.isclose(decoded, outputs[0], rtol=1e-3, atol=1e-3).all(axis=1)
        assert same.mean() >= 0.99


@pytest.mark.parametrize(("network", "lost"), list(zip(NETWORKS, (0, 0, 1), strict=True)))
def test_what_remainders_in_the_membranes_lose(network: str, lost: int) -> None:
    """Test images, of 600, that more steps lose with reset=subtract."""
    x, y = load("digits_test.npz")
    options = Options(method="pmsm", settings=Settings(reset="subtract"))
    graph = compile_model(PMSM / network, None, options).graph
    outputs = Simulator(graph).run(x.astype(np.float32) / 16, 4).outputs["logits"]
    right = [np.sum(decoded.argmax(axis=1) == y) for decoded in outputs]
    assert min(right[1:]) >= right[0] - lost


@pytest.mark.parametrize(
    ("network", "lost", "energy"), list(zip(NETWORKS, (0, 0, 0), (0.15, 0.18, 0.29), strict=True))
)
def test_what_one_step_loses_against_the_float_network(network: str, lost: int, energy: float) -> None:
    """Test images, of 600; all-in energy as a share of the float network's."""
    data = load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16))
    graph = compile_model(PMSM / network, None, Options(method="pmsm")).graph
    found = evaluate(graph, DIGITS / network.replace("_4bit", ""), data, 1)
    assert found.steps[0].value >= found.ann - lost / 600 - 1e-9
    assert found.steps[0].energy.ratio_fp32 < energy
