"""What `snnc check --spikes-only` answers, of a compiled network or of a model that spikes already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.frontend.source import import_network
from snnc.ir.archive import load
from snnc.ir.errors import ShapeError
from snnc.methods import DIRECT, Settings
from snnc.passes.manager import PassManager
from snnc.passes.spikes_only import Proof, prove_spikes_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def prove_file(path: Path, *, shapes: Mapping[str, Sequence[int | str]] | None = None) -> Proof:
    """Return the proof for the network of a .sir file, or for what `direct` makes of an ONNX model."""
    if path.suffix not in (".onnx", ".nir"):
        if shapes:
            raise ShapeError("shapes are pinned where a model is imported; a network has its own")
        graph = load(path).graph
    else:
        graph = import_network(path, shapes=shapes)
        PassManager(DIRECT.pipeline(Settings())).run(graph)
    return prove_spikes_only(graph)
