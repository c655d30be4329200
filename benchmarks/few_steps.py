"""Binary spikes in few steps: what every part of `--method if --thresholds mse` is worth.

    python benchmarks/few_steps.py [--short] [--limit N] [--write docs/few-steps.md]

Every row has what the row above it has, and more; the last is the method. Networks are compiled for each T.
Calibration data are never evaluation data. Deterministic.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from results import RESNET20, Case, digits, shared

from snnc.data import load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate

TIMES = (2, 4, 8)
SMALL_LIMIT, LARGE_LIMIT = 600, 200

START = "raise-quantisers,simplify,raise-patterns,fuse-batch-norm,simplify,dce"
NEURONS = "insert-neurons{codebook=binary},expectation-compensation"
END = "normalise-thresholds,dce"
PERCENTILE = "choose-thresholds{rule=percentile,per=tensor}"
CHANNELS = "choose-thresholds{rule=percentile,initial=0.5}"
SQUARES = "choose-thresholds{steps=%d,initial=0.5}"
CHARGES = "correct-charges{steps=%d}"
ROWS = {
    "99.9th percentile, per tensor (default of `if`)": [START, NEURONS, PERCENTILE, END],
    "per channel, half charged": [START, NEURONS, CHANNELS, END],
    "least squared error after T steps": [START, NEURONS, SQUARES, END],
    "correct-charges": [START, NEURONS, SQUARES, CHARGES, END],
    "fold-pooling (`--thresholds mse`)": [START, "fold-pooling", NEURONS, SQUARES, CHARGES, END],
}


def pipeline(parts: list[str], steps: int) -> str:
    return ",".join(part.replace("%d", str(steps)) for part in parts)


def measure(case: Case, parts: list[str], steps: int) -> str:
    """Return accuracy, error and energy after so many steps, of the network compiled for them."""
    assert case.calibration is not None
    calibration = load_data(case.calibration, normalise=case.normalise)
    data = load_data(case.test, normalise=case.normalise, limit=case.limit)
    options = Options(pipeline=pipeline(parts, steps), steps=steps)
    graph = compile_model(case.model, calibration, options).graph
    step = evaluate(graph, case.model, data, steps).steps[-1]
    assert step.value is not None
    return f"{100 * step.value:.1f} | {step.relative_error:.3f} | {step.energy.ratio_fp32:.2f}"


def table(case: Case) -> str:
    """Return one network as Markdown: a row per variant, three figures per T."""
    head = " | ".join(f"T={t}: accuracy, % | error | energy" for t in TIMES)
    lines = [f"## {case.title}", "", f"The first {case.limit} test samples.", "", f"| | {head} |"]
    lines.append("|---" * (1 + 3 * len(TIMES)) + "|")
    for name, parts in ROWS.items():
        print(f"{case.title}: {name}", file=sys.stderr, flush=True)
        lines.append(f"| {name} | {' | '.join(measure(case, parts, t) for t in TIMES)} |")
    return "\n".join([*lines, ""])


def cases(short: bool, limit: int | None) -> list[Case]:
    found = [replace(digits("Digits CNN", "digits_cnn.onnx", "", TIMES), limit=limit or SMALL_LIMIT)]
    return found if short else [*found, shared(RESNET20, limit=limit or LARGE_LIMIT)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="only the example network")
    parser.add_argument("--limit", type=int, help="test samples of each network")
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
            "\n".join(["# Binary spikes in few steps", "", summary, "", method, "", *tables])
        )


if __name__ == "__main__":
    main()
