"""Networks whose answer at every step follows from averages alone: all steps are one batch.

What a neuron with bounds = sum has sent is a function of all it received,
K(t) = clip(Q(S(t)/q), t lo, t hi). So where nothing else remembers, a stream's decoded value
r(t) = S(t)/t follows from the decoded values in front of it at the same t: F(r(t)) for what is affine or an
expectation node, s K(t)/t for a neuron. No step needs the one before, and the steps are so many samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.spiking.blocks import averages, gated
from snnc.backends.onnx.spiking.folding import can_fold
from snnc.backends.onnx.spiking.neuron import SumNeuron
from snnc.backends.onnx.spiking.streams import differences
from snnc.backends.onnx.spiking.unroll import Unroller
from snnc.ir.shapes import batch_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.backends.onnx.spiking.blocks import Blocks
    from snnc.backends.onnx.spiking.precision import Plan
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Node, Value


class Averager(Unroller):
    """Writes the decoded values r(t) of every stream, for the steps t of `times`."""

    def __init__(self, model: ModelBuilder, times: Sequence[int], plan: Plan) -> None:
        super().__init__(model, len(times), plan)
        self.times = times

    def folds(self, node: Node, moving: Sequence[Value]) -> bool:
        return can_fold(node, moving, self.model.graph.resolve(node))

    def pure(self, node: Node) -> None:
        emitter = self.emitter(node)
        self.every_step(node, lambda inputs: emitter(self.model, node, inputs))

    def expectation(self, node: Node) -> None:
        self.pure(node)

    def neuron(self, node: Node) -> None:
        neuron, (x,) = SumNeuron(self.model, node), node.operands
        streams, result = self.streams, node.result
        if batch_axis(x.type.shape) != 0:
            each = zip(self.times, streams.at_steps(x), strict=True)
            streams.put_steps(result, [neuron.averages(r, [t], 1) for _, (t, r) in self.model.at_steps(each)])
        elif streams.invariant(x):
            streams.put_folded(result, neuron.averages(streams.once(x), self.times, 1))
        else:
            streams.put_folded(result, neuron.averages(streams.folded(x), self.times, self.steps))

    def decoded(self, value: Value, how: Decode) -> str:
        """Return the answer after every step, [T, N, …]."""
        streams, shape = self.streams, value.type.shape
        if streams.invariant(value):
            return super().decoded(value, how)
        if how == "mean" and streams.is_folded(value) and batch_axis(shape) == 0 and 0 not in shape:
            dims = [self.steps, -1, *(dim for dim in shape[1:] if isinstance(dim, int))]
            return self.model.add("Reshape", [streams.folded(value), self.model.ints(dims)])
        averages = streams.at_steps(value)
        sums = [self.model.scale(r, t, value) for t, r in zip(self.times, averages, strict=True)]
        assert how != "last" or self.times[0] == 1, "the last step is a difference from the one before"
        return self.stacked({"mean": averages, "sum": sums, "last": differences(self.model, sums)}[how])


class Stepper(Averager):
    """Writes the decoded values r(t) of every stream, one step after the other, for images in blocks."""

    def __init__(self, model: ModelBuilder, times: Sequence[int], plan: Plan, blocks: Blocks) -> None:
        super().__init__(model, times, plan)
        self.blocks = blocks

    def folds(self, node: Node, moving: Sequence[Value]) -> bool:
        return False

    def emitter(self, node: Node) -> Emitter:
        return gated if node in self.blocks.gates else super().emitter(node)

    def neuron(self, node: Node) -> None:
        each = zip(self.times, self.streams.at_steps(node.operands[0]), strict=True)
        write = averages if node in self.blocks.neurons else averages_apart
        self.streams.put_steps(
            node.result, [write(self.model, node, r, t) for _, (t, r) in self.model.at_steps(each)]
        )


def averages_apart(model: ModelBuilder, node: Node, r: str, t: int) -> str:
    """Return s K(t)/t, given r(t)."""
    return SumNeuron(model, node).average(r, t)


class Adder(Unroller):
    """Writes S(1) … S(T) of every stream: no multiplications by t, but as many nodes for every step.

    Faster than averages where there are samples enough to keep a core busy without joining the steps.
    """

    def wants_sums(self, node: Node, moving: Sequence[Value]) -> bool:
        return True

    def neuron(self, node: Node) -> None:
        self.neuron_of_sums(node, SumNeuron(self.model, node))
