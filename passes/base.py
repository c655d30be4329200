"""What a pass is: a frozen dataclass whose fields are its options, with one method that rewrites a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.passes.moments import Moments
    from snnc.passes.statistics import SiteStatistics


class Calibration(Protocol):
    """Measures streams of the analog graph over calibration data."""

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        """Return the statistics of every site, in order."""

    def sensitivity(self, graph: Graph, neurons: Sequence[Node]) -> list[float]:
        """Return, per neuron, the squared relative error of the outputs if it alone has its threshold.

        The others of them send what they read, within their bounds; further neurons stay as they are.
        """

    def walk(
        self, graph: Graph, neurons: Mapping[Node, tuple[int, ...]], steps: int
    ) -> Iterator[tuple[Node, Callable[[], Array]]]:
        """Run the graph for some steps, node by node, and stop at each of these neurons, given their axes.

        The function that comes with a neuron runs it with the attributes it has at that moment. It returns
        the mean over samples and all axes but the neuron's of the activation it stands for, less its mean
        output over the steps; every axis is kept. Later nodes read what the neuron sends when the walk goes
        on. The activations are those of the graph in which none of these neurons rounds.
        """

    def moments(self, graph: Graph, nodes: Sequence[Node]) -> list[Moments | None]:
        """Return, per synapse, mean and covariance of what its weights multiply.

        Streams are what the graph sends at the first step, and in the first few where nodes keep state
        besides neurons. None for a transposed convolution, whose outputs differ in their inputs.
        """


@dataclass(frozen=True, slots=True)
class Site:
    """One stream to measure: its value, its channel axes, the bounds of its activation.

    `fractions` are the quantiles to average over batches.
    """

    value: Value
    axes: tuple[int, ...]
    low: float | None
    high: float | None
    name: str
    fractions: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Why a pass did or did not do something to a node; shown by `--explain`."""

    pass_name: str
    node: str
    reason: str


@dataclass(slots=True)
class PassContext:
    """What passes share during one compilation: calibration, notes for `--explain`, warnings."""

    calibration: Calibration | None = None
    notes: list[Note] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Preserves(Enum):
    """How closely a pass preserves decoded values; a test holds every pass to what it states.

    `EXACT`: bit by bit. `ROUNDING`: up to the rounding of float32 sums in another order (a membrane on the
    edge between two payloads may then send either). `QUANTISATION`: what neurons round changes, and nothing
    but that: the network in which every neuron sends the activation it stands for stays as with `ROUNDING`.
    `WEIGHTS`: weights and thresholds are rounded, too.
    """

    EXACT = "exact"
    ROUNDING = "rounding"
    QUANTISATION = "quantisation"
    WEIGHTS = "weights"


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite of a graph that preserves every decoded value, exactly or up to a stated quantisation.

    Subclasses are frozen dataclasses with a `name`; their fields are options on the command line, and the
    first line of their docstring is their summary. `integers`: it may run on a graph of integer weights,
    where a weight cannot be scaled and a stream's scale is known at its end only. `preserves` is None where a
    pass states no bound.
    """

    name: ClassVar[str]
    integers: ClassVar[bool] = False
    preserves: ClassVar[Preserves | None] = None

    @abstractmethod
    def run(self, graph: Graph, context: PassContext) -> bool:
        """Rewrite the graph in place; return whether anything changed."""
