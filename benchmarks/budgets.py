"""What an energy budget buys at the first steps, over several draws of the calibration data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from results import RESNET20, VIT, Case, digits, shared

from snnc.data import load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.methods import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.data import Dataset

DRAWS = 3
INTRODUCTION = f"""## Within a budget

Each network is compiled {DRAWS} times, with as many calibration samples as before, drawn from the calibration
file with replacement. `ecmt` is the profile of the published code, the one to beat.
"""


@dataclass(frozen=True)
class Row:
    """How a network is compiled, and for how many steps it is measured."""

    title: str
    options: Options
    steps: tuple[int, ...] = (1, 2)


def drawn(dataset: Dataset, seed: int) -> Dataset:
    """Return as many samples, drawn with replacement."""
    count = len(next(iter(dataset.arrays.values())))
    chosen = np.random.default_rng(seed).integers(0, count, count)
    labels = None if dataset.labels is None else dataset.labels[chosen]
    return replace(
        dataset, arrays={name: array[chosen] for name, array in dataset.arrays.items()}, labels=labels
    )


def rows_of(case: Case, rows: tuple[Row, ...]) -> Iterator[str]:
    """Yield a row per way to compile and number of steps: accuracy of every draw, means of the rest."""
    assert case.calibration is not None
    calibration = load_data(case.calibration, normalise=case.normalise)
    data = load_data(case.test, normalise=case.normalise, limit=case.limit)
    for row in rows:
        graphs = (
            compile_model(case.model, drawn(calibration, draw), row.options).graph for draw in range(DRAWS)
        )
        found = [evaluate(graph, case.model, data, max(row.steps)) for graph in graphs]
        for t in row.steps:
            steps = [result.steps[t - 1] for result in found]
            accuracies = ", ".join(f"{100 * step.value:.2f}" for step in steps)
            mean = 100 * np.mean([step.value for step in steps])
            spikes = np.mean([step.unit_spikes_per_neuron for step in steps])
            energy = max(step.energy.ratio_fp32 for step in steps)
            yield (
                f"| {case.title} | {100 * found[0].ann:.2f} | {row.title} | {t} | {accuracies} | {mean:.2f} "
                f"| {spikes:.2f} | {energy:.3f} |"
            )


def networks() -> Iterator[tuple[Case, tuple[Row, ...]]]:
    plain, ecmt = Row("default", Options()), Row("`ecmt`", Options(method="ecmt"), (1, 2, 4))
    changes = Row("`--coding differential`", Options(settings=Settings(coding="differential")), (1, 2, 4))
    yield shared(RESNET20), (plain, Row("`--energy 0.2`", Options(energy=0.2)), changes)
    yield shared(VIT), (plain, Row("`--energy 0.35`", Options(energy=0.35)), changes, ecmt)
    yield digits("Digits ViT", "digits_vit.onnx", "", ()), (plain, changes, ecmt)


def tables(*, short: bool) -> Iterator[str]:
    lines = []
    for case, rows in networks():
        if case.model.exists() and not short:
            lines += list(rows_of(case, rows))
    if lines:
        head = (
            "network", "ANN %", "options", "T", "accuracy %, every draw", "mean", "unit spikes",
            "energy / ANN fp32, largest",
        )  # fmt: skip
        yield "\n".join([INTRODUCTION, f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines, ""])
