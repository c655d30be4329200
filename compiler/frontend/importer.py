"""From a model to a graph: inputs typed, nodes walked, a fixed batch made symbolic where that is sound."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx

from snnc.frontend.batch import SymbolicBatch, fixed_batches, pinned_batch
from snnc.frontend.independence import mixing_nodes
from snnc.frontend.lift_states import Refusal, lift_states, refuse_undeclared_state
from snnc.frontend.loader import Source, open_source
from snnc.frontend.per_sample import behaves_per_sample
from snnc.frontend.recurrent_state import recurrent_states
from snnc.frontend.signature import declared_inputs, input_types
from snnc.frontend.walk import Fate, Imported, Walk
from snnc.ir.errors import SnncError, UnsupportedOpError
from snnc.ir.shapes import Batch

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.frontend.signature import Pins
    from snnc.ir.graph import Graph
    from snnc.ir.types import TensorType

MIXING = "its result for one sample depends on the others, or on how many there are"

NOT_FED_BACK = "its membrane is no state of the model"
NOT_FED_BACK_HELP = "let its v be a graph input NAME and its v_next the graph output NAME_next"


def import_onnx(source: str | Path | onnx.ModelProto, *, shapes: Pins | None = None) -> Graph:
    """Return the SIR graph of analog ops for a model.

    `shapes` pins the dimensions of inputs by name, `{"tokens": ("N", 128)}`. `UnsupportedOpError` lists every
    node that cannot be compiled, `ShapeError` every dimension that is unknown, `ModelError` says why the file
    cannot be read.
    """
    where = None if isinstance(source, onnx.ModelProto) else str(source)
    return refuse_rejected(import_model(source, shapes=shapes), where)


def refuse_rejected(imported: Imported, where: str | None) -> Graph:
    """Return the graph; `UnsupportedOpError` lists every node that was rejected."""
    if imported.rejected:
        listed = "".join(f"\n  - {fate}" for fate in imported.rejected)
        count = len(imported.rejected)
        raise UnsupportedOpError(
            f"{count} node{'s' if count > 1 else ''} cannot be compiled:{listed}", where=where
        )
    return imported.graph


def import_model(source: str | Path | onnx.ModelProto, *, shapes: Pins | None = None) -> Imported:
    """Return the graph and the fate of every ONNX node; rejected nodes leave the graph incomplete.

    A model exported with a fixed batch is imported with a symbolic one if every node allows it and the
    result treats samples independently, otherwise as it is.
    """
    try:
        opened = open_source(source)
        imported = _import_symbolic(opened, shapes) or _import_stated(opened, shapes or {})
        return imported if imported.rejected else with_neurons(imported, opened.model)
    except SnncError as refusal:
        if refusal.where is None and not isinstance(source, onnx.ModelProto):
            refusal.where = str(source)
        raise


def _import_stated(source: Source, pins: Pins) -> Imported:
    """Import with the batch that the model states or the user pins."""
    size = pinned_batch(declared_inputs(source.model.graph), pins)
    batch = None if size is None else SymbolicBatch(size)
    imported = Walk(source, input_types(source.model.graph, pins), batch).run()
    return imported if imported.rejected else without_mixing(imported)


def without_mixing(imported: Imported) -> Imported:
    """Reject the nodes whose result for one sample depends on the others in the batch."""
    mixing = {name for node in mixing_nodes(imported.graph) for name in node.origin}
    fates = (
        replace(fate, fate=Fate.REJECTED, reason=MIXING, help="samples are compiled independently")
        if fate.name in mixing
        else fate
        for fate in imported.fates
    )
    return replace(imported, fates=tuple(fates)) if mixing else imported


def with_neurons(imported: Imported, model: onnx.ModelProto) -> Imported:
    """Turn the states of a model that is one time step into neurons; reject those that are none."""
    refusals = {refusal.node: refusal for refusal in lift_states(imported.graph, recurrent_states(model))}
    refusals = refusals or {refusal.node: refusal for refusal in without_state(imported)}
    if not refusals:
        refuse_undeclared_state(imported.graph)
        return imported
    fates = (
        replace(fate, fate=Fate.REJECTED, reason=refusals[fate.name].reason, help=refusals[fate.name].help)
        if fate.name in refusals
        else fate
        for fate in imported.fates
    )
    return replace(imported, fates=tuple(fates))


def without_state(imported: Imported) -> list[Refusal]:
    """Return the LIF operators whose state is not fed back."""
    lifted = {name for node in imported.graph if node.op.name == "lif" for name in node.origin}
    names = [fate.name for fate in imported.fates if fate.op_type == "LIF" and fate.fate is Fate.IMPORTED]
    return [Refusal(name, NOT_FED_BACK, NOT_FED_BACK_HELP) for name in names if name not in lifted]


def _import_symbolic(source: Source, pins: Pins | None) -> Imported | None:
    """Import with N in the place of a batch that all inputs fix; None where that is not sound."""
    graph = source.model.graph
    for axis, size in [] if pins else fixed_batches(declared_inputs(graph).values()):
        types = {name: _with_batch(type_, axis) for name, type_ in input_types(graph, {}).items()}
        try:
            imported = Walk(source, types, SymbolicBatch(size)).run()
        except SnncError:
            continue  # the import with the fixed batch reports what is wrong
        if not imported.rejected and behaves_per_sample(source, imported.graph, size):
            return imported
    return None


def _with_batch(type_: TensorType, axis: int) -> TensorType:
    dims = type_.shape
    return type_.with_shape((*dims[:axis], Batch(), *dims[axis + 1 :])) if dims else type_
