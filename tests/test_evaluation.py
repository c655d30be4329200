"""`evaluate`: metrics against hand-made numbers, the JSON object, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from snnc.data import Dataset, Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.energy import count_step
from snnc.evaluation import Evaluation, Scores, analog_counts, choose_metric, evaluate
from snnc.frontend import import_onnx
from snnc.ir.errors import DataError
from tests.harness import onnx_model

if TYPE_CHECKING:
    from snnc.ir.graph import Graph

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
CNN = DIGITS / "digits_cnn.onnx"


def data(limit: int = 60) -> Dataset:
    return load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16), limit=limit)


@pytest.fixture(scope="module")
def graph() -> Graph:
    calibration = load_data(DIGITS / "digits_calibration.npz", normalise=Normalise(1 / 16))
    return compile_model(CNN, calibration, Options()).graph


@pytest.fixture(scope="module")
def evaluation(graph: Graph) -> Evaluation:
    return evaluate(graph, CNN, data(), 3)


# Running sums, by hand.


def test_accuracy_agreement_error_and_cosine() -> None:
    scores = Scores(2)
    ann = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    snn = np.array([[[0.0, 3.0], [0.0, 4.0]], [[3.0, 0.0], [0.0, 2.0]]], np.float32)
    scores.add(ann, snn, np.array([0, 0]))
    assert scores.values("accuracy")[0].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(scores.values("accuracy")[1], [0.0, 0.5])
    np.testing.assert_allclose(scores.agree / scores.samples, [0.5, 1.0])
    # ‖snn - ann‖ / ‖ann‖ over all samples: √18/5 and 2/5.
    np.testing.assert_allclose(scores.values("relative_error")[1], [np.sqrt(18) / 5, 2 / 5])
    np.testing.assert_allclose(scores.values("cosine")[1], [0.5, 1.0])
    assert scores.values("relative_error")[0].tolist() == [0.0, 0.0]
    assert scores.values("cosine")[0].tolist() == [1.0, 1.0]


def test_agreement_on_pixels_compares_channels() -> None:
    scores = Scores(1)
    ann = np.zeros((1, 2, 2, 2), np.float32)
    ann[:, 1] = 1
    snn = ann[None].copy()
    snn[0, 0, 0, 0, 0] = 2  # one pixel of four is of the other class
    scores.add(ann, snn, None)
    assert scores.agree[0] == 0.75


def test_batches_add_up() -> None:
    random = np.random.default_rng(0)
    ann = random.standard_normal((7, 4)).astype(np.float32)
    snn = ann + 0.3 * random.standard_normal((3, 7, 4)).astype(np.float32)
    labels = random.integers(0, 4, 7)
    whole, parts = Scores(3), Scores(3)
    whole.add(ann, snn, labels)
    for rows in (slice(0, 2), slice(2, 7)):
        parts.add(ann[rows], snn[:, rows], labels[rows])
    for metric in ("accuracy", "relative_error", "cosine"):
        (ann_value, values), (ann_whole, expected) = parts.values(metric), whole.values(metric)
        np.testing.assert_array_equal(ann_value, ann_whole)
        np.testing.assert_allclose(values, expected)


def test_a_silent_output_has_no_direction() -> None:
    scores = Scores(1)
    scores.add(np.ones((1, 2), np.float32), np.zeros((1, 1, 2), np.float32), None)
    assert scores.values("cosine")[1].tolist() == [0.0]


def test_a_source_that_answers_at_every_step_is_compared_step_by_step() -> None:
    ann = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]]], np.float32)
    snn = np.array([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [2.0, 0.0]]], np.float32)
    scores = Scores(2)
    scores.add(ann, snn, np.array([0, 0]))
    accuracies, values = scores.values("accuracy")
    assert accuracies.tolist() == [1.0, 0.5]
    assert values.tolist() == [0.5, 1.0]
    assert (scores.agree / scores.samples).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(scores.relative_error, [np.sqrt(2 / 2), np.sqrt(8 / 8)])


# The whole.


def test_the_json_object_has_the_documented_shape(evaluation: Evaluation) -> None:
    found = json.loads(json.dumps(evaluation.to_json()))
    assert list(found) == ["samples", "metric", "ann", "steps", "seconds", "coverage", "stepped"]
    assert found["samples"] == 60
    assert found["metric"] == "accuracy"
    assert [step["t"] for step in found["steps"]] == [1, 2, 3]
    for step in found["steps"]:
        assert {"t", "value", "agreement", "relative_error", "unit_spikes_per_neuron", "energy"} <= set(step)
        energy = step["energy"]
        documented = ["ann_fp32_pj", "ann_int8_pj", "snn_pj", "ratio_fp32", "ratio_int8", "not_priced"]
        assert list(energy)[: len(documented)] == documented
        assert all(isinstance(line, str) for line in energy["not_priced"])
        assert energy["ratio_fp32"] == pytest.approx(energy["snn_pj"] / energy["ann_fp32_pj"])
        assert energy["ratio_int8"] == pytest.approx(energy["snn_pj"] / energy["ann_int8_pj"])


def test_numbers_are_within_their_ranges(evaluation: Evaluation) -> None:
    assert 0.97 < evaluation.ann <= 1
    assert evaluation.seconds > 0
    for step in evaluation.steps:
        assert 0 <= step.value <= 1
        assert 0 <= step.agreement <= 1
        assert 0 < step.relative_error < 0.1
        assert 0 < step.spike_rate <= step.unit_spikes_per_neuron
    energies = [step.energy.snn_pj for step in evaluation.steps]
    assert energies == sorted(energies)


def test_the_metrics_are_those_of_onnxruntime(graph: Graph, evaluation: Evaluation) -> None:
    from snnc.backends.reference import Simulator
    from snnc.source_model import SourceModel

    inputs, labels = next(iter(data().batches(graph, 60)))
    assert labels is not None
    ann = SourceModel(CNN).run(inputs)["logits"]
    snn = Simulator(graph).run(inputs, 3).outputs["logits"]
    assert evaluation.ann == np.mean(ann.argmax(1) == labels)
    for step, output in zip(evaluation.steps, snn, strict=True):
        assert step.value == np.mean(output.argmax(1) == labels)
        assert step.agreement == np.mean(output.argmax(1) == ann.argmax(1))
        wanted = np.linalg.norm(output - ann) / np.linalg.norm(ann)
        assert step.relative_error == pytest.approx(wanted, rel=1e-3)


def test_the_anns_operations_are_those_of_its_folded_graph() -> None:
    counts = analog_counts(CNN)
    assert counts.neurons == 0
    assert counts.accumulates == 0
    unfolded = count_step(import_onnx(CNN))
    assert 0 < counts.multiply_accumulates < unfolded.multiply_accumulates


def test_without_labels_the_metric_is_the_relative_error(graph: Graph) -> None:
    unlabelled = Dataset(data(8).arrays, None, Normalise(1 / 16))
    found = evaluate(graph, CNN, unlabelled, 1)
    assert found.metric == "relative_error"
    assert found.ann == 0
    assert found.steps[0].value == found.steps[0].relative_error


@pytest.mark.parametrize("metric", ["relative_error", "cosine"])
def test_a_metric_can_be_chosen(graph: Graph, metric: Any) -> None:
    found = evaluate(graph, CNN, data(8), 1, metric=metric)
    assert found.metric == metric
    assert found.steps[0].value == pytest.approx(0.0 if metric == "relative_error" else 1.0, abs=0.1)


def test_accuracy_without_labels_is_refused(graph: Graph) -> None:
    with pytest.raises(DataError, match="accuracy needs labels") as caught:
        choose_metric("accuracy", Dataset(data(8).arrays), graph)
    assert "store labels as 'y'" in str(caught.value.help)


@pytest.mark.parametrize("wrong", [10, -1, 0.5])
def test_labels_that_name_no_class_are_refused(graph: Graph, wrong: float) -> None:
    labels = np.array([3, wrong, 9])
    dataset = Dataset({"x": data(3).arrays["x"]}, labels, source="test.npz")
    with pytest.raises(DataError, match=f"label {wrong:g} is none of the network's 10 classes") as caught:
        choose_metric(None, dataset, graph)
    assert caught.value.where == "test.npz, sample 1"
    assert choose_metric("cosine", dataset, graph) == "cosine"


def test_progress_is_told_and_ends_at_the_total(graph: Graph) -> None:
    told: list[tuple[int, int]] = []
    evaluate(graph, CNN, data(20), 1, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (20, 20)


def test_another_models_outputs_are_refused(graph: Graph, tmp_path: Path) -> None:
    model = onnx_model(
        [helper.make_node("Flatten", ["image"], ["other"])], {"image": ["N", 1, 8, 8]}, {"other": ["N", 64]}
    )
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(DataError, match="has no output 'logits'"):
        evaluate(graph, tmp_path / "other.onnx", data(2), 1)


def test_another_models_shapes_are_refused(graph: Graph, tmp_path: Path) -> None:
    model = onnx_model(
        [helper.make_node("Flatten", ["image"], ["logits"])], {"image": ["N", 1, 8, 8]}, {"logits": ["N", 64]}
    )
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(DataError, match=r"answers with \[2, 64\], the network with \[2, 10\]"):
        evaluate(graph, tmp_path / "other.onnx", data(2), 1)
