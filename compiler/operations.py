"""What a network's operations are: spikes of which payload, or real multiplications; and what reads spikes.

An operation is an accumulate or a multiply-accumulate, counted as in `snnc.energy`. Synaptic accumulates are
told apart by the payload that causes them. In a product of streams,
K(t) = A(t)B(t) + A(t)S_B(t-1) + S_A(t-1)B(t), a unit spike causes one accumulate per sum that it meets.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from snnc.energy import count_nodes, count_steps, has_spikes
from snnc.ir.op import Role
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.energy import ActivityMeter
    from snnc.ir.graph import Graph, Node, Value


@dataclass(frozen=True, slots=True)
class Multiplications:
    """Multiply-accumulates of the first step or a later one for one sample, by where they come from."""

    analog_synapses: float
    expectation: float
    other: float

    @classmethod
    def of(cls, graph: Graph, *, later: bool = False) -> Multiplications:
        synapses = expectation = other = 0.0
        for node, counts in count_nodes(graph, later=later):
            macs = counts.multiply_accumulates
            if node.expect:
                expectation += macs
            elif node.op.synaptic:
                synapses += macs
            else:
                other += macs
        return cls(synapses, expectation, other)


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations per sample up to step t.

    `binary`, `multi` and `negative` are accumulates that spikes of payload 1, above 1 and below 0 cause in
    what reads them. The next three are multiply-accumulates: of layers that read a real stream, of
    expectation nodes, of everything else (scales). `neurons` are the accumulates that are no synapse's:
    comparing, resetting, biases, integers pooled or added.
    """

    binary: float
    multi: float
    negative: float
    analog_synapses: float
    expectation: float
    other_multiplications: float
    neurons: float

    @property
    def multiplications(self) -> float:
        return self.analog_synapses + self.expectation + self.other_multiplications

    @property
    def accumulates(self) -> float:
        return self.binary + self.multi + self.negative + self.neurons

    @property
    def counted(self) -> float:
        """Return the operations that shares are of: all but those of neurons."""
        return self.binary + self.multi + self.negative + self.multiplications

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of each kind; they add up to 1 (all 0 where there is nothing to do)."""
        kinds = {
            "binary": self.binary,
            "multi": self.multi,
            "negative": self.negative,
            "multiplications": self.multiplications,
        }
        return {name: amount / self.counted if self.counted else 0.0 for name, amount in kinds.items()}

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "shares": self.shares}


def operations(graph: Graph, meter: ActivityMeter) -> list[Operations]:
    """Return the operations after every step the meter has watched, per sample."""
    by_payload = meter.synaptic.cumsum(axis=0) / meter.samples
    caused = meter.accumulates.cumsum() / meter.samples
    steps, first, later = count_steps(graph), Multiplications.of(graph), Multiplications.of(graph, later=True)
    return [
        Operations(
            binary=float(kinds[0]),
            multi=float(kinds[1]),
            negative=float(kinds[2]),
            analog_synapses=first.analog_synapses + later.analog_synapses * (t - 1),
            expectation=first.expectation + later.expectation * (t - 1),
            other_multiplications=first.other + later.other * (t - 1),
            neurons=float(steps.until(t).accumulates + total - kinds.sum()),
        )
        for t, (kinds, total) in enumerate(zip(by_payload, caused, strict=True), 1)
    ]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far spikes reach: layers with weights, products of streams, attention.

    `spiking_synapses` read spikes; of `spiking_products` both factors are spikes. An attention is a softmax
    whose result meets another stream in a product; it is spiking if q, k, v and its own result are spikes.
    """

    synapses: int
    spiking_synapses: int
    products: int
    spiking_products: int
    attentions: int
    spiking_attentions: int

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def sentences(self) -> list[str]:
        """Say it in words."""
        said = [f"{self.spiking_synapses} of {self.synapses} synaptic layers read spikes"]
        if self.products:
            said.append(
                f"{self.spiking_products} of {self.products} products of streams multiply spikes by spikes"
            )
        if self.attentions:
            done = f"{self.spiking_attentions} of {self.attentions} attentions"
            said.append(f"q, k, v and softmax send spikes in {done}")
        return said


def coverage(graph: Graph) -> Coverage:
    """Count what reads spikes."""
    products = [node for node in graph if is_product(node)]
    synapses = [node for node in graph if node.op.synaptic and not is_product(node)]
    spiking = {node for node in products if all_spikes(node)}
    attentions = list(attention_products(graph))
    return Coverage(
        len(synapses),
        sum(has_spikes(node) for node in synapses),
        len(products),
        len(spiking),
        len(attentions),
        sum(spiking.issuperset(pair) for pair in attentions),
    )


def is_product(node: Node) -> bool:
    """Tell whether a node multiplies two streams that vary in time."""
    return node.op.role is Role.MULTILINEAR and (node.expect or all_spikes(node))


def all_spikes(node: Node) -> bool:
    return all(isinstance(operand.type, SpikeType) for operand in node.operands)


def attention_products(graph: Graph) -> Iterator[set[Node]]:
    """Yield, for every softmax that ends in a product, that product and the one its scores come from."""
    for node in graph:
        if node.op.name != "softmax":
            continue
        behind = next((user for user in readers(node.result) if is_product(user)), None)
        scores = next((source for source in sources(node) if is_product(source)), None)
        if behind is not None:
            yield {behind} if scores is None else {behind, scores}


def readers(value: Value) -> Iterator[Node]:
    """Yield what reads a stream, each once, through neurons and whatever keeps streams linear."""
    pending = [value]
    seen: set[Node] = set()
    while pending:
        for user in pending.pop().users:
            if user not in seen:
                seen.add(user)
                yield user
                if user.op.name == "neuron" or (user.op.role is Role.LINEAR and not user.op.synaptic):
                    pending.append(user.result)


def sources(node: Node) -> Iterator[Node]:
    """Yield the nodes that a stream comes from, each once, back to products and synapses."""
    pending = [node]
    seen: set[Node] = set()
    while pending:
        for source in (operand.node for operand in pending.pop().operands):
            if source is not None and source not in seen:
                seen.add(source)
                yield source
                if not is_product(source) and not source.op.synaptic:
                    pending.append(source)
