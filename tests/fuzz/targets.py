"""All targets by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz import data_files, nir_files, onnx_files, onnx_graphs, pipelines, sir_archives, sir_texts

if TYPE_CHECKING:
    from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        onnx_files.TARGET,
        onnx_graphs.TARGET,
        sir_texts.TARGET,
        sir_archives.TARGET,
        data_files.TARGET,
        nir_files.TARGET,
        pipelines.PIPELINES,
        pipelines.OPTIONS,
    )
}
