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
    images,
    indexing,
    logic,
    movement,
    normalisation,
    pooling,
    products,
    quantisation,
    reduction,
    shapes,
    synapse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.frontend.context import Handler

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
    """Return the operators that some model can use, in alphabetical order."""
    return sorted(name for name, handler in handlers().items() if not isinstance(handler, AlwaysRejected))


@cache
def handlers() -> Mapping[str, Handler]:
    """Return all handlers by ONNX operator type (of the default domain)."""
    table: dict[str, Handler] = {}
    for family in FAMILIES:
        for op_type, handler in family.HANDLERS.items():
            assert op_type not in table, f"operator {op_type} has two handlers"
            table[op_type] = handler
    return table
