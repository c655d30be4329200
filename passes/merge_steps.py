"""`merge-steps`: one step whose neurons send what they would have sent in many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.ir.codebooks import MAX_PAYLOAD, MultiSpike
from snnc.ir.errors import OptionError, PassError
from snnc.ir.op import Role, TensorRef, computes_integers
from snnc.ir.types import SpikeType
from snnc.passes.analysis import static_values
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.intervals import counts
from snnc.passes.rewriter import describe
from snnc.passes.widths import prove_widths, widths_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True)
class MergeSteps(Pass):
    """Let one step send the sum of what so many steps send, where neurons have bounds = sum.

    K(t) = clip(Q(S(t)/q), t lo, t hi) is a function of the sum S(t) of what a neuron received, so after one
    step the network answers what it answered after `steps`, exactly. Streams of spikes and whole numbers are
    their sums then, and constants count that many times; real numbers stay their means. Neurons get t-fold
    bounds, for single steps: a network is merged once. Whole membranes that could saturate in so many steps
    are refused, and so is whatever else remembers.
    """

    name: ClassVar[str] = "merge-steps"
    integers: ClassVar[bool] = True
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    steps: int = 4

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"{self.steps} steps cannot be merged", help="give at least 1")

    def run(self, graph: Graph, context: PassContext) -> bool:
        if not any(node.attributes.get("bounds") == "sum" for node in graph):
            context.warnings.append(f"{self.name} merged nothing: no neuron has bounds = sum")
            return False
        refuse_what_is_no_sum(graph)
        last = [output.name for output in graph.outputs if output.decode == "last"]
        if last:
            raise PassError(
                f"of the output {last[0]!r} only the last step counts, which no sum tells",
                help="compile with --decode mean or sum",
            )
        if graph.computes_integers:
            refuse_saturation(graph, self.steps)
        merger = Merger(graph, self.steps)
        merger.run()
        merger.decode_outputs()
        if "steps" in graph.meta:
            graph.meta["steps"] = 1
        return True


def refuse_what_is_no_sum(graph: Graph) -> None:
    """Raise `PassError` with every node that is no function of what the network received in all."""
    if graph.coding != "rate":
        raise PassError("merge-steps is for rate coding", help="compile with --coding rate")
    problems = [f"{describe(node)}: {why}" for node in graph if (why := problem(node, graph))]
    if problems:
        listed = "".join(f"\n  {line}" for line in problems)
        raise PassError(
            f"steps that depend on those before cannot be merged:{listed}",
            help="compile with --method signed-memory, whose neurons depend on sums alone",
        )


def problem(node: Node, graph: Graph) -> str | None:
    """Return why a node is no function of what it received in all, or None."""
    if node.op.role is not Role.STATEFUL:
        return None
    if node.op.name != "neuron":
        return "it remembers"
    given = graph.resolve(node)
    if given["bounds"] != "sum":
        return "its bounds hold for every step"
    return "it has no threshold yet; run choose-thresholds" if given["quantum"] is None else None


def refuse_saturation(graph: Graph, steps: int) -> None:
    proof = prove_widths(graph, widths_of(graph))
    if proof.saturates is not None and proof.saturates <= steps:
        raise PassError(
            f"membranes that saturate cannot be merged: {proof.filling} could in step {proof.saturates}",
            help=f"merge at most {proof.saturates - 1} steps, or give membranes more bits",
        )


class Merger:
    """Rewrites a graph in place so that one step stands for t.

    A stream lies as t^p times its mean over the steps; `powers` has p, and nothing of what never varies:
    1 for spikes and whole numbers, 0 for inputs, and behind what is neither linear nor homogeneous.
    """

    def __init__(self, graph: Graph, steps: int) -> None:
        self.graph, self.steps = graph, steps
        self.static = static_values(graph)
        self.powers: dict[Value, int] = {value: 0 for value in graph.inputs if value not in self.static}
        self._scaled: dict[tuple[Value, int], Value] = {}

    def run(self) -> None:
        for node in list(self.graph):
            if node.result not in self.static:
                self.powers[node.result] = self._merged(node)
        self.graph.retype()
        self.graph.drop_unused_tensors()

    def decode_outputs(self) -> None:
        """Let outputs be what they decode to after t steps."""
        wanted = {"mean": 0, "sum": 1}
        self.graph.outputs = [
            replace(output, value=self.at_power(output.value, wanted[output.decode], None))
            for output in self.graph.outputs
        ]

    def _merged(self, node: Node) -> int:
        """Rewrite a node; return the power of its result."""
        if node.op.name == "neuron":
            return self._neuron(node)
        moving = [index for index, value in enumerate(node.operands) if value not in self.static]
        match node.op.role:
            case Role.LINEAR:
                return self._affine(node, moving)
            case Role.MULTILINEAR:
                return self._product(node, moving)
            case Role.NUMERATOR if moving == [0]:
                return self.powers[node.operands[0]]
        if node.op.homogeneous and len(moving) == len(node.operands):
            return self._level(node, moving)
        if all(index in node.op.branches for index in moving):
            return self._affine(node, moving)
        if counts(node.result.type):
            raise PassError(f"{describe(node)} of whole numbers has no sum", help="run it on a host")
        for index in moving:
            self._operand_at(node, index, 0)
        return 0

    # Nodes.

    def _level(self, node: Node, moving: Sequence[int]) -> int:
        """Give all operands one power, and return it."""
        powers = {self.powers[node.operands[index]] for index in moving}
        if len(powers) == 1:
            return powers.pop()
        common = 1 if counts(node.result.type) else 0
        for index in moving:
            self._operand_at(node, index, common)
        return common

    def _affine(self, node: Node, moving: Sequence[int]) -> int:
        """F is affine in what varies: its constants count t^p times."""
        power = self._level(node, moving)
        if self.steps == 1:
            return power
        plain = node.op.name == "dequantise" and "zero_point" not in node.attributes
        if plain and power and self._weaken(node, "scale", power):
            return 0
        if power:
            self._count(node, node.op.constant_term, power)
            for index, value in enumerate(node.operands):
                if value in self.static and node.op.affine_in(index):
                    self._count_operand(node, index, power)
        return power

    def _product(self, node: Node, moving: Sequence[int]) -> int:
        power = sum(self.powers[node.operands[index]] for index in moving)
        if counts(node.result.type) and power != 1:
            raise PassError(f"{describe(node)} of whole numbers has no sum", help="run it on a host")
        weaker = power and self.steps > 1 and self._weakened_factor(node, power)
        return 0 if weaker else power

    def _neuron(self, node: Node) -> int:
        """S(t) = v(0) + t^(1-p) x + t b decides on K(t)."""
        given, (x,) = self.graph.resolve(node), node.operands
        book, power = self._summed(given["codebook"], node), self.powers.get(x, 0)
        times = float(self.steps)
        # In quanta v(0) is the same whatever a quantum is, so the mean may be compared with q / t.
        if power or computes_integers(node.op, given) or not self._weaken(node, "quantum", 1):
            if power != 1:
                self._operand_at(node, 0, 1)
            self._count(node, ("bias",), 1)
        unit = given["unit"]
        self.graph.set_attributes(
            node,
            codebook=book,
            bounds="step",
            **({} if unit is None else {"unit": self._stored(node, "unit", unit / np.float32(times))}),
        )
        return 1

    def _summed(self, book: MultiSpike, node: Node) -> MultiSpike:
        """Return the codebook of what so many payloads add up to."""
        largest = max(-book.lo, book.hi)
        if self.steps * largest > MAX_PAYLOAD:
            raise PassError(
                f"{describe(node)}: {self.steps} payloads of {largest} exceed the largest, {MAX_PAYLOAD}",
                help=f"merge at most {MAX_PAYLOAD // largest} steps, or compile with fewer --levels",
            )
        return replace(book, lo=self.steps * book.lo, hi=self.steps * book.hi)

    # Numbers.

    def _stored(self, node: Node, name: str, array: Array) -> TensorRef:
        reference = node.attributes[name]
        assert isinstance(reference, TensorRef)
        return self.graph.add_tensor(reference.name, array)

    def _count(self, node: Node, names: Sequence[str], power: int) -> None:
        """Let constants count t^power times."""
        for name in names:
            value = node.attributes.get(name)
            if isinstance(value, TensorRef):
                array = self.graph.tensors[value.name]
                if array.any():
                    counted = self._times(array, power, f"{describe(node)}: {name}")
                    self.graph.set_attributes(node, **{name: self._stored(node, name, counted)})
            elif value:
                assert isinstance(value, float), "constants are tensors or real numbers"
                self.graph.set_attributes(node, **{name: value * float(self.steps) ** power})

    def _times(self, array: Array, power: int, what: str) -> Array:
        """Return t^power times an array, in its own numbers."""
        if array.dtype.kind == "f":
            return np.asarray(array * array.dtype.type(float(self.steps) ** power))
        counted = array.astype(np.int64) * self.steps**power
        ends = np.iinfo(array.dtype)
        if counted.min(initial=0) < ends.min or counted.max(initial=0) > ends.max:
            raise PassError(f"{what} counted {self.steps} times leaves {array.dtype}")
        return np.asarray(counted, array.dtype)

    def _weaken(self, node: Node, name: str, power: int) -> bool:
        """Divide a tensor of a node by t^power if that rounds nothing."""
        array = self._divided(self.graph.resolve(node)[name], power)
        if array is None:
            return False
        self.graph.set_attributes(node, **{name: self._stored(node, name, array)})
        return True

    def _divided(self, array: Array, power: int) -> Array | None:
        times = float(self.steps) ** power
        divided = np.asarray(array / times, np.float32)
        same = np.array_equal(divided.astype(np.float64) * times, array)
        return np.asarray(divided) if same else None

    def _weakened_factor(self, node: Node, power: int) -> bool:
        """Divide the constant factor of a product by t^power if there is one and that rounds nothing."""
        for index, value in enumerate(node.operands):
            constant = self.graph.constant(value)
            if constant is None or constant.dtype != np.float32 or node.op.name != "mul":
                continue
            divided = self._divided(constant, power)
            if divided is not None:
                self._replace_constant(node, index, divided)
                return True
        return False

    def _count_operand(self, node: Node, index: int, power: int) -> None:
        """Let an operand that never varies count t^power times."""
        value = node.operands[index]
        constant = self.graph.constant(value)
        if constant is None:
            self.graph.set_operand(node, index, self._multiplied(value, power, node))
        else:
            self._replace_constant(node, index, self._times(constant, power, describe(node)))

    def _replace_constant(self, node: Node, index: int, array: Array) -> None:
        before = node.operands[index]
        assert before.node is not None
        hint = node.origin[-1] if node.origin else node.op.name
        self.graph.set_operand(node, index, self.graph.constant_value(array, hint, node, before.node.origin))
        if not before.users and not self.graph.is_output(before):
            self.graph.erase(before.node)

    def _operand_at(self, node: Node, index: int, power: int) -> None:
        self.graph.set_operand(node, index, self.at_power(node.operands[index], power, node))

    def at_power(self, value: Value, power: int, before: Node | None) -> Value:
        """Return a stream with another power, of real numbers then, in front of a node or at the end."""
        more = power - self.powers.get(value, 0)
        if not more or self.steps == 1 or (value in self.static and not value.type.is_real):
            return value
        key = value, power
        if key not in self._scaled:
            self._scaled[key] = self._multiplied(value, more, before)
            self.powers[self._scaled[key]] = power
        return self._scaled[key]

    def _multiplied(self, value: Value, power: int, before: Node | None) -> Value:
        """Return t^power times a value."""
        whole = not isinstance(value.type, SpikeType) and not value.type.is_real
        if whole and power < 0:
            name = describe(value.node) if value.node is not None else value.name
            raise PassError(f"{name} of whole numbers has no mean", help="run it on a host")
        number = np.full(1, self.steps ** abs(power), np.int32 if whole else np.float32)
        factor = self.graph.constant_value(number, "steps", before)
        origin = () if value.node is None else value.node.origin
        return self.graph.insert(before, "mul" if power > 0 else "div", [value, factor], origin=origin)
