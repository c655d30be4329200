"""What every choice about thresholds is worth: the output's error at T=1 for the same energy.

    python benchmarks/ablation.py [--short] [--limit N] [--write docs/ablation.md]

Every row gets the same budget of accumulates: rules of choose-thresholds by one common factor on all quanta,
allocate-levels by factors of its own. The budget is what --levels 4, 5 and 6 take with the default rule.
Calibration data are never evaluation data. Deterministic.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from results import CIFAR_MEAN, CIFAR_STD, Case, digits, shared

from snnc.calibration import DatasetCalibration
from snnc.data import Normalise, load_data
from snnc.evaluation import evaluate
from snnc.frontend import import_onnx
from snnc.ir.codebooks import MultiSpike
from snnc.methods import Settings, get_method
from snnc.passes import threshold_rules as rules
from snnc.passes.allocate_levels import AllocateLevels, Plan, adjustable_neurons, coarsen
from snnc.passes.base import PassContext
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.manager import PassManager
from snnc.passes.normalise_thresholds import NormaliseThresholds
from snnc.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from snnc.ir.graph import Graph

RULES = {
    "max": ChooseThresholds(rule="max"),
    "percentile 99.9": ChooseThresholds(rule="percentile"),
    "laplace, balanced": ChooseThresholds(rule="laplace"),
    "gaussian, balanced": ChooseThresholds(rule="gaussian"),
    "iteration, balanced": ChooseThresholds(rule="iteration"),
    "mse, one per tensor": ChooseThresholds(per="tensor"),
    "mse": ChooseThresholds(balanced=False),
    "mse, balanced (default)": ChooseThresholds(),
}
ROUNDED = "mse, balanced, rounded to nearest"
ALLOCATED = "mse, balanced, allocate-levels"
LEVELS = (4, 5, 6)


def scale_all(graph: Graph, budget: float, context: PassContext) -> None:
    """Multiply all quanta by one factor, so that spikes cause as many accumulates as the budget."""
    assert context.calibration is not None
    plan = Plan.of(graph, context.calibration)
    low, high = -8.0, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        too_many = plan.cost(np.full(len(plan.costs), np.exp(middle))) > budget
        low, high = (middle, high) if too_many else (low, middle)
    rewriter = Rewriter(graph, context, "benchmark")
    for node in adjustable_neurons(graph):
        coarsen(node, float(np.exp(low)), rewriter)


def round_to_nearest(graph: Graph) -> None:
    """Let multi-spike neurons round instead of sending bursts."""
    for node in graph:
        if node.op.name == "neuron" and isinstance(codebook := node.attributes["codebook"], MultiSpike):
            graph.set_attributes(node, codebook=rules.to_nearest(codebook))


def rows(case: Case, levels: int) -> dict[str, tuple[float, float, float, float]]:
    """Return error, agreement, unit spikes per neuron and energy ratio at T=1 of every variant."""
    assert case.calibration is not None
    context = PassContext(DatasetCalibration(load_data(case.calibration, normalise=case.normalise)))
    data = load_data(case.test, normalise=case.normalise, limit=case.limit)
    passes = get_method("multi-spike").pipeline(Settings(levels=levels))
    kinds = [type(pass_) for pass_ in passes]
    choose, normalise = kinds.index(ChooseThresholds), kinds.index(NormaliseThresholds)
    bare = import_onnx(case.model)
    PassManager(passes[:choose], context).run(bare)
    graphs = {}
    for name, rule in {**RULES, ROUNDED: ChooseThresholds()}.items():
        graphs[name] = bare.copy()
        if name == ROUNDED:
            round_to_nearest(graphs[name])
        PassManager([rule], context).run(graphs[name])
    assert context.calibration is not None
    default = graphs["mse, balanced (default)"]
    budget = Plan.of(default, context.calibration).now
    graphs[ALLOCATED] = default.copy()
    found = {}
    for name, graph in graphs.items():
        if name == ALLOCATED:
            PassManager([AllocateLevels(budget)], context).run(graph)
        else:
            scale_all(graph, budget, context)
        graph.retype()
        PassManager(passes[normalise:], context).run(graph)
        (step,) = evaluate(graph, case.model, data, 1).steps
        energy = step.energy.ratio_fp32
        found[name] = (step.relative_error, 100 * step.agreement, step.unit_spikes_per_neuron, energy)
    return found


def table(case: Case) -> str:
    """Return one network as Markdown: a row per variant, the error for every number of levels."""
    found = [rows(case, levels) for levels in LEVELS]
    head = " | ".join(f"{levels} levels: error | agreement % | energy" for levels in LEVELS)
    lines = [
        f"### {case.title}",
        "",
        f"The first {case.limit} test samples.",
        "",
        f"| thresholds | {head} |",
        "|---" * (1 + 3 * len(LEVELS)) + "|",
    ]
    for name in found[0]:
        shown = [f"{row[name][0]:.4f} | {row[name][1]:.1f} | {row[name][3]:.3f}" for row in found]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def cases(short: bool, limit: int) -> list[Case]:
    few = (1,)
    found = [
        digits("Digits CNN", "digits_cnn.onnx", "multi-spike", few),
        digits("Digits ViT", "digits_vit.onnx", "multi-spike", few),
    ]
    cifar = Normalise(1 / 255, CIFAR_MEAN, CIFAR_STD)
    if not short:
        found += [
            shared(("ResNet-20, CIFAR-10", "cifar10_resnet20.onnx", "cifar10", cifar)),
            shared(("ViT, CIFAR-10", "cifar10_vit.onnx", "cifar10", Normalise(1 / 255, (0.5,), (0.5,)))),
        ]
    return [replace(case, limit=limit) for case in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="only the example networks")
    parser.add_argument("--limit", type=int, default=300, help="test samples of each network")
    parser.add_argument("--write", type=Path, help="write the tables to this file as well")
    options = parser.parse_args()
    tables = []
    for case in cases(options.short, options.limit):
        if not case.model.exists():
            print(f"skipped: {case.title}: {case.model.name} is not there", file=sys.stderr)
            continue
        tables.append(table(case))
        print(tables[-1], flush=True)
    if options.write:
        summary, _, method = __doc__.strip().split("\n\n")
        options.write.write_text(
            "\n".join(["# Ablation of thresholds", "", summary, "", method, "", *tables])
        )


if __name__ == "__main__":
    main()
