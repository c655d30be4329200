"""SAFormer: attention by its equations, what travels on its edges, its cost, its inputs."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402 -- after the skip
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 -- after the skip

from snnc.ir.errors import DataError, OptionError  # noqa: E402 -- after the skip
from snnc.nn import LIF, SAFormer, SpikeAggregatedSelfAttention  # noqa: E402 -- after the skip
from snnc.nn.lif import neurons  # noqa: E402 -- after the skip
from tests.nn.networks import small_saformer  # noqa: E402 -- after the skip


def spikes(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy((np.random.default_rng(seed).random(shape) < 0.3).astype(np.float32))


def test_attention_is_its_equations() -> None:
    """One step from rest, written out with loops over tokens, heads and neighbours."""
    torch.manual_seed(0)
    module = SpikeAggregatedSelfAttention(6, 2, (2, 3), lambda: LIF(1.0, 0.2)).eval()
    x = spikes(1, 6, 6)

    def weights(part: nn.Module) -> np.ndarray:
        return next(part.parameters()).detach().numpy()

    def norm(y: np.ndarray) -> np.ndarray:
        return y / np.sqrt(1 + 1e-5)  # statistics 0 and 1, γ = 1, β = 0

    q, k = ((norm(x[0].numpy() @ weights(part).T) >= 0.2) for part in (module.query, module.key))
    gated, depthwise = np.zeros((6, 6)), np.zeros((6, 6))
    for token in range(6):
        for head in range(2):
            channels = slice(3 * head, 3 * head + 3)
            if q[token, channels].sum() >= 0.2:
                gated[token, channels] = k[token, channels]
        row, column = divmod(token, 3)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if 0 <= row + dy < 2 and 0 <= column + dx < 3:
                    near = k[3 * (row + dy) + column + dx]
                    depthwise[token] += weights(module.depthwise.local)[:, 0, dy + 1, dx + 1] * near
    wanted = norm(gated @ weights(module.project).T) + norm(depthwise)
    assert 0 < gated.sum() < k.sum()
    with torch.no_grad():
        np.testing.assert_allclose(module(x)[0], wanted, atol=1e-6)


def test_a_class_token_reads_the_whole_grid() -> None:
    torch.manual_seed(0)
    module = SpikeAggregatedSelfAttention(4, 2, (2, 2), prefix=1).depthwise.eval()
    k = spikes(3, 5, 4)
    everywhere = module.everywhere[0].weight.detach()[:, 0]
    with torch.no_grad():
        y = module(k)
    grid = k[:, 1:].transpose(1, 2).reshape(3, 4, 2, 2)
    wanted = (everywhere * grid).sum((2, 3)) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(y[:, 0], wanted)
    assert y.shape == (3, 5, 4)


def test_every_synapse_but_the_first_reads_whole_numbers() -> None:
    """Spikes, or in the head sums of them; Q, K and their aggregate too."""
    network = small_saformer()
    read: dict[str, Tensor] = {}

    def watch(name: str, part: nn.Module) -> None:
        part.register_forward_pre_hook(lambda _, given: read.__setitem__(name, given[0]))

    for name, part in network.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            watch(name, part)
    with torch.no_grad():
        network(torch.rand(4, 1, 8, 8))
    assert "patches.synapses.0.0" in read
    assert len(read) == 2 + 2 * 6 + 1
    for name, values in read.items():
        whole = bool((values == values.round()).all())
        assert whole == (name != "patches.synapses.0.0"), name
        assert name in ("head", "patches.synapses.0.0") or float(values.max()) <= 1


class Watch(TorchDispatchMode):
    """Counts which operations run, and the products of those that have weights."""

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()
        self.products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **kwargs or {})
        name = function.overloadpacket.__name__
        self.called.add(name)
        if name in ("mm", "addmm"):
            self.products += args[-2].numel() * args[-1].shape[1]
        elif name == "convolution":
            self.products += result.numel() * args[1][0].numel()
        return result


@pytest.mark.parametrize("grid", [(4, 4), (8, 8)])
def test_attention_costs_as_much_per_token_on_any_grid(grid: tuple[int, int]) -> None:
    """No n x n matrix: 3 C² + 9 C weights per token."""
    module = SpikeAggregatedSelfAttention(16, 4, grid).eval()
    n = grid[0] * grid[1]
    with torch.no_grad(), Watch() as watch:
        module(spikes(1, n, 16))
    assert watch.products == n * (3 * 16 * 16 + 9 * 16)


def test_no_operation_of_a_step_is_a_softmax_or_a_product_of_matrices_without_weights() -> None:
    with torch.no_grad(), Watch() as watch:
        small_saformer()(torch.rand(1, 1, 8, 8))
    assert {"addmm", "convolution", "mul", "sum"} <= watch.called
    assert not watch.called & {"_softmax", "bmm", "exp", "_scaled_dot_product_flash_attention_for_cpu"}


def test_steps_one_by_one_are_the_steps_at_once() -> None:
    """In evaluation mode, for an image that stays and for frames that change."""
    network = small_saformer()
    frames = torch.rand(5, 3, 1, 8, 8)
    with torch.no_grad():
        at_once = network.outputs(frames)
        for part in neurons(network).values():
            part.reset_state()
        torch.testing.assert_close(torch.stack([network.advance(frame) for frame in frames]), at_once)
        image = frames[0]
        torch.testing.assert_close(network(image), network(image.expand(4, -1, -1, -1, -1)))
        torch.testing.assert_close(network(image), network.outputs(image).mean(0))


def test_the_answer_is_decoded_as_told() -> None:
    image = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        y = small_saformer().outputs(image)
        torch.testing.assert_close(small_saformer(decode="sum")(image), y.sum(0))
        torch.testing.assert_close(small_saformer(decode="last")(image), y[-1])


def test_it_can_be_made_otherwise() -> None:
    network = SAFormer(
        classes=3, channels=2, image=(9, 6), stages=((4, 1), (6, 2), (10, 2)), depth=3, heads=5, hidden=7,
        steps=2, neuron=lambda: LIF(4.0, reset="soft"),
    )  # fmt: skip
    assert network(torch.rand(2, 2, 9, 6)).shape == (2, 3)
    assert network.outputs(torch.rand(3, 2, 2, 9, 6)).shape == (3, 2, 3)
    assert {part.reset for part in neurons(network).values()} == {"soft"}
    assert len(network.blocks) == 3
    assert network.patches.grid == (3, 2)


def test_what_makes_no_network_is_refused() -> None:
    with pytest.raises(OptionError, match="48 channels do not divide into 5 heads"):
        SAFormer(heads=5)
    with pytest.raises(OptionError, match="0 stages, 2 blocks"):
        SAFormer(stages=())
    with pytest.raises(OptionError, match="decode 'median'"):
        SAFormer(decode="median")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(DataError, match=r"cannot read \(8, 8\)"):
        SAFormer()(torch.zeros(8, 8))
