"""Makes lava-nc 0.10 run on Python 3.11 and later and with numpy 2, and snnc's kernels with numpy 1."""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
from typing import Any

import numpy as np


def install() -> None:
    """Prepare this interpreter; call before anything imports Lava. Does nothing where Lava needs nothing."""
    keep_start_method()
    if sys.version_info >= (3, 11):
        allow_mutable_defaults()
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        accept_newshape()
    if not hasattr(np, "vecdot"):
        add_vecdot()


def keep_start_method() -> None:
    """Let Lava set the start method that is already set; it does so when it is imported."""
    original = multiprocessing.set_start_method

    def set_start_method(method: str | None, force: bool = False) -> None:
        if method is None or multiprocessing.get_start_method(allow_none=True) != method:
            original(method, force=force)

    multiprocessing.set_start_method = set_start_method


def allow_mutable_defaults() -> None:
    """Let dataclasses share a default that cannot be hashed, as they did until Python 3.10.

    Lava's watchdogs and run conditions have such defaults; nothing changes them.
    """
    original = dataclasses._get_field  # type: ignore[attr-defined]  # where the check is made

    def get_field(cls: type, name: str, annotation: Any, keyword_only: bool) -> Any:
        default = getattr(cls, name, dataclasses.MISSING)
        value = default.default if isinstance(default, dataclasses.Field) else default
        hashable = type(value).__hash__ is not None
        if hashable or isinstance(value, (list, dict, set)) or not cls.__module__.startswith("lava."):
            return original(cls, name, annotation, keyword_only)
        kind: Any = type(value)
        kind.__hash__ = object.__hash__
        try:
            return original(cls, name, annotation, keyword_only)
        finally:
            kind.__hash__ = None

    dataclasses._get_field = get_field  # type: ignore[attr-defined]  # see above


def add_vecdot() -> None:
    """Give numpy 1 the one function of numpy 2 that the copied kernels call."""

    def vecdot(a: Any, b: Any) -> Any:
        return np.einsum("...i,...i->...", a, b)

    np.vecdot = vecdot  # type: ignore[assignment]  # absent where this runs


def accept_newshape() -> None:
    """Give np.reshape back the keyword that numpy 2.4 took away."""
    original: Any = np.reshape

    def reshape(a: Any, /, *args: Any, newshape: Any = None, **options: Any) -> Any:
        shape = args if newshape is None else (newshape, *args)
        return original(a, *shape, **options)

    np.reshape = reshape
