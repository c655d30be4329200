"""Which weights and thresholds are whole numbers that integers of a machine can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.op import Role
from snnc.ir.types import SpikeType
from snnc.passes.rewriter import describe
from snnc.passes.spell_out import SYNAPSES

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

LARGEST_WEIGHT = 127
LARGEST_EXPONENT = 7
# What is whole in a neuron that integrates whole numbers.
WHOLE = {"neuron": ("quantum", "bias"), "lif": ("threshold", "bias", "rest")}


def reads_spikes(node: Node) -> bool:
    """Tell whether a node is a synapse behind spikes."""
    return node.op.name in SYNAPSES and not node.expect and isinstance(node.operands[0].type, SpikeType)


def listed(problems: list[str]) -> str:
    return "\n".join(f"  {line}" for line in problems)


def fractions(graph: Graph) -> list[str]:
    """Return every synapse, and every neuron behind one, that holds a number that is not whole."""
    problems, currents = [], set()
    for node in graph:
        if reads_spikes(node):
            currents.add(node.result)
            given = graph.resolve(node)
            if shared_exponent(given["weight"]) is None:
                problems.append(f"{describe(node)}: weights")
            elif not is_whole(given["bias"]):
                problems.append(f"{describe(node)}: bias")
        elif node.op.neuron and node.operands[0] in currents:
            given = graph.resolve(node)
            problems += [
                f"{describe(node)}: {name}" for name in WHOLE[node.op.name] if not is_whole(given[name])
            ]
        elif (node.op.role is Role.LINEAR or node.op.name == "max_pool") and any(
            operand in currents for operand in node.operands
        ):
            currents.add(node.result)
    return problems


def is_whole(array: Array | None) -> bool:
    return array is None or bool((array == np.rint(array)).all() and (np.abs(array) < 2**31).all())


def shared_exponent(weight: Array, limit: int = LARGEST_WEIGHT) -> int | None:
    """Return the least e for which every weight is 2^e times an integer of 8 bits; None if there is none.

    `limit`: the largest integer, if fewer bits shall do.
    """
    for exponent in range(LARGEST_EXPONENT + 1):
        mantissa = weight / np.float32(2**exponent)
        if (np.abs(mantissa) <= limit).all():
            return exponent if (mantissa == np.rint(mantissa)).all() else None
    return None
