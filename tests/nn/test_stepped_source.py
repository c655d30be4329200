"""What `snnc.nn` exports as one time step is stepped as torch steps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from snnc.nn import export_spiking_onnx, to_fixed_point  # noqa: E402 -- after the skip
from snnc.source_answer import answers  # noqa: E402 -- after the skip
from snnc.source_model import SourceModel  # noqa: E402 -- after the skip
from tests.nn.networks import image_grid, small_saformer  # noqa: E402 -- after the skip
from tests.passes.build import Builder, N  # noqa: E402 -- after the skip

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.decode import Decode


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
@pytest.mark.parametrize("varying", [True, False])
def test_a_spiking_transformer_answers_as_torch_does(tmp_path: Path, decode: Decode, varying: bool) -> None:
    trained = small_saformer(decode=decode, steps=4)
    network = to_fixed_point(trained, torch.zeros(1, 1, 8, 8), input_bits=4)
    frames = image_grid(20).reshape(4, 5, 1, 8, 8)
    export_spiking_onnx(network, frames[0], tmp_path / "saformer.onnx", input_name="x")
    b = Builder(N, 1, 8, 8)
    graph = b.outputs(output=b("reshape", b.x, shape=(N, 64)))
    graph.decode_outputs(decode)
    given = frames if varying else frames[0]
    source = SourceModel(tmp_path / "saformer.onnx")
    found = answers(source, graph, {"x": given.numpy()}, 4, graph.outputs[0])
    with torch.no_grad():
        np.testing.assert_array_equal(found[-1], network(given))
