"""From torch through ONNX to spikes: the same network at T=1, and no worse later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from snnc.backends.reference import Simulator  # noqa: E402 -- after the skip
from snnc.driver import Options, compile_model  # noqa: E402 -- after the skip
from snnc.ir.codebooks import MultiSpike  # noqa: E402 -- after the skip
from snnc.ir.errors import OptionError  # noqa: E402 -- after the skip
from snnc.nn import export_onnx, initialise, quantisers, quantising, replace_activations  # noqa: E402 -- as above
from tests.exactness import assert_exact_at_the_first_step  # noqa: E402 -- after the skip
from tests.nn.networks import images, plain_cnn, random_vit, trained_cnn  # noqa: E402 -- after the skip

if TYPE_CHECKING:
    from pathlib import Path

NETWORKS = {"plain": plain_cnn, "residual": trained_cnn, "vit": random_vit}


def exported(folder: Path, name: str, bits: int = 4, **options: Any) -> tuple[Any, Path]:
    """Return a quantised network and its file."""
    quantised = replace_activations(NETWORKS[name](), bits, **options).eval()
    calibration, _ = images("digits_calibration.npz")
    initialise(quantised, calibration)
    path = folder / f"{name}.onnx"
    export_onnx(quantised, calibration[:2], path, input_name="image", output_name="logits")
    return quantised, path


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "options", [{}, {"relu": "polarity"}, {"per": "channel"}], ids=["rectify", "polarity", "channel"]
)
def test_spikes_are_the_codes(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """For a CNN, a residual CNN and a vision transformer: every payload, and the answer."""
    quantised, path = exported(tmp_path, name, **options)
    x, _ = images("digits_test.npz", 64)
    graph = assert_exact_at_the_first_step(path, x.numpy(), fewest=0.9)
    neurons = [node for node in graph if node.op.name == "neuron"]
    sites = quantisers(quantised)
    assert len(neurons) == len(sites)
    wanted = sorted((-part.negative, part.positive) for part in sites.values())
    books = [node.attributes["codebook"] for node in neurons]
    assert sorted((book.lo, book.hi) for book in books if isinstance(book, MultiSpike)) == wanted


@pytest.mark.parametrize("bits", [2, 4])
def test_more_steps_are_no_worse(bits: int, tmp_path: Path) -> None:
    _, path = exported(tmp_path, "residual", bits)
    x, y = images("digits_test.npz")
    graph = compile_model(path, None, Options(method="pmsm")).graph
    outputs = Simulator(graph).run(x.numpy(), 4).outputs["logits"]
    right = [(decoded.argmax(1) == y.numpy()).sum() for decoded in outputs]
    assert min(right[1:]) >= right[0] - 1  # of 600; 4 bits happen to beat the float network by one image
    assert right[0] > 0.98 * 600


def test_the_file_is_plain_onnx_and_dynamic(tmp_path: Path) -> None:
    quantised, path = exported(tmp_path, "plain")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {domain.domain for domain in model.opset_import} == {""}
    assert {"Div", "Floor", "Clip", "Mul"} <= {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x, _ = images("digits_test.npz", count)
        (found,) = session.run(None, {"image": x.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, quantised(x), rtol=1e-4, atol=1e-5)


def test_exporting_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    quantised = replace_activations(plain_cnn()).train()
    x, _ = images("digits_test.npz", 2)
    before = {name: weight.clone() for name, weight in quantised.state_dict().items()}
    export_onnx(quantised, x, tmp_path / "net.onnx")
    assert quantised.training
    assert len(quantisers(quantised)) == 3
    assert all(torch.equal(weight, before[name]) for name, weight in quantised.state_dict().items())


def test_quantisers_that_are_switched_off_are_not_exported(tmp_path: Path) -> None:
    quantised = replace_activations(plain_cnn())
    x, _ = images("digits_test.npz", 2)
    with quantising(quantised, False), pytest.raises(OptionError, match="is switched off"):
        export_onnx(quantised, x, tmp_path / "net.onnx")
