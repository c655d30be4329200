"""The simulators of the fast and the torch backend, and their answers beside the reference simulator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from tests.backends.test_onnx_spiking import STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.simulation import Runner


def simulator(backend: str, graph: Graph, group: int | None = 2) -> Runner:
    """Return a backend's simulator of groups of so many samples (None: as many as it likes)."""
    if backend == "fast":
        pytest.importorskip("numba", reason='needs numba: pip install -e ".[fast]"')
        from snnc.backends.fast import FastSimulator

        return FastSimulator(graph, group=group, threads=1 if group is None else 2)
    pytest.importorskip("torch", reason='needs PyTorch: pip install -e ".[torch]"')
    from snnc.backends.torch.simulator import TorchSimulator

    return TorchSimulator(graph, group=group)


def run_both(
    backend: str, graph: Graph, inputs: Mapping[str, Array], steps: int = STEPS, group: int | None = 2
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return a backend's outputs, and the reference simulator's."""
    found = simulator(backend, graph, group).run(inputs, steps).outputs
    return found, Simulator(graph, threads=1).run(inputs, steps).outputs


def assert_identical(backend: str, graph: Graph, inputs: Mapping[str, Array], steps: int = STEPS) -> None:
    found, wanted = run_both(backend, graph, inputs, steps)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)
