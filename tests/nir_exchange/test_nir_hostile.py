"""Files that are no NIR, or mean harm: one refusal, and nothing outside the file is read."""

from __future__ import annotations

import random
import resource
from typing import TYPE_CHECKING, Any

import h5py
import nir
import numpy as np
import pytest

from snnc.backends.nir.emit import emit_nir, nir_bytes
from snnc.frontend.nir import import_nir, reader
from snnc.ir.errors import ModelError, SnncError
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sound() -> bytes:
    """Return a NIR file with a layer, a neuron and metadata."""
    b = Builder(N, 4)
    x = b("linear", b.x, weight=np.eye(4, dtype=np.float32), bias=np.zeros(4, np.float32))
    ones = np.ones((1, 1), np.float32)
    return nir_bytes(emit_nir(b.outputs(y=b("lif", x, threshold=ones, leak=ones / 2))))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.nir"
    path.write_bytes(sound())
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        import_nir(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("data", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"], ids=repr)
def test_what_is_no_hdf5_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    path.write_bytes(data)
    refused(path, "not a NIR file, or it is damaged")


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "net.nir", "there is no such model file")
    (tmp_path / "folder.nir").mkdir()
    refused(tmp_path / "folder.nir", "this is a folder")


def test_another_hdf5_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.nir", "w") as file:
        file["weights"] = np.ones(3)
    refused(tmp_path / "net.nir", "no group 'node'")


DAMAGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "no type": (lambda node: node.pop("nodes/affine_1/type"), "damaged"),
    "an unknown type": (lambda node: replace(node, "nodes/affine_1/type", "Magic"), "damaged"),
    "no weight": (lambda node: node.pop("nodes/affine_1/weight"), "damaged"),
    "a field too many": (lambda node: node.create_dataset("nodes/affine_1/more", data=1), "damaged"),
    "no edges": (lambda node: node.pop("edges"), "damaged"),
    "edges of three": (lambda node: replace(node, "edges", [[b"a", b"b", b"c"]]), "damaged"),
    "edges of numbers": (lambda node: replace(node, "edges", np.ones((2, 2))), "damaged"),
    "numbers for nodes": (lambda node: (node.pop("nodes"), node.create_dataset("nodes", data=1)), "damaged"),
    "a node, not a graph": (lambda node: replace(node, "type", "Scale"), "damaged"),
    "a link elsewhere": (
        lambda node: node.__setitem__("nodes/affine_1/more", h5py.ExternalLink("other.h5", "/x")),
        "is a link to another place",
    ),
    "a soft link": (
        lambda node: node.__setitem__("nodes/more", h5py.SoftLink("/node/nodes/affine_1")),
        "is a link to another place",
    ),
    "a circle of groups": (
        lambda node: node["nodes"].__setitem__("circle", node["nodes"]),
        "nested deeper than 32",
    ),
    "terabytes of zeros": (
        lambda node: node.create_dataset("nodes/affine_1/more", (2**40,), "f4", chunks=(2**20,)),
        "claim more than [0-9,]+ bytes",
    ),
    "data in another file": (
        lambda node: node.create_dataset("nodes/more", (3,), "f4", external=[("/etc/passwd", 0, 12)]),
        "keeps its data in another file",
    ),
    "references": (
        lambda node: node.create_dataset("nodes/more", data=node.ref, dtype=h5py.ref_dtype),
        "neither numbers nor text",
    ),
}


def replace(node: Any, name: str, value: Any) -> None:
    del node[name]
    node[name] = value


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name: str, path: Path) -> None:
    change, message = DAMAGE[name]
    with h5py.File(path, "r+") as file:
        change(file["node"])
    refused(path, message)


def test_many_small_groups_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_ITEMS", 10)
    refused(path, "more than 10 groups and arrays")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weight", np.ones((4, 5), np.float32), "Affine"),
        ("weight", np.full((4, 4), np.nan), "not finite"),
        ("bias", np.ones(3), "Affine"),
        ("weight", np.ones((0, 4)), "Affine"),
        ("bias", np.array([b"a"] * 4), "not numbers"),
    ],
)
def test_fields_that_do_not_fit_are_rejected_by_name(
    field: str, value: Any, message: str, path: Path
) -> None:
    with h5py.File(path, "r+") as file:
        replace(file["node"], f"nodes/affine_1/{field}", value)
    (rejected,) = import_nir(path).rejected
    assert message in str(rejected)
    assert rejected.name == "affine_1"


@pytest.mark.parametrize("shape", [[0], [-4], [2**62, 2**62], [1.5], []], ids=str)
def test_inputs_of_no_shape_are_rejected(shape: list[float], path: Path) -> None:
    with h5py.File(path, "r+") as file:
        replace(file["node"], "nodes/input/shape", np.array(shape))
    assert import_nir(path).rejected[0].name == "input"


def test_numbers_that_claim_huge_windows_are_rejected(tmp_path: Path) -> None:
    nodes = {
        "input": nir.Input(np.array([1, 8, 8])),
        "pool": nir.SumPool2d(*(np.array([2**20, 2**20]) for _ in range(3))),
        "output": nir.Output(np.array([1, 1, 1])),
    }
    net = nir.NIRGraph(nodes, [("input", "pool"), ("pool", "output")], type_check=False)
    nir.write(tmp_path / "net.nir", net)
    assert import_nir(tmp_path / "net.nir").rejected[0].name == "pool"


def test_damaged_bytes_are_refused_or_read(path: Path) -> None:
    """Flip, cut and overwrite bytes: an import or a refusal, within 256 MiB and a few seconds in all."""
    original, source = path.read_bytes(), random.Random(11)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"read": 0, "refused": 0}
    for _ in range(120):
        data = bytearray(original)
        for _ in range(source.choice([1, 1, 2, 8])):
            position = source.randrange(len(data))
            data[position] = source.choice([0, 255, data[position] ^ (1 << source.randrange(8))])
        if source.random() < 0.1:
            del data[source.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            import_nir(path)
            outcomes["read"] += 1
        except SnncError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 2**10  # KiB
