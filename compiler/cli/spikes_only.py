"""How `snnc check --spikes-only` shows its proof."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from snnc.cli.show import Column, count, one_line, print_table, say

if TYPE_CHECKING:
    from snnc.passes.spikes_only import Proof

CLAIM = "no multiplication of two real streams; every synapse but the first reads spikes"


def describe_proof(proof: Proof) -> dict[str, Any]:
    """Return the proof as plain data."""
    offence = proof.offence
    return {
        "spikes_only": proof.holds,
        "edges": [
            {"name": edge.name, "type": edge.type, "class": edge.kind.value, "made_by": edge.made_by}
            | {"read_by": list(edge.read_by)}
            for edge in proof.edges
        ],
        "synapses_of_spikes": proof.spiking_synapses,
        "synapses_of_the_input": proof.input_synapses,
        "neuron_layers": proof.neurons,
        "membrane_multiplications": proof.membrane_multiplications,
        "offence": offence
        and {
            "node": offence.node,
            "reason": offence.reason,
            "operands": [dict(zip(("name", "type", "class"), o, strict=True)) for o in offence.operands],
        },
    }


def print_proof(proof: Proof) -> None:
    """Print every edge with its class, then the conclusion or what stands against it."""
    rows = [(edge.name, edge.type, edge.kind.value, edge.made_by) for edge in proof.edges]
    print_table([Column("edge"), Column("type"), Column("class"), Column("made by")], rows)
    say()
    kinds = Counter(edge.kind.value for edge in proof.edges)
    say(f"{count(len(rows), 'edge')}: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items()))
    if proof.offence is not None:
        say(f"not proved: {one_line(proof.offence.node)}: {proof.offence.reason}")
        for name, type_, kind in proof.offence.operands:
            say(f"  it reads {one_line(name)}: {one_line(type_)} ({kind})")
        return
    synapses = (
        f"{count(proof.spiking_synapses, 'synapse')} of spikes, {proof.input_synapses} of the analog input"
    )
    say(f"{synapses}, {count(proof.neurons, 'layer')} of neurons")
    factors = proof.membrane_multiplications
    leak = (
        f"{count(factors, 'multiplication')} by a constant a step" if factors else "shifts and additions only"
    )
    say(f"membranes: {leak}")
    say(f"proved: {CLAIM}")
