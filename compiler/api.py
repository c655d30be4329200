"""The functions behind `snnc.compile`, `snnc.load`, `snnc.save`, `snnc.check` and `snnc.evaluate`.

>>> import snnc
>>> model = "examples/digits/digits_cnn.onnx"
>>> data = snnc.load_data("examples/digits/digits_calibration.npz", normalise=snnc.Normalise(scale=1 / 16))
>>> graph = snnc.compile(model, calibration=data)
>>> snnc.save(graph, "digits_cnn.sir")
>>> images = data.arrays["x"][:5] / 16
>>> snnc.Simulator(graph).run(images, steps=4).outputs["logits"].shape  # [T, N, classes]
(4, 5, 10)
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

from snnc.driver import Options, as_dataset, compile_model
from snnc.ir import archive
from snnc.ir.coding import CODINGS
from snnc.ir.decode import DECODES
from snnc.ir.errors import OptionError, closest
from snnc.ir.ops.neuron import RESETS
from snnc.methods import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from snnc.data import Dataset
    from snnc.evaluation import Evaluation, Metric
    from snnc.frontend.check import CheckReport
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.simulation import Backend


def compile(
    model: str | Path | Any,
    calibration: Dataset | str | Path | Array | Mapping[str, Array] | None = None,
    *,
    method: str | None = None,
    steps: int = 4,
    levels: int | None = None,
    thresholds: Literal["mse", "max", "percentile"] | None = None,
    per: Literal["channel", "tensor"] | None = None,
    batch_norm: Literal["weights", "thresholds"] = "weights",
    coding: Literal["rate", "differential"] = "rate",
    reset: Literal["subtract", "zero", "restart"] | None = None,
    energy: float | None = None,
    max_loss: float | None = None,
    pipeline: str | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    decode: Decode | None = None,
    target: str | None = None,
    host_nodes: bool = False,
    dt: float | None = None,
    integration: Literal["euler", "exponential"] | None = None,
) -> Graph:
    """Compile an ONNX model (path or `ModelProto`) or a NIR graph (path) to a spiking graph.

    `method` None: `direct` for a network that spikes already, else `multi-spike`.
    `calibration`: a data file, an array, arrays by input name, or a `Dataset` (which can normalise);
    None: synthetic inputs and a warning. `steps` is the default number of time steps, which the record keeps
    and some thresholds and payloads are chosen for.
    `levels`, `thresholds`, `per`, `batch_norm`, `coding` and `reset` set the method's passes; `pipeline`
    replaces them all.
    `energy` (ratio to the source network in float32) or `max_loss` (points of accuracy, or of agreement where
    the calibration data have no labels) is met at T=1; half of the data are then kept to measure the loss on.
    `shapes` pins dimensions: `{"tokens": ("N", 128)}`. `decode`: the answer is
    the "mean", "sum" or "last" of the outputs' steps; None: as the model's metadata say (`snnc.decode`), else
    the mean. `target`, "loihi2" or "int8": lower the network to integers for this machine; what needs real
    numbers runs on a host with `host_nodes`, else it is refused by name. `dt` (seconds) and `integration`:
    what a step makes of a NIR graph; None: as its metadata say, else 0.0001 and "euler". Every refusal is an
    `SnncError`.

    >>> import numpy as np
    >>> images = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
    >>> graph = compile("examples/digits/digits_cnn.onnx", images, method="if", steps=64)
    >>> graph.meta["method"], graph.meta["steps"]
    ('if', 64)
    >>> compile("examples/digits/digits_cnn.onnx", images, method="ecm")
    Traceback (most recent call last):
    snnc.ir.errors.OptionError: there is no method 'ecm'
      help: did you mean 'ecmt'?
    """
    if steps < 1:
        raise OptionError(f"a network cannot take {steps} time steps", help="give at least 1")
    check_choice("thresholds", thresholds, (None, "mse", "max", "percentile"))
    check_choice("per", per, (None, "channel", "tensor"))
    check_choice("decode", decode, (None, *DECODES))
    check_choice("batch_norm", batch_norm, ("weights", "thresholds"))
    check_choice("coding", coding, CODINGS)
    check_choice("reset", reset, (None, *RESETS))
    settings = Settings(levels, thresholds, per, batch_norm, coding, reset)
    options = Options(
        method,
        settings,
        steps,
        pipeline,
        shapes,
        energy=energy,
        max_loss=max_loss,
        decode=decode,
        target=target,
        host_nodes=host_nodes,
        dt=dt,
        integration=integration,
    )
    compilation = compile_model(model, as_dataset(calibration), options)
    for text in compilation.context.warnings:
        warnings.warn(text, stacklevel=2)
    return compilation.graph


def check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        known = [choice for choice in choices if choice is not None]
        question = None if value is None else closest(value, known)
        raise OptionError(f"{name} cannot be {value!r}", help=question or f"one of: {', '.join(known)}")


def load(path: str | Path, *, check_weights: bool = True) -> Graph:
    """Return the graph of a `.sir` file, checked, with the file's record in `graph.meta`.

    The weights are mapped into memory. Without `check_weights` none is read before its first use: neither
    their checksum nor that they are finite is checked then, everything else is.

    >>> save(compile("examples/digits/digits_cnn.onnx", {"image": digits}), "net.sir")
    >>> graph = load("net.sir")
    >>> graph.meta["source"]["name"]
    'digits_cnn.onnx'
    >>> [str(value.type) for value in graph.inputs]
    ['tensor<f32, N x 1 x 8 x 8>']
    """
    network = archive.load(path, check_weights=check_weights)
    network.graph.meta = dict(network.meta)
    return network.graph


def save(graph: Graph, path: str | Path) -> None:
    """Write a graph and its record to a `.sir` archive, whole or not at all."""
    archive.save(graph, path, graph.meta)


def check(
    model: str | Path | Any,
    *,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    dt: float | None = None,
    integration: Literal["euler", "exponential"] | None = None,
) -> CheckReport:
    """Return what becomes of every node of an ONNX model or a NIR graph, and why some cannot be compiled.

    >>> report = check("examples/digits/digits_cnn.onnx")
    >>> report.compiles, report.coverage
    (True, 100.0)
    """
    from snnc.checking import check_model

    return check_model(model, shapes=shapes, dt=dt, integration=integration)


def evaluate(
    graph: Graph,
    model: str | Path,
    data: Dataset | str | Path | Array | Mapping[str, Array],
    steps: int | None = None,
    *,
    metric: Metric | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    backend: Backend = "reference",
    device: str | None = None,
    compiled: bool = False,
) -> Evaluation:
    """Compare a spiking graph with the ONNX model it was compiled from, at every step up to `steps`.

    `steps`: None for as many as data with a time axis have, else 4. `data` as for `compile`; labels need a
    data file or a `Dataset`. Without labels the metric is the relative error. `backend` runs the spiking
    graph: "reference", "fast", "onnx" or "torch", the last one on `device` ("cpu", "cuda") and, if
    `compiled`, by torch.compile.

    >>> graph = compile("examples/digits/digits_cnn.onnx", digits)
    >>> result = evaluate(graph, "examples/digits/digits_cnn.onnx", digits, steps=2)
    >>> result.metric, len(result.steps)
    ('relative_error', 2)
    """
    from snnc import evaluation

    dataset = as_dataset(data)
    assert dataset is not None
    chosen = (dataset.steps(graph) or 4) if steps is None else steps
    return evaluation.evaluate(
        graph,
        model,
        dataset,
        chosen,
        metric=metric,
        shapes=shapes,
        backend=backend,
        device=device,
        compiled=compiled,
    )
