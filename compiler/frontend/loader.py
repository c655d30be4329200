"""Reading an ONNX file without trusting it, and making it one flat graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types

from snnc.frontend.functions import inlined
from snnc.frontend.tensors import TensorReader, is_external
from snnc.ir.errors import ModelError

DEFAULT_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 13
NEWEST_OPSET = 23
"""The newest opset the handlers were written for; later ones are taken node by node (`importer`)."""

PROTOBUF_LIMIT = 2**31 - 1
"""A protobuf message cannot be longer (protobuf documentation); larger models need external data."""

MAX_IR_VERSION = 2**31 - 1  # what the onnx package can hold; it is 10 or so

_RE_EXPORT = (
    "export it again with opset 17 or later, or use onnx.version_converter.convert_version(model, 17)"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A model without local functions, what reads its tensors, and its file (None: it was in memory)."""

    model: onnx.ModelProto
    reader: TensorReader
    path: Path | None

    @property
    def opset(self) -> int:
        return opset_of(self.model)


def load_onnx(path: str | Path) -> onnx.ModelProto:
    """Return the model of a file, external data included; `ModelError` for anything but a sound file."""
    path = Path(path)
    model = _parse(path)
    check_header(model, str(path))
    reader = TensorReader(path.parent)
    for tensor in (*model.graph.initializer, *_attribute_tensors(model.graph)):
        reader.load(tensor)
    return model


def open_source(source: str | Path | onnx.ModelProto) -> Source:
    """Return the model to import, flat; its external weights stay on disk."""
    if isinstance(source, onnx.ModelProto):
        check_header(source, None)
        return Source(inlined(source, None), TensorReader(None), None)
    path = Path(source)
    model = _parse(path)
    check_header(model, str(path))
    reader = TensorReader(path.parent)
    model = inlined(model, str(path))
    for tensor in _attribute_tensors(model.graph):
        reader.load(tensor)
    return Source(model, reader, path)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set, 0 if the model names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 0)


def check_header(model: onnx.ModelProto, where: str | None) -> None:
    """Refuse a model without a graph, or of an operator set too old or newer than the onnx package."""
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise ModelError("the model has no graph", where=where, help="is this an ONNX model file?")
    if not model.graph.output:
        raise ModelError("the model has no outputs", where=where)
    if not 0 <= model.ir_version <= MAX_IR_VERSION:
        raise ModelError(
            f"the model is in version {model.ir_version} of ONNX, which does not exist", where=where
        )
    opset = opset_of(model)
    if opset == 0:
        raise ModelError(
            "the model does not say which ONNX operator set it uses", where=where, help=_RE_EXPORT
        )
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"the model uses opset {opset}; the oldest supported is {OLDEST_OPSET}",
            where=where,
            help=_RE_EXPORT,
        )
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ModelError(
            f"the model uses opset {opset}; the installed onnx package knows up to {newest}",
            where=where,
            help=f"upgrade onnx, or export the model with opset {NEWEST_OPSET}",
        )


def _parse(path: Path) -> onnx.ModelProto:
    where = str(path)
    if path.is_dir():
        raise ModelError("this is a folder, not an ONNX file", where=where)
    if not path.is_file():
        missing = "this is not a regular file" if path.exists() else "there is no such model file"
        raise ModelError(missing, where=where)
    size = path.stat().st_size
    if size == 0:
        raise ModelError("the file is empty", where=where)
    if size > PROTOBUF_LIMIT:
        raise ModelError(
            f"the file has {size} bytes; a model file ends at {PROTOBUF_LIMIT}",
            where=where,
            help="save the model with external data",
        )
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise ModelError(f"the file cannot be read: {problem.strerror}", where=where) from problem
    _refuse_other_formats(data, where)
    try:
        return onnx.load_model_from_string(data)
    except DecodeError:
        raise ModelError(
            "this is not an ONNX model, or it is truncated", where=where, help="export or download it again"
        ) from None


def _refuse_other_formats(data: bytes, where: str) -> None:
    if data.startswith(b"sir "):
        raise ModelError(
            "this is a .sir network, not an ONNX model", where=where, help="it is compiled already"
        )
    if data.startswith(b"\x89HDF"):
        raise ModelError(
            "this is an HDF5 file (a NIR graph?), not an ONNX model",
            where=where,
            help="snnc compile, check and eval take NIR graphs",
        )
    if data.startswith(b"PK\x03\x04"):
        raise ModelError(
            "this is a zip archive (a .sir network or a PyTorch checkpoint), not an ONNX model",
            where=where,
            help="a .sir network is compiled already; export a PyTorch model with torch.onnx.export",
        )


def _attribute_tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Return the external tensors that nodes hold as attributes."""
    return [
        attribute.t
        for node in graph.node
        for attribute in node.attribute
        if attribute.HasField("t") and is_external(attribute.t)
    ]
