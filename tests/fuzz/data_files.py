"""Data files: .npy, .npz, and lists of address events, read as a network with one image input reads them."""

from __future__ import annotations

import io
import warnings
import zipfile
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from snnc.data import load_data
from snnc.ir.text import parse_graph
from tests.fuzz.mutation import ABSURD_INTEGERS, flipped, reworded
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from snnc.ir.graph import Graph

BINS = 4
WORDS = (
    "'descr': '<f4'", "'|O'", "'<i8'", "'>f8'", "'|b1'", "'<U9'", "'|V0'", "'<M8[s]'", "'|S0'", "(", ")", "{",
    "[('t', '<i4'), ('x', '<i4'), ('y', '<i4'), ('p', '|i1')]", "'fortran_order': True", "'shape': ()", "'",
    "9999999999", "(3, 0, 4611686018427387904)", "True", "None", "[", "__import__('os')", "-", ",", "}",
)  # fmt: skip


def feed(data: bytes, folder: Path) -> None:
    path = folder / ("data.npz" if data[:2] == b"PK" else "data.npy")
    path.write_bytes(data)
    events = b"events" in data[-400:]
    dataset = load_data(path, bins=BINS if events else None)
    for inputs, _ in dataset.batches(network(2 if events else 1), 8):
        assert all(np.isfinite(array).all() for array in inputs.values())


@cache
def network(channels: int) -> Graph:
    shape = f"tensor<f32, N x {channels} x 8 x 8>"
    return parse_graph(f"sir 1\ngraph @g(%x: {shape}) {{\n  return %x\n}}\n")


def seeds() -> Sequence[bytes]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 16, (5, 1, 8, 8)).astype(np.uint8)
    events = np.stack([np.arange(40), *rng.integers(0, 8, (2, 40)), rng.integers(0, 2, 40)], axis=1)
    return [
        stored(images.astype(np.float32)),
        stored(images),
        archive(x=images, y=np.arange(5)),
        archive(events=events, counts=np.array([10, 30]), size=np.array([8, 8]), y=np.arange(2)),
        archive(compressed=True, x=images),
    ]


def stored(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(*, compressed: bool = False, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def mutate(data: bytes, rng: Random) -> bytes:
    """Return the file with the header or elements of one array damaged; or damaged as bytes."""
    if rng.random() < 0.3:
        return flipped(data, rng)
    if data[:2] != b"PK":
        return damaged(data, rng)
    try:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(io.BytesIO(data)) as found:
            members = {info.filename: (info, found.read(info)) for info in found.infolist()}
    except Exception:  # noqa: BLE001  # whatever is no zip any more is damaged as bytes
        return flipped(data, rng)
    if not members:
        return flipped(data, rng)
    name = rng.choice(sorted(members))
    result = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(result, "w") as written:
        for key, (info, content) in members.items():
            written.writestr(key, damaged(content, rng) if key == name else content, info.compress_type)
        if rng.random() < 0.05:
            written.writestr(name, stored(np.zeros(rng.choice((0, 3, 10**6)))), zipfile.ZIP_DEFLATED)
    return result.getvalue()


def damaged(content: bytes, rng: Random) -> bytes:
    """Return an array's file with its header restated, length included, or with other elements."""
    if content[:6] != b"\x93NUMPY" or rng.random() < 0.2:
        return flipped(content, rng)
    end = 10 + int.from_bytes(content[8:10], "little")
    header, elements = content[10:end], content[end:]
    if rng.random() < 0.3:
        return content[:end] + flipped(elements, rng)
    if rng.random() < 0.5:
        number = str(rng.choice(ABSURD_INTEGERS)).encode()
        digits = [place for place in range(len(header)) if header[place : place + 1].isdigit()] or [0]
        place = rng.choice(digits)
        header = header[:place] + number + header[place + 1 :]
    else:
        header = reworded(header, rng, WORDS)
    return content[:8] + (len(header) % 2**16).to_bytes(2, "little") + header[: 2**16 - 1] + elements


TARGET = Target("data-files", feed, seeds, mutate)
