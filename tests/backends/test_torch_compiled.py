"""What torch.compile makes of a network sends the payloads of the network as it is."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

import snnc
from snnc.backends.reference import Simulator
from snnc.cli import main
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import BackendError, OptionError
from snnc.passes.base import PassContext
from snnc.passes.set_coding import SetCoding
from snnc.simulation import BACKENDS, open_runner
from tests.backends.test_onnx_spiking import CODEBOOKS, FORMS, dyadic, neuron
from tests.backends.test_onnx_spiking_networks import DIGITS
from tests.passes.build import Builder, N

pytest.importorskip("torch", reason='needs PyTorch: pip install -e ".[torch]"')

from snnc.backends.torch.simulator import TorchSimulator

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

COMPILER = os.environ.get("CXX", "g++")
compiles = pytest.mark.skipif(
    shutil.which(COMPILER) is None,
    reason=f"torch.compile needs a C++ compiler, and there is no {COMPILER} (CXX names another)",
)


@pytest.fixture(autouse=True)
def nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile anew, and leave nothing behind."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))


class Watch:
    """Keeps all spikes, in the order of time and of the samples."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], list[Array]] = {}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if node.op.name in ("neuron", "lif"):
            self.seen.setdefault((node.origin[0], t), []).append(value.copy())


def assert_identical(graph: Graph, inputs: dict[str, Array], steps: int, **options: int) -> None:
    """Compare outputs and spikes; every stream of spikes goes to observers."""
    found, wanted = Watch(), Watch()
    outputs = TorchSimulator(graph, compiled=True, **options).run(inputs, steps, observers=[found]).outputs
    expected = Simulator(graph, threads=1).run(inputs, steps, observers=[wanted]).outputs
    assert list(outputs) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array, err_msg=name)
    assert found.seen.keys() == wanted.seen.keys()
    for key, arrays in wanted.seen.items():
        np.testing.assert_array_equal(np.concatenate(found.seen[key]), np.concatenate(arrays), err_msg=key)


def neurons_of_every_kind() -> Graph:
    """Every way to quantise, with thresholds that numbers do not divide by exactly; `lif`; `delay`."""
    b = Builder(N, 2, 6)
    thirds = {"quantum": np.full((1, 1, 1), 3.0, np.float32), "initial": 0.5}
    streams = {
        name.replace(", ", "_"): b("neuron", b.x, codebook=CODEBOOKS[name], **thirds)
        for name in ("binary", "ternary", "multi", "floor", "burst", "pow2", "pow2, nearest")
    }
    all_at_once = {
        key: value.reshape(1, -1, 1) if isinstance(value, np.ndarray) else value
        for key, value in FORMS["all at once"].items()
    }
    streams["all_at_once"] = b("neuron", b.x, codebook=CODEBOOKS["multi"], **all_at_once)
    half = np.full((1, 1, 1), 0.5, np.float32)
    streams["lif"] = b("lif", b("delay", streams["multi"], steps=2), threshold=half, leak=half)
    return b.outputs(**streams)


@compiles
def test_neurons_send_the_references_spikes() -> None:
    """Groups of two samples are compiled, the fifth sample runs as it would without."""
    assert_identical(neurons_of_every_kind(), {"x": dyadic(3, 5, 2, 6)}, 3, group=2)


@compiles
def test_the_command_line_compiles_too(tmp_path: Path) -> None:
    """A neuron of changes, run by `snnc run`."""
    graph = neuron((N, 2, 6), codebook=MultiSpike(-3, 3), quantum=np.full((1, 2), 0.5, np.float32))
    SetCoding("differential").run(graph, PassContext())
    graph.retype()
    network, data = tmp_path / "net.sir", tmp_path / "x.npy"
    snnc.save(graph, network)
    np.save(data, dyadic(4, 2, 6))
    outputs = []
    for options in ([], ["--backend", "torch", "--compiled"]):
        target = tmp_path / "y.npy"
        arguments = ["run", network, "--input", data, "--scale", "1", "-T", "2", "-o", target]
        result = CliRunner().invoke(main, [*map(str, arguments), *options])
        assert result.exit_code == 0, result.output
        outputs.append(np.load(target))
    np.testing.assert_array_equal(outputs[1], outputs[0])
    assert list((tmp_path / "inductor").rglob("*.so")), "nothing was compiled"


# Refusals.


@pytest.fixture
def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))


@pytest.mark.usefixtures("without_a_compiler")
def test_where_no_compiler_is(tmp_path: Path) -> None:
    graph = neuron((N, 2, 6), codebook=MultiSpike(-3, 3))
    with pytest.raises(BackendError, match=r"torch.compile failed: No working C\+\+ compiler") as caught:
        TorchSimulator(graph, compiled=True).run({"x": dyadic(1, 2, 6)}, 1)
    assert "without --compiled (compiled=True) networks run as they are" in str(caught.value)
    network = tmp_path / "net.sir"
    digits = snnc.load_data(DIGITS / "digits_calibration.npz", normalise=snnc.Normalise(scale=1 / 16))
    snnc.save(snnc.compile(DIGITS / "digits_cnn.onnx", digits), network)
    arguments = ["eval", network, "--model", DIGITS / "digits_cnn.onnx", "--data", DIGITS / "digits_test.npz"]
    options = ["--limit", "4", "-T", "1", "--backend", "torch", "--compiled"]
    result = CliRunner().invoke(main, [*map(str, arguments), *options])
    assert result.exit_code != 0
    assert "torch.compile failed: No working C++ compiler" in result.output


def test_other_backends_refuse_it(tmp_path: Path) -> None:
    graph = neuron((N, 2, 6), codebook=MultiSpike(-3, 3))
    for backend in set(BACKENDS) - {"torch"}:
        with pytest.raises(OptionError, match=f"torch.compile does nothing for {backend}"):
            open_runner(graph, backend, compiled=True)
    network, data = tmp_path / "net.sir", tmp_path / "x.npy"
    snnc.save(graph, network)
    np.save(data, dyadic(1, 2, 6))
    arguments = ["run", network, "--input", data, "-T", "1", "-o", tmp_path / "y.npy", "--compiled"]
    for options, message in (
        ([], "torch.compile does nothing for reference"),
        (["--backend", "lava"], "--compiled is for --backend torch"),
    ):
        result = CliRunner().invoke(main, [*map(str, arguments), *options])
        assert result.exit_code != 0
        assert message in result.output
