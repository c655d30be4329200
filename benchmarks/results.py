"""Measure what compiled networks reach: accuracy, agreement, spikes and energy at every time step.

    python benchmarks/results.py [--short] [--write docs/results.md]

Compiles the example networks, the shared networks where they are (SNNC_SHARED, or `shared` beside the
repository) and the exported sentence encoder where `make real` has left it, with calibration data that are
never evaluation data, and prints one Markdown table per network and method.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import Evaluation, evaluate

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SNNC_SHARED", ROOT.parent / "shared")) / "models"
DIGITS = ROOT / "examples" / "digits"
CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Title, model, data and their normalisation.
RESNET20 = (
    "ResNet-20, CIFAR-10",
    "cifar10_resnet20.onnx",
    "cifar10",
    Normalise(1 / 255, CIFAR_MEAN, CIFAR_STD),
)
VIT = ("ViT, CIFAR-10", "cifar10_vit.onnx", "cifar10", Normalise(1 / 255, (0.5,), (0.5,)))


INTRODUCTION = """# Results

Measured by `make results`; calibration data are never evaluation data. Energy is per sample, everything
counted at float32 prices ([energy](energy.md)); where a ratio is above 1 the spiking network needs more than
the source network. BLAS rounds differently with another number of threads, and neurons on a rounding edge
flip: single accuracies move by about 0.1 points.
"""


@dataclass(frozen=True)
class Case:
    """One table: a network, how it is compiled, how long it runs, on which data."""

    title: str
    model: Path
    calibration: Path | None
    test: Path
    normalise: Normalise = field(default_factory=Normalise)
    method: str = "multi-spike"
    steps: tuple[int, ...] = (1, 2, 4, 8)
    limit: int | None = None


def digits(title: str, name: str, method: str, steps: tuple[int, ...]) -> Case:
    data = DIGITS / "digits_calibration.npz", DIGITS / "digits_test.npz"
    return Case(title, DIGITS / name, *data, Normalise(1 / 16), method, steps)


def shared(
    network: tuple[str, str, str, Normalise], method: str = "multi-spike", limit: int | None = None
) -> Case:
    title, name, data, normalise = network
    steps = (1, 2, 4, 8) if method == "multi-spike" else (1, 2, 4, 8, 16, 32, 64)
    files = SHARED / f"{data}_calibration.npz", SHARED / f"{data}_test.npz"
    return Case(title, SHARED / name, *files, normalise, method, steps, limit)


def cases(short: bool) -> list[Case]:
    """Return the tables to make, cheapest first."""
    few, many = (1, 2, 4, 8), (1, 2, 4, 8, 16, 32, 64)
    found = [
        digits("Digits CNN", "digits_cnn.onnx", "multi-spike", few),
        digits("Digits ViT", "digits_vit.onnx", "multi-spike", few),
    ]
    if short:
        return found
    found += [
        digits("Digits CNN", "digits_cnn.onnx", "if", many),
        digits("Digits ViT", "digits_vit.onnx", "if", many),
    ]
    mnist = ("CNN, MNIST", "mnist_cnn.onnx", "mnist", Normalise(1 / 255, (0.1307,), (0.3081,)))
    return [
        *found,
        shared(mnist),
        shared(RESNET20),
        replace(shared(RESNET20), calibration=None),
        shared(VIT),
        shared(RESNET20, "if", 500),
        shared(VIT, "if", 200),
    ]


def measure(case: Case) -> Evaluation:
    """Compile one case and evaluate it."""
    calibration = None
    if case.calibration is not None:
        calibration = load_data(case.calibration, normalise=case.normalise)
    data = load_data(case.test, normalise=case.normalise, limit=case.limit)
    graph = compile_model(case.model, calibration, Options(method=case.method)).graph
    return evaluate(graph, case.model, data, max(case.steps))


def table(case: Case, result: Evaluation) -> str:
    """Return one case as Markdown."""
    source = "without calibration data" if case.calibration is None else "calibrated"
    columns = (
        "T",
        "accuracy %",
        "agreement with the ANN %",
        "relative error",
        "unit spikes / neuron / step",
        "energy / ANN fp32",
        "energy / ANN int8",
    )
    lines = [
        f"### {case.title}: `{case.method}`, {source}",
        "",
        f"{result.samples} test samples, ANN {100 * result.ann:.2f} %.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for step in result.steps:
        if step.t in case.steps:
            numbers = (
                f"{step.t}",
                f"{100 * step.value:.2f}",
                f"{100 * step.agreement:.2f}",
                f"{step.relative_error:.4f}",
                f"{step.unit_spikes_per_neuron:.2f}",
                f"{step.energy.ratio_fp32:.2f}",
                f"{step.energy.ratio_int8:.2f}",
            )
            lines.append(f"| {' | '.join(numbers)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="only the example networks, default method")
    parser.add_argument("--write", type=Path, help="write the tables to this file as well")
    options = parser.parse_args()
    tables = []
    for case in cases(options.short):
        if not case.model.exists():
            print(f"skipped: {case.title}: {case.model.name} is not there", file=sys.stderr)
            continue
        tables.append(table(case, measure(case)))
        print(tables[-1], flush=True)
    import budgets
    import sentences
    import spiking

    for section in (budgets.tables, sentences.tables, spiking.tables):
        for found in section(short=options.short):
            tables.append(found)
            print(found, flush=True)
    if options.write:
        options.write.write_text("\n".join([INTRODUCTION, *tables]))


if __name__ == "__main__":
    main()
