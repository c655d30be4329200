"""`correct-charges`: an initial membrane per channel that makes up for what a few steps lose on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.ir.errors import OptionError, PassError
from snnc.passes.analysis import refuse_spiking, threshold_axes, threshold_chosen
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True)
class CorrectCharges(Pass):
    """Charge neurons before the first step so that their mean output over some steps is right.

    Per channel, in the order of execution, on calibration samples: with e the mean over samples and
    positions of the activation a neuron stands for, less its mean output over `steps` steps,

        charge <- charge + steps e / q        `rounds` times, keeping the charge of the least |e| per channel.

    Later neurons read what the corrected ones send. The charge counts 1/t in the answer after t steps, so
    the error still vanishes with time. Li et al. 2021 (A Free Lunch From ANN) correct by the mean error of
    each layer in turn, in the bias of each channel or in the initial membrane of every single neuron; the
    membrane per channel, rounds and the choice among them are ours.

    Neurons that choose-thresholds gave no quantum (trained quantisers) stay as they are; so do those whose
    reset does not subtract. A graph that has charges was corrected already.
    """

    name: ClassVar[str] = "correct-charges"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    steps: int = 4
    rounds: int = 2

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"no output can be averaged over {self.steps} steps", help="give 1 or more")
        if self.rounds < 1:
            raise OptionError(f"{self.rounds} rounds correct nothing", help="give 1 or more")

    def run(self, graph: Graph, context: PassContext) -> bool:
        refuse_spiking(graph, self.name)
        if graph.coding != "rate":
            raise PassError(
                f"{self.name} is for rate coding; the coding of this graph is {graph.coding}",
                help="leave the pass out, or compile with --coding rate",
            )
        rewriter = Rewriter(graph, context, self.name)
        axes = threshold_axes(graph)
        neurons = {node: tuple(sorted(axes[node.result])) for node in graph if takes_charge(node, rewriter)}
        if not neurons or any("charge" in node.attributes for node in neurons):
            return False
        if context.calibration is None:
            raise PassError(
                f"{self.name} needs calibration", help="give calibration data with --calibration DATA"
            )
        walk = context.calibration.walk(graph, neurons, self.steps)
        changed = False
        for node, measure in walk:
            changed |= self._correct(node, measure, rewriter)
        return changed

    def _correct(self, node: Node, measure: Callable[[], Array], rewriter: Rewriter) -> bool:
        """Try charges one after the other; keep the best of every channel, and none where all are 0."""
        quantum = rewriter.graph.resolve(node)["quantum"]
        error = least = measure()
        charge = best = np.zeros_like(error)
        for _ in range(self.rounds):
            if not error.any():
                break
            charge = charge + self.steps * error / quantum
            set_charge(node, charge, rewriter)
            error = measure()
            better = np.abs(error) < np.abs(least)
            least, best = np.where(better, error, least), np.where(better, charge, best)
        set_charge(node, best, rewriter)
        return bool(best.any())


def takes_charge(node: Node, rewriter: Rewriter) -> bool:
    """Tell whether a node is a neuron with a chosen threshold that would keep a charge."""
    if not threshold_chosen(node):
        return False
    if rewriter.graph.resolve(node)["reset"] != "subtract":
        return rewriter.decline(node, "its reset forgets what it was charged with")
    return True


def set_charge(node: Node, charge: Array, rewriter: Rewriter) -> None:
    """Replace the charge of a neuron; no attribute stands for 0."""
    rewriter.set_attributes(node, charge=None)
    rewriter.graph.drop_released_tensors()
    if charge.any():
        rewriter.set_attributes(node, charge=charge.astype(np.float32))
