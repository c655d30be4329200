"""snnc: a compiler from trained networks (ONNX) to spiking networks (`.sir`).

    graph = snnc.compile("model.onnx", calibration="data.npz")
    snnc.save(graph, "net.sir")
    outputs = snnc.Simulator(graph).run(x, steps=4).outputs

Names load when they are first used: importing snnc imports nothing heavy.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snnc.api import check, compile, evaluate, load, save
    from snnc.backends.reference import Simulator
    from snnc.data import Dataset, Normalise, load_data
    from snnc.ir.errors import SnncError

    __version__: str

__all__ = [
    "Dataset",
    "Normalise",
    "Simulator",
    "SnncError",
    "__version__",
    "check",
    "compile",
    "evaluate",
    "load",
    "load_data",
    "save",
]

_HOMES = {
    "Dataset": "snnc.data",
    "Normalise": "snnc.data",
    "Simulator": "snnc.backends.reference",
    "SnncError": "snnc.ir.errors",
    "check": "snnc.api",
    "compile": "snnc.api",
    "evaluate": "snnc.api",
    "load": "snnc.api",
    "load_data": "snnc.data",
    "save": "snnc.api",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        # With name and obj given, Python suggests what was meant.
        raise AttributeError(f"module 'snnc' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    try:
        return metadata.version("snnc")
    except metadata.PackageNotFoundError:  # run from the source tree, not installed
        return "unknown"
