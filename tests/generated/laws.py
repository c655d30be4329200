"""The laws of compiled networks, each as a function that fails where a network breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from snnc.backends.reference import Simulator
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.driver import Options, compile_model
from snnc.frontend import import_onnx
from snnc.ir.archive import load, save
from snnc.ir.errors import PassError
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
from snnc.passes.fold_pooling import FoldPooling
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.fuse_factors import FuseFactors
from snnc.passes.identity_neurons import IdentityNeurons, replace_neuron
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.manager import PassManager
from snnc.passes.neurons_before_reshapes import NeuronsBeforeReshapes
from snnc.passes.rewriter import Rewriter
from snnc.passes.tie_residuals import TieResiduals
from tests.generated.backends import assert_backends_agree
from tests.generated.builder import SAMPLES
from tests.generated.integers import (
    assert_integers_keep_their_bounds,
    assert_nothing_is_left,
    assert_steps_merge,
)
from tests.generated.limits import assert_converges, jumps, run
from tests.generated.measures import ROUNDING, deviation, same_but_for_ties
from tests.harness import run_analog, run_onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.coding import Coding
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Pass
    from tests.generated.networks import Network

STEPS = (1, 2, 3, 8)
SATURATING = ("if", "qcfs", "ternary")
"""Methods whose neurons send one quantum a step at most, less than calibration saw at its highest."""
REACHING = ("multi-spike", "signed-memory")
"""Methods whose payloads reach further than calibration saw."""
TRAINED = "trained quantiser"
LEVEL = 0.1  # of the largest output: the effect of one level of the coarsest quantiser, through all layers


def hold(network: Network, method: str, coding: Coding, folder: Path) -> None:
    """Hold a network to every law, compiled one way.

    pmsm refuses networks that carry no quantiser; these are compiled with the default method instead.
    """
    if not applies(network, method):
        method = "multi-spike"
    graph = compiled(network, method, coding)
    assert_round_trips(graph, folder)
    assert_identity_law(network, method, coding)
    assert_passes_keep_their_bounds(network, method, coding)
    if any("bounds" in node.attributes for node in graph):
        assert_steps_merge(graph, network.data)
    assert_limit_of_time(network, graph, method, coding)
    if coding == "rate":  # integers refuse the other: changes are weighted by t, which is no whole number
        assert_integers_keep_their_bounds(whole(network, method), network.data, jumps=network.steep)
    assert_samples_are_independent(network, graph)
    assert_backends_agree(graph, network.data)


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


def compiled(
    network: Network, method: str, coding: Coding = "rate", rule: Literal["max", "mse"] | None = None
) -> Graph:
    options = Options(method, Settings(coding=coding, rule=rule))
    return compile_model(network.model, Dataset(network.data), options).graph


def whole(network: Network, method: str) -> Graph:
    """Return a network to be lowered: with one quantum for both signs, which ecmt has by --thresholds mse."""
    return compiled(network, method, rule="mse" if method.startswith("ecmt") else None)


def raised(network: Network) -> Graph:
    """Return the graph right before neurons are inserted."""
    graph = import_onnx(network.model)
    PassManager(analog_pipeline()).run(graph)
    return graph


def without_neurons(graph: Graph, *, trained: bool = False) -> Graph:
    """Return the graph with the activations that its neurons stand for.

    With `trained`, neurons that `mark_trained` found stay: they stand for quantisers.
    """
    copy = graph.copy()
    rewriter = Rewriter(copy, PassContext(), IdentityNeurons.name)
    for node in list(copy):
        kept = trained and str(node.attributes.get("site")).startswith(TRAINED)
        if node.op.name == "neuron" and not kept:
            replace_neuron(node, rewriter)
    copy.retype()
    return copy


def mark_trained(graph: Graph) -> None:
    """Name the neurons that have a quantum right behind insert-neurons: trained quantisers."""
    for number, node in enumerate(graph):
        if node.op.name == "neuron" and "quantum" in node.attributes:
            graph.set_attributes(node, site=f"{TRAINED} {number}")


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


def assert_identity_law(network: Network, method: str, coding: Coding) -> None:
    """Without neurons the decoded output is the source network's at every step.

    That is what onnxruntime computes. The neurons of trained quantisers stay. They compute their quantisers
    at the first step; at every step if they start each anew, as those of pmsm do in rate coding; else later
    steps resolve more, and tend to what `assert_limit_of_time` says. qcfs spreads a level over steps: its
    first step is not held to this. A network with quantisers is compared with the imported one, which keeps
    them, and that with onnxruntime, whose operators on integers may round to the next level.
    """
    graph = import_onnx(network.model)
    context = PassContext(DatasetCalibration(Dataset(network.data)))
    for pass_ in get_method(method).pipeline(Settings(coding=coding)):
        PassManager([pass_], context).run(graph)
        if isinstance(pass_, InsertNeurons):
            mark_trained(graph)
    carried = any(str(node.attributes.get("site")).startswith(TRAINED) for node in graph)
    if carried and method == "qcfs":
        return
    steps = STEPS if not carried or (method == "pmsm" and coding == "rate") else STEPS[:1]
    wanted = source(network)
    outputs = run(without_neurons(graph, trained=True), network.data, max(steps))
    for name, array in wanted.items():
        for t in steps:
            found = outputs[name][t - 1]
            if network.quantises:
                assert same_but_for_ties(found[None], array[None]), (name, t)
            else:
                assert deviation(found, array) <= ROUNDING, (name, t)


def source(network: Network) -> dict[str, Array]:
    """Return what the source network computes."""
    theirs = run_onnxruntime(network.model, network.data)
    if not network.quantises:
        return theirs
    ours = run_analog(raised(network), network.data)
    assert all(deviation(ours[name], array) <= LEVEL for name, array in theirs.items())
    return ours


def assert_limit_of_time(network: Network, graph: Graph, method: str, coding: Coding) -> None:
    """The output tends, like 1/T, to that of the network whose activations are clipped to their payloads.

    Nothing is clipped, so it tends to the source network, where payloads reach as far as the data:
    multi-spike, signed-memory and ecmt; with thresholds at the largest value seen, neurons of one quantum a
    step, too; not where an activation has two different bounds and the narrower lies between two payloads.
    Trained quantisers are clipped, not rounded, in either. No limit is claimed of two kinds of network: a
    function that jumps passes on errors of any size as large ones; and pmsm, in rate coding, makes neurons
    forget what they did not send (`assert_identity_law` says what they do at every step).
    """
    if jumps(graph) or (method == "pmsm" and coding == "rate" and network.quantises):
        return
    clipped = assert_converges(graph, network.data)
    if method in SATURATING:
        clipped = assert_converges(compiled(network, method, coding, "max"), network.data)
    reaches = method in SATURATING or (method in REACHING and not lopsided(graph))
    if reaches and not network.quantises:
        for name, array in run_onnxruntime(network.model, network.data).items():
            assert deviation(clipped[name], array) <= ROUNDING, name


def lopsided(graph: Graph) -> bool:
    """Tell whether a neuron stands for an activation with two different bounds beside 0."""
    bounds = [
        (graph.resolve(node)["low"], graph.resolve(node)["high"])
        for node in graph
        if node.op.name == "neuron"
    ]
    return any(low and high and -low != high for low, high in bounds)


# Passes.


def pipeline(method: str, coding: Coding) -> list[Pass]:
    """Return a method's passes with every other pass of the compiler at its place."""
    passes: list[Pass] = []
    for pass_ in get_method(method).pipeline(Settings(coding=coding)):
        # Bursts have no halves that tie-residuals could round up.
        nearest = isinstance(pass_, InsertNeurons) and coding == "rate"
        passes.append(replace(pass_, rounding="nearest") if nearest else pass_)
        if isinstance(pass_, FuseBatchNorm):
            passes.append(FoldPooling())
        if isinstance(pass_, InsertNeurons):
            passes.append(NeuronsBeforeReshapes())
        if isinstance(pass_, ChooseThresholds):
            passes += [AllocateLevels(), AllocateLevels(unit_spikes=1.0), TieResiduals(), FuseFactors()]
            passes += [CorrectCharges(steps=2)] if coding == "rate" else []
    return [*passes, ExpandLevels(), Dce(), IdentityNeurons()]


def assert_passes_keep_their_bounds(network: Network, method: str, coding: Coding = "rate") -> None:
    """Run a method's passes one by one: each leaves what it says it preserves, and finds nothing twice."""
    graph = import_onnx(network.model)
    context = PassContext(calibration=DatasetCalibration(Dataset(network.data)))
    for pass_ in pipeline(method, coding):
        before = graph.copy()
        PassManager([pass_], context).run(graph)
        assert_nothing_is_left(pass_, graph, context)
        if isinstance(pass_, InsertNeurons):
            mark_trained(graph)
        assert_preserved(pass_, before, graph, network, spreads=method == "qcfs")


def assert_preserved(
    pass_: Pass, before: Graph, after: Graph, network: Network, *, spreads: bool = False
) -> None:
    """Compare what a graph decodes to before and after a pass, as closely as the pass says.

    What every neuron but those of trained quantisers sends the activation it stands for is what the network
    means. insert-neurons of a method that `spreads` the levels of quantisers over steps changes that, and
    identity-neurons takes the quantisers as well.
    """
    assert pass_.preserves is not None, pass_.name
    taken = isinstance(pass_, IdentityNeurons)
    if not (isinstance(pass_, InsertNeurons) and network.quantises and spreads):
        found, wanted = (meaning(graph, network, trained=not taken) for graph in (after, before))
        for name, array in wanted.items():
            if network.quantises and not taken:
                assert same_but_for_ties(found[name], array), (pass_.name, name)
            else:
                assert deviation(found[name], array) <= ROUNDING, (pass_.name, name)
    if pass_.preserves is Preserves.QUANTISATION or not runs(before):
        return
    found, wanted = run(after, network.data, 2), run(before, network.data, 2)
    for name, array in wanted.items():
        if pass_.preserves is Preserves.EXACT:
            np.testing.assert_array_equal(found[name], array)
        else:
            assert same_but_for_ties(found[name], array), (pass_.name, name)


def meaning(graph: Graph, network: Network, *, trained: bool = True) -> dict[str, Array]:
    """Return the outputs after the first step, at which both codings agree, whatever is wrapped yet."""
    copy = without_neurons(graph, trained=trained)
    copy.coding = "rate"
    return run(copy, network.data, 1)


def runs(graph: Graph) -> bool:
    """Tell whether every neuron has a threshold and every nonlinearity is wrapped."""
    static = static_values(graph)
    return all(
        (node.op.name != "neuron" or "quantum" in node.attributes)
        and (node.expect or passes_mean(node, static))
        for node in graph
    )


# Samples.


def assert_samples_are_independent(network: Network, graph: Graph) -> None:
    """Neither their neighbours nor their order nor the simulator's groups change what samples give."""
    together = run(graph, network.data, 3)
    order = np.random.default_rng(0).permutation(SAMPLES)
    permuted = run(graph, taken(network, order), 3)
    grouped = Simulator(graph, threads=1, group=4).run(network.data, 3).outputs
    single = [run(graph, taken(network, [n]), 3) for n in range(SAMPLES)]
    for name, wanted in together.items():
        assert same_but_for_ties(permuted[name], wanted[:, order])
        assert same_but_for_ties(grouped[name], wanted)
        assert same_but_for_ties(np.concatenate([one[name] for one in single], axis=1), wanted)


def taken(network: Network, samples: Any) -> dict[str, Array]:
    return {name: array[samples] for name, array in network.data.items()}
