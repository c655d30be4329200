"""`snnc emit --backend nir` and back: compile, check, eval and print take NIR graphs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nir
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc


@pytest.fixture(scope="module")
def mlp(snnc: Snnc, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mlp.sir, which resets to zero, and the mlp.nir that it becomes."""
    folder = tmp_path_factory.mktemp("mlp")
    snnc(
        "compile", digits / "digits_mlp.onnx", "-o", folder / "mlp.sir", "--method", "if", "--reset", "zero",
        "-T", "16", "--calibration", digits / "digits_calibration.npz", "--scale", "1/16", "--quiet",
    )  # fmt: skip
    said = snnc("emit", folder / "mlp.sir", "--backend", "nir", "-o", folder / "mlp.nir").stdout
    assert said == f"{folder / 'mlp.nir'}: 16 time steps, each 0.0001 s, 8 nodes\n"
    return folder


def test_the_file_says_how_to_run_it(mlp: Path) -> None:
    graph = nir.read(mlp / "mlp.nir")
    record = {"producer": "snnc", "dt": 1e-4, "integration": "euler", "steps": 16}
    assert {key: graph.metadata[key] for key in record} == record
    assert graph.nodes["input"].metadata["name"] == "image"
    assert graph.nodes["if_1"].metadata["origin"] == "/2/Relu"
    assert graph.nodes["output"].metadata == {"name": "logits", "decode": "mean"}


def test_there_and_back_sends_the_same_spikes(snnc: Snnc, digits: Path, mlp: Path, out: Path) -> None:
    snnc("compile", mlp / "mlp.nir", "-o", out / "back.sir", "--quiet")
    given = ("--input", digits / "digits_test.npz", "--scale", "1/16", "--limit", "40", "-T", "8")
    for net, name, neuron in ((mlp / "mlp.sir", "a", "/2/Relu"), (out / "back.sir", "b", "if_1")):
        snnc("run", net, *given, "-o", out / f"{name}.npz", "--record", neuron)
    with np.load(out / "a.npz") as before, np.load(out / "b.npz") as after:
        np.testing.assert_array_equal(after["logits"], before["logits"])
        np.testing.assert_array_equal(after["if_1.spikes"], before["/2/Relu.spikes"])
        assert before["/2/Relu.spikes"].any()


def test_check_says_what_becomes_of_every_node(snnc: Snnc, mlp: Path) -> None:
    found = json.loads(snnc("check", mlp / "mlp.nir", "--json").stdout)
    assert found["compiles"]
    fates = {node["name"]: (node["op_type"], node["outcome"]) for node in found["nodes"]}
    assert fates["if_1"] == ("IF", "neuron")
    assert fates["affine_1"] == ("Affine", "exact")
    assert "8 nodes (NIR): 2 neuron, 4 exact, 2 folded" in snnc("check", mlp / "mlp.nir").stdout


def test_eval_takes_either_model(snnc: Snnc, digits: Path, mlp: Path, out: Path) -> None:
    snnc("compile", mlp / "mlp.nir", "-o", out / "back.sir", "--quiet")
    data = ("--data", digits / "digits_test.npz", "--scale", "1/16", "--limit", "60", "-T", "12", "--json")
    against = {
        model: json.loads(snnc("eval", out / "back.sir", "--model", model, *data).stdout)["steps"][-1]
        for model in (digits / "digits_mlp.onnx", mlp / "mlp.nir")
    }
    onnx, itself = against.values()
    assert onnx["value"] == itself["value"] > 0.9
    assert (itself["agreement"], itself["relative_error"]) == (1, 0)
    assert onnx["agreement"] > 0.9


def test_spikes_only_holds_for_a_nir_graph(snnc: Snnc, mlp: Path) -> None:
    assert "spikes" in snnc("check", mlp / "mlp.nir", "--spikes-only").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "net.onnx"), "net.onnx is not named .nir"),
        (("-o", "net.nir", "--varying", "image"), "--varying means nothing to --backend nir"),
    ],
)
def test_emit_refuses(snnc: Snnc, mlp: Path, out: Path, arguments: tuple[str, ...], message: str) -> None:
    given = [out / item if item.startswith("net.") else item for item in arguments]
    assert message in snnc("emit", mlp / "mlp.sir", "--backend", "nir", *given, code=2).stderr
    assert list(out.iterdir()) == []


def test_a_refused_network_leaves_no_file(snnc: Snnc, compiled: Path, out: Path) -> None:
    said = snnc("emit", compiled / "cnn.sir", "--backend", "nir", "-o", out / "cnn.nir", code=1).stderr
    assert "NIR has no exact words for this network" in said
    assert "compile with --method if --reset zero" in said
    assert list(out.iterdir()) == []


def test_dt_is_for_nir(snnc: Snnc, digits: Path, mlp: Path, out: Path) -> None:
    snnc("emit", mlp / "mlp.sir", "--backend", "nir", "-o", out / "slow.nir", "--dt", "0.5")
    assert nir.read(out / "slow.nir").nodes["if_1"].r[0] == 2
    result = snnc("compile", digits / "digits_mlp.onnx", "-o", out / "n.sir", "--dt", "1", code=2)
    assert "--dt is for NIR graphs" in result.stderr
    result = snnc("emit", mlp / "mlp.sir", "--backend", "onnx", "-o", out / "n.onnx", "--dt", "1", code=2)
    assert "--dt means nothing to --backend onnx" in result.stderr


def test_verify_says_that_it_takes_onnx(snnc: Snnc, digits: Path, mlp: Path) -> None:
    given = ("--model", mlp / "mlp.nir", "--data", digits / "digits_test.npz")
    assert "this is an HDF5 file (a NIR graph?)" in snnc("verify", mlp / "mlp.sir", *given, code=1).stderr
