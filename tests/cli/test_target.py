"""`snnc compile --target loihi2` and `snnc eval --against`: integers, and what they cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc

CALIBRATED = ("--scale", "1/16", "--limit", "48", "--quiet")


@pytest.fixture(scope="module")
def integers(snnc: Snnc, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("integers") / "integers.sir"
    data = digits / "digits_calibration.npz"
    model = digits / "digits_cnn.onnx"
    snnc("compile", model, "-o", path, "--calibration", data, *CALIBRATED, "--target", "loihi2")
    return path


def test_the_record_names_the_machine_and_its_passes(snnc: Snnc, integers: Path) -> None:
    text = snnc("print", integers).stdout
    assert "tensor<i8, " in text
    assert "width = 24" in text
    assert "tensor<f32, N x 16" not in text


def test_eval_says_what_integers_cost(snnc: Snnc, integers: Path, compiled: Path, digits: Path) -> None:
    common = (
        "--model",
        digits / "digits_cnn.onnx",
        "--data",
        digits / "digits_test.npz",
        "--limit",
        "60",
        "-T",
        "2",
    )
    shown = snnc("eval", integers, *common, "--against", compiled / "cnn.sir", "--quiet").stdout
    assert "against" in shown.splitlines()[0]
    assert "against the other network at t = 2: " in shown
    report = json.loads(
        snnc("eval", integers, *common, "--against", compiled / "cnn.sir", "--quiet", "--json").stdout
    )
    assert len(report["against"]["steps"]) == len(report["steps"]) == 2
    assert abs(report["steps"][1]["value"] - report["against"]["steps"][1]["value"]) <= 0.02


def test_a_transformer_is_refused_unless_a_host_computes(snnc: Snnc, digits: Path, tmp_path: Path) -> None:
    model, data = digits / "digits_vit.onnx", digits / "digits_calibration.npz"
    command = (
        "compile",
        model,
        "-o",
        tmp_path / "vit.sir",
        "--calibration",
        data,
        *CALIBRATED,
        "--target",
        "loihi2",
    )
    refused = snnc(*command, code=1).stderr
    assert "expect.softmax" in refused
    assert "--host-nodes" in refused
    assert not (tmp_path / "vit.sir").exists()
    snnc(*command, "--host-nodes")
    assert "expect.softmax" in snnc("print", tmp_path / "vit.sir").stdout


def test_host_nodes_need_a_target(snnc: Snnc, digits: Path, tmp_path: Path) -> None:
    refused = snnc(
        "compile", digits / "digits_cnn.onnx", "-o", tmp_path / "x.sir", "--host-nodes", code=2
    ).stderr
    assert "--target loihi2" in refused
