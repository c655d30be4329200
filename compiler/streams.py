"""Observes streams of a graph batch by batch: in onnxruntime, or in the simulator where nodes keep state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from snnc.backends.reference import Simulator
from snnc.ir.op import Role
from snnc.segments import analog_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.backends.onnx.session import AnalogSession
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.segments import SegmentedSession

    Tell: TypeAlias = Callable[[Value, Array], None]

# Steps of a graph that keeps state: a network of lif neurons is silent behind its first layers at t = 1.
STEPS = 4


def observer(graph: Graph, values: Sequence[Value]) -> Callable[[Mapping[str, Array], Tell], None]:
    """Return a function that runs a batch and tells every value's array, valid during the call.

    A neuron with a threshold sends what it sends at t = 1; the streams of a graph with other nodes that keep
    state are those of its first steps, one after the other.
    """
    if any(keeps_state(node) for node in graph):
        return SimulatedStreams(graph, frozenset(values))
    return AnalogStreams(analog_session(graph, values), tuple(values))


def keeps_state(node: Node) -> bool:
    """Tell whether a node has no analog value: it is none of the neurons that onnxruntime can quantise as."""
    if node.op.name == "neuron":
        return node.attributes.get("level_axis") is not None
    return node.op.role is Role.STATEFUL


@dataclass(frozen=True)
class AnalogStreams:
    session: AnalogSession | SegmentedSession
    values: tuple[Value, ...]

    def __call__(self, inputs: Mapping[str, Array], tell: Tell) -> None:
        arrays = self.session.run(inputs).values
        for value in self.values:
            # Popped, so that what has been told is not held any longer.
            tell(value, arrays.pop(0))


@dataclass(frozen=True)
class SimulatedStreams:
    graph: Graph
    values: frozenset[Value]

    def __call__(self, inputs: Mapping[str, Array], tell: Tell) -> None:
        for value in self.graph.inputs:
            if value in self.values:
                tell(value, inputs[value.name or ""])
        Simulator(self.graph).run(inputs, STEPS, observers=[Told(self.values, tell)])


@dataclass(frozen=True)
class Told:
    """Tells what chosen values are at every step."""

    values: frozenset[Value]
    tell: Tell

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if node.result in self.values:
            self.tell(node.result, value)
