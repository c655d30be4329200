"""Measure what integers cost in accuracy: 8 bits as the hardware has, fewer, and two ways to round.

    python benchmarks/integers.py [--short] [--write docs/integers.md]

Networks are compiled once, with calibration data that are never evaluation data, and lowered from there.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from results import DIGITS, RESNET20, ROOT, SHARED, VIT

from snnc.backends.reference import Simulator
from snnc.calibration import DatasetCalibration
from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.passes.base import PassContext
from snnc.passes.dce import Dce
from snnc.passes.integerise import Integerise
from snnc.passes.manager import PassManager
from snnc.passes.quantise_weights import QuantiseWeights

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

STEPS = (1, 2, 4)
SAFORMER = ROOT / "examples" / "saformer"
LOWERINGS = {
    "8 bits": QuantiseWeights(),
    "8 bits, nearest": QuantiseWeights(rounding="nearest"),
    "4 bits": QuantiseWeights(bits=4),
    "4 bits, nearest": QuantiseWeights(bits=4, rounding="nearest"),
    "3 bits": QuantiseWeights(bits=3),
    "3 bits, nearest": QuantiseWeights(bits=3, rounding="nearest"),
}
INTRODUCTION = """# What integers cost

Measured by `make integers`; calibration data are never evaluation data. Weights have so many bits, membranes
24, inputs 8; "nearest" rounds weight by weight, the others for the least error of the sums
([lowering](loihi.md#lowering)). The machine has 8 bits; fewer show what rounding is worth.
"""


@dataclass(frozen=True)
class Case:
    """A network and its data; `host`: it has nodes that compute with real numbers."""

    title: str
    model: Path
    data: str
    normalise: Normalise
    host: bool = False


def cases(*, short: bool) -> list[Case]:
    """Return the networks there are, cheapest first."""
    digits, sixteenth = str(DIGITS / "digits"), Normalise(1 / 16)
    found = [
        Case("Digits CNN", DIGITS / "digits_cnn.onnx", digits, sixteenth),
        Case("Digits SAFormer", SAFORMER / "digits_saformer.onnx", digits, sixteenth),
        Case("Digits ViT, host nodes", DIGITS / "digits_vit.onnx", digits, sixteenth, host=True),
    ]
    if short:
        return found[:2]
    if not SHARED.is_dir():
        print(f"skipped: the shared networks are not at {SHARED}", file=sys.stderr)
        return found
    return found + [
        Case(title, SHARED / model, str(SHARED / data), normalise, host=model == VIT[1])
        for title, model, data, normalise in (
            ("CNN, MNIST", "mnist_cnn.onnx", "mnist", Normalise(1 / 255, (0.1307,), (0.3081,))),
            RESNET20,
            VIT,
        )
    ]


def lowered(graph: Graph, quantise: QuantiseWeights, case: Case, context: PassContext) -> Graph:
    result = graph.copy()
    PassManager([quantise, Integerise(host_nodes=case.host), Dce()], context).run(result)
    return result


def accuracy(graph: Graph, x: dict[str, Array], labels: Array) -> list[float]:
    """Return the accuracy after each of the shown steps, in per cent."""
    (outputs,) = Simulator(graph).run(x, max(STEPS)).outputs.values()
    return [100 * float((outputs[t - 1].argmax(axis=-1) == labels).mean()) for t in STEPS]


def table(case: Case) -> str:
    """Return one network as Markdown."""
    calibration = load_data(Path(f"{case.data}_calibration.npz"), normalise=case.normalise)
    test = load_data(Path(f"{case.data}_test.npz"), normalise=case.normalise)
    graph = compile_model(case.model, calibration, Options()).graph
    context = PassContext(DatasetCalibration(calibration.averaged(graph)))
    ((x, labels),) = test.batches(graph, test.count(graph))
    assert labels is not None
    variants = {"real weights": graph} | {
        name: lowered(graph, quantise, case, context) for name, quantise in LOWERINGS.items()
    }
    lines = [
        f"### {case.title}",
        "",
        f"Accuracy on {len(labels)} test samples, %.",
        "",
        "| weights | " + " | ".join(f"T = {t}" for t in STEPS) + " |",
        "|---" * (1 + len(STEPS)) + "|",
    ]
    for name, variant in variants.items():
        found = accuracy(variant, x, labels)
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in found) + " |")
        print(f"{case.title}: {lines[-1]}", file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="two networks, in seconds")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this file")
    arguments = parser.parse_args()
    page = (
        "\n\n".join([INTRODUCTION.rstrip(), *(table(case) for case in cases(short=arguments.short))]) + "\n"
    )
    if arguments.write is None:
        print(page)
    else:
        arguments.write.write_text(page)


if __name__ == "__main__":
    main()
