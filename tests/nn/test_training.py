"""Fine-tuning: it learns, it repeats, and it leaves no trace in the caller's random state."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from snnc.ir.errors import DataError  # noqa: E402 -- after the skip
from snnc.nn import fine_tune, initialise, quantisers, replace_activations  # noqa: E402 -- after the skip
from tests.nn.networks import images, plain_cnn, trained_cnn  # noqa: E402 -- after the skip


def test_it_learns_and_repeats() -> None:
    x, y = images("digits_calibration.npz")
    runs = []
    for _ in range(2):
        quantised = replace_activations(plain_cnn(), 3)
        initialise(quantised, x)
        before = [float(part.theta.detach()) for part in quantisers(quantised).values()]
        losses = fine_tune(quantised, x, y, epochs=15, rate=1e-2, seed=1)
        runs.append((losses, quantised.state_dict(), before))
    (losses, weights, before), (again, same, _) = runs
    assert losses == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert losses[-1] < 0.9 * losses[0]
    assert not quantised.training
    after = [float(part.theta.detach()) for part in quantisers(quantised).values()]
    assert all(abs(new / old - 1) > 1e-3 for new, old in zip(after, before, strict=True))


def test_a_teacher_is_followed() -> None:
    """With it a network comes closer to its answers than without, and the teacher stays as it was."""
    x, y = images("digits_calibration.npz")
    teacher = trained_cnn()
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    distances = []
    for given in (None, teacher):
        quantised = replace_activations(teacher, 2)
        initialise(quantised, x)
        fine_tune(quantised, x, y, epochs=3, teacher=given)
        with torch.no_grad():
            distances.append(float((quantised(x).softmax(1) - teacher(x).softmax(1)).norm()))
    assert distances[1] < distances[0]
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())


def test_the_random_state_stays() -> None:
    x, y = images("digits_calibration.npz", 16)
    quantised = replace_activations(plain_cnn())
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    fine_tune(quantised, x, y, epochs=1)
    torch.testing.assert_close(torch.rand(3), wanted)


def test_inputs_without_targets_are_refused() -> None:
    x, y = images("digits_calibration.npz", 16)
    with pytest.raises(DataError, match="16 inputs and 15 targets"):
        fine_tune(plain_cnn(), x, y[:15], epochs=1)
    with pytest.raises(DataError, match="0 inputs"):
        fine_tune(plain_cnn(), x[:0], y[:0], epochs=1)


def test_weights_wait_for_thresholds() -> None:
    """In the first of ten steps of warm-up thresholds move at their whole rate, weights at a tenth of it."""
    x, y = images("digits_calibration.npz", 50)
    moved = []
    for warm_up in (0.0, 10.0):
        quantised = replace_activations(plain_cnn())
        initialise(quantised, x)
        theta = next(iter(quantisers(quantised).values())).log_theta
        weight = next(value for name, value in quantised.named_parameters() if name.endswith("0.weight"))
        before = [value.detach().clone() for value in (theta, weight)]
        fine_tune(quantised, x, y, epochs=1, weight_decay=0.0, warm_up=warm_up, batch=50)
        after = (theta.detach(), weight.detach())
        moved.append([float((new - old).abs().max()) for new, old in zip(after, before, strict=True)])
    assert moved[1][0] == pytest.approx(moved[0][0])
    assert moved[1][1] == pytest.approx(0.1 * moved[0][1], rel=1e-3)
