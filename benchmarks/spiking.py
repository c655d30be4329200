"""Networks that were trained spiking, beside softmax transformers of their size."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
from results import DIGITS, ROOT

from snnc.data import Dataset, Normalise, load_data
from snnc.driver import compile_model
from snnc.energy import count_step, estimate
from snnc.evaluation import Evaluation, evaluate
from snnc.frontend import import_onnx
from snnc.methods.base import analog_pipeline
from snnc.passes.manager import PassManager
from snnc.source_model import SourceModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAFORMER = ROOT / "examples" / "saformer"
HEAD = (
    "data", "network", "parameters", "T", "accuracy %", "unit spikes / neuron / step", "energy, nJ",
    "energy / softmax ViT", "real multiplications behind the first layer",
)  # fmt: skip
INTRODUCTION = """## Trained spiking: SAFormer

Our reconstruction ([SAFormer](saformer.md)) beside softmax vision transformers of the same width, depth and
training ([example](../examples/saformer/README.md)). Energy is per sample at float32 prices, everything
counted; the first layer reads the analog image (or event counts), so its multiplications are real.
"""


def data_sets(*, short: bool) -> Iterator[tuple[str, Dataset, tuple[int, ...]]]:
    """Yield the data there are with the number of steps to show."""
    yield "digits", load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16)), (1, 2, 4)
    if not short:
        yield "events", load_data(SAFORMER / "events_test.npz"), (1, 2, 4, 8)
    if not short and (found := fashion()) is not None:
        yield "fashion", found, (1, 2, 4)


def fashion() -> Dataset | None:
    """Return the test images of Fashion-MNIST as the example reads them, if Debian's package is installed."""
    sys.path.append(str(SAFORMER))
    import saformer_data

    try:
        split = saformer_data.fashion()
    except saformer_data.NoDataError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return None
    return Dataset({"image": split.x_test.numpy()}, split.y_test.numpy(), Normalise(1 / 256), "Fashion-MNIST")


def parameters(model: Path) -> int:
    return sum(int(np.prod(tensor.dims)) for tensor in onnx.load(model).graph.initializer)


def dense_nanojoules(model: Path) -> float:
    """Return the energy of a network that does not spike."""
    graph = import_onnx(model)
    PassManager(analog_pipeline()).run(graph)
    counts = count_step(graph)
    return estimate(counts, counts, 0.0).ann_fp32_pj / 1000


def vit_accuracy(model: Path, data: Dataset) -> str:
    """Return a vision transformer's accuracy; of event frames it reads all steps at once, as channels."""
    (images,) = data.arrays.values()
    if images.ndim == 5:
        images = np.moveaxis(images, 0, 1)
        images = images.reshape(len(images), -1, *images.shape[3:])
    x = (images * data.normalise.scale).astype(np.float32)
    (logits,) = SourceModel(model).run({"image": x}).values()
    assert data.labels is not None
    return f"{100 * np.mean(logits.argmax(axis=1) == data.labels):.2f}"


def behind_first_layer(result: Evaluation, t: int) -> str:
    """Return the share of all operations that are multiplications, the first layer's apart."""
    found = result.steps[t - 1].operations
    behind = found.expectation + found.other_multiplications
    return f"{behind / found.counted:.4f}"


def tables(*, short: bool) -> Iterator[str]:
    lines = [INTRODUCTION, f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for name, data, steps in data_sets(short=short):
        model, vit = SAFORMER / f"{name}_saformer.onnx", SAFORMER / f"{name}_vit.onnx"
        graph = compile_model(model).graph
        result = evaluate(graph, model, data, max(steps))
        dense = dense_nanojoules(vit)
        accuracy = vit_accuracy(vit, data)
        lines.append(f"| {name} | softmax ViT | {parameters(vit):,} | | {accuracy} | | {dense:,.0f} | 1 | |")
        for t in steps:
            step = result.steps[t - 1]
            energy = step.energy.snn_pj / 1000
            lines.append(
                f"| {name} | SAFormer | {parameters(model):,} | {t} | {100 * step.value:.2f} "
                f"| {step.unit_spikes_per_neuron:.3f} | {energy:,.0f} | {energy / dense:.3f} "
                f"| {behind_first_layer(result, t)} |"
            )
    yield "\n".join([*lines, ""])
