"""Networks nobody tuned the compiler to: imported exactly, compiled without data, equal at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="the newer PyTorch exporter needs onnxscript")

import torch

from snnc.backends.reference import Simulator
from snnc.driver import compile_model
from snnc.passes.base import PassContext
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.manager import PassManager
from tests.frontend.architectures import ARCHITECTURES
from tests.frontend.networks import export_module
from tests.harness import assert_matches_onnxruntime, run_analog, run_onnxruntime

if TYPE_CHECKING:
    import onnx

    from snnc.ir.kernel_types import Array

LAW = 1e-4  # relative error of a network with identity neurons
SANE = 0.3  # relative error of a spiking network of random weights at T=1, without calibration data

FIXED = ("mobile", "unet-cubic", "gated", "masked-text", "masked-text-dynamo", "padded")


def exported(name: str, *, dynamic: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return a model and three samples (one for a fixed batch)."""
    make, inputs, dynamo, opset = ARCHITECTURES[name]
    torch.manual_seed(0)
    network = make().eval()
    example = inputs(2 if dynamic else 1)
    model = export_module(network, example, 0, dynamo=dynamo, dynamic=dynamic, opset=opset)
    return model, {f"in{index}": x.numpy() for index, x in enumerate(inputs(3))}


def relative(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_spiking_network_follows_the_source(name: str) -> None:
    model, samples = exported(name, dynamic=True)
    assert_matches_onnxruntime(model, samples, rtol=1e-4, atol=1e-5)
    (expected,) = run_onnxruntime(model, samples).values()
    spiking = compile_model(model).graph
    assert any(node.op.name == "neuron" for node in spiking)
    (decoded,) = Simulator(spiking).run(samples, 2).outputs.values()
    assert relative(decoded[0], expected) < SANE
    PassManager([IdentityNeurons()], PassContext()).run(spiking)
    (decoded,) = Simulator(spiking).run(samples, 3).outputs.values()
    assert max(relative(step, expected) for step in decoded) < LAW


@pytest.mark.parametrize(
    "name", ["mobile", "unet-cubic", "gated", "masked-text", "masked-text-dynamo", "padded"]
)
def test_a_fixed_batch_becomes_symbolic(name: str) -> None:
    model, samples = exported(name, dynamic=False)
    singles = [{key: array[[index]] for key, array in samples.items()} for index in range(3)]
    graph = assert_matches_onnxruntime(model, singles[0], rtol=1e-4, atol=1e-5)
    assert all("N" in str(value.type) for value in graph.inputs)
    (found,) = run_analog(graph, samples).values()
    expected = [next(iter(run_onnxruntime(model, single).values())) for single in singles]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4, atol=1e-5)
