"""The pretrained sentence encoder: cosine of its embeddings with the source network's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from budgets import DRAWS, drawn
from results import ROOT

from snnc.backends.reference import Simulator
from snnc.data import Dataset, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.methods import Settings, get_method
from snnc.passes.pipeline import show_pipeline
from snnc.source_model import SourceModel

if TYPE_CHECKING:
    from collections.abc import Iterator

REAL = ROOT / ".real"
MODEL = REAL / "minilm.onnx"
UNIT_SPIKES = 1.59
INTRODUCTION = f"""24 sentences for calibration, 24 others for the test; cosine of the mean-pooled embedding
with the ANN's. `{UNIT_SPIKES}`: levels shared out by `allocate-levels{{unit_spikes={UNIT_SPIKES}}}`;
its {DRAWS} draws are as many calibration sentences, drawn with replacement."""


def pipeline() -> str:
    """Return the default passes with levels shared out for a number of unit spikes per neuron."""
    text = show_pipeline(get_method("multi-spike").pipeline(Settings()))
    return text.replace(
        "normalise-thresholds", f"allocate-levels{{unit_spikes={UNIT_SPIKES}}},normalise-thresholds"
    )


def embeddings(hidden: np.ndarray, data: Dataset) -> np.ndarray:
    """Return the mean of the hidden states over the unmasked tokens, at unit length."""
    mask = np.asarray(data.arrays["attention_mask"], np.float64)[..., None]
    mean = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True))


def rows(title: str, options: Options, calibration: Dataset, steps: tuple[int, ...]) -> Iterator[str]:
    """Yield a row per number of steps."""
    data = load_data(REAL / "test.npz")
    graph = compile_model(MODEL, calibration, options).graph
    expected = embeddings(next(iter(SourceModel(MODEL).run(dict(data.arrays)).values())), data)
    run = Simulator(graph).run(dict(data.arrays), max(steps))
    found = evaluate(graph, MODEL, data, max(steps), metric="cosine").steps
    for t in steps:
        cosine = (embeddings(next(iter(run.outputs.values()))[t - 1], data) * expected).sum(axis=1)
        step = found[t - 1]
        yield (
            f"| {title} | {t} | {cosine.mean():.5f} | {cosine.min():.4f} | {step.unit_spikes_per_neuron:.3f} "
            f"| {step.energy.ratio_fp32:.3f} |"
        )


def tables(*, short: bool) -> Iterator[str]:
    if short or not MODEL.exists():
        return
    calibration = load_data(REAL / "calib.npz")
    shared_out = Options(pipeline=pipeline())
    yield "\n".join(
        [
            "### MiniLM-L6 sentence encoder",
            "",
            INTRODUCTION,
            "",
            "| thresholds | T | mean cosine | worst cosine | unit spikes / neuron | energy / ANN fp32 |",
            "|---" * 6 + "|",
            *rows("`multi-spike`", Options(), calibration, (1, 2, 4)),
            *rows(f"`{UNIT_SPIKES}`, all of them", shared_out, calibration, (1, 2)),
            *(
                row
                for draw in range(DRAWS)
                for row in rows(f"`{UNIT_SPIKES}`, draw {draw}", shared_out, drawn(calibration, draw), (1,))
            ),
            *rows("`ecmt`, published profile", Options(method="ecmt"), calibration, (1, 4)),
            "",
        ]
    )
