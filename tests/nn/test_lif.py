"""The neuron: its equations against a scalar implementation, its surrogate gradient, its state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from snnc.ir.errors import OptionError  # noqa: E402 -- after the skip
from snnc.nn import LIF, reset_state  # noqa: E402 -- after the skip
from snnc.nn.lif import surrogate_slope  # noqa: E402 -- after the skip

F = np.float32
AT_REST = F(0)


@dataclass
class Scalar:
    """One neuron in numpy float32 scalars, written from the equations in the docs."""

    leak: float
    gain: float
    threshold: float = 1.0
    reset: str = "hard"
    rest: float = 0.0
    v: np.float32 = AT_REST

    def step(self, x: np.float32) -> float:
        m = F(F(F(self.leak) * self.v) + F(F(self.gain) * x))
        fires = m >= F(self.threshold)
        if self.reset == "hard":
            self.v = F(self.rest) if fires else m
        else:
            self.v = F(m - F(self.threshold)) if fires else m
        return float(fires)


CASES = {
    "default": (LIF(), Scalar(0.5, 0.5)),
    "soft": (LIF(reset="soft"), Scalar(0.5, 0.5, reset="soft")),
    "rest": (LIF(rest=-0.3), Scalar(0.5, 0.5, rest=-0.3)),
    "rest above 0": (LIF(threshold=0.7, rest=0.2), Scalar(0.5, 0.5, threshold=0.7, rest=0.2)),
    "slow": (LIF(3.0), Scalar(1 - 1 / 3, 1 / 3)),
    "no input decay": (LIF(4.0, decay_input=False), Scalar(0.75, 1.0)),
    "integrate and fire": (
        LIF(math.inf, reset="soft", decay_input=False),
        Scalar(1.0, 1.0, reset="soft"),
    ),
    "memoryless": (LIF(1.0), Scalar(0.0, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_the_equation(name: str) -> None:
    """Bit for bit, spikes and membranes, one step at a time and all at once."""
    neuron, _ = CASES[name]
    x = np.random.default_rng(0).normal(0.6, 1.5, (9, 5, 3)).astype(np.float32)
    neuron.reset_state()
    at_once = neuron(torch.from_numpy(x).reshape(45, 3), steps=9).reshape(9, 5, 3)
    last = neuron.v
    neuron.reset_state()
    scalars = [[Scalar(**vars(CASES[name][1])) for _ in range(3)] for _ in range(5)]
    for t in range(9):
        s = neuron(torch.from_numpy(x[t]))
        wanted = [[scalars[i][j].step(x[t, i, j]) for j in range(3)] for i in range(5)]
        np.testing.assert_array_equal(s, wanted)
        np.testing.assert_array_equal(neuron.v, [[one.v for one in row] for row in scalars])
        assert torch.equal(s, at_once[t])
    assert torch.equal(neuron.v, last)
    assert 0.1 < float(at_once.mean()) < 0.9


def test_the_membrane_stays_between_calls_until_it_is_reset() -> None:
    network = torch.nn.Sequential(LIF())
    x = torch.full((1, 2), 1.5)
    assert [float(network(x)[0, 0]) for _ in range(3)] == [0, 1, 0]  # m = 0.75, 1.125, 0.75
    reset_state(network)
    assert network[0].v is None
    assert float(network(x)[0, 0]) == 0


def test_the_slope_is_arctans() -> None:
    """alpha/2 / (1 + (π alpha u / 2)²): 1 on the threshold for alpha 2, half where π alpha u / 2 = 1."""
    u = torch.tensor([0.0, 1 / math.pi, -1 / math.pi, 10.0])
    wanted = [1.0, 0.5, 0.5, 1 / (1 + (10 * math.pi) ** 2)]
    assert surrogate_slope(u.clone(), 2.0).tolist() == pytest.approx(wanted)
    u = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
    for alpha in (1.0, 2.0, 4.0):
        (exact,) = torch.autograd.grad((torch.atan(math.pi / 2 * alpha * u) / math.pi).sum(), u)
        torch.testing.assert_close(surrogate_slope(u.detach().clone(), alpha), exact)


class Surrogate(torch.autograd.Function):
    """The step with arctan's slope, for a neuron written out step by step."""

    @staticmethod
    def forward(ctx, u):  # type: ignore[no-untyped-def]  # as torch wants it
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx, ds):  # type: ignore[no-untyped-def]  # as torch wants it
        (u,) = ctx.saved_tensors
        return ds / (1 + (math.pi * u) ** 2)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_the_gradient_goes_back_through_time(reset: str) -> None:
    """As autograd finds it for the same neuron written out, its reset taken as constant."""
    torch.manual_seed(1)
    x = torch.randn(6, 4, dtype=torch.float64) + 1
    weights = torch.randn(6, 4, dtype=torch.float64)
    ours = x.clone().requires_grad_()
    neuron = LIF(4.0, reset=reset)  # type: ignore[arg-type]  # one of the two
    (neuron(ours, steps=6) * weights + neuron.v.sum()).sum().backward()
    written = x.clone().requires_grad_()
    v, total = torch.zeros(4, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for t in range(6):
        m = 0.75 * v + 0.25 * written[t]
        s = Surrogate.apply(m - 1)
        v = m * (1 - s.detach()) if reset == "hard" else m - s.detach()
        total = total + (s * weights[t]).sum()
    (total + 24 * v.sum()).backward()
    torch.testing.assert_close(ours.grad, written.grad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0.5}, "time constant 0.5"),
        ({"tau": math.inf}, "no input would count"),
        ({"threshold": 0.0}, "threshold 0.0"),
        ({"reset": "none"}, "no reset 'none'"),
        ({"rest": 1.0}, "rest 1.0 is not below the threshold 1.0"),
    ],
)
def test_impossible_neurons_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LIF(**options)
