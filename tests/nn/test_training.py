"""Fine-tuning: it learns, it repeats, and it leaves no trace in the caller's random state."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from snnc.ir.errors import DataError  # noqa: E402 -- after the skip
from snnc.nn import fine_tune, initialise, quantisers, replace_activations  # noqa: E402 -- after the skip
from tests.nn.networks import images, plain_cnn  # noqa: E402 -- after the skip


def test_it_learns_and_repeats() -> None:
    x, y = images("digits_calibration.npz")
    runs = []
    for _ in range(2):
        quantised = replace_activations(plain_cnn(), 3)
        initialise(quantised, x)
        before = [float(part.theta.detach()) for part in quantisers(quantised).values()]
        losses = fine_tune(quantised, x, y, epochs=6, rate=3e-3, seed=1)
        runs.append((losses, quantised.state_dict(), before))
    (losses, weights, before), (again, same, _) = runs
    assert losses == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert losses[-1] < 0.8 * losses[0]
    assert not quantised.training
    after = [float(part.theta.detach()) for part in quantisers(quantised).values()]
    assert all(abs(new / old - 1) > 1e-3 for new, old in zip(after, before, strict=True))


def test_the_random_state_stays() -> None:
    x, y = images("digits_calibration.npz", 16)
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    fine_tune(replace_activations(plain_cnn()), x, y, epochs=1)
    torch.testing.assert_close(torch.rand(3), wanted)


def test_inputs_without_targets_are_refused() -> None:
    x, y = images("digits_calibration.npz", 16)
    with pytest.raises(DataError, match="16 inputs and 15 targets"):
        fine_tune(plain_cnn(), x, y[:15], epochs=1)
    with pytest.raises(DataError, match="0 inputs"):
        fine_tune(plain_cnn(), x[:0], y[:0], epochs=1)
