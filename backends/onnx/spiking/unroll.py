"""Writes the nodes of T time steps, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from snnc.backends.onnx.emitters import EMITTERS
from snnc.backends.onnx.emitters.synapse import conv, linear
from snnc.backends.onnx.spiking.blocks import gated, rounded
from snnc.backends.onnx.spiking.exact import DOUBLE_EMITTERS, EXACT_EMITTERS, synapse_in_digits
from snnc.backends.onnx.spiking.expectation import Expectation, means
from snnc.backends.onnx.spiking.folding import can_fold
from snnc.backends.onnx.spiking.integer_kernels import (
    MOVED,
    Product,
    encoded,
    integer_product,
    requantised,
    rescaled,
    scaled_product,
    shared_sums,
)
from snnc.backends.onnx.spiking.neuron import Lif, Neuron, SumNeuron, delay
from snnc.backends.onnx.spiking.precision import DOUBLE, is_moved
from snnc.backends.onnx.spiking.streams import Streams, differences, prefix_sums
from snnc.ir.errors import BackendError
from snnc.ir.op import Role
from snnc.ir.shapes import batch_axis
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.backends.onnx.spiking.precision import Plan
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph, Node, Value

Unroll: TypeAlias = Callable[["Unroller", "Node"], None]


class Unroller:
    """Writes one node after the other, for all steps."""

    def __init__(self, model: ModelBuilder, steps: int, plan: Plan) -> None:
        self.model = model
        self.plan = plan
        self.streams = Streams(model, steps, plan.carries, plan.bytes.zeros)
        self.stepwise = wanted_stepwise(model.graph)
        self.summed = wanted_in_sums(model.graph)
        self.real = not plan.computes  # in networks of integers sums might round
        self.steps = steps

    def every_step(
        self, node: Node, write: Callable[[Sequence[str]], str], sources: Sequence[Value] = ()
    ) -> None:
        """Write F(x(t)) for all t: once where no operand varies, on the folded steps, or step by step.

        Of a node that is written with what is in front of it, `sources` are what that reads.
        """
        streams, operands, result = self.streams, sources or node.operands, node.result
        moving = [value for value in operands if not streams.invariant(value)]
        if not moving:
            streams.put_once(result, write([streams.once(value) for value in operands]))
        elif self.folds(node, moving):
            streams.put_folded(result, write([streams.folded(value) for value in operands]))
        else:
            steps = zip(*(streams.at_steps(value) for value in operands), strict=True)
            streams.put_steps(result, [write(inputs) for _, inputs in self.model.at_steps(steps)])

    def folds(self, node: Node, moving: Sequence[Value]) -> bool:
        """Tell whether to take all steps at once.

        Weights should be read once. For the others it depends on what joins or cuts fewer streams.
        """
        if not can_fold(node, moving, self.model.graph.resolve(node)):
            return False
        in_steps = node.result in self.stepwise and not node.op.synaptic
        return not in_steps or all(self.streams.is_folded(value) for value in moving)

    def pure(self, node: Node) -> None:
        emitter = self.emitter(node)
        if self.adds_up(node):
            self.in_sums(node)
        else:
            self.every_step(node, lambda inputs: emitter(self.model, node, inputs))

    def adds_up(self, node: Node) -> bool:
        """Tell whether to apply an affine F to the sums: they are there, and wanted."""
        moving = [value for value in node.operands if not self.streams.invariant(value)]
        if not moving or not all(self.streams.has_sums(value) for value in moving):
            return False
        given = self.model.graph.resolve(node)
        return self.wants_sums(node, moving) and keeps_sums(node, given, len(moving))

    def wants_sums(self, node: Node, moving: Sequence[Value]) -> bool:
        """Tell whether sums are asked for or all there is.

        Where nothing asks for sums any more, weights are read once for all steps.
        """
        only_there = any(self.streams.only_sums(value) for value in moving) and not node.op.synaptic
        return node.result in self.summed or only_there

    def in_sums(self, node: Node) -> None:
        """F(x(1)) + … + F(x(t)) of an affine F: its constants count t times."""
        streams, whole = self.streams, node.op.role is Role.LINEAR
        operands = [
            streams.sums(value) if whole or not streams.invariant(value) else streams.at_steps(value)
            for value in node.operands
        ]
        emitter, results = self.emitter(node), []
        for t, inputs in self.model.at_steps(zip(*operands, strict=True)):
            write = partial(SYNAPSES[node.op.name], times=t) if node.op.name in SYNAPSES else emitter
            results.append(write(self.model, node, inputs))
        streams.put_sums(node.result, results)

    def emitter(self, node: Node) -> Emitter:
        """Return how a node without memory is written."""
        if node in self.plan.digits and node not in self.plan.bytes.products:
            return partial(synapse_in_digits, self.plan.digits[node])
        if node in self.plan.bytes.products:
            carrier = self.plan.carries[node.result]
            assert carrier is not None, "sums are whole numbers"
            return partial(integer_product, self.plan.bytes.zeros[node.operands[0]], carrier)
        if node in self.plan.bytes.blocks.gates:
            return gated
        if node.op.name in MOVED and is_moved(node, self.plan.bytes):
            return partial(MOVED[node.op.name], self.plan.bytes.zeros[node.result])
        # numpy takes None for float64, so it is asked for first.
        if self.model.precision is not None:
            exact = EXACT_EMITTERS.get(node.op.name)
            if exact is None and self.model.precision == DOUBLE:
                exact = DOUBLE_EMITTERS.get(node.op.name)
            if exact is not None:
                return exact
        return EMITTERS[node.op.name]

    def expectation(self, node: Node) -> None:
        """F of the means of all steps so far."""
        streams, operands = self.streams, node.operands
        moving = [index for index, value in enumerate(operands) if not streams.invariant(value)]
        if not moving or self.steps == 1:
            self.pure(node)
            return
        expected = Expectation(self.model, node, self.emitter(node), moving)
        inputs = [
            self.sums(value) if i in moving else streams.at_steps(value) for i, value in enumerate(operands)
        ]
        totals = [expected.total(step, t) for t, step in self.model.at_steps(zip(*inputs, strict=True))]
        if self.real:
            streams.put_sums(node.result, totals)
        else:
            streams.put_steps(node.result, differences(self.model, totals))

    def sums(self, value: Value) -> Sequence[str]:
        """Return S(1) … S(T) of a stream that varies."""
        return (
            self.streams.sums(value) if self.real else prefix_sums(self.model, self.streams.at_steps(value))
        )

    def neuron(self, node: Node) -> None:
        """A neuron that runs one step, or forgets everything between two, is a quantiser."""
        neuron = self.kind_of(node)(self.model, node, saturates=node not in self.plan.unsaturated)
        (x,) = node.operands
        streams, result = self.streams, node.result
        if self.steps == 1 or neuron.forgets:
            if streams.invariant(x):
                streams.put_steps(result, (neuron.once(streams.once(x)),) * self.steps)
            else:
                self.every_step(node, lambda inputs: neuron.once(inputs[0]))
        elif self.real and neuron.adds_up and streams.has_sums(x):
            self.neuron_of_sums(node, neuron)
        elif self.real and (rows := neuron.by_rows()):
            streams.put_rows(result, neuron.step(streams.rows(x, rows)))
        else:
            streams.put_steps(result, neuron.step(streams.at_steps(x)))

    def kind_of(self, node: Node) -> type[Neuron]:
        return SumNeuron if self.model.graph.resolve(node)["bounds"] == "sum" else Neuron

    def neuron_of_sums(self, node: Node, neuron: Neuron) -> None:
        (x,) = node.operands
        if rows := neuron.by_rows():
            self.streams.put_rows(node.result, *neuron.step_sums(self.streams.rows_of_sums(x, rows)))
            return
        sent, taken = neuron.step_sums(self.streams.sums(x))
        if neuron.sends_what_it_loses:
            self.streams.put_sums(node.result, taken, sent)
        else:
            self.streams.put_steps(node.result, sent)

    def answers(self, value: Value) -> np.dtype[Any] | None:
        """Return the element type of an answer (None: its own)."""
        return self.plan.answers(value)

    def lif(self, node: Node) -> None:
        sent = Lif(self.model, node).step(self.streams.at_steps(node.operands[0]))
        self.streams.put_steps(node.result, sent)

    def delay(self, node: Node) -> None:
        self.streams.put_steps(node.result, delay(self.model, node, self.streams.at_steps(node.operands[0])))

    def write(self, graph: Graph) -> None:
        """Write inputs and nodes, in execution order."""
        for value in graph.inputs:
            self.input(value, value.name or "")
        for node in graph:
            self.model.enter(node)
            with self.model.computing(self.plan.computes.get(node)):
                self.node(node)
        self.model.leave()

    def node(self, node: Node) -> None:
        bytes_ = self.plan.bytes
        if node in bytes_.absorbed:
            return
        if bytes_.writes(node) and node not in bytes_.products:
            self.bytes(node)
        elif node.op.name in STATEFUL:
            STATEFUL[node.op.name](self, node)
        else:
            (self.expectation if node.expect else self.pure)(node)

    def bytes(self, node: Node) -> None:
        """A kernel of bytes: what lies in front of it, or behind, may be part of it."""
        model, bytes_ = self.model, self.plan.bytes
        zeros, sources = bytes_.zeros, node.operands
        write: Callable[[Sequence[str]], str]
        if node in bytes_.fused:
            fused = bytes_.fused[node]
            sources = fused.sources
            write = partial(requantised, model, node, fused, [zeros[value] for value in sources])
        elif node in bytes_.scaled:
            synapse = bytes_.scaled[node]
            sources = synapse.operands
            product = Product(synapse, zeros[sources[0]], model.graph.resolve(node)["scale"])
            write = partial(scaled_product, product, model, node)
        elif node in bytes_.shared:
            write = partial(shared_sums, zeros[sources[0]], bytes_.shared[node], model, node)
        elif node in bytes_.rescaled:
            write = partial(rescaled, bytes_.rescaled[node], zeros[node.result], model, node)
        elif node in bytes_.blocks.neurons:
            write = partial(rounded, model, node)
        elif node in bytes_.written:
            write = first
        else:
            write = partial(encoded, zeros[node.result], model, node)
        self.every_step(node, write, sources)

    # Inputs and outputs.

    def input(self, value: Value, name: str) -> None:
        """An input that varies in time comes as [T, N, …]."""
        if value.name not in self.model.timed:
            self.streams.put_once(value, name)
            return
        axis = batch_axis(value.type.shape)
        if axis == 0:
            shape = self.model.ints([-1, *(dim for dim in value.type.shape[1:] if isinstance(dim, int))])
            self.streams.put_folded(value, self.model.add("Reshape", [name, shape]))
            return
        steps = self.model.split(name, 0, self.steps)
        first = self.model.ints([0])
        self.streams.put_steps(value, [self.model.add("Squeeze", [step, first]) for step in steps])

    def stacked(self, names: Sequence[str]) -> str:
        """Return tensors with a time axis in front."""
        front = self.model.ints([0])
        rows: dict[str, str] = {}
        for name in names:
            if name not in rows:
                rows[name] = self.model.add("Unsqueeze", [name, front])
        if len(names) == 1:
            return rows[names[0]]
        return self.model.add("Concat", [rows[name] for name in names], axis=0)

    def watched(self, value: Value, factor: float) -> str:
        """Return a stream, [T, N, …], that lies multiplied by a factor."""
        stream = self.stacked(self.streams.at_steps(value))
        return stream if factor == 1 else self.model.add("Mul", [stream, self.model.number(1 / factor)])

    def decoded(self, value: Value, how: Decode) -> str:
        """Return the answer after every step, [T, N, …]. Integers never vary, so they are their own mean."""
        kind = kind_of_answer(self.model, value, how, varies=not self.streams.invariant(value))
        if how == "last" or kind == "b" or (how == "mean" and kind != "f"):
            return self.stacked(self.streams.at_steps(value))
        sums = self.sums(value)
        return self.stacked(sums if how == "sum" else means(self.model, sums, value))


def first(inputs: Sequence[str]) -> str:
    return inputs[0]


def kind_of_answer(model: ModelBuilder, value: Value, how: Decode, *, varies: bool) -> str:
    """Return the kind of number an answer is; refuse to decode integers that vary but by their last step."""
    kind = (model.precision or DTYPES[value.type.dtype]).kind
    if kind != "f" and how != "last" and varies:
        raise BackendError(
            f"an output of {value.type.dtype} varies in time: it has no mean", help="run with --decode last"
        )
    return kind


def wanted_stepwise(graph: Graph) -> set[Value]:
    """Return the streams that are read step by step in the end: by what remembers, or as an output."""
    wanted = {output.value for output in graph.outputs}
    for node in reversed(list(graph)):
        if node.op.role is Role.STATEFUL or node.expect or (node.result in wanted and not node.op.synaptic):
            wanted.update(node.operands)
    return wanted


def wanted_in_sums(graph: Graph) -> set[Value]:
    """Return the streams whose sums expectation nodes read, through affine ops and neurons."""
    wanted: set[Value] = set()
    for node in reversed(list(graph)):
        passes = node.op.name == "neuron" or node.op.role in (Role.LINEAR, Role.MULTILINEAR)
        if node.expect or (node.result in wanted and passes):
            wanted.update(node.operands)
    return wanted


def keeps_sums(node: Node, given: Mapping[str, Any], moving: int) -> bool:
    """Tell whether F is affine in what varies, with a constant term that can be counted t times."""
    if node.op.role is not Role.LINEAR and (moving > 1 or node.op.role is not Role.MULTILINEAR):
        return False
    terms = [given[name] for name in node.op.constant_term]
    return node.op.name in SYNAPSES or not any(np.any(term) for term in terms if term is not None)


SYNAPSES = {"conv": conv, "conv_transpose": conv, "linear": linear}
STATEFUL: dict[str, Unroll] = {
    "neuron": lambda unroller, node: unroller.neuron(node),
    "lif": lambda unroller, node: unroller.lif(node),
    "delay": lambda unroller, node: unroller.delay(node),
}
