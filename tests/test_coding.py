"""Coding and reset as a user sets them: on the command line, in Python, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snnc
from snnc.backends.reference import Simulator
from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.energy import BOUNDS_ACCUMULATES, COMPARE_ACCUMULATES, count_step, count_steps
from snnc.evaluation import evaluate
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import OptionError
from snnc.methods import DIRECT, METHODS, Settings
from snnc.verification import verify_layers
from tests.cli.conftest import invoke
from tests.passes.build import Builder, N

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
CNN, VIT, DATA = DIGITS / "digits_cnn.onnx", DIGITS / "digits_vit.onnx", DIGITS / "digits_calibration.npz"
CALIBRATION = load_data(DATA, normalise=Normalise(1 / 16))
TEST = load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16), limit=100)


def compiled(model: Path = VIT, method: str = "multi-spike", **settings: Any) -> Any:
    return compile_model(model, CALIBRATION, Options(method, Settings(**settings))).graph


# The threshold of least squared error for -1, 0 and 1 clips large values, in either coding.
LARGE: dict[str, Any] = {"ternary": {"rule": "max"}}


def test_the_file_keeps_the_coding(tmp_path: Path) -> None:
    out = tmp_path / "net.sir"
    given = (CNN, "-o", out, "--calibration", DATA, "--scale", "1/16", "--coding", "differential")
    assert "method multi-spike, differential coding, calibrated on" in invoke("compile", *given).stdout
    assert json.loads(invoke("compile", *given, "--json").stdout)["coding"] == "differential"
    assert ") coding differential {" in invoke("print", out).stdout
    graph = snnc.load(out)
    assert (graph.coding, "set-coding" in graph.meta["pipeline"]) == ("differential", True)
    in_python = snnc.compile(CNN, CALIBRATION, coding="differential")
    inputs, _ = next(iter(TEST.batches(graph, 20)))
    wanted = Simulator(in_python).run(inputs, 3).outputs["logits"]
    np.testing.assert_array_equal(Simulator(graph).run(inputs, 3).outputs["logits"], wanted)


@pytest.mark.parametrize("model", [CNN, VIT], ids=["cnn", "vit"])
def test_changes_cost_less_than_values(model: Path) -> None:
    """The first step is alike (behind a max pool too); every later one sends what is left over."""
    values, changes = (evaluate(compiled(model, coding=c), model, TEST, 8) for c in ("rate", "differential"))
    assert changes.steps[0].energy.ratio_fp32 == pytest.approx(values.steps[0].energy.ratio_fp32, rel=0.1)
    assert changes.steps[7].energy.ratio_fp32 < 0.6 * values.steps[7].energy.ratio_fp32
    assert changes.steps[7].relative_error < 0.5 * changes.steps[0].relative_error
    assert changes.steps[7].value >= values.steps[7].value - 0.01


@pytest.mark.parametrize("method", [name for name in METHODS if name != "pmsm"])
def test_every_method_comes_closer_in_differential_coding(method: str) -> None:
    graph = compiled(VIT, method, coding="differential", **LARGE.get(method, {}))
    steps = evaluate(graph, VIT, TEST, 16).steps
    assert steps[15].relative_error < 0.8 * steps[0].relative_error
    assert np.isfinite(steps[15].energy.snn_pj)


def test_verify_decodes_layers_as_they_are_coded() -> None:
    """After 16 steps every layer is far closer to the source's tensor than after one."""
    graph = compiled(VIT, coding="differential")
    one, many = (verify_layers(graph, VIT, TEST, steps) for steps in (1, 16))
    errors = [max(row.relative_error or 0.0 for row in rows) for rows in (one, many)]
    assert errors[1] < 0.2 * errors[0] < 0.2


@pytest.mark.parametrize("target", [{"energy": 0.3}, {"max_loss": 1.0}], ids=str)
def test_levels_are_shared_out_in_differential_coding(target: dict[str, float]) -> None:
    options = Options("multi-spike", Settings(coding="differential"), energy=target.get("energy"))
    if "max_loss" in target:
        options = Options("multi-spike", Settings(coding="differential"), max_loss=1.0)
    graph = compile_model(CNN, CALIBRATION, options).graph
    assert graph.coding == "differential"
    step = evaluate(graph, CNN, TEST, 1).steps[0]
    assert step.energy.ratio_fp32 < 0.31


# What a later step costs.


def test_what_never_varies_costs_the_first_step_alone() -> None:
    b = Builder(N, 4)
    weight, bias = np.ones((3, 4), np.float32), np.ones(3, np.float32)
    analog = b("linear", b.x, weight=weight, bias=bias)
    spikes = b("neuron", analog, codebook=MultiSpike(-9, 9), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=b("linear", spikes, weight=np.ones((5, 3), np.float32), bias=np.ones(5, np.float32)))
    first = count_step(graph)
    assert (first.multiply_accumulates, first.accumulates) == (4 * 3, 3 * COMPARE_ACCUMULATES + 5)
    assert count_steps(graph).until(3).multiply_accumulates == 3 * first.multiply_accumulates
    graph.coding = "differential"
    counts = count_steps(graph)
    assert counts.first == first
    assert counts.later.synaptic_multiply_accumulates == 0
    assert counts.later.multiply_accumulates == 3  # membranes times t / (t - 1)
    assert counts.later.accumulates == 3 * (COMPARE_ACCUMULATES + BOUNDS_ACCUMULATES)


# Reset.


@pytest.mark.parametrize("method", ["if", "qcfs", "ternary"])
def test_a_reset_to_zero_loses_more(method: str) -> None:
    settings = LARGE.get(method, {})
    subtract, zero = (
        evaluate(compiled(CNN, method, reset=reset, **settings), CNN, TEST, 32)
        for reset in ("subtract", "zero")
    )
    assert zero.steps[0].relative_error == subtract.steps[0].relative_error
    assert zero.steps[31].relative_error > 1.5 * subtract.steps[31].relative_error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reset", "zero"), "multi neurons cannot reset to zero"),
        (("--reset", "zero", "--method", "ecmt"), "pow2 neurons cannot reset to zero"),
        (
            ("--reset", "zero", "--method", "if", "--coding", "differential"),
            "neurons in differential coding cannot reset to zero",
        ),
        (
            ("--reset", "restart", "--coding", "differential"),
            "neurons in differential coding cannot restart",
        ),
    ],
    ids=["multi", "pow2", "differential", "restart"],
)
def test_resets_that_make_no_sense_are_refused(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    result = invoke("compile", CNN, "-o", tmp_path / "net.sir", *arguments, code=2)
    assert message in result.stderr
    assert not (tmp_path / "net.sir").exists()


@pytest.mark.parametrize("given", [{"coding": "differential"}, {"reset": "zero"}], ids=str)
def test_networks_that_spike_already_keep_their_coding_and_reset(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"direct cannot change the {next(iter(given))}"):
        DIRECT.pipeline(Settings(**given))


@pytest.mark.parametrize(("name", "value"), [("coding", "phase"), ("reset", "half")])
def test_unknown_choices_are_refused_in_python(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"{name} cannot be '{value}'"):
        snnc.compile(CNN, **{name: value})
