"""The laws of compiled networks, each as a function that fails where a network breaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.reference import Simulator
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.driver import Options, compile_model
from snnc.frontend import import_onnx
from snnc.ir.archive import load, save
from snnc.ir.errors import PassError, SnncError
from snnc.ir.text import parse_graph, print_graph
from snnc.ir.verify import verify
from snnc.methods import Settings, get_method
from snnc.methods.base import analog_pipeline
from snnc.passes.allocate_levels import AllocateLevels
from snnc.passes.analysis import passes_mean, static_values
from snnc.passes.base import PassContext, Preserves
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.correct_charges import CorrectCharges
from snnc.passes.dce import Dce
from snnc.passes.expand_levels import ExpandLevels
from snnc.passes.fit import Fit
from snnc.passes.fold_pooling import FoldPooling
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.integerise import Integerise
from snnc.passes.manager import PassManager
from snnc.passes.quantise_weights import QuantiseWeights
from tests.generated.builder import SAMPLES
from tests.harness import run_onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.coding import Coding
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Pass
    from tests.generated.networks import Network

ROUNDING = 2e-4  # of the largest output: float32 sums in another order
STEPS = (1, 2, 3, 8)
EARLY, LONG = 8, 64
SLACK = 3.0  # how much larger T times the error may become behind the first steps
FLOOR = 1e-3  # below this, times the step, it is float32 that errs


def hold(network: Network, method: str, coding: Coding, folder: Path) -> None:
    """Hold a network to every law that applies to it."""
    if not applies(network, method):
        method = "multi-spike"
    graph = compiled(network, method, coding)
    assert_round_trips(graph, folder)
    if not network.quantises:  # a quantiser is more than the activation its neuron stands for
        assert_identity_law(network, graph)
    assert_passes_keep_their_bounds(network, method, coding)
    if coding == "rate" and not (network.steep or network.quantises):
        assert_converges(network, "multi-spike" if method in SATURATING else method)
    if not (network.steep or network.quantises):
        assert_integers_keep_their_bounds(network)
    if not network.steep:
        assert_samples_are_independent(network, graph)


INTEGER_PASSES: tuple[Pass, ...] = (QuantiseWeights(), Dce(), Integerise(host_nodes=True), Dce(), Fit())
WEIGHTS = 0.2  # of the largest output, at the first two steps: 8 bits, through all layers
SATURATING = ("if", "qcfs", "ternary")
"""Methods whose neurons send one quantum a step at most, less than calibration saw at its highest."""


def applies(network: Network, method: str) -> bool:
    """Tell whether a method is for a network: pmsm reproduces quantisers in front of synapses."""
    if method != "pmsm":
        return True
    try:
        compiled(network, method)
    except PassError as error:
        assert "carries no quantiser" in error.message  # noqa: PT017 - any other refusal is a failure
        return False
    return True


def compiled(network: Network, method: str, coding: Coding = "rate") -> Graph:
    options = Options(method, Settings(coding=coding))
    return compile_model(network.model, Dataset(network.data), options).graph


def raised(network: Network) -> Graph:
    """Return the graph right before neurons are inserted."""
    graph = import_onnx(network.model)
    PassManager(analog_pipeline()).run(graph)
    return graph


def without_neurons(graph: Graph) -> Graph:
    """Return the graph with the activations that its neurons stand for."""
    copy = graph.copy()
    PassManager([IdentityNeurons()]).run(copy)
    return copy


def deviation(found: Array, wanted: Array) -> float:
    """Return the largest error, relative to the largest output (at least 1)."""
    assert found.shape == wanted.shape
    if not wanted.size:
        return 0.0
    return float(np.abs(found.astype(np.float64) - wanted).max() / max(1.0, np.abs(wanted).max()))


def assert_round_trips(graph: Graph, folder: Path) -> None:
    """Printing what was parsed, and saving what was loaded, gives the same text and bytes."""
    verify(graph)
    text = print_graph(graph, inline_limit=None)
    assert print_graph(parse_graph(text), inline_limit=None) == text
    first, second = folder / "first.sir", folder / "second.sir"
    save(graph, first, graph.meta)
    loaded = load(first)
    assert print_graph(loaded.graph, inline_limit=None) == text
    save(loaded.graph, second, loaded.meta)
    assert first.read_bytes() == second.read_bytes()


def assert_identity_law(network: Network, graph: Graph) -> None:
    """Without neurons the decoded output is onnxruntime's at every step."""
    wanted = run_onnxruntime(network.model, network.data)
    run = Simulator(without_neurons(graph), threads=1).run(network.data, max(STEPS))
    for name, array in wanted.items():
        for t in STEPS:
            assert deviation(run.outputs[name][t - 1], array) <= ROUNDING, (name, t)


# Passes.


def pipeline(method: str, coding: Coding) -> list[Pass]:
    """Return a method's passes with every other pass of the compiler at its place."""
    passes: list[Pass] = []
    for pass_ in get_method(method).pipeline(Settings(coding=coding)):
        passes.append(pass_)
        if isinstance(pass_, FuseBatchNorm):
            passes.append(FoldPooling())
        if isinstance(pass_, ChooseThresholds):
            passes.append(AllocateLevels())
            passes += [CorrectCharges(steps=2)] if coding == "rate" else []
    return [*passes, ExpandLevels(), Dce(), IdentityNeurons()]


def assert_passes_keep_their_bounds(network: Network, method: str, coding: Coding = "rate") -> None:
    """Run a method's passes one by one: each leaves what it says it preserves, and finds nothing twice."""
    graph = import_onnx(network.model)
    context = PassContext(calibration=DatasetCalibration(Dataset(network.data)))
    for pass_ in pipeline(method, coding):
        before = graph.copy()
        PassManager([pass_], context).run(graph)
        assert_preserved(pass_, before, graph, network)
        again = graph.copy()
        (second,) = PassManager([pass_], context).run(again)
        if isinstance(pass_, AllocateLevels):
            continue  # an iteration that is cut off: it may find a little more to improve
        assert not second.changed, f"{pass_.name} changes its own result"
        assert print_graph(again, inline_limit=None) == print_graph(graph, inline_limit=None)


def assert_integers_keep_their_bounds(network: Network) -> bool:
    """Lower a network to integers: the weights' error is small, whole numbers compute the same bit by bit.

    Return whether it can be lowered at all.
    """
    graph = compiled(network, "multi-spike")
    context = PassContext(calibration=DatasetCalibration(Dataset(network.data)))
    real = spiking(graph, network)
    for pass_ in INTEGER_PASSES:
        before = graph.copy()
        try:
            PassManager([pass_], context).run(graph)
        except SnncError:
            return False
        found, wanted = spiking(graph, network), spiking(before, network)
        for name, array in wanted.items():
            if pass_.preserves is Preserves.WEIGHTS:
                assert deviation(found[name], real[name]) <= WEIGHTS, (pass_.name, name)
            else:
                np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6)
        (second,) = PassManager([pass_], context).run(graph.copy())
        assert not second.changed, f"{pass_.name} changes its own result"
    return True


def assert_preserved(pass_: Pass, before: Graph, after: Graph, network: Network) -> None:
    """Compare what a graph decodes to before and after a pass, as closely as the pass says."""
    assert pass_.preserves is not None, pass_.name
    if not (isinstance(pass_, InsertNeurons) and network.quantises):  # from then on a quantiser is a neuron
        found, wanted = meaning(after, network), meaning(before, network)
        for name, array in wanted.items():
            assert deviation(found[name], array) <= ROUNDING, (pass_.name, name)
    if pass_.preserves is Preserves.QUANTISATION or not runs(before):
        return
    if network.quantises and pass_.preserves is Preserves.ROUNDING:
        return  # quantisers of sums of levels meet edges between levels all the time
    found, wanted = spiking(after, network), spiking(before, network)
    for name, array in wanted.items():
        if pass_.preserves is Preserves.EXACT:
            np.testing.assert_array_equal(found[name], array)
        else:
            assert same_but_for_ties(found[name], array), (pass_.name, name)


def meaning(graph: Graph, network: Network) -> dict[str, Array]:
    """Return the outputs if every neuron sent the activation it stands for."""
    return Simulator(without_neurons(graph), threads=1).run(network.data, 1).outputs


def runs(graph: Graph) -> bool:
    """Tell whether every neuron has a threshold and every nonlinearity is wrapped."""
    static = static_values(graph)
    return all(
        (node.op.name != "neuron" or "quantum" in node.attributes)
        and (node.expect or passes_mean(node, static))
        for node in graph
    )


def spiking(graph: Graph, network: Network) -> dict[str, Array]:
    return Simulator(graph, threads=1).run(network.data, 2).outputs


def same_but_for_ties(found: Array, wanted: Array) -> bool:
    """Sums in another order differ in the last bit; a membrane on an edge may then round the other way."""
    scale = max(1.0, np.abs(wanted).max())
    changed = (np.abs(found - wanted) > ROUNDING * scale).reshape(len(wanted), wanted.shape[1], -1)
    return float(changed.any(axis=(0, 2)).mean()) <= 0.2


# Time.


def assert_converges(network: Network, method: str) -> None:
    """The error falls like 1/T: T times the error stays within what the first steps had.

    A neuron's decoded output is off by v(T)/T, and v is bounded; functions that are not steep pass errors on
    in proportion, through as many layers as there are.
    """
    wanted = run_onnxruntime(network.model, network.data)
    run = Simulator(compiled(network, method), threads=1).run(network.data, LONG)
    for name, array in wanted.items():
        errors = np.array([t * deviation(found, array) for t, found in enumerate(run.outputs[name], 1)])
        assert errors[LONG // 2 :].max() <= SLACK * max(errors[:EARLY].max(), FLOOR), name


# Samples.


def assert_samples_are_independent(network: Network, graph: Graph) -> None:
    """Neither their neighbours nor their order nor the simulator's groups change what samples give."""
    together = Simulator(graph, threads=1).run(network.data, 3).outputs
    order = np.random.default_rng(0).permutation(SAMPLES)
    permuted = Simulator(graph, threads=1).run(taken(network, order), 3).outputs
    grouped = Simulator(graph, threads=1, group=4).run(network.data, 3).outputs
    single = [Simulator(graph, threads=1).run(taken(network, [n]), 3).outputs for n in range(SAMPLES)]
    for name, wanted in together.items():
        assert same_but_for_ties(permuted[name], wanted[:, order])
        assert same_but_for_ties(grouped[name], wanted)
        assert same_but_for_ties(np.concatenate([run[name] for run in single], axis=1), wanted)


def taken(network: Network, samples: Any) -> dict[str, Array]:
    return {name: array[samples] for name, array in network.data.items()}
