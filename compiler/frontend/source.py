"""From a model file of either format, ONNX or NIR, to a graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snnc.frontend.importer import import_model, refuse_rejected
from snnc.frontend.nir.reader import is_nir_file
from snnc.ir.errors import OptionError

if TYPE_CHECKING:
    import onnx

    from snnc.frontend.signature import Pins
    from snnc.frontend.walk import Imported
    from snnc.ir.graph import Graph


def import_source(
    source: str | Path | onnx.ModelProto,
    *,
    shapes: Pins | None = None,
    dt: float | None = None,
    integration: str | None = None,
) -> Imported:
    """Return the graph of a model and the fate of every node.

    `shapes` pins dimensions of an ONNX model; `dt` (seconds) and `integration` say what a time step makes of
    a NIR graph's differential equations.
    """
    if isinstance(source, str | Path) and is_nir_file(source):
        from snnc.frontend.nir import import_nir

        if shapes:
            raise OptionError(
                "a NIR graph says its shapes; there is nothing to pin", help="leave out --shape"
            )
        return import_nir(source, dt=dt, integration=integration)
    if dt is not None or integration is not None:
        option = "integration" if dt is None else "dt"
        raise OptionError(f"--{option} is for NIR graphs; an ONNX model says its steps", help="leave it out")
    return import_model(source, shapes=shapes)


def import_network(
    source: str | Path | onnx.ModelProto,
    *,
    shapes: Pins | None = None,
    dt: float | None = None,
    integration: str | None = None,
) -> Graph:
    """Return the graph of a model; `UnsupportedOpError` lists every node that cannot be compiled."""
    imported = import_source(source, shapes=shapes, dt=dt, integration=integration)
    return refuse_rejected(imported, str(source) if isinstance(source, str | Path) else None)
