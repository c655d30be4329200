"""A real pretrained encoder, MiniLM-L6, as both of PyTorch's exporters write it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from snnc.backends.reference import Simulator
from snnc.data import load_data
from snnc.driver import compile_model
from snnc.passes.base import PassContext
from snnc.passes.identity_neurons import IdentityNeurons

pytestmark = pytest.mark.real


def load(path: Path) -> dict[str, NDArray[np.int64]]:
    with np.load(path) as data:
        return dict(data)


def hidden_states(path: Path, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result: Any = session.run(["last_hidden_state"], inputs)[0]
    return np.asarray(result)


def embeddings(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean of the real tokens' hidden states, unit length: (N, tokens, 384), (N, tokens) -> (N, 384)."""
    pooled = np.einsum("ntc,nt->nc", hidden, mask.astype(np.float32))
    unit: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    return unit


def test_both_exporters_wrote_the_same_network(real_models: Path) -> None:
    inputs = load(real_models / "test.npz")
    torchscript, dynamo = (
        embeddings(hidden_states(real_models / name, inputs), inputs["attention_mask"])
        for name in ["minilm.onnx", "minilm_dynamo.onnx"]
    )
    assert np.sum(torchscript * dynamo, axis=1).min() > 0.999999


def test_calibration_and_test_hold_different_sentences(real_models: Path) -> None:
    test, calibration = (load(real_models / name)["input_ids"] for name in ["test.npz", "calib.npz"])
    assert {sentence.tobytes() for sentence in test}.isdisjoint(row.tobytes() for row in calibration)


EXPORTS = ["minilm.onnx", "minilm_dynamo.onnx"]


@pytest.mark.parametrize("name", EXPORTS)
def test_identity_neurons_give_the_source(real_models: Path, name: str) -> None:
    graph = compile_model(real_models / name, load_data(real_models / "calib.npz")).graph
    IdentityNeurons().run(graph, PassContext())
    graph.retype()
    inputs = {key: array[:4] for key, array in load(real_models / "test.npz").items()}
    wanted = hidden_states(real_models / name, inputs)
    for decoded in Simulator(graph).run(inputs, 8).outputs["last_hidden_state"]:
        assert np.linalg.norm(decoded - wanted) < 1e-4 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", EXPORTS)
def test_sentence_embeddings_survive_at_one_step(real_models: Path, name: str) -> None:
    graph = compile_model(real_models / name, load_data(real_models / "calib.npz")).graph
    inputs = load(real_models / "test.npz")
    mask = inputs["attention_mask"]
    wanted = embeddings(hidden_states(real_models / name, inputs), mask)
    decoded = Simulator(graph).run(inputs, 4).outputs["last_hidden_state"]
    cosine = [np.sum(embeddings(step, mask) * wanted, axis=1).mean() for step in decoded]
    assert cosine[0] >= 0.995
    assert cosine[3] > cosine[0]
