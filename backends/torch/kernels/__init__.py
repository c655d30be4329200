"""What every op computes, in PyTorch: one file per family, one function per op.

Attributes arrive as the op table declares them, tensors on the device. An op that is absent here runs as the
op table's own kernel where its result never varies in time, and is refused where it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.torch.kernels import (
    arithmetic,
    elementwise,
    movement,
    normalisation,
    pooling,
    reduction,
    synapse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

KERNELS: dict[str, Callable[..., Tensor]] = {
    **synapse.KERNELS,
    **elementwise.KERNELS,
    **arithmetic.KERNELS,
    **normalisation.KERNELS,
    **pooling.KERNELS,
    **reduction.KERNELS,
    **movement.KERNELS,
}
