"""The source network's answer at every step: models with states stepped, others run on the running mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper

from snnc.data import Dataset
from snnc.evaluation import evaluate
from snnc.ir.errors import DataError, ModelError
from snnc.source_answer import answers, mean_tensors
from snnc.source_model import SourceModel
from snnc.verification import verify_layers
from tests.backends.test_time_varying import decoded
from tests.harness import onnx_model
from tests.passes.build import Builder, N
from tests.spiking_sources import (
    CLASSES,
    HIDDEN,
    INPUTS,
    event_frames,
    graph_of_it,
    one_step_model,
    outputs_of_it,
)

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph

STEPS, SAMPLES = 5, 7


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "source.onnx"
    onnx.save_model(model, path)
    return path


# A model that is one step.


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
@pytest.mark.parametrize("varying", [True, False])
def test_a_model_with_states_is_stepped(tmp_path: Path, decode: Decode, varying: bool) -> None:
    x, graph = event_frames(STEPS, SAMPLES), graph_of_it(decode)
    source = SourceModel(saved(one_step_model(), tmp_path))
    given = x if varying else x[0]
    found = answers(source, graph, {"x": given}, STEPS, graph.outputs[0])
    wanted = outputs_of_it(x if varying else np.stack([x[0]] * STEPS))
    np.testing.assert_allclose(found, decoded(wanted, decode), atol=1e-6)


def test_every_batch_starts_at_rest(tmp_path: Path) -> None:
    x, graph = event_frames(STEPS, SAMPLES), graph_of_it()
    source = SourceModel(saved(one_step_model(), tmp_path))
    first = answers(source, graph, {"x": x}, STEPS, graph.outputs[0])
    np.testing.assert_array_equal(answers(source, graph, {"x": x}, STEPS, graph.outputs[0]), first)


@pytest.mark.parametrize("batch", [1, 2, 4, 6, 9])
def test_a_fixed_batch_is_stepped_in_parts(tmp_path: Path, batch: int) -> None:
    x, graph = event_frames(STEPS, 6), graph_of_it()
    source = SourceModel(saved(one_step_model(batch=batch), tmp_path))
    found = answers(source, graph, {"x": x}, STEPS, graph.outputs[0])
    np.testing.assert_allclose(found, decoded(outputs_of_it(x), "mean"), atol=1e-6)


def test_a_damaged_declaration_of_states_names_the_file(tmp_path: Path) -> None:
    model = one_step_model()
    model.metadata_props.add(key="snnc.state", value='{"if.v": "y"}')
    path = saved(model, tmp_path)
    with pytest.raises(ModelError, match=r"the state 'if\.v' and its next value 'y' differ") as caught:
        SourceModel(path)
    assert caught.value.where == str(path)


def test_a_state_without_successor_is_an_input_that_nobody_gives(tmp_path: Path) -> None:
    model, graph = one_step_model(), graph_of_it()
    del model.graph.output[1]
    source = SourceModel(saved(model, tmp_path))
    with pytest.raises(DataError, match=r"the model has an input 'if\.v'") as caught:
        answers(source, graph, {"x": event_frames(1, 2)[0]}, 1, graph.outputs[0])
    assert "its next value must be the output 'if.v_next'" in (caught.value.help or "")


def test_a_state_of_unknown_size_is_refused(tmp_path: Path) -> None:
    model = one_step_model()
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "hidden"
    source = SourceModel(saved(model, tmp_path))
    with pytest.raises(ModelError, match=r"the size of the state 'if.v' is not known: \['N', 'hidden'\]"):
        source.zero_states({"x": np.zeros((2, INPUTS), np.float32)})


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
@pytest.mark.parametrize("varying", [True, False])
def test_the_same_network_agrees_with_its_source_at_every_step(
    tmp_path: Path, decode: Decode, varying: bool
) -> None:
    x, path = event_frames(STEPS, 40), saved(one_step_model(), tmp_path)
    labels = outputs_of_it(x).sum(axis=0).argmax(axis=1)
    dataset = Dataset({"x": x if varying else x[0]}, labels)
    result = evaluate(graph_of_it(decode), path, dataset, STEPS)
    assert result.stepped
    assert [step.agreement for step in result.steps] == [1.0] * STEPS
    assert [step.relative_error for step in result.steps] == [0.0] * STEPS
    assert [step.ann for step in result.steps] == [step.value for step in result.steps]
    if varying and decode != "last":
        assert result.ann == 1.0  # the labels are what the source answers after the last step


def test_a_stepped_source_spends_its_dense_operations_at_every_step(tmp_path: Path) -> None:
    path = saved(one_step_model(), tmp_path)
    result = evaluate(graph_of_it(), path, Dataset({"x": event_frames(STEPS, 4)}), STEPS)
    ann = [step.energy.ann_fp32_pj for step in result.steps]
    np.testing.assert_allclose(ann, [t * ann[0] for t in range(1, STEPS + 1)])
    synapses = INPUTS * HIDDEN + HIDDEN * CLASSES
    assert ann[0] >= synapses * 4.6
    # The first layer reads real numbers, anew at every step.
    macs = [step.energy.multiply_accumulates for step in result.steps]
    assert macs == [t * INPUTS * HIDDEN for t in range(1, STEPS + 1)]


def test_layers_of_the_same_network_agree(tmp_path: Path) -> None:
    path = saved(one_step_model(), tmp_path)
    (layer,) = verify_layers(graph_of_it(), path, Dataset({"x": event_frames(STEPS, 9)}), STEPS)
    assert layer.site == "spikes"
    assert layer.relative_error == 0.0
    assert layer.spike_rate > 0.1


def test_a_silent_layer_is_as_right_as_its_tensor(tmp_path: Path) -> None:
    path = saved(one_step_model(), tmp_path)
    nothing = Dataset({"x": np.zeros((STEPS, 3, INPUTS), np.float32)})
    (layer,) = verify_layers(graph_of_it(), path, nothing, STEPS)
    assert (layer.relative_error, layer.spike_rate) == (0.0, 0.0)
    biased = graph_of_it()
    neuron = next(node for node in biased if node.op.name == "neuron")
    biased.set_attributes(neuron, bias=biased.add_tensor("bias", np.ones((1, 1), np.float32)))
    (layer,) = verify_layers(biased, path, nothing, STEPS)
    assert layer.relative_error == np.inf


# A model that is a function.


def squared(tmp_path: Path) -> tuple[SourceModel, Graph]:
    """y = x², as a model and as an expectation node."""
    model = onnx_model([helper.make_node("Mul", ["x", "x"], ["y"])], {"x": ("N", 3)}, {"y": ("N", 3)})
    b = Builder(N, 3)
    return SourceModel(saved(model, tmp_path)), b.outputs(y=b("mul", b.x, b.x, expect=True))


def test_a_function_of_varying_inputs_is_that_of_their_mean(tmp_path: Path) -> None:
    source, graph = squared(tmp_path)
    x = np.random.default_rng(6).normal(size=(STEPS, SAMPLES, 3)).astype(np.float32)
    for how, wanted in (
        ("mean", [x[:t].mean(axis=0) ** 2 for t in range(1, STEPS + 1)]),
        ("sum", [t * x[:t].mean(axis=0) ** 2 for t in range(1, STEPS + 1)]),
        ("last", list(x**2)),
    ):
        graph.decode_outputs(how)  # type: ignore[arg-type]  # one of the three
        found = answers(source, graph, {"x": x}, STEPS, graph.outputs[0])
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    tensors = mean_tensors(source, graph, {"x": x}, 3)
    np.testing.assert_allclose(tensors["y"], x[:3].mean(axis=0) ** 2, rtol=1e-4, atol=1e-6)


def test_a_compiled_network_decodes_to_it(tmp_path: Path) -> None:
    source, graph = squared(tmp_path)
    x = np.random.default_rng(6).normal(size=(STEPS, SAMPLES, 3)).astype(np.float32)
    for decode in ("mean", "sum"):
        graph.decode_outputs(decode)  # type: ignore[arg-type]  # one of the three
        result = evaluate(graph, source.path, Dataset({"x": x}), STEPS)
        assert all(step.relative_error < 1e-5 for step in result.steps)
        assert not result.stepped


def test_a_constant_input_has_one_answer(tmp_path: Path) -> None:
    source, graph = squared(tmp_path)
    x = np.ones((SAMPLES, 3), np.float32)
    assert answers(source, graph, {"x": 2 * x}, STEPS, graph.outputs[0]).shape == (SAMPLES, 3)
    graph.decode_outputs("sum")
    found = answers(source, graph, {"x": 2 * x}, 3, graph.outputs[0])
    np.testing.assert_array_equal(found, np.stack([4 * x, 8 * x, 12 * x]))


def test_an_output_that_the_model_has_not(tmp_path: Path) -> None:
    source, graph = squared(tmp_path)
    b = Builder(N, 3)
    other = b.outputs(z=b("relu", b.x))
    for varying in (True, False):
        x = np.ones((2, 4, 3) if varying else (4, 3), np.float32)
        with pytest.raises(DataError, match="the model has no output 'z'"):
            answers(source, graph, {"x": x}, 2, other.outputs[0])


def test_a_fixed_batch_is_filled_up_and_cut_again(tmp_path: Path) -> None:
    """Four samples at a time, two rows of the output each."""
    nodes = [helper.make_node("Reshape", ["x", "rows"], ["y"])]
    shapes = {"x": (4, 2, 3)}, {"y": (8, 3)}
    model = onnx_model(nodes, *shapes, {"rows": np.array([-1, 3], np.int64)})
    x = np.random.default_rng(7).normal(size=(6, 2, 3)).astype(np.float32)
    found = SourceModel(saved(model, tmp_path)).run({"x": x})
    np.testing.assert_array_equal(found["y"], x.reshape(12, 3))
