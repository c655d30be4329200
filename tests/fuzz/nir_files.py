"""NIR graphs: the HDF5 file itself, and its fields, one put out of shape at a time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import h5py
import nir
import numpy as np

from snnc.backends.nir.emit import nir_bytes
from snnc.frontend.source import import_network
from snnc.ir.text import print_graph
from tests.fuzz.mutation import flipped
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

NUMBERS = (0, 1, -1, 2, 3, 0.5, 1e-300, 1e300, 2**31, 2**62, -(2**40), float("nan"), float("inf"))
SHAPES = ((), (0,), (1,), (2, 3), (1, 1, 1, 1), (4, 8, 8), (64,))
KINDS = (
    "Affine", "Linear", "Conv1d", "Conv2d", "AvgPool2d", "SumPool2d", "Flatten", "Scale", "Delay", "IF",
    "LIF", "CubaLIF", "I", "LI", "Threshold", "Input", "Output", "NIRGraph", "None",
)  # fmt: skip


def feed(data: bytes, folder: Path) -> None:
    path = folder / "net.nir"
    path.write_bytes(data)
    print_graph(import_network(path))


def seeds() -> Sequence[bytes]:
    """Return a graph of every primitive that is read, and one with a subgraph and feedback."""
    one, three = np.ones((4, 8, 8)), np.ones(3)
    image = [
        nir.Input(np.array([1, 8, 8])),
        nir.Conv2d((8, 8), np.ones((4, 1, 3, 3)), 1, 1, 1, 1, np.zeros(4)),
        nir.IF(one * 1e4, one, one * 0),
        nir.Delay(one * 2e-4),
        nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.Flatten(np.array([4, 2, 2]), 0, -1),
        nir.Affine(np.ones((3, 16)), np.zeros(3)),
        nir.LIF(three * 1e-3, three, three * 0, three, three * 0),
        nir.Linear(np.ones((3, 3))),
        nir.Threshold(three),
        nir.Output(np.array([3])),
    ]
    inner = nir.NIRGraph.from_list(nir.Scale(three), type_check=True)
    nodes = {
        "input": nir.Input(np.array([3])), "sub": inner, "i": nir.I(three * 1e4), "t": nir.Threshold(three),
        "back": nir.Scale(-three), "output": nir.Output(np.array([3])),
    }  # fmt: skip
    edges = [("input", "sub"), ("sub", "i"), ("i", "t"), ("t", "back"), ("back", "i"), ("t", "output")]
    looped = nir.NIRGraph(nodes, edges, type_check=False, metadata={"dt": 1e-4})
    return [nir_bytes(nir.NIRGraph.from_list(*image)), nir_bytes(looped)]


def mutate(data: bytes, rng: Random) -> bytes:
    """Return the file with a few bytes damaged, or sound with a few fields put out of shape."""
    if rng.random() < 0.4:
        return flipped(data, rng)
    file = io.BytesIO(data)
    try:
        with h5py.File(file, "r+") as opened:
            for _ in range(rng.choice((1, 1, 1, 2, 5))):
                change(opened["node"], rng)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError):
        return flipped(data, rng)
    return file.getvalue()


def change(node: Any, rng: Random) -> None:
    fields: list[str] = []
    node.visititems(lambda name, item: fields.append(name) if isinstance(item, h5py.Dataset) else None)
    name = rng.choice(fields)
    old = node[name][()]
    del node[name]
    if rng.random() < 0.1:
        return
    node[name] = changed(name, old, rng)


def changed(name: str, old: Any, rng: Random) -> Any:
    if name.endswith("type"):
        return rng.choice(KINDS)
    if name.endswith("edges"):
        words = [*sorted({word for edge in old for word in edge}), b"nowhere"]
        return [*old.tolist(), [rng.choice(words), rng.choice(words)]]
    if rng.random() < 0.3 and isinstance(old, np.ndarray) and old.size and old.dtype.kind in "if":
        with np.errstate(all="ignore"):
            old.flat[rng.randrange(old.size)] = np.array(rng.choice(NUMBERS)).astype(old.dtype)
        return old
    return np.full(rng.choice(SHAPES), rng.choice(NUMBERS))


TARGET = Target("nir-files", feed, seeds, mutate)
