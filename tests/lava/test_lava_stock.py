"""Chains of integrate-and-fire neurons, run by processes that come with Lava, or written for lava-dl."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

import snnc
from snnc.backends.lava.emit import write_lava
from snnc.backends.lava.netx import write_netx
from snnc.backends.lava.session import LavaSimulator
from snnc.backends.reference import Simulator
from snnc.calibration import DatasetCalibration
from snnc.cli import main
from snnc.data import Dataset
from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.errors import BackendError
from snnc.ir.shapes import Batch
from snnc.passes.base import PassContext
from snnc.passes.dce import Dce
from snnc.passes.integerise import Integerise
from snnc.passes.manager import PassManager
from snnc.passes.quantise_weights import QuantiseWeights
from tests.lava.networks import Builder, samples

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Value

STEPS = 8
DIGITS = Path(__file__).parents[2] / "examples" / "digits"
PIXELS = MultiSpike(0, 7)


@pytest.fixture(scope="module")
def trained_chain() -> Graph:
    """The trained MLP with one threshold and one unit per layer, in integers small enough for Lava's LIF."""
    with np.load(DIGITS / "digits_calibration.npz") as file:
        data = Dataset({"image": file["x"].astype(np.float32) / 16})
    graph = snnc.compile(DIGITS / "digits_mlp.onnx", data, method="if", reset="zero", per="tensor")
    passes = [QuantiseWeights(per="layer", bits=6, input_bits=5), Integerise(), Dce()]
    PassManager(passes, PassContext(DatasetCalibration(data))).run(graph)
    return graph


def fire(net: Builder, x: Value, name: str, threshold: int, **more: Any) -> Value:
    """A neuron that Lava's LIF can be: binary spikes, reset to zero, one threshold."""
    quantum = np.full((1,) * len(x.type.shape), threshold, np.int32)
    given = {"codebook": Binary(), "reset": "zero", "width": 24, **more}
    return net.add("neuron", x, quantum=quantum, name=name, site=name, **given)


def image_chain() -> Graph:
    """Convolutions (strides, pads, dilations, groups, 130 channels, odd weights), flatten, dense layers."""
    net = Builder("chain")
    x = net.encode(net.input(2, 8, 9), PIXELS, 1 / 4)
    a = fire(net, net.synapse("conv", x, 6, 2, 3, 2, pads=(1, 0, 1, 0), exponent=1, bias=300), "a", 700)
    b = net.synapse(
        "conv", a, 8, 3, 3, 3, group=2, strides=(1, 2), dilations=(2, 1), pads=(2, 1, 2, 1), bias=99
    )
    threshold = np.full((1, 1, 1, 1), 150, np.int32)
    spikes = net.add("lif", b, threshold=threshold, reset="hard", strict=True, width=24, name="b", site="b")
    wide = fire(net, net.synapse("conv", spikes, 130, 8, 1, 1, strides=(4, 2)), "wide", 60)
    rows = net.add("reshape", wide, shape=(Batch(), 130 * 4))
    weight = net.random.integers(-20, 21, (12, 130 * 4)).astype(np.int8)
    hidden = fire(net, net.add("linear", rows, weight=weight), "hidden", 100)
    net.answer(net.synapse("linear", hidden, 10, 12, exponent=2, bias=80))
    return net.done()


def test_lavas_own_processes_compute_the_same(lava_python: Path) -> None:
    graph = image_chain()
    x = samples(graph, 4)
    simulator = LavaSimulator(graph, lava_python, stock_steps=STEPS, time_limit=300)
    found = simulator.run(x, STEPS).outputs["y"]
    np.testing.assert_array_equal(found, Simulator(graph).run(x, STEPS).outputs["y"])
    assert np.abs(found).max() > 0


def test_lavas_own_processes_run_a_trained_network(lava_python: Path, trained_chain: Graph) -> None:
    simulator = LavaSimulator(trained_chain, lava_python, stock_steps=STEPS, time_limit=300)
    with np.load(DIGITS / "digits_test.npz") as file:
        x, labels = {"image": file["x"][:6].astype(np.float32) / 16}, file["y"][:6]
    found = simulator.run(x, STEPS).outputs["logits"]
    np.testing.assert_array_equal(found, Simulator(trained_chain).run(x, STEPS).outputs["logits"])
    assert (found[-1].argmax(axis=-1) == labels).mean() > 0.8


def test_a_trained_network_is_written_for_lavas_own_processes(trained_chain: Graph, tmp_path: Path) -> None:
    write_lava(trained_chain, STEPS, tmp_path, stock=True)
    assert (tmp_path / "network.json").exists()
    for node in trained_chain:
        if node.op.name == "neuron" and "width" in node.attributes:
            assert np.unique(trained_chain.resolve(node)["quantum"]).size == 1, "one threshold for a layer"


def test_more_steps_than_were_proven_are_refused(lava_python: Path) -> None:
    simulator = LavaSimulator(image_chain(), lava_python, stock_steps=4)
    with pytest.raises(BackendError, match="exact for at most 4 steps per sample, as emitted with -T"):
        simulator.run(samples(image_chain(), 1), 5)


def refusal(graph: Graph, folder: Path, steps: int = STEPS) -> str:
    with pytest.raises(BackendError) as refused:
        write_lava(graph, steps, folder, stock=True)
    return refused.value.message


def one_neuron(**more: Any) -> Graph:
    net = Builder("one")
    current = net.synapse("linear", net.encode(net.input(4), PIXELS), 3, 4, bias=more.pop("bias", 0))
    net.answer(fire(net, current, "it", more.pop("threshold", 90), **more))
    return net.done()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"reset": "subtract"}, "Lava's LIF sends 0 or 1 and resets to zero"),
        ({"initial": 1.0}, "it leaks or charges, which Lava's LIF does in steps of 1/64"),
        ({"threshold": 2**17 + 1}, "its threshold 131072 does not fit 17 bits"),
        ({"threshold": 2**17 - 5}, "its membrane may reach 13"),
    ],
)
def test_other_neurons_are_refused_by_name(more: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert refusal(one_neuron(**more), tmp_path).startswith(
        f"Lava's own processes cannot run neuron it: {why}"
    )


def test_other_networks_are_refused_by_name(tmp_path: Path) -> None:
    net = Builder("two")
    x = net.encode(net.input(4), PIXELS)
    current = net.synapse("linear", x, 3, 4)
    quanta = np.array([[80, 90, 100]], np.int32)
    net.answer(
        net.add("neuron", current, codebook=Binary(), reset="zero", quantum=quanta, width=24, name="it")
    )
    assert refusal(net.done(), tmp_path).endswith("neuron it: its thresholds, 80 to 100, are not one number")
    net = Builder("sum")
    x = net.encode(net.input(4), PIXELS)
    both = net.add("add", net.synapse("linear", x, 3, 4), net.synapse("linear", x, 3, 4), name="skip")
    net.answer(fire(net, both, "it", 90))
    assert refusal(net.done(), tmp_path).startswith(
        "Lava's own processes cannot run add skip: only convolutions"
    )


# lava-dl's file.


def as_lava_dl_reads(data: bytes) -> list[dict[str, Any]]:
    import h5py

    def plain(group: Any) -> dict[str, Any]:
        return {k: plain(v) if isinstance(v, h5py.Group) else v[()] for k, v in group.items()}

    with h5py.File(io.BytesIO(data)) as archive:
        return [plain(archive["layer"][str(number)]) for number in range(len(archive["layer"]))]


def small_chain(exponent: int = 0) -> Graph:
    net = Builder("small")
    x = net.encode(net.input(2, 5, 6), PIXELS)
    a = fire(net, net.synapse("conv", x, 3, 2, 2, 3, strides=(1, 2), pads=(0, 1, 0, 1), bias=40), "a", 70)
    rows = net.add("reshape", a, shape=(Batch(), 36))
    net.answer(net.synapse("linear", rows, 4, 36, exponent=exponent, bias=9))
    return net.done()


def test_a_chain_is_written_as_lava_dl_reads_it() -> None:
    pytest.importorskip("h5py", reason="LAVA-DL'S FILES ARE NOT TESTED: h5py is not installed")
    graph, file, again = small_chain(), io.BytesIO(), io.BytesIO()
    write_netx(graph, STEPS, file)
    write_netx(graph, STEPS, again)
    assert file.getvalue() == again.getvalue()
    layers = as_lava_dl_reads(file.getvalue())
    assert [layer["type"] for layer in layers] == [b"input", b"conv", b"flatten", b"dense"]
    assert layers[0]["shape"].tolist() == [2, 5, 6]
    conv, dense = layers[1], layers[3]
    np.testing.assert_array_equal(conv["weight"], graph.tensors["conv.weight"])
    np.testing.assert_array_equal(conv["bias"], graph.tensors["conv.bias"])
    assert (conv["stride"].tolist(), conv["padding"].tolist(), conv["groups"]) == ([1, 2], [0, 1], 1)
    assert conv["neuron"] == {
        "type": b"CUBA", "vThMant": 69, "iDecay": 4096, "vDecay": 0, "refDelay": 1, "gradedSpike": False,
    }  # fmt: skip
    assert "neuron" not in dense
    np.testing.assert_array_equal(dense["weight"], graph.tensors["linear.weight"])


def test_weights_beyond_netx_are_refused() -> None:
    pytest.importorskip("h5py", reason="LAVA-DL'S FILES ARE NOT TESTED: h5py is not installed")
    with pytest.raises(BackendError, match="its weights reach 508 with their exponent; netx has 8 bits"):
        write_netx(small_chain(exponent=2), STEPS, io.BytesIO())


def test_the_command_line_writes_both(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="LAVA-DL'S FILES ARE NOT TESTED: h5py is not installed")
    snnc.save(small_chain(), tmp_path / "net.sir")

    def emit(*arguments: str | Path, code: int = 0) -> str:
        given = ["emit", tmp_path / "net.sir", "-T", "8", *arguments]
        result = CliRunner().invoke(main, list(map(str, given)), prog_name="snnc")
        assert result.exit_code == code, result.output
        return result.output

    said = emit("--backend", "lava", "--stock", "-o", tmp_path / "stock")
    assert said.endswith("8 time steps, 2 layers, 5 of Lava's own processes\n")
    said = emit("--backend", "netx", "-o", tmp_path / "net.net")
    assert said.endswith("8 time steps, 2 layers for lava-dl's netx\n")
    said = emit("--backend", "netx", "--stock", "-o", tmp_path / "net.net", code=2)
    assert "--stock means nothing to --backend netx" in said


def test_what_netx_cannot_hold_is_for_another_backend() -> None:
    pytest.importorskip("h5py", reason="LAVA-DL'S FILES ARE NOT TESTED: h5py is not installed")
    net = Builder("payloads")
    x = net.encode(net.input(4))
    net.answer(net.neuron(net.synapse("linear", x, 5, 4), "hidden", MultiSpike(0, 7)))
    with pytest.raises(BackendError, match="cannot run neuron hidden") as refused:
        write_netx(net.done(), STEPS, io.BytesIO())
    assert refused.value.help == "--backend lava writes this, in snnc's own processes"
