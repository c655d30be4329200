"""Archives: the zip itself, its members, and the header of the weights."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from snnc.ir.archive import load, save
from snnc.ir.text import print_graph
from tests.fuzz import sir_texts
from tests.fuzz.mutation import ABSURD_INTEGERS, flipped, reworded
from tests.fuzz.target import Target
from tests.ir.sample_graphs import small_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

WORDS = (
    '"F32"',
    '"BOOL"',
    "[0, 0]",
    "[",
    "{",
    '"shape"',
    '"data_offsets"',
    "1e9",
    "true",
    "null",
    '"t"',
    ":",
    ",",
)


def feed(data: bytes, folder: Path) -> None:
    path = folder / "net.sir"
    path.write_bytes(data)
    for check_weights in (False, True):
        graph = load(path, check_weights=check_weights).graph
        print_graph(graph)
        sum(float(array.sum(dtype="f8")) for array in graph.tensors.values())


def seeds() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.sir"
        save(small_network(), path, {"steps": 4})
        return [path.read_bytes()]


def mutate(data: bytes, rng: Random) -> bytes:
    """Return the archive damaged as bytes, or with one member damaged and all checksums right."""
    try:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # noqa: BLE001  # whatever is no zip any more is damaged as bytes
        return flipped(data, rng)
    if not members or rng.random() < 0.4:
        return flipped(data, rng)
    name = rng.choice(sorted(members))
    members[name] = damaged(name, members[name], rng)
    result = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(result, "w") as archive:
        for key, content in members.items():
            archive.writestr(key, content)
        if rng.random() < 0.03:
            archive.writestr(rng.choice((name, "../../x", "x\x1b[31m")), b"")
    return result.getvalue()


def damaged(name: str, content: bytes, rng: Random) -> bytes:
    if name == "graph.sir":
        return sir_texts.mutate(content, rng)
    if name != "weights.safetensors":
        return reworded(content, rng, WORDS)
    length = int.from_bytes(content[:8], "little")
    header, elements = content[8 : 8 + length], content[8 + length :]
    header = reworded(header, rng, WORDS) if rng.random() < 0.5 else resized(header, rng)
    stated = len(header) if rng.random() < 0.9 else rng.choice(ABSURD_INTEGERS) & (2**64 - 1)
    return (
        stated.to_bytes(8, "little") + header + (elements if rng.random() < 0.8 else flipped(elements, rng))
    )


def resized(header: bytes, rng: Random) -> bytes:
    """Return the header with another number in the entry of a tensor."""
    try:
        entries = json.loads(header)
        entry = entries[rng.choice(sorted(entries))]
        numbers = entry[rng.choice(("shape", "data_offsets"))]
        numbers[rng.randrange(len(numbers))] = rng.choice(ABSURD_INTEGERS)
        return json.dumps(entries).encode()
    except (ValueError, TypeError, LookupError, AttributeError):
        return flipped(header, rng)


TARGET = Target("sir-archives", feed, seeds, mutate)
