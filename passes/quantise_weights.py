"""`quantise-weights`: weights, thresholds and biases become whole numbers of a unit per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import OptionError, PassError
from snnc.ir.types import SpikeType
from snnc.passes.analysis import analog_values, answers_by_averages, spikes_already
from snnc.passes.base import Pass, PassContext, Preserves, Site
from snnc.passes.currents import find_currents
from snnc.passes.dce import Dce
from snnc.passes.normalise_thresholds import compressed, scale_inputs
from snnc.passes.rewriter import Rewriter, describe, rewrite
from snnc.passes.rounding import bias_correction, round_weights
from snnc.passes.spell_out import PATTERNS, SYNAPSES
from snnc.passes.units import as_rows, choose_units, element_units, from_rows
from snnc.passes.whole_numbers import fractions

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.passes.currents import Currents
    from snnc.passes.moments import Moments
    from snnc.passes.units import Units

LEAK_STEPS = 4096  # a leak is a multiple of 1/4096, as the hardware's decay is


@dataclass(frozen=True)
class QuantiseWeights(Pass):
    """Make weights whole numbers of `bits` bits times a power of two; nothing else is lost.

    Each output channel counts in a unit of its own, u: W' = round(W / u), b' = round(b / u), and the neuron
    that integrates it has the threshold round(q / u); payloads stay what they are. Currents that are added
    share u. Factors of spikes (residual connections) and averages become synapses that are exact in u times a
    power of two per layer, so no multiplication is left; u is as coarse as sums of any spikes need to fit
    `width` bits. Inputs are sent as spikes of a power of two by a neuron in front of the first synapse.
    Outputs and nodes that compute with real numbers read u times the current.

    rounding=output rounds for the least error of the sums over calibration data, rounding=nearest weight by
    weight. exponents=factors leaves the power of two to residual connections and averages: other weights are
    the integers themselves. per=layer has one unit for all channels of a layer, so that thresholds that are
    alike stay alike.
    """

    name: ClassVar[str] = "quantise-weights"
    preserves: ClassVar[Preserves | None] = Preserves.WEIGHTS
    bits: int = 8
    width: int = 24
    input_bits: int = 8
    rounding: Literal["output", "nearest"] = "output"
    exponents: Literal["any", "factors"] = "any"
    per: Literal["channel", "layer"] = "channel"

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise OptionError(f"weights cannot have {self.bits} bits", help="give 2 to 8")
        if not 2 * self.bits <= self.width <= 24:
            raise OptionError(
                f"sums of {self.bits}-bit weights cannot have {self.width} bits",
                help=f"give {2 * self.bits} to 24",
            )
        if not 2 <= self.input_bits <= 15:
            raise OptionError(f"inputs cannot have {self.input_bits} bits", help="give 2 to 15")

    def run(self, graph: Graph, context: PassContext) -> bool:
        refuse_what_has_no_integers(graph, self.name)
        if not answers_by_averages(graph):
            return self._lower(graph, context)
        # What is sent in all is bounded as single steps are otherwise.
        bound_neurons(graph, "step")
        changed = self._lower(graph, context)
        bound_neurons(graph, "sum")
        return changed

    def _lower(self, graph: Graph, context: PassContext) -> bool:
        rewriter = Rewriter(graph, context, self.name)
        first = reading_inputs(graph)
        if not first and not fractions(graph):
            return False
        self._encode_inputs(graph, first, rewriter)
        graph.retype()
        rewrite(graph, PATTERNS, context, self.name)
        graph.retype()
        currents = find_currents(graph)
        units = choose_units(
            graph,
            currents,
            limit=2 ** (self.bits - 1) - 1,
            width=self.width,
            per_layer=self.per == "layer",
            plain=self.exponents == "factors",
        )
        moments = self._moments(graph, currents, context)
        # A threshold no membrane reaches (of a channel that is always 0) is the largest membrane.
        quantise_neurons(graph, currents, units, (1, 2 ** (self.width - 1) - 1), rewriter)
        quantise_constants(graph, currents, units, rewriter)
        for synapse in currents.first:
            self._quantise(synapse, currents, units, moments.get(synapse), rewriter)
        restore_real_values(graph, currents, units, rewriter)
        return rewriter.changed

    def _encode_inputs(self, graph: Graph, first: list[Node], rewriter: Rewriter) -> None:
        """synapse{W}(x) -> synapse{W q}(neuron{q}(x)) where x is made of inputs alone."""
        values = list(dict.fromkeys(node.operands[0] for node in first))
        encoders: dict[Value, tuple[Value, Array]] = {}
        for value, (least, most) in zip(values, self._ranges(graph, values, rewriter.context), strict=True):
            reader = next(node for node in first if node.operands[0] is value)
            encoders[value] = self._encoder(value, least, most, reader, rewriter)
        for node in first:
            spikes, quantum = encoders[node.operands[0]]
            given = graph.resolve(node)
            channels = as_channels(node, given)
            weight = scale_inputs(node, given, np.full(channels, quantum.item(), np.float32))
            rewriter.replace(
                node, rewriter.insert(node, node.op.name, [spikes], {**node.attributes, "weight": weight})
            )

    def _ranges(self, graph: Graph, values: list[Value], context: PassContext) -> list[tuple[float, float]]:
        if not values:
            return []
        if context.calibration is None:
            raise PassError(
                f"{self.name} needs calibration", help="give calibration data with --calibration DATA"
            )
        part, sources = graph_of(graph, values)
        sites = [Site(value, (), None, None, value.name or "input") for value in sources]
        found = context.calibration.measure(part, sites)
        return [(float(one.minimum.min()), float(one.maximum.max())) for one in found]

    def _encoder(
        self, value: Value, least: float, most: float, before: Node, rewriter: Rewriter
    ) -> tuple[Value, Array]:
        """Return spikes of a power of two that reach over the range of an input."""
        signed = least < 0
        largest = 2 ** (self.input_bits - signed) - 1
        size = max(-least, most)
        exponent = 0 if size == 0 else int(np.ceil(np.log2(size / largest) - 1e-9))
        quantum = np.full((1,) * len(value.type.shape), 2.0**exponent, np.float32)
        attributes: dict[str, Any] = {
            "codebook": MultiSpike(-largest if signed else 0, largest),
            "quantum": quantum, "unit": quantum, "site": value.name,
            "reset": "restart" if spikes_already(rewriter.graph) else None,
        }  # fmt: skip
        spikes = rewriter.insert(before, "neuron", [value], attributes)
        return spikes, quantum

    def _moments(self, graph: Graph, currents: Currents, context: PassContext) -> dict[Node, Moments | None]:
        if self.rounding == "nearest" or context.calibration is None:
            return {}
        nodes = list(currents.first)
        return dict(zip(nodes, context.calibration.moments(graph, nodes), strict=True))

    def _quantise(
        self, node: Node, currents: Currents, units: Units, moments: Moments | None, rewriter: Rewriter
    ) -> None:
        """W' = 2^e round(W / (2^e u)), b' = round((b + what rounding W changed on average) / u)"""
        given, unit = rewriter.graph.resolve(node), units.unit[currents.channels(node)]
        group, step = int(given.get("group", 1)), 2.0 ** units.exponents[node]
        rows = as_rows(node, given["weight"], group).astype(np.float64) / (unit[:, None] * step)
        limit = 2 ** (self.bits - 1) - 1
        parts = np.split(rows, group)
        bias = np.zeros(len(rows)) if given["bias"] is None else given["bias"] / unit
        covariances = None if moments is None else moments.covariance
        rounded = [
            round_weights(part, None if covariances is None else covariances[index], limit)
            for index, part in enumerate(parts)
        ]
        if moments is not None:
            corrections = [
                bias_correction(part - done, moments.mean[index])
                for index, (part, done) in enumerate(zip(parts, rounded, strict=True))
            ]
            bias = bias + step * np.concatenate(corrections)
        weight = from_rows(node, np.concatenate(rounded) * step, given["weight"].shape, group)
        changes: dict[str, Any] = {"weight": weight.astype(np.float32)}
        if given["bias"] is not None or np.rint(bias).any():
            changes["bias"] = np.rint(bias).astype(np.float32)
        rewriter.set_attributes(node, **changes)


def bound_neurons(graph: Graph, bounds: str) -> None:
    """Let the ends of codebooks be the bounds of every payload, or of its sum."""
    for node in graph:
        if node.op.name == "neuron":
            graph.set_attributes(node, bounds=bounds)
    graph.retype()


def reading_inputs(graph: Graph) -> list[Node]:
    """Return the synapses that read the analog input."""
    analog = analog_values(graph)
    return [
        node
        for node in graph
        if node.op.name in SYNAPSES and node.operands[0] in analog and is_real(node.operands[0])
    ]


def graph_of(graph: Graph, values: list[Value]) -> tuple[Graph, list[Value]]:
    """Return a copy with these values as its only outputs, and where they are in it."""
    part = graph.copy()
    twins = dict(zip(graph.inputs, part.inputs, strict=True))
    twins |= {node.result: twin.result for node, twin in zip(graph, part, strict=True)}
    part.outputs.clear()
    for index, value in enumerate(values):
        part.add_output(twins[value], f"value_{index}")
    Dce().run(part, PassContext())
    return part, [twins[value] for value in values]


def is_real(value: Value) -> bool:
    return not isinstance(value.type, SpikeType) and value.type.is_real


def as_channels(node: Node, given: dict[str, Any]) -> int:
    """Return how many input channels a synapse has."""
    weight = given["weight"]
    if node.op.name == "conv_transpose":
        return len(weight)
    return int(weight.shape[1] * given.get("group", 1))


def refuse_what_has_no_integers(graph: Graph, name: str) -> None:
    """Refuse codings and neurons whose equations have no whole-number form."""
    if graph.coding != "rate":
        raise PassError(
            f"{name} is for rate coding: changes are weighted by t, which is no whole number",
            help="compile with --coding rate",
        )
    problems = [f"{describe(node)}: {why}" for node in graph if (why := neuron_problem(node, graph))]
    if problems:
        raise PassError(
            f"{name} cannot make these neurons whole:\n" + "\n".join(f"  {line}" for line in problems),
            help="compile with another method, or with --thresholds mse (one quantum for both signs, but not "
            "where an activation has two bounds); run normalise-thresholds before",
        )


def neuron_problem(node: Node, graph: Graph) -> str | None:
    """Return why a neuron has no whole-number form, or None."""
    if node.op.name != "neuron":
        return None
    given = graph.resolve(node)
    if given["quantum"] is None:
        return "it has no threshold yet; run choose-thresholds"
    if given["negative"] is not None:
        return "its negative payloads have a quantum of their own"
    if given["scale"] is not None and not (given["scale"] == 1).all():
        return "it sends payloads times a scale; run normalise-thresholds"
    return None


def whole(
    array: Array | None, unit: Array, value: Value, limits: tuple[float, float] = (-np.inf, np.inf)
) -> Array | None:
    """Return round(array / unit), within limits, as the attribute of a neuron, as small as it can be."""
    if array is None:
        return None
    counted = np.clip(np.rint(array.astype(np.float64) / unit), *limits)
    shrunk = compressed(counted.astype(np.float32), value.type.shape)
    assert shrunk is not None, "a neuron's parameters do not vary with the sample"
    return shrunk


def quantise_neurons(
    graph: Graph, currents: Currents, units: Units, limits: tuple[float, float], rewriter: Rewriter
) -> None:
    """Count thresholds, biases and rests of neurons in the units of what they integrate."""
    for node in graph:
        (x, *_) = node.operands or (None,)
        if not node.op.neuron or x not in currents.numbers:
            continue
        given, unit = graph.resolve(node), element_units(x, currents, units)
        if node.op.name == "neuron":
            rewriter.set_attributes(
                node,
                quantum=whole(given["quantum"], unit, x, limits),
                bias=whole(given["bias"], unit, x),
            )
        else:
            quantise_lif(node, given, unit, limits, rewriter)


def quantise_lif(
    node: Node, given: dict[str, Any], unit: Array, limits: tuple[float, float], rewriter: Rewriter
) -> None:
    """leak v + gain x: the membrane counts in gain u, so that the input needs no factor."""
    x, gain, leak = node.operands[0], given["gain"], given["leak"]
    if gain is not None and not (gain > 0).all():
        raise PassError(f"{describe(node)}: its input is weakened to nothing or reversed (gain)")
    membrane = unit if gain is None else unit * gain
    initial = given["initial"]
    if initial and np.ptp(membrane) > 0:
        raise PassError(f"{describe(node)}: its channels start alike but count in different units")
    rewriter.set_attributes(
        node,
        threshold=whole(given["threshold"], membrane, x, limits),
        bias=whole(given["bias"], membrane, x),
        rest=whole(given["rest"], membrane, x),
        leak=None if leak is None else (np.rint(leak * LEAK_STEPS) / LEAK_STEPS).astype(np.float32),
        gain=None,
        initial=float(np.rint(initial / membrane.flat[0])) if initial else None,
    )


def quantise_constants(graph: Graph, currents: Currents, units: Units, rewriter: Rewriter) -> None:
    """Count what is added to currents in their units."""
    for node in list(graph):
        if node.result not in currents.numbers or node.op.name not in ("add", "sub"):
            continue
        for index, operand in enumerate(node.operands):
            constant = graph.constant(operand)
            if constant is not None:
                counted = whole(constant, element_units(node.result, currents, units), node.result)
                assert counted is not None
                rewriter.set_operand(node, index, rewriter.constant(node, counted))


def restore_real_values(graph: Graph, currents: Currents, units: Units, rewriter: Rewriter) -> None:
    """Give outputs, and nodes that compute with real numbers, the unit times the current."""
    for current in currents.numbers:
        readers = [
            user for user in current.users if user.result not in currents.numbers and not user.op.neuron
        ]
        if not readers and not graph.is_output(current):
            continue
        assert current.node is not None
        unit = compressed(element_units(current, currents, units).astype(np.float32), current.type.shape)
        assert unit is not None, "units do not vary with the sample"
        following = after(current.node)
        factor = graph.constant_value(unit, f"{describe_name(current)}.unit", following)
        real = graph.insert(following, "mul", [current, factor], origin=current.node.origin)
        assert real.node is not None
        keep = [user for user in current.users if user not in readers]
        real.name, current.name = current.name, None
        graph.replace_uses(current, real, keep=keep)
        rewriter.changed = True


def after(node: Node) -> Node | None:
    """Return the node that follows in execution order."""
    return node._next


def describe_name(value: Value) -> str:
    assert value.node is not None
    return value.name or (value.node.origin[-1] if value.node.origin else value.node.op.name)
