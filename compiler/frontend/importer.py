"""From a model to a graph: inputs typed, nodes walked, a fixed batch made symbolic where that is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from snnc.frontend.batch import SymbolicBatch, fixed_batch
from snnc.frontend.loader import Source, open_source
from snnc.frontend.per_sample import behaves_per_sample
from snnc.frontend.signature import declared_inputs, input_types
from snnc.frontend.walk import Imported, Walk
from snnc.ir.errors import SnncError, UnsupportedOpError
from snnc.ir.shapes import Batch

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.frontend.signature import Pins
    from snnc.ir.graph import Graph


def import_onnx(source: str | Path | onnx.ModelProto, *, shapes: Pins | None = None) -> Graph:
    """Return the SIR graph of analog ops for a model.

    `shapes` pins the dimensions of inputs by name, `{"tokens": ("N", 128)}`. `UnsupportedOpError` lists every
    node that cannot be compiled, `ShapeError` every dimension that is unknown, `ModelError` says why the file
    cannot be read.
    """
    imported = import_model(source, shapes=shapes)
    if imported.rejected:
        listed = "".join(f"\n  - {fate}" for fate in imported.rejected)
        count = len(imported.rejected)
        raise UnsupportedOpError(
            f"{count} node{'s' if count > 1 else ''} cannot be compiled:{listed}",
            where=None if isinstance(source, onnx.ModelProto) else str(source),
        )
    return imported.graph


def import_model(source: str | Path | onnx.ModelProto, *, shapes: Pins | None = None) -> Imported:
    """Return the graph and the fate of every ONNX node; rejected nodes leave the graph incomplete.

    A model exported with a fixed batch is imported with a symbolic one if every node allows it and the
    result treats samples independently, otherwise as it is.
    """
    try:
        opened = open_source(source)
        return _import_symbolic(opened, shapes) or _import_stated(opened, shapes or {})
    except SnncError as refusal:
        if refusal.where is None and not isinstance(source, onnx.ModelProto):
            refusal.where = str(source)
        raise


def _import_stated(source: Source, pins: Pins) -> Imported:
    """Import with the batch that the model states or the user pins."""
    declared = declared_inputs(source.model.graph)
    fixed = {
        shape[0]
        for name, shape in declared.items()
        if name in pins and shape and isinstance(shape[0], int) and pins[name][0] == "N"
    }
    batch = SymbolicBatch(fixed.pop()) if len(fixed) == 1 else None
    return Walk(source, input_types(source.model.graph, pins), batch).run()


def _import_symbolic(source: Source, pins: Pins | None) -> Imported | None:
    """Import with N in the place of the batch that all inputs fix; None where that is not sound."""
    declared = declared_inputs(source.model.graph)
    batch = None if pins else fixed_batch(declared.values())
    if batch is None:
        return None
    stated = input_types(source.model.graph, {})
    types = {
        name: type_.with_shape((Batch(), *type_.shape[1:])) if type_.shape else type_
        for name, type_ in stated.items()
    }
    try:
        imported = Walk(source, types, SymbolicBatch(batch)).run()
    except SnncError:
        return None  # the import with the fixed batch reports what is wrong
    sound = not imported.rejected and behaves_per_sample(source, imported.graph, batch)
    return imported if sound else None
