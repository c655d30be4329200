"""What `snnc emit --backend lava` writes and refuses, and the command line around it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import snnc
from snnc.backends.lava.closure import PACKAGE, copied_modules
from snnc.backends.lava.emit import write_lava
from snnc.backends.lava.partition import cut
from snnc.cli import main
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import BackendError
from tests.lava import networks

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def invoke(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(map(str, arguments)), prog_name="snnc")
    assert result.exit_code == code, result.output
    return result.output


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_equal_networks_give_equal_folders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_lava(networks.every_path(), 4, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_folder_says_what_is_connected_to_what(tmp_path: Path) -> None:
    write_lava(networks.every_path(), 4, tmp_path)
    layers = {layer["name"]: layer for layer in json.loads((tmp_path / "network.json").read_text())["layers"]}
    residual = layers["residual"]
    assert (layers["first"]["depth"], layers["second"]["depth"], residual["depth"]) == (1, 2, 3)
    assert [(port["from"], port["delay"]) for port in residual["inputs"]] == [("second", 0), ("source0", 2)]
    assert [one["op"] for one in residual["program"]] == ["conv", "conv", "add", "neuron"]
    assert layers["pooled"]["depth"] == 4


def test_a_layer_takes_its_synapses_and_movement_along() -> None:
    ops = [[node.full_name for node in piece.nodes] for piece in cut(networks.host_nodes()).layers]
    assert ops[0] == ["linear", "neuron"]
    assert ["dequantise", "transpose", "expect.matmul"] in ops
    assert not any(piece == ["transpose"] for piece in ops)


def test_the_folder_needs_neither_snnc_nor_lava_to_be_read(tmp_path: Path) -> None:
    write_lava(networks.host_nodes(), 4, tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {PACKAGE}.backends.lava.runtime.program;"
    )
    code += "print(sorted(name for name in sys.modules if name.split('.')[0] in ('snnc', 'lava')))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_nothing_that_emits_imports_lava() -> None:
    code = "import sys, snnc.backends.lava.emit, snnc.backends.lava.session;"
    code += "print([name for name in sys.modules if name == 'lava' or name.startswith('lava.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_copied_modules_know_each_other_only() -> None:
    for name, text in copied_modules().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "snnc", name
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
                # An index with a bare star is syntax of Python 3.11; these modules run on 3.10.
                starred = any(isinstance(item, ast.Starred) for item in node.slice.elts)
                assert not starred or (ast.get_source_segment(text, node.slice) or "").startswith("("), name


# Refusals.


def test_a_network_of_real_weights_is_refused_node_by_node(tmp_path: Path) -> None:
    net = networks.Builder("real")
    hidden = net.add("linear", net.encode(net.input(4)), weight=np.ones((3, 4), np.float32), name="fc1")
    sent = net.add(
        "neuron", hidden, codebook=MultiSpike(0, 3), quantum=np.ones((1, 3), np.float32), name="relu"
    )
    net.answer(net.synapse("linear", sent, 2, 3))
    with pytest.raises(BackendError) as refused:
        write_lava(net.done(), 4, tmp_path)
    assert str(refused.value) == (
        "1 nodes of the network cannot run in Lava:\n"
        "  - linear fc1: it has real weights\n"
        "  help: compile with --target loihi2: weights, thresholds and currents become integers"
    )
    assert contents(tmp_path) == {}


def test_the_last_step_of_an_expectation_node_is_no_answer(tmp_path: Path) -> None:
    graph = networks.host_nodes()
    graph.decode_outputs("last")
    with pytest.raises(BackendError, match="cannot be decoded by its last step"):
        write_lava(graph, 4, tmp_path)
    assert not list(tmp_path.iterdir())


def test_thresholds_of_real_numbers_are_refused(tmp_path: Path) -> None:
    net = networks.Builder("real")
    spikes = net.encode(net.input(4))
    net.answer(
        net.add("neuron", spikes, codebook=MultiSpike(0, 3), quantum=np.ones((1, 4), np.float32), name="a")
    )
    with pytest.raises(BackendError, match=r"neuron a: it has a real quantum"):
        write_lava(net.done(), 4, tmp_path)


@pytest.mark.parametrize("encodes", [True, False], ids=["encoder", "inside"])
def test_neurons_that_take_back_what_they_sent_are_refused(tmp_path: Path, encodes: bool) -> None:
    net = networks.Builder("back")
    x = net.input(4)
    real = x if encodes else net.add("linear", net.encode(x), weight=np.eye(4, dtype=np.float32))
    quantum = np.ones((1, 4), np.float32)
    sent = net.add("neuron", real, codebook=MultiSpike(0, 3), quantum=quantum, bounds="sum", name="a")
    net.answer(net.synapse("linear", sent, 2, 4))
    with pytest.raises(BackendError, match=r"neuron a: it takes back what it sent too early.*another method"):
        write_lava(net.done(), 4, tmp_path)


# The command line.


@pytest.fixture
def network(tmp_path: Path) -> Path:
    snnc.save(networks.every_path(), tmp_path / "net.sir")
    return tmp_path / "net.sir"


def test_emit_replaces_its_own_folders_only(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    said = invoke("emit", network, "--backend", "lava", "-o", target, "-T", "4")
    assert said == f"{target}: 4 time steps, 12 layers, 16 Lava processes\n"
    before = contents(target)
    invoke("emit", network, "--backend", "lava", "-o", target, "-T", "4")
    assert contents(target) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    said = invoke("emit", network, "--backend", "lava", "-o", tmp_path / "mine", code=1)
    assert "mine cannot be written: it is a folder with other things in it" in said
    said = invoke("emit", network, "--backend", "lava", "-o", network, code=1)
    assert "net.sir cannot be written: it is a file" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "net.sir", "out"]


def test_options_of_lava_are_for_lava(network: Path, tmp_path: Path) -> None:
    arguments = ("run", network, "--input", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    said = invoke(*arguments, "--time-limit", "5", code=2)
    assert "--lava-python and --time-limit mean nothing without --backend lava" in said


def test_run_gives_what_the_reference_gives(network: Path, tmp_path: Path, lava_python: Path) -> None:
    np.savez(tmp_path / "x.npz", **networks.samples(networks.every_path(), 3, steps=6))
    arguments = ("run", network, "--input", tmp_path / "x.npz", "-o")
    said = invoke(*arguments, tmp_path / "lava.npz", "--backend", "lava", "--lava-python", lava_python)
    assert said.startswith("note: 16 Lava processes, 28 steps: about ")
    invoke(*arguments, tmp_path / "reference.npz")
    assert (tmp_path / "lava.npz").read_bytes() == (tmp_path / "reference.npz").read_bytes()
