"""Linear layers that add up the weights of spikes instead of multiplying all inputs, where that is faster.

One row of inputs is bound by reading the weights, and few spikes read few of them. Which rates that takes was
measured (`make sparsity`). Convolutions break even at rates that networks have in their first steps only,
which decide nothing yet: they stay dense.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.kernels.events import adding_kernel, counting_kernel
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from snnc.backends.fast.partition import Stretch
    from snnc.backends.fast.units import Unit
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

# Smaller layers gain less than a microsecond.
LEAST_WEIGHTS = 2**16
# Shares of spikes, below what broke even: 0.69 to 0.95 for one row of inputs, 0.1 to 0.26 for 16.
MOST_OF_ONE, MOST_OF_MANY = 0.5, 1 / 16
# After a step with too many spikes the next ones are not counted: 1 step, 2, 4, … up to so many.
LONGEST_PAUSE = 32


class EventLayer:
    """A linear layer's weights by input, made when they are first needed."""

    def __init__(self, weight: Array, bias: Array | None) -> None:
        self._weight = weight
        self.bias = np.zeros(len(weight), weight.dtype) if bias is None else np.ascontiguousarray(bias)

    @cached_property
    def rows(self) -> Array:
        """[inputs, outputs]"""
        return np.ascontiguousarray(self._weight.T)

    @property
    def inputs(self) -> int:
        return int(self._weight.shape[1])


def event_layer(graph: Graph, stretch: Stretch) -> EventLayer | None:
    """Return the layer of a stretch that is no more than a large linear layer of spikes, reshaped or not."""
    *before, last = stretch.nodes
    if last.op.name != "linear" or any(node.op.name != "reshape" for node in before):
        return None
    if stretch.results != (last.result,) or len(stretch.reads) != 1:
        return None
    attributes: dict[str, Any] = graph.resolve(last)
    weight = attributes["weight"]
    if not isinstance(stretch.reads[0].type, SpikeType) or weight.size < LEAST_WEIGHTS:
        return None
    # 0 times infinity is no number, and must stay that.
    if weight.dtype != np.float32 or attributes.get("exponent") or not np.isfinite(weight).all():
        return None
    return EventLayer(weight, attributes["bias"])


class EventUnit:
    """A layer at every step: event-driven while there are few spikes, else `dense`."""

    membrane = None

    def __init__(self, layer: EventLayer, dense: Unit, x: Array, y: Array) -> None:
        self._layer, self._dense = layer, dense
        self._x, self._y = x.reshape(-1, layer.inputs), y.reshape(-1, len(layer.bias))
        self._most = (MOST_OF_ONE if len(self._x) == 1 else MOST_OF_MANY) * x.size
        self._places = np.empty(layer.inputs + 1, np.intp)
        self._pause, self._next_pause = 0, 1

    def step(self, t: int, last: bool) -> None:
        if self._pause:
            self._pause -= 1
        elif counting_kernel()(self._x.reshape(-1)) <= self._most:
            self._next_pause = 1
            adding_kernel()(self._x, self._layer.rows, self._layer.bias, self._y, self._places)
            return
        else:
            self._pause, self._next_pause = self._next_pause, min(2 * self._next_pause, LONGEST_PAUSE)
        self._dense.step(t, last)
