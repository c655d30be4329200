"""Models that arrive with quantisers in them, as onnxruntime's static quantisation writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from snnc.data import Normalise, load_data
from snnc.driver import compile_model
from snnc.evaluation import evaluate
from tests.archives import read_npz

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGITS = Path(__file__).parents[1] / "examples" / "digits"


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Feeds the calibration images to onnxruntime's quantiser."""

    def __init__(self) -> None:
        images = read_npz(DIGITS / "digits_calibration.npz")["x"].astype(np.float32) / 16
        self.batches: Iterator[np.ndarray] = iter(np.split(images, 8))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


@pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser advises a preprocessing step
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_quantised_network_compiles_and_agrees(tmp_path: Path, per_channel: bool) -> None:
    """Quantisers become neurons with the quantiser's own quantum; sites without one are calibrated."""
    quantised = tmp_path / "quantised.onnx"
    quantize_static(
        DIGITS / "digits_cnn.onnx",
        quantised,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=QuantType.QInt8 if per_channel else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    sixteenths = Normalise(1 / 16)
    calibration = load_data(DIGITS / "digits_calibration.npz", normalise=sixteenths)
    graph = compile_model(quantised, calibration).graph
    result = evaluate(graph, quantised, load_data(DIGITS / "digits_test.npz", normalise=sixteenths), 2)
    assert result.steps[0].agreement >= 0.995
    assert result.steps[0].relative_error < 0.02
