"""Reading an ONNX file without trusting it."""

from __future__ import annotations

from pathlib import Path

import onnx


def load_onnx(path: str | Path) -> onnx.ModelProto:
    """Read a model file."""
    return onnx.load(Path(path))
