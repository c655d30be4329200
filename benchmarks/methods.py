"""Measure every method in both codings: accuracy, error, unit spikes and energy at T = 1, 2, 4, 8, 16.

    python benchmarks/methods.py [--short] [--limit N] [--write docs/methods-table.md]

Networks: the digits networks and, where they are, the shared ResNet-20 and ViT. Calibration data are never
evaluation data.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from results import RESNET20, VIT, Case, digits, shared

from snnc.data import load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.methods import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.evaluation import Evaluation

TIMES = (1, 2, 4, 8, 16)
METHODS = ("multi-spike", "signed-memory", "if", "qcfs", "ternary", "ecmt", "ecmt-top")
SMALL_LIMIT, LARGE_LIMIT = 300, 100  # test samples of the digits networks, of the shared ones
CLOSE = 0.01  # accuracy lost: a point

INTRODUCTION = """# Every method in both codings

Measured by `make methods`: each method at its defaults, in rate and in differential coding, and `if` with
reset to zero ([methods](methods.md)). Calibration data are never evaluation data. Differences of a point or
less are noise on so few samples; the relative error of the outputs is not. Spikes are unit spikes per neuron,
energy is all-in at float32 prices over the source network's ([energy](energy.md)).
"""


@dataclass(frozen=True)
class Variant:
    """One row: a method, its coding, its reset."""

    method: str
    coding: Literal["rate", "differential"] = "rate"
    reset: Literal["subtract", "zero"] = "subtract"

    def __str__(self) -> str:
        return f"`{self.method}`, {self.coding}" + (", reset to zero" if self.reset == "zero" else "")


VARIANTS = (
    *(Variant(method, coding) for method in METHODS for coding in ("rate", "differential")),
    Variant("if", "rate", "zero"),
)


def cases(limit: int | None) -> list[Case]:
    """Return the networks, with as many test samples as they get."""
    small = [
        digits("Digits CNN", "digits_cnn.onnx", "", TIMES),
        digits("Digits ViT", "digits_vit.onnx", "", TIMES),
    ]
    return [
        *(replace(case, limit=limit or SMALL_LIMIT) for case in small),
        *(shared(network, limit=limit or LARGE_LIMIT) for network in (RESNET20, VIT)),
    ]


def measure(case: Case, variant: Variant, steps: int) -> Evaluation:
    """Compile one network by one method and evaluate it."""
    assert case.calibration is not None
    calibration = load_data(case.calibration, normalise=case.normalise)
    data = load_data(case.test, normalise=case.normalise, limit=case.limit)
    settings = Settings(coding=variant.coding, reset=variant.reset)
    graph = compile_model(case.model, calibration, Options(variant.method, settings)).graph
    return evaluate(graph, case.model, data, steps)


def spikes_until(result: Evaluation, t: int) -> float:
    return result.steps[t - 1].unit_spikes_per_neuron * t if t else 0.0


FIGURES: dict[str, Callable[[Evaluation, int], str]] = {
    "Accuracy, %": lambda result, t: f"{100 * result.steps[t - 1].value:.1f}",
    "Relative error of the outputs": lambda result, t: f"{result.steps[t - 1].relative_error:.4f}",
    "Unit spikes per neuron, steps 1 to T together": lambda result, t: f"{spikes_until(result, t):.2f}",
    "Unit spikes per neuron, step T alone": lambda result, t: (
        f"{spikes_until(result, t) - spikes_until(result, t - 1):.2f}"
    ),
    "Energy of steps 1 to T over the source network's": lambda result, t: (
        f"{result.steps[t - 1].energy.ratio_fp32:.2f}"
    ),
}


def tables(case: Case, results: Mapping[Variant, Evaluation], times: Sequence[int]) -> str:
    """Return one network as Markdown: what is good and bad, then one table per figure."""
    first = next(iter(results.values()))
    lines = [f"## {case.title}", "", f"{first.samples} test samples, ANN {100 * first.ann:.1f} %.", ""]
    lines += [*verdict(results, times), ""]
    for title, figure in FIGURES.items():
        head = " | ".join(f"T={t}" for t in times)
        lines += [f"### {title}", "", f"| | {head} |", "|---" * (len(times) + 1) + "|"]
        for variant, result in results.items():
            lines.append(f"| {variant} | {' | '.join(figure(result, t) for t in times)} |")
        lines.append("")
    return "\n".join(lines)


def verdict(results: Mapping[Variant, Evaluation], times: Sequence[int]) -> list[str]:
    """Say which variants come within a point of the source network, when, at what energy, and which never."""
    there: list[tuple[float, str]] = []
    bad = []
    for variant, result in results.items():
        close = [t for t in times if result.steps[t - 1].value >= result.ann - CLOSE - 1e-9]
        if close:
            energy = result.steps[close[0] - 1].energy.ratio_fp32
            there.append((energy, f"{variant} at T={close[0]} for {energy:.2f}"))
        else:
            bad.append(f"{variant} ({100 * result.steps[times[-1] - 1].value:.1f} %)")
    cheapest_first = [text for _, text in sorted(there)]
    return [
        f"- Within a point of the source network, by the energy it takes: {listed(cheapest_first)}",
        f"- Bad, not within a point up to T={times[-1]}: {listed(bad)}",
    ]


def listed(items: Sequence[str]) -> str:
    return ("; ".join(items) or "none") + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="the smaller network, two methods, T up to 2")
    parser.add_argument("--limit", type=int, help="test samples of every network")
    parser.add_argument("--write", type=Path, help="write the tables to this file as well")
    options = parser.parse_args()
    found, variants, times = cases(options.limit), VARIANTS, TIMES
    if options.short:
        found, variants, times = found[:1], (*VARIANTS[:2], VARIANTS[-1]), TIMES[:2]
    pages = []
    for case in found:
        if not case.model.exists():
            print(f"skipped: {case.title}: {case.model.name} is not there", file=sys.stderr)
            continue
        results = {}
        for variant in variants:
            print(f"{case.title}: {variant}", file=sys.stderr, flush=True)
            results[variant] = measure(case, variant, times[-1])
        pages.append(tables(case, results, times))
        print(pages[-1], flush=True)
    if options.write:
        options.write.write_text("\n".join([INTRODUCTION, *pages]))


if __name__ == "__main__":
    main()
