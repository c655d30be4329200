"""What `snnc eval` and `snnc energy` share: one evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.cli.options import recorded_shapes, steps_to_run
from snnc.cli.progress import Activity
from snnc.cli.show import Notes, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from snnc.cli.options import DataOptions
    from snnc.evaluation import Evaluation, Metric
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph


def measure(
    *,
    network: Path,
    model: Path,
    data_file: Path,
    data: DataOptions,
    steps: int | None,
    metric: Metric | None,
    shapes: Mapping[str, Sequence[int | str]] | None,
    quiet: bool,
    decode: Decode | None = None,
    memory: bool = False,
    backend: str = "reference",
    device: str | None = None,
    compiled: bool = False,
) -> Evaluation:
    """Evaluate a network file against its model; the file's record fills in what is not given."""
    from snnc.api import load
    from snnc.evaluation import evaluate

    graph, notes = load(network), Notes(quiet)
    if decode is not None:
        graph.decode_outputs(decode)
    warn_of_other_model(graph, model, notes)
    dataset = data.load_for(graph, data_file, notes)
    if len(graph.outputs) > 1:
        notes.note(
            f"the first of {len(graph.outputs)} outputs is compared: {one_line(graph.outputs[0].name)}"
        )
    with Activity("evaluating", quiet=quiet) as activity:
        return evaluate(
            graph,
            model,
            dataset,
            steps_to_run(graph, dataset, steps),
            metric=metric,
            shapes=shapes or recorded_shapes(graph.meta),
            memory=memory,
            backend=backend,
            device=device,
            compiled=compiled,
            progress=activity.update,
        )


def warn_of_other_model(graph: Graph, model: Path, notes: Notes) -> None:
    """Say so where the model is not the file the network was compiled from."""
    from snnc.driver import describe_source

    source = graph.meta.get("source")
    if not isinstance(source, dict) or "sha256" not in source or not model.is_file():
        return
    if describe_source(model)["sha256"] != source["sha256"]:
        notes.warning(f"{model} is not the file the network was compiled from ({source.get('name')})")
