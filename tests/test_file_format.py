"""docs/file-format.md is enough: a reader and a writer made from it alone agree with snnc."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from snnc.ir.archive import save_text
from snnc.ir.codebooks import CODEBOOKS
from snnc.ir.op import TensorRef
from snnc.ir.ops import op_table
from snnc.ir.shapes import Batch
from snnc.ir.text import parse_graph, print_graph
from snnc.ir.text.codebooks import show_codebook

if TYPE_CHECKING:
    from snnc.ir.graph import Graph

DIGITS = Path(__file__).resolve().parent.parent / "examples" / "digits"
DTYPES = {"f": "<f", "i": "<i", "u": "<u"}

# The reader. Nothing below, up to the tests, uses snnc.

TOKEN = re.compile(
    r"""(?P<skip>[ \t\r\n]+|\#[^\n]*)
    | (?P<value>%(?:[0-9]+|[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\\n]|\\.)*"))
    | (?P<symbol>@(?:[A-Za-z0-9_.\-/]+|"(?:[^"\\\n]|\\.)*"))
    | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<real>-?(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|(?:inf|nan)\b))
    | (?P<batch>-?[0-9]*N\b)
    | (?P<integer>-?[0-9]+)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>\.\.|[^\s])""",
    re.VERBOSE,
)


@dataclass
class Read:
    """A network as plain data."""

    name: str = ""
    coding: str = "rate"
    inputs: list[tuple[str, str]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[tuple[int | str, str, str]] = field(default_factory=list)
    declared: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


class Reader:
    """One method per rule of the grammar."""

    def __init__(self, text: str) -> None:
        found = [(match.lastgroup or "", match[0]) for match in TOKEN.finditer(text)]
        self.tokens = [(kind, token) for kind, token in found if kind != "skip"] + [("end", "")]
        self.at = 0
        self.read = Read()

    def peek(self) -> str:
        return self.tokens[self.at][1]

    def take(self, *expected: str) -> str:
        kind, token = self.tokens[self.at]
        assert not expected or token in expected or kind in expected, f"{expected} expected, found {token!r}"
        self.at += 1
        return token

    def optional(self, word: str) -> bool:
        if self.peek() == word:
            self.at += 1
            return True
        return False

    def many(self, end: str, item: Any) -> list[Any]:
        items = []
        while self.peek() != end:
            items.append(item())
            if not self.optional(","):
                break
        self.take(end)
        return items

    def file(self) -> Read:
        self.take("sir"), self.take("1"), self.take("graph")
        self.read.name = named(self.take("symbol"))
        self.take("(")
        self.read.inputs = self.many(")", self.input)
        if self.optional("coding"):
            self.read.coding = self.take("rate", "differential")
        self.take("{")
        while self.peek() != "return":
            self.read.nodes.append(self.node())
        self.take("return")
        self.read.outputs = self.many("}", self.output)
        while self.peek() == "tensor":
            self.tensor()
        self.take("end")
        return self.read

    def input(self) -> tuple[str, str]:
        name = str(key(self.take("value")))
        self.take(":")
        return name, self.type()

    def node(self) -> dict[str, Any]:
        node: dict[str, Any] = {"result": key(self.take("value"))}
        self.take("=")
        node["op"] = self.take("name")
        if self.optional("."):
            node["op"] += "." + self.take("name")
        self.take("(")
        node["operands"] = self.many(")", lambda: key(self.take("value")))
        node["attributes"] = dict(self.many("}", self.attribute)) if self.optional("{") else {}
        node["type"] = self.type() if self.optional(":") else None
        node["origin"] = []
        if self.optional("from"):
            node["origin"].append(json.loads(self.take("string")))
            while self.optional(","):
                node["origin"].append(json.loads(self.take("string")))
        node["name"] = json.loads(self.take("string")) if self.optional("as") else None
        return node

    def attribute(self) -> tuple[str, Any]:
        name = self.take("name")
        self.take("=")
        return name, self.attribute_value()

    def attribute_value(self) -> Any:
        kind, token = self.tokens[self.at]
        self.at += 1
        if token == "[":
            return self.many("]", self.item)
        if kind == "name" and token not in ("true", "false"):
            arguments = self.many(")", self.attribute_value) if self.optional("(") else []
            return (token, *arguments)
        return {
            "integer": lambda: int(token),
            "real": lambda: float(token),
            "string": lambda: json.loads(token),
            "symbol": lambda: {"tensor": named(token)},
            "name": lambda: token == "true",
        }[kind]()

    def item(self) -> int | str:
        token = self.take("integer", "batch")
        return token if token.endswith("N") else int(token)

    def output(self) -> tuple[int | str, str, str]:
        value = key(self.take("value"))
        name = json.loads(self.take("string")) if self.optional("as") else str(value)
        return value, name, self.take("mean", "sum", "last") if self.optional("decode") else "mean"

    def type(self) -> str:
        """Return a type as canonical text."""
        kind = self.take("tensor", "spikes")
        self.take("<")
        if kind == "tensor":
            head = self.take("name")
        else:
            head = self.take("integer") + self.take("..") + self.take("integer")
            while self.peek() in ("pow2", "scaled"):
                head += " " + self.take()
        self.take(",")
        sizes = [self.take("integer", "batch", "scalar")]
        while self.optional("x"):
            sizes.append(self.take("integer", "batch"))
        self.take(">")
        return f"{kind}<{head}, {' x '.join(sizes)}>"

    def tensor(self) -> None:
        self.take("tensor")
        name = named(self.take("symbol"))
        self.take(":")
        self.read.declared[name] = type_ = self.type()
        if self.optional("="):
            self.take("[")
            words = self.many("]", lambda: self.take("integer", "real", "name"))
            elements = [word == "true" if word in ("true", "false") else float(word) for word in words]
            dtype, shape = described(type_)
            self.read.tensors[name] = np.array(elements).astype(dtype).reshape(shape)


def named(token: str) -> str:
    return json.loads(token[1:]) if token[1] == '"' else token[1:]


def key(token: str) -> int | str:
    return int(token[1:]) if token[1:].isdecimal() else named(token)


def described(type_: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the element type and shape of a tensor's type."""
    name, shape = type_.removeprefix("tensor<").removesuffix(">").split(", ")
    dtype = np.dtype(bool if name == "bool" else f"{DTYPES[name[0]]}{int(name[1:]) // 8}")
    return dtype, () if shape == "scalar" else tuple(map(int, shape.split(" x ")))


def read_archive(path: Path) -> tuple[Read, dict[str, Any]]:
    """Return network and record of an archive."""
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist()]
        assert names == ["graph.sir", "meta.json", "weights.safetensors"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        text, meta, weights = (archive.read(name) for name in names)
    read = Reader(text.decode()).file()
    length = int.from_bytes(weights[:8], "little")
    elements = weights[8 + length :]
    for name, entry in json.loads(weights[8 : 8 + length]).items():
        dtype, shape = described(read.declared[name])
        begin, end = entry["data_offsets"]
        assert entry["shape"] == list(shape)
        read.tensors[name] = np.frombuffer(elements[begin:end], dtype).reshape(shape)
    assert read.tensors.keys() == read.declared.keys()
    return read, json.loads(meta)


def write_archive(path: Path, text: str, tensors: dict[str, np.ndarray]) -> None:
    """Write an archive in the plainest way that the page allows."""
    header, position, elements = {}, 0, b""
    for name, array in tensors.items():
        kind = {"f": "F", "i": "I", "u": "U", "b": "BOOL"}[array.dtype.kind]
        dtype = kind if kind == "BOOL" else f"{kind}{8 * array.itemsize}"
        end = position + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [position, end]}
        position, elements = end, elements + array.tobytes()
    head = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("meta.json", '{"format": 1}')
        archive.writestr("weights.safetensors", len(head).to_bytes(8, "little") + head + elements)
        archive.writestr("graph.sir", text)


# The tests.


def as_plain(value: object) -> object:
    """Return an attribute of snnc's graph as the reader has it."""
    match value:
        case TensorRef():
            return {"tensor": value.name}
        case tuple():
            return [str(item) if isinstance(item, Batch) else item for item in value]
        case _ if type(value) in CODEBOOKS.values():
            return Reader(show_codebook(value)).attribute_value()  # type: ignore[arg-type]
        case _:
            return value


def check_same(read: Read, graph: Graph) -> None:
    """Compare what the reader found with what snnc loads, piece by piece."""
    assert (read.name, read.coding) == (graph.name, graph.coding)
    assert read.inputs == [(value.name, str(value.type)) for value in graph.inputs]
    values: dict[int | str, object] = {value.name or "": value for value in graph.inputs}
    assert len(read.nodes) == len(graph)
    for found, node in zip(read.nodes, graph, strict=True):
        assert found["op"] == node.full_name
        assert [values[operand] for operand in found["operands"]] == list(node.operands)
        assert found["attributes"] == {name: as_plain(value) for name, value in written(node).items()}
        assert found["type"] in (None, str(node.result.type))
        assert (tuple(found["origin"]), found["name"]) == (node.origin, node.result.name)
        values[found["result"]] = node.result
    outputs = [(values[value], name, decode) for value, name, decode in read.outputs]
    assert outputs == [(output.value, output.name, output.decode) for output in graph.outputs]
    assert read.tensors.keys() == graph.tensors.keys()
    for name, array in graph.tensors.items():
        assert read.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(read.tensors[name], array)


def written(node: Any) -> dict[str, object]:
    """Return the attributes that are written: those that are not their defaults."""
    declared = op_table()[node.op.name].attributes
    return {
        name: value for name, value in node.attributes.items() if repr(value) != repr(declared[name].default)
    }


@pytest.fixture(scope="module", params=["multi-spike", "ecmt"])
def network(request: pytest.FixtureRequest) -> Graph:
    data = snnc.load_data(DIGITS / "digits_calibration.npz", normalise=snnc.Normalise(1 / 16), limit=16)
    return snnc.compile(DIGITS / "digits_vit.onnx", data, method=request.param)


def test_the_reader_finds_in_an_archive_what_snnc_loads(network: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.sir"
    snnc.save(network, path)
    read, meta = read_archive(path)
    check_same(read, snnc.load(path))
    assert (meta["format"], meta["source"]["name"]) == (1, "digits_vit.onnx")


def test_the_reader_finds_in_a_text_what_snnc_loads(tmp_path: Path) -> None:
    graph = snnc.compile(
        DIGITS / "digits_cnn.onnx", np.load(DIGITS / "digits_test.npz")["x"][:8] / np.float32(16)
    )
    save_text(graph, tmp_path / "net.sir")
    read = Reader((tmp_path / "net.sir").read_text()).file()
    check_same(read, snnc.load(tmp_path / "net.sir"))


TEXT = r"""
sir 1  # the version
graph @"two words"(%"in put": tensor<f32, N x 2 x 3>, %ids: tensor<i64, N>, %s: spikes<-4..4 pow2, N x 6>) {
  %a = reshape(%"in put") {shape = [N, 6]} : tensor<f32, N x 6> from "x\ty", "z" as "\u00e9"
  %00 = neuron(%a) {codebook = pow2(3, true, nearest, 0.75), quantum = @q, initial = 5e-1, site = "a b"}
  %1 = linear(%0) {weight = @"w w"}
  %2 = expect.softmax(%1) {axis = 1}
  %3 = add(%1, %2)
  return %3 as "y" decode sum, %"a"
}
tensor @q : tensor<f32, 1 x 6> = [1, 2.5, 1e-3, 4.0, 5.0, 6.0]
tensor @"w w" : tensor<f32, 2 x 6>
    = [1.0, -1.0, 0.5, 0.25, 1.0, 1.0, 0.0, 1.0, 0.0, 2.0, -0.0, 1.0]
"""


def test_the_reader_agrees_on_everything_the_grammar_allows() -> None:
    graph = parse_graph(TEXT)
    check_same(Reader(TEXT).file(), graph)
    canonical = print_graph(graph)
    check_same(Reader(canonical).file(), graph)


def test_snnc_reads_what_another_writer_writes(network: Graph, tmp_path: Path) -> None:
    """Members in another order, no padding, no more than the format in the record."""
    text = print_graph(network, inline_limit=0)
    write_archive(tmp_path / "theirs.sir", text, dict(network.tensors))
    assert print_graph(snnc.load(tmp_path / "theirs.sir"), inline_limit=None) == print_graph(
        network, inline_limit=None
    )
