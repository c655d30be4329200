"""One handler per ONNX operator, one file per family; each file ends with its `HANDLERS`.

A handler takes a `NodeContext` and returns an entry (stream or known array) for each output of the node.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from snnc.frontend.context import AlwaysRejected
from snnc.frontend.handlers import (
    arithmetic,
    elementwise,
    fused,
    images,
    indexing,
    logic,
    movement,
    normalisation,
    pooling,
    products,
    qoperator,
    quantisation,
    reduction,
    shapes,
    synapse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.frontend.context import Handler

CONTRIB_DOMAIN = "com.microsoft"
"""The domain of the operators that onnxruntime's quantiser and optimisers write (its ContribOperators.md)."""

FAMILIES = (
    elementwise,
    arithmetic,
    logic,
    quantisation,
    normalisation,
    reduction,
    pooling,
    synapse,
    products,
    movement,
    indexing,
    images,
    shapes,
)


def importable() -> list[str]:
    """Return the operators that some model can use in alphabetical order, those of onnxruntime last."""
    standard, contributed = (
        sorted(name for name, handler in table.items() if not isinstance(handler, AlwaysRejected))
        for table in (handlers(), contrib_handlers())
    )
    return [*standard, *(f"{CONTRIB_DOMAIN}.{name}" for name in contributed)]


def contrib_handlers() -> Mapping[str, Handler]:
    """Return the handlers of onnxruntime's own operators by type."""
    return {**qoperator.HANDLERS, **fused.HANDLERS}


@cache
def handlers() -> Mapping[str, Handler]:
    """Return all handlers by ONNX operator type (of the default domain)."""
    table: dict[str, Handler] = {}
    for family in (*(family.HANDLERS for family in FAMILIES), qoperator.STANDARD):
        for op_type, handler in family.items():
            assert op_type not in table, f"operator {op_type} has two handlers"
            table[op_type] = handler
    return table
