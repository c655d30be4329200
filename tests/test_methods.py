"""Conversion methods: what they set up, what they refuse, and that they convert the example network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import OptionError
from snnc.methods import METHODS, Settings, get_method
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.correct_charges import CorrectCharges
from snnc.passes.fold_pooling import FoldPooling
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.insert_neurons import InsertNeurons

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
CALIBRATION = load_data(DIGITS / "digits_calibration.npz", normalise=Normalise(1 / 16))


def passes_of(method: str, kind: type[Any], **settings: Any) -> list[Any]:
    pipeline = get_method(method).pipeline(Settings(**settings))
    return [pass_ for pass_ in pipeline if isinstance(pass_, kind)]


def test_the_default_method_sends_integers_with_thresholds_of_least_error() -> None:
    (neurons,) = passes_of("multi-spike", InsertNeurons)
    (thresholds,) = passes_of("multi-spike", ChooseThresholds)
    assert (neurons.codebook, neurons.first) == ("multi", "analog")
    assert (thresholds.rule, thresholds.per) == ("mse", "channel")


def test_the_classical_method_sends_binary_spikes_with_percentile_thresholds() -> None:
    (neurons,) = passes_of("if", InsertNeurons)
    (thresholds,) = passes_of("if", ChooseThresholds)
    assert neurons.codebook == "binary"
    assert (thresholds.rule, thresholds.percentile, thresholds.per) == ("percentile", 99.9, "tensor")


def test_the_mse_rule_prepares_binary_spikes_for_the_steps_there_are() -> None:
    (thresholds,) = passes_of("if", ChooseThresholds, rule="mse", steps=3)
    assert (thresholds.rule, thresholds.per, thresholds.steps) == ("mse", "channel", 3)
    assert thresholds.initial == 0.5
    assert passes_of("if", CorrectCharges, rule="mse", steps=3) == [CorrectCharges(3)]
    assert passes_of("if", FoldPooling, rule="mse") == [FoldPooling()]
    assert passes_of("if", CorrectCharges) == passes_of("if", FoldPooling) == []


def test_binary_spikes_prepared_for_two_steps_answer_after_two() -> None:
    """Thresholds for the steps there are, and charges, against the classical initialisation."""
    test = load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16), limit=300)
    errors = []
    for rule in ("percentile", "mse"):
        graph = compile_model(
            DIGITS / "digits_cnn.onnx", CALIBRATION, Options("if", Settings(rule=rule), steps=2)
        ).graph
        step = evaluate(graph, DIGITS / "digits_cnn.onnx", test, 2).steps[-1]
        errors.append(step.relative_error)
    assert step.value is not None
    assert step.value > 0.955
    assert errors[1] < 0.5 * errors[0]


def test_trained_quantisers_are_required_by_pmsm_and_spread_over_steps_by_qcfs() -> None:
    (neurons,) = passes_of("pmsm", InsertNeurons)
    assert (neurons.trained, neurons.quantisers, neurons.levels) == (True, "repeat", 8)
    (neurons,) = passes_of("qcfs", InsertNeurons)
    assert (neurons.trained, neurons.quantisers, neurons.codebook) == (False, "rate", "binary")
    (thresholds,) = passes_of("qcfs", ChooseThresholds)
    assert (thresholds.rule, thresholds.per, thresholds.initial) == ("percentile", "channel", 0.5)


@pytest.mark.parametrize(
    ("settings", "quantisers", "reset"),
    [
        ({}, "repeat", "subtract"),
        ({"coding": "differential"}, "exact", "subtract"),
        ({"reset": "subtract"}, "exact", "subtract"),
        ({"reset": "restart"}, "exact", "restart"),
    ],
    ids=str,
)
def test_pmsm_repeats_the_trained_network_unless_told_otherwise(
    settings: dict[str, Any], quantisers: str, reset: str
) -> None:
    (neurons,) = passes_of("pmsm", InsertNeurons, **settings)
    assert (neurons.quantisers, neurons.reset) == (quantisers, reset)


@pytest.mark.parametrize("method", METHODS)
def test_a_reset_that_is_given_wins(method: str) -> None:
    resets = [passes_of(method, InsertNeurons, reset=given)[0].reset for given in (None, "restart")]
    assert resets == ["subtract", "restart"]


@pytest.mark.parametrize(
    ("settings", "bounds"),
    [
        ({}, "sum"),
        ({"reset": "subtract"}, "sum"),
        ({"reset": "restart"}, "step"),
        ({"coding": "differential"}, "step"),
    ],
    ids=str,
)
def test_signed_memory_takes_back_where_something_is_remembered(
    settings: dict[str, Any], bounds: str
) -> None:
    """In differential coding every neuron does; one that restarts has sent nothing."""
    (neurons,) = passes_of("signed-memory", InsertNeurons, **settings)
    assert (neurons.codebook, neurons.rounding, neurons.bounds) == ("multi", "nearest", bounds)


def test_the_profiles_of_ecmt() -> None:
    (neurons,) = passes_of("ecmt", InsertNeurons)
    (thresholds,) = passes_of("ecmt", ChooseThresholds)
    assert neurons.codebook_for(None) == PowerOfTwo(8, True, "below", 0.5)
    assert (thresholds.rule, thresholds.percentile, thresholds.per) == ("quantile", 99.0, "tensor")
    assert (thresholds.sides, thresholds.placement, thresholds.fixed) == ("separate", "base", True)
    (neurons,) = passes_of("ecmt-top", InsertNeurons)
    (thresholds,) = passes_of("ecmt-top", ChooseThresholds)
    assert neurons.codebook_for(None) == PowerOfTwo(8, True, "nearest", 0.75)
    assert (thresholds.rule, thresholds.per) == ("max", "tensor")
    assert (thresholds.sides, thresholds.placement, thresholds.fixed) == ("separate", "top", False)


@pytest.mark.parametrize("method", METHODS)
def test_settings_reach_the_passes(method: str) -> None:
    (thresholds,) = passes_of(method, ChooseThresholds, rule="max", per="tensor")
    assert (thresholds.rule, thresholds.per) == ("max", "tensor")
    assert [pass_.into for pass_ in passes_of(method, FuseBatchNorm)] == ["weights"]
    assert [pass_.into for pass_ in passes_of(method, FuseBatchNorm, batch_norm="thresholds")] == [
        "thresholds"
    ]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("signed-memory", {"reset": "zero"}, "cannot reset to zero"),
        ("if", {"levels": 4}, "sends binary spikes"),
        ("if", {"rule": "mse", "coding": "differential"}, "is for rate coding"),
        ("qcfs", {"levels": 4}, "sends binary spikes"),
        ("qcfs", {"rule": "mse"}, "has no mse rule"),
        ("ternary", {"levels": 2}, "sends -1, 0 and 1"),
    ],
)
def test_what_a_method_cannot_do_is_refused(method: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        get_method(method).pipeline(Settings(**settings))
    assert caught.value.help


def test_an_unknown_method_is_refused_with_a_suggestion() -> None:
    with pytest.raises(OptionError, match="no method 'multispike'") as caught:
        get_method("multispike")
    assert caught.value.help == "did you mean 'multi-spike'?"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_names_its_source(method: str) -> None:
    assert METHODS[method].name == method
    assert METHODS[method].summary
    assert METHODS[method].source


@pytest.mark.parametrize(
    ("method", "settings", "kinds"),
    [
        ("multi-spike", {}, {MultiSpike}),
        ("multi-spike", {"levels": 3, "rule": "max"}, {MultiSpike}),
        ("multi-spike", {"rule": "percentile", "per": "tensor"}, {MultiSpike}),
        ("signed-memory", {}, {MultiSpike}),
        ("signed-memory", {"coding": "differential", "rule": "max"}, {MultiSpike}),
        ("signed-memory", {"reset": "restart", "levels": 4}, {MultiSpike}),
        ("if", {}, {Binary, Ternary}),
        ("if", {"rule": "max", "per": "channel"}, {Binary, Ternary}),
        ("if", {"rule": "mse"}, {Binary, Ternary}),
        ("qcfs", {}, {Binary, Ternary}),
        ("qcfs", {"rule": "max", "per": "tensor"}, {Binary, Ternary}),
        ("ternary", {}, {Binary, Ternary}),
        ("ternary", {"rule": "percentile"}, {Binary, Ternary}),
        ("ecmt", {}, {PowerOfTwo}),
        ("ecmt", {"rule": "max", "per": "channel", "levels": 5}, {PowerOfTwo}),
        ("ecmt-top", {}, {PowerOfTwo}),
        ("ecmt-top", {"rule": "mse"}, {PowerOfTwo}),
    ],
)
def test_networks_convert(method: str, settings: dict[str, Any], kinds: set[type]) -> None:
    options = Options(method, Settings(**settings))
    compilation = compile_model(DIGITS / "digits_cnn.onnx", CALIBRATION, options)
    graph = compilation.graph
    found = {type(node.attributes["codebook"]) for node in graph if node.op.name == "neuron"}
    assert found <= kinds
    assert graph.meta["method"] == method
    assert graph.meta["calibration"]["samples"] == 128
    x = np.zeros((2, 1, 8, 8), np.float32)
    assert np.isfinite(Simulator(graph).run(x, 2).outputs["logits"]).all()
    assert compilation.context.warnings == []


def test_fewer_levels_cost_accuracy_and_spikes() -> None:
    """The error grows as levels are taken away."""
    inputs, _ = next(iter(CALIBRATION.batches(compiled(6), 64)))
    runs = [Simulator(compiled(levels)).run(inputs, 1).outputs["logits"][0] for levels in (12, 6, 4, 2)]
    errors = [np.linalg.norm(run - runs[0]) for run in runs[1:]]
    assert errors == sorted(errors)


def compiled(levels: int) -> Any:
    options = Options(settings=Settings(levels=levels))
    return compile_model(DIGITS / "digits_cnn.onnx", CALIBRATION, options).graph
