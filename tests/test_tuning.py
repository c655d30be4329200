"""`--energy` and `--max-loss`: what was asked for is what `evaluate` measures, on data kept for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import snnc
from snnc.data import Dataset, Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.ir.errors import DataError, OptionError
from snnc.methods import Settings
from tests.cli.conftest import invoke

if TYPE_CHECKING:
    from snnc.driver import Compilation

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
CNN = DIGITS / "digits_cnn.onnx"
DATA = load_data(DIGITS / "digits_calibration.npz", normalise=Normalise(1 / 16))
FEW = replace(DATA, arrays={"x": DATA.arrays["x"][:24]}, labels=None)


@pytest.fixture(scope="module")
def cheap() -> Compilation:
    return compile_model(CNN, FEW, Options(energy=0.15))


def test_the_energy_is_met_as_evaluate_counts_it(cheap: Compilation) -> None:
    (step,) = evaluate(cheap.graph, CNN, FEW, 1).steps
    target = cheap.graph.meta["target"]
    assert target["energy"] == 0.15
    assert target["estimated_energy"] == pytest.approx(step.energy.ratio_fp32, rel=1e-6)
    assert 0.15 * 0.985 < step.energy.ratio_fp32 <= 0.15


def test_it_is_better_spent_than_on_the_same_levels_everywhere(cheap: Compilation) -> None:
    coarse = compile_model(CNN, FEW, Options(settings=Settings(levels=4)))
    (tuned,), (plain,) = (
        evaluate(graph, CNN, load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16)), 1).steps
        for graph in (cheap.graph, coarse.graph)
    )
    assert tuned.energy.ratio_fp32 < 1.1 * plain.energy.ratio_fp32
    assert tuned.relative_error < 0.8 * plain.relative_error


def test_the_record_makes_the_same_network_again(cheap: Compilation) -> None:
    again = compile_model(CNN, FEW, Options(pipeline=cheap.graph.meta["pipeline"])).graph
    assert again.tensors.keys() == cheap.graph.tensors.keys()
    for name, array in cheap.graph.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], array)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_loss_is_measured_on_data_kept_from_calibration(labelled: bool) -> None:
    count = 41
    data = replace(
        DATA,
        arrays={"x": DATA.arrays["x"][:count]},
        labels=DATA.arrays["x"][:count, 0, 0, 0].astype(np.int64) if labelled else None,
    )
    compilation = compile_model(CNN, data, Options(max_loss=10.0))
    target = compilation.graph.meta["target"]
    held_out = Dataset(
        {"x": data.arrays["x"][21:]}, None if data.labels is None else data.labels[21:], data.normalise
    )
    result = evaluate(compilation.graph, CNN, held_out, 1)
    step = result.steps[0]
    lost = result.ann - step.value if labelled else 1 - step.agreement
    assert compilation.graph.meta["calibration"]["samples"] == 21
    assert target["held_out"] == 20
    assert target["measured_loss"] == pytest.approx(100 * lost)
    assert target["measured_loss"] <= 10
    assert target["estimated_energy"] == pytest.approx(step.energy.ratio_fp32, rel=1e-6)


def test_in_python_and_without_calibration_data() -> None:
    with pytest.warns(UserWarning, match="no calibration data"):
        graph = snnc.compile(CNN, energy=0.2)
    assert graph.meta["target"]["estimated_energy"] <= 0.2


def test_on_the_command_line(tmp_path: Path) -> None:
    given = (CNN, "--calibration", DIGITS / "digits_calibration.npz", "--scale", "1/16", "--limit", "24")
    out = tmp_path / "net.sir"
    assert "energy at T=1 estimated as 0.1" in invoke("compile", *given, "-o", out, "--energy", "0.12").output
    shown = invoke("compile", *given, "-o", out, "--max-loss", "20").output
    assert "held out" in shown
    assert "(asked for: 20)" in shown
    record = json.loads(invoke("compile", *given, "-o", out, "--energy", "0.12", "--json").stdout)
    assert record["target"]["energy"] == 0.12
    assert "allocate-levels{accumulates=" in record["pipeline"]
    invoke("compile", *given, "-o", out, "--energy", "0.1", "--max-loss", "1", code=2)
    invoke("compile", *given, "-o", out, "--energy", "0.1", "-p", "dce", code=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"energy": 0.001}, "without a single spike"),
        ({"energy": 0.2, "method": "if"}, "no neuron has levels"),
        ({"energy": 0.2, "max_loss": 1.0}, "cannot both"),
        ({"energy": 0.2, "pipeline": "dce"}, "replaces"),
        ({"energy": float("nan")}, "cannot be met"),
        ({"max_loss": -1.0}, "cannot be lost"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        compile_model(CNN, FEW, Options(**options))  # type: ignore[arg-type]


def test_a_loss_needs_data() -> None:
    with pytest.raises(OptionError, match="calibration data"):
        compile_model(CNN, None, Options(max_loss=1.0))
    one = replace(FEW, arrays={"x": DATA.arrays["x"][:1]})
    with pytest.raises(DataError, match="two samples"):
        compile_model(CNN, one, Options(max_loss=1.0))
