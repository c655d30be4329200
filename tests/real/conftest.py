"""The pretrained sentence encoder that `make real` exports."""

from pathlib import Path

import pytest

REAL = Path(__file__).parents[2] / ".real"


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The folder that export_minilm.py wrote (mark the test `real`)."""
    if not (REAL / "test.npz").exists() or not (REAL / "minilm.onnx").exists():
        pytest.skip(f"no exported network in {REAL}; `make real` exports it")
    return REAL
