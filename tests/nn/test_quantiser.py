"""The layer: its equation, its gradient, and what it refuses."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402 -- after the skip
from hypothesis import strategies as st  # noqa: E402 -- after the skip

from snnc.ir.errors import OptionError  # noqa: E402 -- after the skip
from snnc.nn import PolarityQuant, quantisers, quantising  # noqa: E402 -- after the skip


def scalar_quantiser(x: float, negative: int, positive: int, theta: float) -> float:
    """The equation, number by number."""
    quantum = theta / max(negative, positive)
    return quantum * min(max(math.floor(x / quantum + 0.5), -negative), positive)


@given(
    st.lists(st.integers(-64, 64), min_size=1, max_size=20),
    st.integers(0, 9),
    st.integers(1, 9),
    st.integers(-3, 3),
)
def test_the_equation(eighths: list[int], negative: int, positive: int, power: int) -> None:
    """On numbers that binary holds exactly, so that halves are halves."""
    theta = max(negative, positive) * 2.0**power
    layer = PolarityQuant(negative, positive, theta).eval()
    layer.log_theta.data = torch.log(torch.tensor(theta, dtype=torch.float64))
    x = [value / 8 * 2.0**power for value in eighths]
    found = layer(torch.tensor(x, dtype=torch.float64))
    steps = [scalar_quantiser(value + 1e-9, negative, positive, theta) for value in x]
    tie = [abs(value / 2.0**power % 1 - 0.5) < 1e-9 for value in x]
    for y, wanted, half in zip(found.tolist(), steps, tie, strict=True):
        # exp(log theta) may fall a bit short of theta, so a half may go either way here.
        assert y == pytest.approx(wanted, abs=2.0**power * (1.01 if half else 1e-6))


def test_theta_per_channel() -> None:
    layer = PolarityQuant(2, 4, torch.tensor([1.0, 4.0]), axis=1).eval()
    x = torch.full((1, 2, 3), 1.1)
    np.testing.assert_allclose(layer(x)[0].detach(), [[1.0] * 3, [1.0] * 3], rtol=1e-6)
    np.testing.assert_allclose(layer(10 * x)[0].detach(), [[1.0] * 3, [4.0] * 3], rtol=1e-6)
    np.testing.assert_allclose(layer(-10 * x)[0].detach(), [[-0.5] * 3, [-2.0] * 3], rtol=1e-6)


def test_the_gradient_passes_straight_through_within_the_levels() -> None:
    layer = PolarityQuant(2, 4, 4.0).train()
    x = torch.tensor([-9.0, -1.3, 0.2, 3.4, 9.0], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, [0, 1, 1, 1, 0])
    # q = 1, so dy/dq is -2 and 4 at the ends, level - x within; d/d log theta = q d/dq.
    assert layer.log_theta.grad is not None
    inside = (-1 + 1.3) + (0 - 0.2) + (3 - 3.4)
    assert float(layer.log_theta.grad) == pytest.approx(-2 + 4 + inside, abs=1e-5)


def test_training_computes_what_evaluation_does() -> None:
    layer, x = PolarityQuant(3, 12, 2.0), torch.randn(500, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(layer.train()(x).detach(), layer.eval()(x).detach(), atol=1e-6)


@pytest.mark.parametrize(("rectifier", "wanted"), [(True, [0.0, 0.3]), (False, [-0.3, 0.3])])
def test_switched_off_it_is_what_it_replaced(rectifier: bool, wanted: list[float]) -> None:
    layer = PolarityQuant(0, 3, 3.0, rectifier=rectifier)
    x = torch.tensor([-0.3, 0.3])
    with quantising(layer, False):
        np.testing.assert_allclose(layer(x), wanted)
    np.testing.assert_allclose(layer(x).detach(), [0.0, 0.0])
    assert list(quantisers(layer)) == [""]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 0), {}, "0 negative and 0 positive"),
        ((-1, 4), {}, "-1 negative"),
        ((0, 2**15), {}, "32768 positive"),
        ((1, 1, 0.0), {}, "theta must be positive"),
        ((1, 1, math.nan), {}, "theta must be positive"),
        ((1, 1, torch.ones(3)), {}, "theta of shape"),
        ((1, 1, torch.ones(3, 3)), {"axis": 1}, "theta of shape"),
    ],
)
def test_refusals(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PolarityQuant(*arguments, **options)


def test_without_torch_the_package_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from snnc.ir.errors import SnncError\n"
        "try:\n    import snnc.nn\n"
        "except SnncError as error:\n    print(error.report())\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs PyTorch" in found
    assert 'pip install -e ".[torch]" in a clone of snnc; pip install "snnc[torch]" if' in found


def test_the_compiler_does_without_torch() -> None:
    code = "import sys, snnc, snnc.cli, snnc.driver; print('torch' in sys.modules, 'snnc.nn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["False", "False"]
