"""Every backend against the reference simulator."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from snnc.backends.onnx.spiking import OnnxSimulator
from snnc.ir.errors import BackendError
from tests.generated.limits import run
from tests.generated.measures import same_but_for_ties

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array


def run_elsewhere(graph: Graph, data: dict[str, Array], steps: int) -> dict[str, dict[str, Array]]:
    """Return the outputs of the unrolled ONNX model and of torch, where they do not refuse the graph.

    They say what they cannot: ONNX differential coding, torch ops it has no kernel for.
    """
    torch = pytest.importorskip(
        "snnc.backends.torch.simulator", reason='needs PyTorch: pip install -e ".[torch]"'
    )
    found = {}
    for name, simulator in (("onnx", partial(OnnxSimulator, threads=1)), ("torch", torch.TorchSimulator)):
        try:
            found[name] = simulator(graph).run(data, steps).outputs
        except BackendError as error:
            expected = (
                "in rate coding, not in differential" if name == "onnx" else "the torch backend does not know"
            )
            assert expected in error.message  # noqa: PT017 - any other refusal is a failure
    return found


def assert_backends_agree(graph: Graph, data: dict[str, Array]) -> None:
    """The same outputs at every step, but for ties: sums run in another order."""
    wanted = run(graph, data, 3)
    for backend, outputs in run_elsewhere(graph, data, 3).items():
        assert list(outputs) == list(wanted)
        for name, array in wanted.items():
            assert same_but_for_ties(outputs[name], array), (backend, name)
