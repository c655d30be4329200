"""Laws of whole networks: what must hold for every network, whatever the passes did.

The strongest is the identity law: with every neuron replaced by the activation it approximates, the decoded
output is onnxruntime's at every time step.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.data import Dataset, Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.ir.archive import load, save
from snnc.ir.codebooks import MultiSpike, Payload
from snnc.ir.coding import CODINGS
from snnc.ir.shapes import Batch
from snnc.ir.types import SpikeType
from snnc.methods import Settings
from snnc.passes.dce import Dce
from snnc.passes.expand_levels import ExpandLevels
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.manager import PassManager
from snnc.passes.set_coding import SetCoding
from snnc.source_model import SourceModel
from tests.conftest import SHARED

if TYPE_CHECKING:
    from typing import Literal

    from snnc.evaluation import Evaluation
    from snnc.ir.coding import Coding
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
MODELS = SHARED / "models"
STEPS = (1, 2, 3, 4, 8)
LAW = 1e-4  # relative error
IMAGENET = Normalise(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = Normalise(1 / 255, (0.5,), (0.5,))


@dataclass(frozen=True)
class Network:
    """A trained network, its calibration and test data."""

    model: Path
    calibration: Path
    test: Path
    normalise: Normalise

    def data(self, limit: int | None = None) -> Dataset:
        return load_data(self.test, normalise=self.normalise, limit=limit)


def digits(name: str) -> Network:
    files = (DIGITS / f"{name}.onnx", DIGITS / "digits_calibration.npz", DIGITS / "digits_test.npz")
    return Network(*files, Normalise(1 / 16))


def shared(model: str, data: str, normalise: Normalise) -> Network:
    files = (MODELS / f"{model}.onnx", MODELS / f"{data}_calibration.npz", MODELS / f"{data}_test.npz")
    return Network(*files, normalise)


NETWORKS = {
    "digits_cnn": digits("digits_cnn"),
    "digits_vit": digits("digits_vit"),
    "digits_vit_dynamo": digits("digits_vit_dynamo"),
    "cifar10_resnet20": shared("cifar10_resnet20", "cifar10", IMAGENET),
    "cifar10_vit": shared("cifar10_vit", "cifar10", HALVES),
    "mnist_cnn": shared("mnist_cnn", "mnist", Normalise(1 / 255, (0.1307,), (0.3081,))),
}
EXAMPLES = [name for name in NETWORKS if name.startswith("digits")]
CODED = ["digits_cnn", "digits_vit", pytest.param("cifar10_resnet20", marks=pytest.mark.shared)]
ALL = [pytest.param(name, marks=[] if name in EXAMPLES else [pytest.mark.shared]) for name in NETWORKS]


@cache
def compiled(
    name: str,
    method: str = "multi-spike",
    batch_norm: Literal["weights", "thresholds"] = "weights",
    coding: Coding = "rate",
) -> Graph:
    """Compile a network once for all tests; they copy it before they change it."""
    network = NETWORKS[name]
    calibration = load_data(network.calibration, normalise=network.normalise)
    options = Options(method, Settings(batch_norm=batch_norm, coding=coding))
    return compile_model(network.model, calibration, options).graph


@cache
def samples(name: str, count: int) -> dict[str, Array]:
    network = NETWORKS[name]
    graph = compiled(name)
    inputs, _ = next(iter(network.data(count).batches(graph, count)))
    return inputs


def original(name: str, count: int) -> dict[str, Array]:
    return SourceModel(NETWORKS[name].model, threads=1).run(samples(name, count))


def relative_error(found: Array, wanted: Array) -> float:
    return float(
        np.linalg.norm(found.astype(np.float64) - wanted) / np.linalg.norm(wanted.astype(np.float64))
    )


@pytest.mark.parametrize("method", ["multi-spike", "if", "ecmt"])
@pytest.mark.parametrize("name", ALL)
def test_identity_neurons_give_the_original_at_every_step(name: str, method: str) -> None:
    assert_identity_law(name, compiled(name, method).copy())


@pytest.mark.parametrize("method", ["multi-spike", "if"])
def test_identity_neurons_give_the_original_with_batch_norm_in_the_thresholds(method: str) -> None:
    """The CNN of the examples is the one network whose exporter kept its batch norms."""
    graph = compiled("digits_cnn", method, "thresholds").copy()
    biased = [node for node in graph if node.op.name == "neuron" and "bias" in node.attributes]
    assert biased
    assert_identity_law("digits_cnn", graph)


@pytest.mark.parametrize("method", ["multi-spike", "ecmt"])
@pytest.mark.parametrize("coding", ["rate", "differential"])
@pytest.mark.parametrize("name", CODED)
def test_a_network_decodes_to_its_function_of_what_it_decodes(name: str, coding: Coding, method: str) -> None:
    """One coarse neuron at the input makes every stream behind it vary; all others are exact.

    At every step the decoded output is onnxruntime's for the decoded input.
    """
    graph = compiled(name, method, coding=coding).copy()
    PassManager([IdentityNeurons()]).run(graph)
    inputs, (value,) = samples(name, 4), graph.inputs
    quantum = np.full([1] * len(value.type.shape), 0.4, np.float32)
    first = next(node for node in graph if value in node.operands)
    neuron = graph.insert(
        first,
        "neuron",
        [value],
        {"codebook": MultiSpike(-40, 40), "quantum": graph.add_tensor("q", quantum)},
        origin=["input"],
    )
    coarse = graph.insert(first, "mul", [neuron, graph.constant_value(quantum, "scale", first)])
    graph.replace_uses(value, coarse, keep=[neuron.node] if neuron.node else [])
    graph.add_output(coarse, "decoded input")
    graph.retype()
    outputs = Simulator(graph).run(inputs, max(STEPS)).outputs
    source = SourceModel(NETWORKS[name].model, threads=1)
    for t in STEPS:
        for output, wanted in source.run({value.name or "": outputs["decoded input"][t - 1]}).items():
            assert relative_error(outputs[output][t - 1], wanted) <= LAW, (output, t)


@pytest.mark.parametrize("name", CODED)
def test_both_codings_begin_alike_and_come_closer(name: str) -> None:
    """The same neurons and thresholds: the same first step, then half a quantum over t in either coding."""
    graph = compiled(name, coding="differential").copy()
    changes = Simulator(graph).run(samples(name, 16), 16).outputs
    PassManager([SetCoding("rate")]).run(graph)
    values = Simulator(graph).run(samples(name, 16), 1).outputs
    for output, wanted in original(name, 16).items():
        np.testing.assert_array_equal(changes[output][0], values[output][0])
        errors = [relative_error(found, wanted) for found in changes[output]]
        assert errors[15] < 0.35 * errors[0]
        assert errors[3] < 0.75 * errors[0]


def assert_identity_law(name: str, graph: Graph) -> None:
    PassManager([IdentityNeurons()]).run(graph)
    assert "neuron" not in {node.op.name for node in graph}
    run = Simulator(graph).run(samples(name, 8), max(STEPS))
    for output, wanted in original(name, 8).items():
        errors = {t: relative_error(run.outputs[output][t - 1], wanted) for t in STEPS}
        assert max(errors.values()) <= LAW, errors


@pytest.mark.parametrize("name", ALL)
def test_more_steps_come_closer(name: str) -> None:
    outputs = Simulator(compiled(name)).run(samples(name, 32), 8).outputs
    for output, wanted in original(name, 32).items():
        errors = [relative_error(found, wanted) for found in outputs[output]]
        assert errors[7] < errors[0] < 0.2
        assert errors[7] < 1.1 * min(errors)


@pytest.mark.parametrize("method", ["ecmt", "ecmt-top"])
def test_multi_threshold_neurons_come_closer_with_every_step(method: str) -> None:
    outputs = Simulator(compiled("digits_vit", method)).run(samples("digits_vit", 32), 32).outputs["logits"]
    wanted = original("digits_vit", 32)["logits"]
    errors = [relative_error(outputs[t - 1], wanted) for t in (1, 4, 16, 32)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("method", ["ecmt", "ecmt-top"])
def test_a_transformer_expands_to_binary_spikes(method: str, coding: Coding) -> None:
    """Levels on lines of their own in front of every layer; products of streams keep their payloads."""
    graph = compiled("digits_vit", method, coding=coding)
    expanded = graph.copy()
    PassManager([ExpandLevels(), Dce()]).run(expanded)
    types = [node.operands[0].type for node in expanded if node.op.name == "linear"]
    binary = [isinstance(type_, SpikeType) and type_.payload == Payload(0, 1) for type_ in types]
    assert sum(binary) >= len(binary) - 1  # the patch embedding reads the image
    inputs = samples("digits_vit", 16)
    found, wanted = (Simulator(each).run(inputs, 3).outputs["logits"] for each in (expanded, graph))
    assert same_but_for_ties(found, wanted)
    assert_identity_law("digits_vit", expanded)


def test_rate_coding_needs_steps() -> None:
    outputs = Simulator(compiled("digits_cnn", "if")).run(samples("digits_cnn", 32), 64).outputs["logits"]
    wanted = original("digits_cnn", 32)["logits"]
    errors = [relative_error(outputs[t - 1], wanted) for t in (1, 4, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.25 * errors[0]


# What the samples beside a sample, their order and the simulator's grouping must not change.


def run(name: str, inputs: dict[str, Array], group: int | None = None) -> Array:
    return Simulator(compiled(name), group=group).run(inputs, 4).outputs["logits"]


def same_but_for_ties(found: Array, wanted: Array) -> bool:
    """Sums in another order differ in the last bit; a membrane on an edge may then round the other way."""
    scale = np.abs(wanted).max()
    changed = (np.abs(found - wanted) > 1e-4 * scale).any(axis=(0, 2))
    return float(changed.mean()) <= 0.05 and bool(np.abs(found - wanted).max() <= 0.05 * scale)


@pytest.mark.parametrize("name", EXAMPLES)
def test_samples_do_not_depend_on_their_neighbours(name: str) -> None:
    together = run(name, samples(name, 24))
    alone = np.concatenate(
        [run(name, {"image": image[None]}) for image in samples(name, 24)["image"]], axis=1
    )
    assert same_but_for_ties(alone, together)


@pytest.mark.parametrize("name", EXAMPLES)
def test_permuting_the_batch_permutes_the_outputs(name: str) -> None:
    image = samples(name, 24)["image"]
    order = np.random.default_rng(0).permutation(24)
    assert same_but_for_ties(run(name, {"image": image[order]}), run(name, {"image": image})[:, order])


@pytest.mark.parametrize("group", [1, 5, 24])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_grouping_does_not_matter(name: str, group: int) -> None:
    inputs = samples(name, 24)
    assert same_but_for_ties(run(name, inputs, group), run(name, inputs))


@pytest.mark.parametrize("name", EXAMPLES)
def test_runs_repeat_bit_by_bit(name: str) -> None:
    np.testing.assert_array_equal(run(name, samples(name, 8)), run(name, samples(name, 8)))


def test_a_run_of_more_steps_begins_like_a_shorter_one() -> None:
    simulator, inputs = Simulator(compiled("digits_vit")), samples("digits_vit", 8)
    long, short = simulator.run(inputs, 6).outputs["logits"], simulator.run(inputs, 3).outputs["logits"]
    np.testing.assert_array_equal(long[:3], short)


# Determinism and round trips of files.


@pytest.mark.parametrize("name", ALL)
def test_the_file_round_trip_is_byte_identical(name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.sir", tmp_path / "second.sir"
    graph = compiled(name)
    save(graph, first, graph.meta)
    loaded = load(first)
    save(loaded.graph, second, loaded.meta)
    assert first.read_bytes() == second.read_bytes()
    inputs = samples(name, 4)
    for output, wanted in Simulator(graph).run(inputs, 2).outputs.items():
        np.testing.assert_array_equal(Simulator(loaded.graph).run(inputs, 2).outputs[output], wanted)


COMPILE = """
import sys
from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.ir.archive import save

model, data, out = sys.argv[1:]
graph = compile_model(model, load_data(data, normalise=Normalise(1 / 16)), Options()).graph
save(graph, out, graph.meta)
"""


@pytest.mark.parametrize("name", EXAMPLES)
def test_compiling_twice_gives_identical_bytes(name: str, tmp_path: Path) -> None:
    """Here and in another process, whose hashes are seeded differently."""
    network, graph = NETWORKS[name], compiled(name)
    save(graph, tmp_path / "here.sir", graph.meta)
    again = compiled.__wrapped__(name)
    save(again, tmp_path / "again.sir", again.meta)
    there = tmp_path / "there.sir"
    subprocess.run(
        [sys.executable, "-c", COMPILE, network.model, network.calibration, there],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    contents = {(tmp_path / f"{file}.sir").read_bytes() for file in ("here", "again", "there")}
    assert len(contents) == 1


@pytest.mark.parametrize("name", ALL)
def test_every_node_says_where_it_comes_from(name: str) -> None:
    """Constants that a pass made aside, every node has an origin in the source model."""
    nameless = [node.full_name for node in compiled(name) if not node.origin and node.op.name != "constant"]
    assert nameless == []


@pytest.mark.parametrize("name", ALL)
def test_batches_stay_symbolic(name: str) -> None:
    graph = compiled(name)
    assert all(isinstance(value.type.shape[0], Batch) for value in graph.inputs)
    assert all(isinstance(output.value.type.shape[0], Batch) for output in graph.outputs)


# Accuracy at default settings.


def evaluated(name: str, steps: int, limit: int | None = None) -> Evaluation:
    network = NETWORKS[name]
    return evaluate(compiled(name), network.model, network.data(limit), steps)


def points_lost(evaluation: Evaluation, t: int) -> float:
    return 100 * (evaluation.ann - evaluation.steps[t - 1].value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_digits_lose_next_to_nothing_at_the_first_step(name: str) -> None:
    evaluation = evaluated(name, 2)
    assert evaluation.samples == 600
    assert evaluation.ann > 0.97
    assert points_lost(evaluation, 1) <= 0.3


@pytest.mark.shared
def test_resnet20_keeps_its_accuracy() -> None:
    evaluation = evaluated("cifar10_resnet20", 4)
    assert evaluation.samples == 1000
    assert evaluation.ann == pytest.approx(0.936, abs=0.0011)
    assert points_lost(evaluation, 1) <= 0.5
    assert points_lost(evaluation, 4) <= 0.1
    assert evaluation.steps[0].unit_spikes_per_neuron <= 1.1
