"""`snnc check --spikes-only` and `snnc compile` on networks that spike already."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from snnc.cli import main
from tests.sasa import sasa

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(sasa("soft"), tmp_path / "sasa.onnx")
    return tmp_path / "sasa.onnx"


def snnc(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_a_network_that_spikes_is_compiled_directly_and_says_so(model: Path, tmp_path: Path) -> None:
    code, output = snnc("compile", model, "-o", tmp_path / "sasa.sir")
    assert code == 0
    assert "method direct, the network spikes already and keeps its neurons, 4 time steps" in output
    assert "warning" not in output


def test_the_proof_holds_for_the_model_and_for_the_network(model: Path, tmp_path: Path) -> None:
    snnc("compile", model, "-o", tmp_path / "sasa.sir")
    of_model, of_network = (snnc("check", path, "--spikes-only") for path in (model, tmp_path / "sasa.sir"))
    assert of_model == of_network
    code, output = of_model
    assert code == 0
    assert "spikes<0..3, N x 4 x 2>" in output
    assert "3 synapses of spikes, 0 of the analog input, 5 layers of neurons" in output
    assert output.endswith(
        "proved: no multiplication of two real streams; every synapse but the first reads spikes\n"
    )


def test_what_stands_against_the_proof_is_named_with_its_operands(tmp_path: Path) -> None:
    code, output = snnc("check", DIGITS / "digits_vit.onnx", "--spikes-only")
    assert code == 1
    assert "not proved: " in output
    assert "  it reads %" in output
    code, output = snnc("check", DIGITS / "digits_vit.onnx", "--spikes-only", "--json")
    found = json.loads(output)
    assert (code, found["spikes_only"]) == (1, False)
    assert set(found["offence"]) == {"node", "reason", "operands"}
    assert {edge["class"] for edge in found["edges"]} <= {"analog input", "current"}


def test_the_network_is_reported_on_verified_and_evaluated_against_its_stepped_model(
    model: Path, tmp_path: Path
) -> None:
    network, data = tmp_path / "sasa.sir", tmp_path / "frames.npz"
    random = np.random.default_rng(2)
    np.savez(data, x=(random.integers(-4, 13, (6, 5, 4, 6)) / 4).astype(np.float32))
    snnc("compile", model, "-o", network)
    against = (network, "--model", model, "--data", data)
    code, output = snnc("eval", *against, "--json")
    assert code == 0
    assert [step["relative_error"] for step in json.loads(output)["steps"]] == [0.0] * 6
    code, output = snnc("verify", *against, "--json")
    assert code == 0
    assert {layer["relative_error"] for layer in json.loads(output)["layers"]} == {0.0}
    code, _ = snnc("report", *against, "-o", tmp_path / "page.html")
    assert code == 0
    page = (tmp_path / "page.html").read_text()
    assert "lif, soft reset" in page
    assert "0.75; leak 0.5" in page
