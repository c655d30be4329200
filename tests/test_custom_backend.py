"""The backend of `examples/custom_backend` writes C that does what the simulator does, or refuses by name."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from snnc import targets as targets_module
from snnc.backends.reference import Simulator
from snnc.cli import main
from snnc.emission import TARGETS, EmitOptions
from snnc.ir.errors import BackendError, OptionError, PassError
from snnc.ir.text import parse_graph
from snnc.targets import ENTRY_POINT_GROUP, find_target, known_targets

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "custom_backend"
FILE = EXAMPLE / "c_source.py"
CC = shutil.which("cc")
CHANNELS = 6
NETWORK = """
sir 1
graph @net(%x: tensor<f32, N x 4>) {
  %0 = linear(%x) {weight = @first, bias = @bias}
  %1 = neuron(%0) {NEURON}
  %2 = linear(%1) {weight = @second}
  return %2 as "y"
}
"""


def network(neuron: str = "codebook = binary, quantum = @quantum") -> str:
    """Return a network whose weights are multiples of 1/8: sums of them are exact in any order."""
    random = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> str:
        values = random.integers(-16, 17, shape) / 8
        return f"tensor @{name} : tensor<f32, {' x '.join(map(str, shape))}> = {values.ravel().tolist()}\n"

    quanta = "[0.5, 1.0, 0.25, 2.0, 0.5, 0.125]"
    return (
        NETWORK.replace("NEURON", neuron)
        + tensor("first", CHANNELS, 4)
        + tensor("bias", CHANNELS)
        + tensor("second", 3, CHANNELS)
        + f"tensor @quantum : tensor<f32, 1 x {CHANNELS}> = {quanta}\n"
        + f"tensor @more : tensor<f32, 1 x {CHANNELS}> = {quanta}\n"
    )


def emit(text: str, folder: Path, *options: str) -> Path:
    """Write the C file of a network by the command line."""
    source, result = folder / "net.sir", folder / "net.c"
    source.write_text(text)
    arguments = ["emit", str(source), "--load", str(FILE), "--backend", "c", "-o", str(result), *options]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.endswith("C99, 4 inputs, 3 outputs\n")
    return result


def run_c(source: Path, x: np.ndarray, steps: int) -> np.ndarray:
    """Compile a C file and return its decoded outputs after every step, [T, N, 3]."""
    library = source.with_suffix(".so")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([CC or "cc", *flags, "-o", library, source, "-lm"], check=True)
    compiled = ctypes.CDLL(str(library))
    pointer = ctypes.POINTER(ctypes.c_float)
    outputs = np.empty((steps, len(x), 3), np.float32)
    for n, sample in enumerate(x):
        compiled.reset()
        for t in range(steps):
            compiled.step(sample.ctypes.data_as(pointer), outputs[t, n].ctypes.data_as(pointer))
    return outputs


@pytest.mark.skipif(CC is None, reason="there is no C compiler (cc)")
@pytest.mark.parametrize(
    "neuron",
    [
        "codebook = binary, quantum = @quantum",
        "codebook = multi(-7, 7), quantum = @quantum, scale = @more",
        "codebook = multi(0, 15, floor), quantum = @quantum, bias = @more, initial = 0.5",
    ],
)
def test_the_c_file_computes_what_the_simulator_does_at_every_step(neuron: str, tmp_path: Path) -> None:
    text = network(neuron)
    x = (np.random.default_rng(1).integers(-8, 9, (5, 4)) / 8).astype(np.float32)
    wanted = Simulator(parse_graph(text)).run(x, 8).outputs["y"]
    assert len(np.unique(wanted)) > 20
    np.testing.assert_array_equal(run_c(emit(text, tmp_path), x, 8), wanted)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("codebook = binary", "codebook = multi(0, 7, burst)", "it sends MultiSpike"),
        ("codebook = binary", "codebook = pow2(3)", "it sends PowerOfTwo"),
        ("quantum = @quantum", 'quantum = @quantum, reset = "zero"', "it resets by zero"),
        ("quantum = @quantum", "quantum = @quantum, charge = @more", "it has charge"),
        ("binary, quantum = @quantum", 'multi(0, 7), quantum = @quantum, bounds = "sum"', "hold for a sum"),
        ("linear(%1) {weight = @second}", "expect.softmax(%0) {axis = 1}", "does not know this operation"),
        ("{\n", "coding differential {\n", "writes networks in rate coding"),
        ('as "y"', 'as "y" decode last', "decodes means, not last"),
    ],
)
def test_it_refuses_by_name_what_it_cannot_write(
    before: str, after: str, reason: str, tmp_path: Path
) -> None:
    assert before in network()
    graph = parse_graph(network().replace(before, after, 1))
    with (tmp_path / "net.c").open("wb") as file, pytest.raises(BackendError, match=reason):
        find_target("c", [FILE]).write(graph, EmitOptions(4), file)


def test_a_name_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(OptionError, match="there is no backend 'onx'") as refusal:
        find_target("onx")
    assert "onnx" in (refusal.value.help or "")


def test_two_backends_of_one_name_are_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text('from snnc.emission import Target\nTARGET = Target("onnx", ".onnx", lambda *_: "")\n')
    with pytest.raises(BackendError, match="'onnx' is defined twice"):
        known_targets([mine])


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [("x = 1\n", BackendError, "defines no backend"), ("1 / 0\n", PassError, "ZeroDivisionError")],
)
def test_a_file_without_a_backend_is_refused(
    content: str, error: type[Exception], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "empty.py"
    path.write_text(content)
    with pytest.raises(error, match=reason):
        known_targets([path])


def test_an_entry_point_that_is_no_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("theirs", "collections:OrderedDict", ENTRY_POINT_GROUP)]
    monkeypatch.setattr(targets_module, "entry_points", lambda group: points)
    with pytest.raises(BackendError, match=r"'theirs' \(collections:OrderedDict\) is no"):
        known_targets()


def test_the_built_in_backends_are_those_of_the_table() -> None:
    assert dict(known_targets()) == TARGETS


def test_it_is_found_where_it_is_installed(tmp_path: Path) -> None:
    """An installed package offers the backend without --load."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    metadata = tmp_path / "snnc_c_source-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: snnc-c-source\nVersion: 0.1.0\n")
    (group, points) = next(iter(project["project"]["entry-points"].items()))
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    (tmp_path / "c_source.py").write_text(FILE.read_text())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "snnc", "emit", str(EXAMPLE / "tiny.sir"), "--backend", "c", "-o"]
    subprocess.run([*command, str(tmp_path / "tiny.c")], check=True, env=environment)
    assert "void step(const float *x, float *y)" in (tmp_path / "tiny.c").read_text()
