"""From a model file to a spiking graph: import, passes, calibration, record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.calibration import DatasetCalibration
from snnc.data import Dataset, load_data
from snnc.frontend import import_onnx
from snnc.ir.errors import DataError
from snnc.methods import Settings, get_method
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager, PassRun
from snnc.passes.pipeline import parse_pipeline, show_pipeline
from snnc.passes.registry import default_registry
from snnc.synthetic import synthetic_dataset, synthetic_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Pass, Site
    from snnc.passes.registry import Registry
    from snnc.passes.statistics import SiteStatistics

SYNTHETIC_WARNING = (
    "no calibration data: thresholds come from synthetic inputs and accuracy may suffer; "
    "give real samples with --calibration"
)


@dataclass(frozen=True, slots=True)
class Options:
    """How to compile. `pipeline` replaces the method's passes; the folders are for debugging."""

    method: str = "multi-spike"
    settings: Settings = field(default_factory=Settings)
    steps: int = 4
    pipeline: str | None = None
    shapes: Mapping[str, Sequence[int | str]] | None = None
    dump_ir: Path | None = None
    crash_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Compilation:
    """The spiking graph and how it came about."""

    graph: Graph
    runs: list[PassRun]
    context: PassContext


@dataclass(slots=True)
class SyntheticCalibration:
    """Measures sites over synthetic inputs, and says so; `samples` of them so far."""

    context: PassContext
    progress: Callable[[int, int], None] | None = None
    samples: int = 0

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        self.context.warnings.append(SYNTHETIC_WARNING)
        self.samples = synthetic_samples(graph)
        dataset = synthetic_dataset(graph, self.samples)
        return DatasetCalibration(dataset, self.progress).measure(graph, sites)


def compile_model(
    model: str | Path | Any,
    calibration: Dataset | None = None,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    on_pass: Callable[[Pass], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Compilation:
    """Compile an ONNX model (path or `ModelProto`) to a spiking graph.

    Every refusal is an `SnncError`; nothing is written. The record in `graph.meta` names source, passes,
    calibration and default number of steps.
    """
    options = options or Options()
    passes = build_pipeline(options, registry or default_registry())
    graph = import_onnx(model, shapes=options.shapes)
    context = PassContext()
    synthetic = SyntheticCalibration(context, progress)
    context.calibration = synthetic if calibration is None else DatasetCalibration(calibration, progress)
    manager = PassManager(passes, context, options.dump_ir, options.crash_dir, on_pass)
    runs = manager.run(graph)
    graph.meta = {
        "source": describe_source(model),
        "method": options.method if options.pipeline is None else "custom",
        "pipeline": show_pipeline(passes),
        "calibration": (
            {"data": "synthetic", "samples": synthetic.samples}
            if calibration is None
            else describe_calibration(graph, calibration)
        ),
        "steps": options.steps,
        **({"shapes": {name: list(dims) for name, dims in options.shapes.items()}} if options.shapes else {}),
    }
    return Compilation(graph, runs, context)


def build_pipeline(options: Options, registry: Registry) -> list[Pass]:
    """Return the passes the options ask for."""
    if options.pipeline is not None:
        return parse_pipeline(options.pipeline, registry)
    return get_method(options.method).pipeline(options.settings)


def describe_source(model: str | Path | Any) -> dict[str, str]:
    """Return the model's file name and digest for the record."""
    if not isinstance(model, str | Path):
        return {"name": "in memory"}
    path = Path(model)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return {"name": path.name, "sha256": digest.hexdigest()}


def describe_calibration(graph: Graph, dataset: Dataset) -> dict[str, Any]:
    """Return what the thresholds were chosen from, for the record."""
    return {
        "data": Path(dataset.source).name,
        "samples": dataset.count(graph),
        "normalise": dataset.normalise.describe(),
    }


def as_dataset(data: Dataset | str | Path | Array | Mapping[str, Array] | None) -> Dataset | None:
    """Return calibration given as a path, an array or arrays by input name as a dataset."""
    if data is None or isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        return load_data(data)
    arrays = dict(data) if isinstance(data, Mapping) else {"x": data}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise DataError(
                f"the data {name!r} are {type(array).__name__}", help="give a numpy array of samples"
            )
    return Dataset(arrays)
