"""`insert-neurons`: a neuron at the input of every synapse; a ReLU or Clip becomes its neuron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snnc.ir.codebooks import MAX_PAYLOAD, Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import OptionError, PassError
from snnc.ir.op import Role
from snnc.ir.types import SpikeType
from snnc.passes.analysis import (
    analog_values,
    passes_mean,
    pools_spikes,
    reaches_synapse,
    refuse_spiking,
    static_values,
)
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.types import Type

MOST_LEVELS = MAX_PAYLOAD.bit_length()
ABSORBED = ("relu", "clip", "fake_quantise")
# What a neuron has that stands for the value it reads: no bounds, no quantiser's threshold.
PLAIN = {"codebook", "reset", "bounds", "site"}


@dataclass(frozen=True)
class InsertNeurons(Pass):
    """Put a neuron in front of every synaptic operand that carries a real stream; absorb activations.

    relu and clip become the neuron itself when a synapse is further on: their bounds are the ends of its
    codebook. A layer that reads the analog input directly keeps it (first=analog) or gets a neuron too
    (first=neuron).

    A quantiser that came with the network becomes the neuron that computes it exactly in one step
    (quantisers=exact), in every step, as with reset=restart (quantisers=repeat), or one that spreads it over
    steps as spikes of its largest value, half charged (quantisers=rate: QCFS). trained=true refuses a network
    that has none.

    codebook=multi has 2^levels payloads (choose-thresholds keeps their resolution and adds headroom), and
    rounding=burst spends fewer unit spikes on them than rounding=nearest;
    binary and ternary ignore `levels`; codebook=pow2 has the powers of two 1 … 2^(levels-1), with `firing`
    and `dead_zone` as that codebook defines them. reset=zero, in rate coding, lets a spike of a binary or
    ternary neuron clear its membrane; reset=restart lets every step of any neuron start as the first did,
    so that a constant input repeats the first step. bounds=sum, in rate coding and with codebook=multi and
    rounding=nearest, holds the sum of payloads within the bounds instead of each: what was sent too early is
    taken back. Behind average pooling a layer gets a neuron
    (pooled=neuron) or reads the mean of spikes as it is, a real current (pooled=current). Signs are settled
    by choose-thresholds: until then a neuron that absorbed no lower bound of 0 has a signed codebook.
    """

    name: ClassVar[str] = "insert-neurons"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    codebook: Literal["multi", "binary", "ternary", "pow2"] = "multi"
    levels: int = 6
    rounding: Literal["burst", "nearest"] = "burst"
    first: Literal["analog", "neuron"] = "analog"
    quantisers: Literal["exact", "repeat", "rate"] = "exact"
    trained: bool = False
    firing: Literal["below", "nearest"] = "below"
    dead_zone: float = 0.5
    reset: Literal["subtract", "zero", "restart"] = "subtract"
    bounds: Literal["step", "sum"] = "step"
    pooled: Literal["neuron", "current"] = "neuron"

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MOST_LEVELS:
            raise OptionError(
                f"a neuron cannot have 2^{self.levels} payloads", help=f"give 1 to {MOST_LEVELS} levels"
            )
        if not 0 < self.dead_zone <= 1:
            raise OptionError(
                f"a neuron cannot have a dead zone of {self.dead_zone} quanta",
                help="give more than 0, at most 1",
            )
        if self.reset == "zero" and self.codebook not in ("binary", "ternary"):
            raise OptionError(
                f"{self.codebook} neurons cannot reset to zero: it would lose what rounding left",
                help="use binary or ternary neurons (--method if, qcfs or ternary), or reset by subtraction",
            )
        if self.bounds == "sum":
            self._check_sum()

    def _check_sum(self) -> None:
        if self.reset != "subtract" or self.quantisers != "exact":
            raise OptionError(
                "neurons that take back what they sent too early cannot forget it",
                help="reset by subtraction, or use another method than signed-memory",
            )
        if self.codebook != "multi" or self.rounding != "nearest":
            raise OptionError(
                "bounds=sum is for neurons that round to the nearest payload",
                help="use codebook=multi and rounding=nearest",
            )

    def run(self, graph: Graph, context: PassContext) -> bool:
        refuse_spiking(graph, self.name)
        forgetful = self.reset != "subtract" or self.quantisers == "repeat"
        if forgetful and graph.coding == "differential":
            how = "reset to zero" if self.reset == "zero" else "restart"
            raise OptionError(
                f"neurons in differential coding cannot {how}: it would forget what is not sent yet",
                help="reset by subtraction, or use rate coding",
            )
        if self.bounds == "sum" and graph.coding == "differential":
            raise OptionError(
                "in differential coding all neurons take back what they sent too early",
                help="leave out bounds=sum, or use rate coding",
            )
        rewriter = Rewriter(graph, context, self.name)
        reaching = reaches_synapse(graph)
        if self.trained:
            require_quantisers(graph, reaching)
        for node in graph:
            if node.op.name not in ABSORBED or node.result not in reaching:
                continue
            # A quantiser of what are spikes already is one more neuron; a ReLU of spikes is none.
            if node.op.name == "fake_quantise":
                memory = {"reset": "restart"} if self.quantisers == "repeat" else self._memory
                quantiser_to_neuron(node, rewriter, at_once=self.quantisers != "rate", memory=memory)
            elif is_real(node.operands[0]):
                self._absorb(node, rewriter)
        analog = analog_values(graph) if self.first == "analog" else set()
        static = static_values(graph)
        unlike: set[Value] = set()  # typed as spikes now, real later
        for node in graph:
            node.result.type = graph.infer(node)
            if becomes_real(node, graph, static, unlike):
                unlike.add(node.result)
            if node.op.synaptic and not all(operand in static for operand in node.operands):
                self._guard(node, rewriter, analog, unlike)
        return rewriter.changed

    def _absorb(self, node: Node, rewriter: Rewriter) -> None:
        given = rewriter.graph.resolve(node)
        low, high = given.get("low"), given.get("high")
        if node.op.name == "relu":
            low = 0.0
        if (low is not None and low > 0) or (high is not None and high < 0):
            rewriter.decline(node, "its bounds exclude zero")
            return
        codebook = self.codebook_for(low)
        attributes = {
            "codebook": codebook, "low": low, "high": high, "site": node.result.name, **self._memory
        }  # fmt: skip
        value = rewriter.insert(node, "neuron", node.operands, attributes)
        rewriter.replace(node, value)

    def _guard(self, node: Node, rewriter: Rewriter, analog: set[Value], unlike: set[Value]) -> None:
        for operand in dict.fromkeys(node.operands):
            constant = operand.node is not None and operand.node.op.name == "constant"
            real = is_real(operand) or operand in unlike
            if constant or operand in analog or not real:
                continue
            if self.pooled == "current" and pools_spikes(operand):
                continue
            neuron = self._neuron_on(operand, node, rewriter)
            for index, current in enumerate(node.operands):
                if current is operand:
                    rewriter.set_operand(node, index, neuron)

    def _neuron_on(self, value: Value, reader: Node, rewriter: Rewriter) -> Value:
        """Return the neuron on a value: the one another synapse already got, or a new one."""
        for user in value.users:
            if user.op.name == "neuron" and user.attributes.keys() <= PLAIN:
                return user.result
        attributes = {"codebook": self.codebook_for(None), "site": value.name, **self._memory}
        neuron = rewriter.insert(reader, "neuron", [value], attributes)
        assert neuron.node is not None
        rewriter.graph.set_origin(neuron.node, value.node.origin if value.node is not None else ())
        neuron.name = value.name
        return neuron

    @property
    def _memory(self) -> dict[str, str]:
        """Return the attributes that say what a neuron remembers, but for defaults."""
        given = {"reset": self.reset, "bounds": self.bounds}
        return {name: value for name, value in given.items() if value not in ("subtract", "step")}

    def codebook_for(self, low: float | None) -> Codebook:
        """Return the codebook of a neuron whose activation has this lower bound."""
        if self.codebook == "pow2":
            return PowerOfTwo(self.levels, low is None or low < 0, self.firing, self.dead_zone)
        if self.codebook == "multi":
            return multi_spike(self.levels, self.rounding, signed=low is None or low < 0)
        signed = low is None or low < 0 or self.codebook == "ternary"
        return Ternary() if signed else Binary()


def require_quantisers(graph: Graph, reaching: set[Value]) -> None:
    """Refuse a network that carries no quantiser and no neuron that was made of one."""
    if not any(
        (node.op.name == "fake_quantise" and node.result in reaching)
        or (node.op.name == "neuron" and "quantum" in node.attributes)
        for node in graph
    ):
        raise PassError(
            "the network carries no quantiser in front of a synapse",
            help="train one with snnc.nn, quantise it with any toolchain that writes QuantizeLinear and "
            "DequantizeLinear, or choose --method multi-spike, which needs none",
        )


def quantiser_to_neuron(node: Node, rewriter: Rewriter, *, at_once: bool, memory: Mapping[str, str]) -> None:
    """fake_quantise{q, lo, hi}(x) -> neuron{multi(lo, hi), q}(x), or spikes of q max(-lo, hi) over time."""
    given = rewriter.graph.resolve(node)
    lo, hi, quantum = given["lo"], given["hi"], given["scale"]
    floor = given["rounding"] == "floor"
    codebook: Codebook = MultiSpike(lo, hi, "floor" if floor else "nearest")
    initial = 0.5 if floor else 0.0
    # One bound holds for all channels: it is known where they share a scale, or where it is 0.
    low, high = (
        float(quantum.flat[0]) * level if quantum.size == 1 or level == 0 else None for level in (lo, hi)
    )
    if not at_once:
        codebook = Binary() if lo == 0 else Ternary()
        quantum = quantum * np.float32(max(-lo, hi))
        initial = 0.5 if lo == 0 else 0.0  # half a quantum either way would prefer one sign
    if at_once and memory.get("reset") == "zero":
        memory = {}
    attributes = {
        "codebook": codebook, "quantum": quantum, "scale": quantum, "unit": quantum,
        "initial": initial or None, "low": low, "high": high, "site": node.result.name, **memory,
    }  # fmt: skip
    value = rewriter.insert(node, "neuron", node.operands, attributes)
    rewriter.replace(node, value)


def multi_spike(levels: int, rounding: Literal["burst", "nearest"], *, signed: bool) -> MultiSpike:
    """Return the multi-spike codebook of `levels` bits: 0..2^n - 1, or ±(2^(n-1) - 1)."""
    if not signed:
        return MultiSpike(0, 2**levels - 1, rounding)
    reach = max(1, 2 ** (levels - 1) - 1)
    return MultiSpike(-reach, reach, rounding)


def becomes_real(node: Node, graph: Graph, static: set[Value], found: set[Value]) -> bool:
    """Tell whether what is typed as spikes will be real: a product or sum of streams, or what is made of one.

    Products of spikes are spikes at every step, but their expectation nodes send real numbers. Sums are only
    spikes while no neuron has a threshold: payloads of 1 will be worth something else in each.
    """
    if not isinstance(node.result.type, SpikeType) or node.op.neuron:
        return False
    if node.op.role is Role.MULTILINEAR and not passes_mean(node, static):
        return True
    types = [type_of_scaled(operand.type) for operand in node.operands]
    kept = isinstance(node.op.infer_type(types, graph.resolve(node)), SpikeType)
    return not kept or any(operand in found for operand in node.operands)


def type_of_scaled(type_: Type) -> Type:
    return replace(type_, scaled=True) if isinstance(type_, SpikeType) else type_


def is_real(value: Value) -> bool:
    return not isinstance(value.type, SpikeType) and value.type.is_real
