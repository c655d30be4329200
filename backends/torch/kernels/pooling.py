"""Pooling, one axis after the other and tap by tap, over the op table's own windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from snnc.ir.ops.pooling import windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from snnc.ir.kernel_types import Array
    from snnc.ir.ops.pooling import Window


def slide(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, window: Window, initial: float) -> Tensor:
    """Return the reduction of every window along one axis, starting from `initial`."""
    lead = (slice(None),) * window.axis
    shape = (*x.shape[: window.axis], window.outputs, *x.shape[window.axis + 1 :])
    result = x.new_full(shape, initial)
    for outputs, inputs in window.taps():
        place = (*lead, outputs)
        result[place] = function(result[place], x[(*lead, inputs)])
    return result


def max_pool(x: Tensor, **attributes: Any) -> Tensor:
    lowest = torch.finfo(x.dtype).min
    for window in windows(tuple(x.shape), **attributes):
        x = slide(torch.maximum, x, window, lowest)
    return x


def avg_pool(x: Tensor, *, count_include_pad: bool, **attributes: Any) -> Tensor:
    count: Array = np.ones(())
    for window in windows(tuple(x.shape), **attributes):
        x = slide(torch.add, x, window, 0.0)
        count = np.multiply.outer(count, window.counts(count_include_pad))
    return x / torch.as_tensor(count).to(x)


KERNELS: dict[str, Callable[..., Tensor]] = {"max_pool": max_pool, "avg_pool": avg_pool}
