"""`fit`: a proof that nothing in a network of whole numbers leaves its width, or the nodes that may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from snnc.ir.errors import OptionError, PassError
from snnc.passes.base import Note, Pass, PassContext, Preserves
from snnc.passes.widths import PAYLOAD_BITS, STATE_BITS, WEIGHT_BITS, Widths, prove_widths

if TYPE_CHECKING:
    from snnc.ir.graph import Graph

MOST_BITS = 32


@dataclass(frozen=True)
class Fit(Pass):
    """Prove, for any input, that sums, membranes, weights and payloads stay within these bits.

    Bounds are followed from the payloads of every neuron through the weights themselves. Of expectation nodes
    the sum over steps grows: the proof is for `steps` steps, 0 for as many as there is a proof for. Membranes
    saturate, as they shall; the notes of --explain say when the worst input could first make them, and
    which node comes nearest to its width. The graph stays as it is. What may leave its width is refused,
    every node by name.
    """

    name: ClassVar[str] = "fit"
    integers: ClassVar[bool] = True
    preserves: ClassVar[Preserves | None] = Preserves.EXACT
    accumulator: int = STATE_BITS
    membrane: int = STATE_BITS
    weight: int = WEIGHT_BITS
    payload: int = PAYLOAD_BITS
    steps: int = 0

    def __post_init__(self) -> None:
        for what in ("accumulator", "membrane", "weight", "payload"):
            bits = getattr(self, what)
            if not 2 <= bits <= MOST_BITS:
                raise OptionError(f"{what} cannot have {bits} bits", help=f"give 2 to {MOST_BITS}")
        if self.steps < 0:
            raise OptionError(f"nothing runs for {self.steps} steps", help="give 1 or more, or 0 for any")

    def run(self, graph: Graph, context: PassContext) -> bool:
        widths = Widths(self.accumulator, self.membrane, self.weight, self.payload)
        proof = prove_widths(graph, widths)
        problems = list(proof.problems)
        wanted = max(1, self.steps)
        if proof.steps is not None and proof.steps < wanted:
            problems.append(f"{proof.counter}: its sum over steps fits for {proof.steps} of {wanted} steps")
        if problems:
            coarser = f"make units coarser by {proof.excess} bit{'s' * (proof.excess > 1)} (weights of fewer "
            raise PassError(
                "numbers may leave their width:\n" + "\n".join(f"  {line}" for line in problems),
                help=(coarser + "bits), or payloads smaller (fewer levels)" if proof.excess else None),
            )
        context.notes += [Note(self.name, node, text) for node, text in proof.remarks()]
        return False
