"""`snnc fit` on compiled digits networks."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING

from snnc.placement.chips import CHIPS, with_limits

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Snnc


def test_the_cnn_fits_one_chip(snnc: Snnc, compiled: Path) -> None:
    result = snnc("fit", compiled / "cnn.sir", "--chip", "loihi2")
    assert "fits 1 × Loihi 2 (128 cores)" in result.stdout
    assert "an estimate from published limits" in result.stdout
    assert "8 bits each are assumed" in result.stderr


def test_how_much_hangs_on_assumed_limits(
    snnc: Snnc, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "limits of in axons and out axons are assumed: without them it takes "
    assert f"{said}as many cores\n" in snnc("fit", compiled / "cnn.sir").stdout
    few = dataclasses.replace(
        CHIPS["loihi2"], limits=with_limits(CHIPS["loihi2"].limits, {"input_axons": 512})
    )
    monkeypatch.setitem(CHIPS, "loihi2", few)
    shown = snnc("fit", compiled / "cnn.sir", "--chips", "9").stdout
    assert re.search(r"Loihi 2 \(1,152 cores\): [1-9]\d cores,", shown)
    assert f"{said}10 cores\n" in shown


def test_what_does_not_fit_is_exit_code_1_with_what_would_help(snnc: Snnc, compiled: Path) -> None:
    limited = ("fit", compiled / "cnn.sir", "--limit", "neurons=40", "--json")
    found = json.loads(snnc(*limited, code=1).stdout)
    assert not found["fits"]
    assert found["limits"]["neurons"] == {"value": 40, "source": "given by --limit"}
    assert found["limits"]["memory"]["source"].startswith("Brief 2021")
    assert found["chips_needed"] == -(-found["cores"] // 128)
    assert {"change": f"more chips (--chips {found['chips_needed']})"}.items() <= found["options"][0].items()
    assert sum(len(layer["cores"]) for layer in found["layers"]) == found["cores"]
    snnc("fit", compiled / "cnn.sir", "--limit", "neurons=40", "--chips", str(found["chips_needed"]))


def test_real_numbers_stay_on_the_host_by_name(snnc: Snnc, compiled: Path) -> None:
    found = json.loads(snnc("fit", compiled / "vit.sir", "--chip", "loihi1", "--json").stdout)
    hosted = [node["node"].split()[0] for node in found["host"]]
    assert hosted.count("expect.softmax") == 3
    assert hosted.count("expect.matmul") == 6
    assert found["fits"]


def test_the_picture_is_a_file_of_its_own(snnc: Snnc, compiled: Path, tmp_path: Path) -> None:
    picture = tmp_path / "fit.svg"
    snnc("fit", compiled / "cnn.sir", "--picture", picture, "--quiet")
    text = picture.read_text()
    assert text.startswith("<svg")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    refused = snnc("fit", compiled / "cnn.sir", "--picture", tmp_path / "fit.png", code=2)
    assert "not a .svg file" in refused.stderr


def test_a_limit_is_a_name_and_a_number(snnc: Snnc, compiled: Path) -> None:
    assert "not NAME=NUMBER" in snnc("fit", compiled / "cnn.sir", "--limit", "neurons=many", code=2).stderr
    assert "did you mean 'neurons'" in snnc("fit", compiled / "cnn.sir", "--limit", "neuron=4", code=2).stderr
