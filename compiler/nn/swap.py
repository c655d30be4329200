"""Turn a trained network with softmax attention toward spikes: swap its attention, fine-tune against it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnc.ir.errors import OptionError, UnsupportedOpError
from snnc.nn.lif import LIF, reset_state
from snnc.nn.saformer import SpikeAggregatedSelfAttention, start_near_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.nn.saformer import Grid, Neuron

PROJECTIONS = (
    "project",
    "proj",
    "out_proj",
    "projection",
)  # what modules with one `qkv` call their last layer
HEADS = ("heads", "num_heads", "n_heads")

Module = TypeVar("Module", bound=nn.Module)


class SwappedAttention(nn.Module):
    """SASA in place of softmax attention: real tokens [N, n, C] -> mean current of `steps` steps [N, n, C].

    The tokens are shown at every step, from v(0) = 0. Called as what it replaces: with x, or as
    nn.MultiheadAttention with (x, x, x); then the result is (y, None), as there are no weights to return.
    """

    # What torch's TransformerEncoderLayer asks before it takes a path of its own around this module.
    batch_first = False

    def __init__(
        self, attention: SpikeAggregatedSelfAttention, steps: int, *, triple: bool, tokens_first: bool
    ) -> None:
        super().__init__()
        self.attention, self.steps = attention, steps
        self.triple, self.tokens_first = triple, tokens_first

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, **options: Any
    ) -> Tensor | tuple[Tensor, None]:
        masks = [name for name in ("attn_mask", "key_padding_mask") if options.get(name) is not None]
        if masks or any(other is not None and other is not query for other in (key, value)):
            raise UnsupportedOpError(
                "spike aggregated attention reads one stream, without a mask", help="swap self-attention only"
            )
        x = query.transpose(0, 1) if self.tokens_first else query
        reset_state(self)
        y = self.attention(x.repeat(self.steps, 1, 1), self.steps)
        y = y.reshape(self.steps, *x.shape).mean(0)
        y = y.transpose(0, 1) if self.tokens_first else y
        return (y, None) if self.triple else y


def swap_attention(
    module: Module,
    example: Tensor,
    *,
    heads: int | None = None,
    grid: Grid | None = None,
    steps: int = 4,
    neuron: Neuron = LIF,
) -> Module:
    """Return a copy whose softmax self-attention is spike aggregated self-attention, to be fine-tuned.

    Found are nn.MultiheadAttention, and modules with one linear layer `qkv` [C -> 3C] and another behind it
    (`project` or `proj`); all others stay. Q, K and the last projection start with the trained weights, V
    goes. What is around them, layer norms and GELU say, stays real.

    example: an input, to see how many tokens there are. grid: (height, width) of the tokens; default: a
    square. Tokens beyond it come first: class tokens, which read the whole grid. heads: needed where the
    module does not say (`heads` or `num_heads`). steps: how often the attention's neurons see their input.
    """
    result = copy.deepcopy(module)
    found = {name: part for name, part in result.named_modules() if is_attention(part)}
    if not found:
        raise UnsupportedOpError(
            "there is no softmax attention that can be swapped",
            help="known: nn.MultiheadAttention, and modules with linear layers `qkv` and `project` or `proj`",
        )
    for name, tokens in token_counts(result, found, example).items():
        layers = trained_layers(found[name], name, heads)
        result.set_submodule(name, swapped(layers, place(tokens, grid, name), steps, neuron))
    return result.train(module.training)


@dataclass(frozen=True, slots=True)
class Layers:
    """What a softmax attention was trained to: W_q, W_k, W_o [C, C], and how it is called."""

    query: Tensor
    key: Tensor
    project: Tensor
    heads: int
    triple: bool
    tokens_first: bool


def is_attention(part: nn.Module) -> bool:
    return isinstance(part, nn.MultiheadAttention) or (
        isinstance(getattr(part, "qkv", None), nn.Linear) and projection(part) is not None
    )


def projection(part: nn.Module) -> nn.Linear | None:
    for name in PROJECTIONS:
        layer = getattr(part, name, None)
        if isinstance(layer, nn.Linear):
            return layer
    return None


def trained_layers(part: nn.Module, name: str, heads: int | None) -> Layers:
    """Return the weights and the habits of an attention module."""
    if isinstance(part, nn.MultiheadAttention):
        if part.in_proj_weight is None:
            raise UnsupportedOpError(f"{name!r} reads keys or values of another width than its queries")
        query, key, _ = part.in_proj_weight.chunk(3)
        last: nn.Linear = part.out_proj
        count, triple, tokens_first = part.num_heads, True, not part.batch_first
    else:
        linear, behind = part.get_submodule("qkv"), projection(part)
        assert isinstance(linear, nn.Linear)
        assert behind is not None
        query, key, _ = linear.weight.chunk(3)
        said = [getattr(part, one) for one in HEADS if isinstance(getattr(part, one, None), int)]
        if heads is None and not said:
            raise OptionError(f"{name!r} does not say how many heads it has", help="give heads=")
        last, triple, tokens_first = behind, False, False
        count = heads if heads is not None else said[0]
    return Layers(query, key, last.weight, heads or count, triple, tokens_first)


def swapped(layers: Layers, where: tuple[Grid, int], steps: int, neuron: Neuron) -> SwappedAttention:
    """Return an attention of spikes that starts from the trained weights."""
    grid, prefix = where
    attention = SpikeAggregatedSelfAttention(len(layers.query), layers.heads, grid, neuron, prefix=prefix)
    sources = (
        (attention.query, layers.query),
        (attention.key, layers.key),
        (attention.project, layers.project),
    )
    with torch.no_grad():
        for target, source in sources:
            next(target.parameters()).copy_(source)
    start_near_threshold(attention)
    return SwappedAttention(attention, steps, triple=layers.triple, tokens_first=layers.tokens_first)


def token_counts(module: nn.Module, found: dict[str, nn.Module], example: Tensor) -> dict[str, int]:
    """Run the module once; return how many tokens reach each attention that runs."""
    counts: dict[str, int] = {}

    def watch(name: str, part: nn.Module) -> None:
        axis = 0 if isinstance(part, nn.MultiheadAttention) and not part.batch_first else 1

        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            counts[name] = given[0].shape[axis]

        handles.append(part.register_forward_pre_hook(hook))

    handles: list[Any] = []
    for name, part in found.items():
        watch(name, part)
    was_training = module.training
    # Without gradients torch's encoder layers go around their attention; with them they call it.
    module.eval()(example)
    module.train(was_training)
    for handle in handles:
        handle.remove()
    return counts


def place(tokens: int, grid: Grid | None, name: str) -> tuple[Grid, int]:
    """Return the grid and how many tokens are in front of it."""
    side = math.isqrt(tokens)
    height, width = (side, side) if grid is None else grid
    prefix = tokens - height * width
    if prefix < 0 or (grid is None and prefix > 1):
        raise OptionError(
            f"{tokens} tokens of {name!r} are no {'square' if grid is None else f'{height} x {width} grid'}",
            help="give grid=(height, width) of the tokens that lie on one",
        )
    return (height, width), prefix


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor | None = None,
    *,
    temperature: float = 2.0,
    weight: float = 0.5,
    features: Sequence[tuple[Tensor, Tensor]] = (),
    feature_weight: float = 1.0,
) -> Tensor:
    """Return what a student's logits [N, classes] lose against the teacher's and the true classes [N].

        (1 - w) CE(student, targets) + w T² KL(softmax(teacher / T) ‖ softmax(student / T))
        + w_f Σ mean((f - g)²) / mean(g²)   over pairs of features (f of the student, g of the teacher)

    Without targets only the terms with the teacher count, and w is 1. The teacher gets no gradient. Source:
    Hinton et al. 2015 (the first two terms); the features' term is ours.
    """
    kept, soft = teacher.detach() / temperature, student / temperature
    loss = functional.kl_div(
        soft.log_softmax(-1), kept.log_softmax(-1), reduction="batchmean", log_target=True
    )
    loss = loss * temperature**2
    if targets is not None:
        loss = (1 - weight) * functional.cross_entropy(student, targets) + weight * loss
    for ours, theirs in features:
        fixed = theirs.detach()
        loss = loss + feature_weight * functional.mse_loss(ours, fixed) / fixed.square().mean()
    return loss
