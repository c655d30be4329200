"""From a model file to a spiking graph: import, passes, calibration, record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from snnc.backends.outputs import check_outputs
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset, load_data
from snnc.frontend.source import import_network
from snnc.hardware import get_machine
from snnc.ir.errors import DataError, OptionError
from snnc.methods import DEFAULT, DIRECT, Settings, get_method, method_for
from snnc.methods.base import analog_pipeline
from snnc.passes.allocate_levels import AllocateLevels
from snnc.passes.analysis import spikes_already
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager, PassRun
from snnc.passes.normalise_thresholds import NormaliseThresholds
from snnc.passes.pipeline import parse_pipeline, show_pipeline
from snnc.passes.registry import default_registry
from snnc.passes.rewriter import describe
from snnc.synthetic import synthetic_dataset, synthetic_samples
from snnc.tuning import Tuner, first_samples, halves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from snnc.methods.base import Method
    from snnc.methods.direct import DirectMethod
    from snnc.passes.base import Pass, Site
    from snnc.passes.moments import Moments
    from snnc.passes.registry import Registry
    from snnc.passes.statistics import SiteStatistics

SYNTHETIC_WARNING = (
    "no calibration data: thresholds come from synthetic inputs and accuracy may suffer; "
    "give real samples with --calibration"
)
UNKNOWN_DT = (
    "the file does not say how long a time step is: {dt:g} s taken; "
    "if its neurons count steps (an IF with r = 1), give --dt 1"
)


@dataclass(frozen=True, slots=True)
class Options:
    """How to compile. `pipeline` replaces the method's passes; the folders are for debugging.

    `energy` (ratio to the source network in float32) and `max_loss` (points) are met at T=1 by sharing out
    levels between neurons. Without a method a network that spikes already keeps its neurons, any other is
    converted by the default method. `decode` replaces what the model says about decoding its outputs; `dt`
    and `integration` what a NIR graph says about its time step.
    `target` names a machine (snnc.hardware) to lower the network to; with `host_nodes`, what needs real
    numbers stays, for a host.
    """

    method: str | None = None
    settings: Settings = field(default_factory=Settings)
    steps: int = 4
    pipeline: str | None = None
    shapes: Mapping[str, Sequence[int | str]] | None = None
    dump_ir: Path | None = None
    crash_dir: Path | None = None
    energy: float | None = None
    max_loss: float | None = None
    decode: Decode | None = None
    target: str | None = None
    host_nodes: bool = False
    dt: float | None = None
    integration: str | None = None

    @property
    def full_settings(self) -> Settings:
        """The method's settings, the number of steps among them."""
        return replace(self.settings, steps=self.steps)

    def lowering(self, graph: Graph) -> list[Pass]:
        """Return the passes that take this spiking graph to the target machine."""
        if self.target is None:
            return []
        per: Literal["channel", "layer"] = "layer" if self.settings.per == "tensor" else "channel"
        sums = [describe(node) for node in graph if node.attributes.get("bounds") == "sum"]
        return get_machine(self.target).passes(
            host_nodes=self.host_nodes, per=per, sums=sums, steps=self.steps
        )

    def pipeline_of(self, method: Method | DirectMethod) -> list[Pass]:
        """Return a method's passes, as the target machine needs them."""
        passes = method.pipeline(self.full_settings)
        if self.target is None:
            return passes
        return get_machine(self.target).conversion(passes, self.settings.levels, self.steps)

    def __post_init__(self) -> None:
        if self.host_nodes and self.target is None:
            raise OptionError("host nodes are those of a target machine", help="give --target loihi2")
        if self.energy is None and self.max_loss is None:
            return
        if self.energy is not None and self.max_loss is not None:
            raise OptionError("an energy and a loss cannot both be met", help="give one of the two")
        if self.pipeline is not None:
            raise OptionError(
                "an energy or a loss is met with the method's passes, which a pipeline replaces",
                help="put allocate-levels{accumulates=…} into the pipeline",
            )
        if self.energy is not None and not 0 < self.energy < math.inf:
            raise OptionError(f"an energy ratio of {self.energy:g} cannot be met", help="give more than 0")
        if self.max_loss is not None and not 0 <= self.max_loss <= 100:
            raise OptionError(f"{self.max_loss:g} points cannot be lost", help="give 0 to 100")


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
        return self._calibration(graph).measure(graph, sites)

    def sensitivity(self, graph: Graph, neurons: Sequence[Node]) -> list[float]:
        return self._calibration(graph).sensitivity(graph, neurons)

    def walk(
        self, graph: Graph, neurons: Mapping[Node, tuple[int, ...]], steps: int
    ) -> Iterator[tuple[Node, Callable[[], Array]]]:
        return self._calibration(graph).walk(graph, neurons, steps)

    def moments(self, graph: Graph, nodes: Sequence[Node]) -> list[Moments | None]:
        return self._calibration(graph).moments(graph, nodes)

    def _calibration(self, graph: Graph) -> DatasetCalibration:
        if SYNTHETIC_WARNING not in self.context.warnings:
            self.context.warnings.append(SYNTHETIC_WARNING)
        self.samples = synthetic_samples(graph)
        return DatasetCalibration(synthetic_dataset(graph, self.samples), self.progress)


def compile_model(
    model: str | Path | Any,
    calibration: Dataset | None = None,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    on_pass: Callable[[Pass], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Compilation:
    """Compile an ONNX model (path or `ModelProto`) or a NIR graph (path) to a spiking graph.

    Every refusal is an `SnncError`; nothing is written. The record in `graph.meta` names source, passes,
    calibration and default number of steps.
    """
    options = options or Options()
    passes = build_pipeline(options, registry or default_registry())
    context, held_out, target = PassContext(), None, None
    graph = opened(model, options, context)
    method, passes = chosen_method(graph, options, passes)
    if calibration is not None:
        # What a compiled network decodes to is a function of the mean over the steps.
        calibration = calibration.averaged(graph)
    if options.max_loss is not None:
        calibration, held_out = held_back(calibration, graph)
    synthetic = SyntheticCalibration(context, progress)
    context.calibration = synthetic if calibration is None else DatasetCalibration(calibration, progress)
    manager = PassManager(passes, context, options.dump_ir, options.crash_dir, on_pass)
    if options.energy is None and options.max_loss is None:
        runs = manager.run(graph)
    else:
        data = held_out or first_samples(
            calibration or synthetic_dataset(graph, synthetic_samples(graph)), graph
        )
        passes, runs, target = run_to_target(graph, manager, options, data)
    manager.passes = lowering = options.lowering(graph)
    runs += manager.run(graph, before=len(runs))
    check_outputs(graph, OptionError)
    graph.meta = {
        "source": describe_source(model),
        "method": method,
        "pipeline": show_pipeline([*passes, *lowering]),
        "calibration": (
            {"data": "synthetic", "samples": synthetic.samples}
            if calibration is None
            else describe_calibration(graph, calibration)
        ),
        "steps": options.steps,
        **({"target": target} if target else {}),
        **({"machine": options.target} if options.target else {}),
        **({"nir": graph.meta["nir"]} if "nir" in graph.meta else {}),
        **({"shapes": {name: list(dims) for name, dims in options.shapes.items()}} if options.shapes else {}),
    }
    return Compilation(graph, runs, context)


def opened(model: str | Path | Any, options: Options, context: PassContext) -> Graph:
    """Return the model's graph, decoded as asked; of a NIR graph, `meta["nir"]` holds how it was timed."""
    graph = import_network(model, shapes=options.shapes, dt=options.dt, integration=options.integration)
    if options.decode is not None:
        graph.decode_outputs(options.decode)
    timing = graph.meta.get("nir")
    if timing is not None and not timing.pop("dt_stated"):
        context.warnings.append(UNKNOWN_DT.format(dt=timing["dt"]))
    return graph


def held_back(calibration: Dataset | None, graph: Graph) -> tuple[Dataset, Dataset]:
    """Return the calibration data's two halves; `OptionError` if there are none."""
    if calibration is None:
        raise OptionError("a loss is measured on calibration data", help="give some with --calibration DATA")
    return halves(calibration, graph)


def run_to_target(
    graph: Graph, manager: PassManager, options: Options, data: Dataset
) -> tuple[list[Pass], list[PassRun], dict[str, float]]:
    """Run the manager's passes, with `allocate-levels` among them at the budget that meets the options.

    Return all passes, what each did, and the target with what was found for it on `data` at T=1.
    """
    source, passes, context = graph.copy(), list(manager.passes), manager.context
    PassManager(analog_pipeline(options.settings.batch_norm)).run(source)
    place = next(index for index, pass_ in enumerate(passes) if isinstance(pass_, NormaliseThresholds))
    first, rest = passes[:place], passes[place:]
    manager.passes = first
    runs = manager.run(graph)
    tuner = Tuner(graph, source, rest, context, data)
    if options.energy is not None:
        found, asked = tuner.energy(options.energy), {"energy": options.energy}
    else:
        assert options.max_loss is not None
        found, asked = tuner.loss(options.max_loss), {"max_loss": options.max_loss}
    # The record reads back as the same pass.
    manager.passes = [AllocateLevels(found.budget), *rest]
    runs += manager.run(graph, before=len(first))
    estimate = {"estimated_energy": found.energy}
    if options.max_loss is not None:
        estimate |= {"measured_loss": found.loss, "held_out": data.count(graph)}
    return [*first, *manager.passes], runs, {**asked, **estimate}


def build_pipeline(options: Options, registry: Registry) -> list[Pass]:
    """Return the passes the options ask for; without a pipeline and a method, those of the default method."""
    if options.pipeline is not None:
        return parse_pipeline(options.pipeline, registry)
    return options.pipeline_of(get_method(options.method or DEFAULT.name))


def chosen_method(graph: Graph, options: Options, passes: list[Pass]) -> tuple[str, list[Pass]]:
    """Return the method's name and passes, now that the network is known; `custom` and the pipeline given."""
    if options.pipeline is not None:
        return "custom", passes
    method = method_for(options.method, spiking=spikes_already(graph))
    if method is DIRECT and (options.energy is not None or options.max_loss is not None):
        raise OptionError(
            "the neurons of a network that spikes already have no levels to share out",
            help="leave --energy and --max-loss out",
        )
    return method.name, options.pipeline_of(method)


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
