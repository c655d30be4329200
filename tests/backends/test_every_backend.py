"""What holds for every backend: what it refuses, in the same words; what it sends, when sums are exact."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

import snnc
from snnc.cli import main
from snnc.ir.errors import BackendError, DataError, MissingPackageError, OptionError
from snnc.passes.base import PassContext
from snnc.passes.set_coding import SetCoding
from snnc.simulation import BACKENDS, open_runner
from tests.backends.test_onnx_spiking import classifier, dyadic
from tests.backends.test_onnx_spiking_networks import DIGITS, compiled, in_steps_of
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.simulation import Runner

others = pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "reference"])
NEEDS = {"fast": "numba", "torch": "torch"}


def opened(backend: str, graph: Graph) -> Runner:
    if backend in NEEDS:
        pytest.importorskip(NEEDS[backend], reason=f"the backend {backend} needs it")
    return open_runner(graph, backend)


@pytest.mark.parametrize("steps", [0, -1, 1.5, 2.0, float("nan")])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_number_of_steps(backend: str, steps: int) -> None:
    with pytest.raises(OptionError, match=f"cannot run {steps} time steps") as caught:
        opened(backend, classifier()).run({"x": dyadic(2, 1, 6, 6)}, steps)
    assert caught.value.help == "give a whole number of them, at least 1"


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_steps_than_the_data_have(backend: str) -> None:
    with pytest.raises(DataError, match="cannot run 3 time steps: the data have 2") as caught:
        opened(backend, classifier()).run({"x": dyadic(2, 1, 1, 6, 6)}, 3)
    assert caught.value.help == "take fewer steps"


# The ONNX backend refuses the coding itself: test_onnx_spiking.
@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "onnx"])
def test_differential_coding_is_for_inputs_that_do_not_vary(backend: str) -> None:
    graph = classifier()
    SetCoding("differential").run(graph, PassContext())
    graph.retype()
    runner = opened(backend, graph)
    with pytest.raises(DataError, match="the input 'x' varies in time; differential coding is for") as caught:
        runner.run({"x": dyadic(2, 1, 1, 6, 6)}, 2)
    assert caught.value.help == "compile with --coding rate"
    assert runner.run({"x": dyadic(1, 1, 6, 6)}, 2).outputs.keys() == {"y"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_step_of_an_expectation_node_is_no_answer(backend: str) -> None:
    b = Builder(N, 6)
    graph = b.outputs(y=b("neg", b("softmax", b.x, axis=1, expect=True, name="attention")))
    for decode in ("mean", "sum"):
        graph.decode_outputs(decode)
        opened(backend, graph)
    graph.decode_outputs("last")
    with pytest.raises(BackendError, match=r"output 'y' .* its last step: .* expect.softmax from") as caught:
        opened(backend, graph)
    assert caught.value.help == "decode by mean or sum"


@pytest.mark.parametrize(
    ("backend", "package", "name"), [("fast", "numba", "numba"), ("torch", "torch", "PyTorch")]
)
def test_without_what_it_needs_the_extra_is_named(
    backend: str, package: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.startswith(f"snnc.backends.{backend}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError) as caught:
        open_runner(classifier(), backend)
    assert caught.value.message == f"the backend {backend} needs {name}, which is not installed"
    assert caught.value.help == (
        f'pip install -e ".[{backend}]" in a clone of snnc; pip install "snnc[{backend}]" if it is installed'
    )


# Compiled networks.


@pytest.fixture(scope="module")
def exact() -> Graph:
    """A network whose sums are exact in any order."""
    return in_steps_of(compiled("digits_cnn"), 2**-8)


@others
def test_evaluation_counts_the_same_spikes_by_any_backend(backend: str, exact: Graph, images: Array) -> None:
    opened(backend, exact)
    model, data = DIGITS / "digits_cnn.onnx", {"image": images}
    wanted, found = (
        snnc.evaluate(exact, model, data, 3, backend=one).to_json() for one in ("reference", backend)
    )
    assert {**found, "seconds": 0} == {**wanted, "seconds": 0}


@others
def test_the_command_line_runs_with_any_backend(
    backend: str, exact: Graph, images: Array, tmp_path: Path
) -> None:
    opened(backend, exact)
    network, data = tmp_path / "net.sir", tmp_path / "x.npy"
    snnc.save(exact, network)
    np.save(data, images)
    outputs = []
    for one in ("reference", backend):
        target = tmp_path / f"{one}.npy"
        arguments = ["run", network, "--input", data, "--scale", "1", "-T", "2", "-o", target]
        result = CliRunner().invoke(main, [*map(str, arguments), "--backend", one])
        assert result.exit_code == 0, result.output
        outputs.append(np.load(target))
    np.testing.assert_array_equal(*outputs)
