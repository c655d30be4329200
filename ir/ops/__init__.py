"""The op table: every operation, declared once. One file per family; each file ends with its `OPS`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from snnc.ir.errors import TypeInferenceError, did_you_mean
from snnc.ir.ops import (
    arithmetic,
    elementwise,
    indexing,
    logic,
    movement,
    neuron,
    normalisation,
    pooling,
    quantisation,
    reduction,
    source,
    synapse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.op import Op

FAMILIES = {
    "synapses": synapse,
    "neurons": neuron,
    "elementwise": elementwise,
    "arithmetic": arithmetic,
    "logic": logic,
    "normalisation": normalisation,
    "pooling": pooling,
    "reduction": reduction,
    "movement": movement,
    "indexing": indexing,
    "quantisation": quantisation,
    "sources": source,
}


@cache
def op_table() -> Mapping[str, Op]:
    """Return all ops by name."""
    table: dict[str, Op] = {}
    for family in FAMILIES.values():
        for op in family.OPS:
            assert op.name not in table, f"op {op.name} is declared twice"
            table[op.name] = op
    return table


def get_op(name: str) -> Op:
    """Return the op of that name; `TypeInferenceError` with a suggestion if there is none."""
    table = op_table()
    if name not in table:
        raise TypeInferenceError(f"there is no op {name!r}; {did_you_mean(name, table)}")
    return table[name]
