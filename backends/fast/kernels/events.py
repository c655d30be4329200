"""A linear layer of few spikes: the sums of the weights that they drive, without the others."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from snnc.backends.fast.kernels.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable


@cache
def counting_kernel() -> Callable[..., int]:
    """Return f(x): how many of a vector's elements are not 0."""

    def count(x: Any) -> Any:
        found = 0
        for i in range(x.size):
            found += x[i] != 0
        return found

    return compiled(count)


@cache
def adding_kernel() -> Callable[..., None]:
    """Return f(x, weight, bias, y, places): y = x weight + bias, over [rows, inputs] and [inputs, outputs].

    `places` has room for one place more than there are inputs.
    """

    def add(x: Any, weight: Any, bias: Any, y: Any, places: Any) -> None:
        for row in range(x.shape[0]):
            spikes, sums = x[row], y[row]
            count = 0
            for i in range(spikes.size):
                places[count] = i  # stored always and kept sometimes: no branch
                count += spikes[i] != 0
            for o in range(sums.size):
                sums[o] = bias[o]
            for place in places[:count]:
                k, driven = spikes[place], weight[place]
                for o in range(sums.size):
                    sums[o] += k * driven[o]

    return compiled(add)
