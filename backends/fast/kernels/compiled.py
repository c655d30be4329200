"""Compiles kernels with numba: outside the interpreter's lock, with IEEE arithmetic as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(kernel: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile at the first call, for its types; the machine code is kept on disk for other processes.

    What a kernel takes from around it (which parameters there are, say) is constant in it.
    """
    given = {"nogil": True, "error_model": "numpy", **options}
    try:
        result: Callable[..., Any] = numba.njit(cache=True, **given)(kernel)
    except RuntimeError:  # nowhere to write
        result = numba.njit(**given)(kernel)
    return result


def compiled_in_any_order(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a sum or a maximum whose terms may be taken in any order, several at a time."""
    return compiled(kernel, fastmath={"reassoc", "nsz", "nnan"})
