"""Make the copy of a trained spiking network whose sums are exact in float32, in whatever order."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from snnc.ir.errors import OptionError, UnsupportedOpError
from snnc.nn.lif import LIF, neurons, reset_state
from snnc.nn.saformer import SpikeAggregate

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNIFICAND = 24  # bits of a float32: every whole number up to 2^24 is one
MOST_BITS = 16  # of a weight's fraction; finer is no better
LEAST_BITS = 4  # coarser is another network
SYNAPSES = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# Layers that pass on sums of spikes or currents unchanged.
PASSING = (nn.Identity, nn.Flatten, nn.Dropout, nn.MaxPool2d, SpikeAggregate)

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Margin:
    """The largest |value| a sum or membrane can reach, and the bits of the fraction it needs.

    Multiples of 2^-bits up to `largest` are float32 numbers if largest · 2^bits <= 2^24.
    """

    name: str
    largest: float
    bits: int

    @property
    def needed(self) -> int:
        """Bits of significand that are needed."""
        return self.bits + max(0, math.ceil(math.log2(self.largest))) if self.largest > 0 else 0


def to_fixed_point(
    module: Module,
    example: Tensor,
    *,
    input_bits: int = 0,
    largest_input: float = 1.0,
    bits: int = MOST_BITS,
    steps: int | None = None,
) -> Module:
    """Return a copy in evaluation mode, without batch norms, whose float32 sums do not depend on their order.

    Every batch norm goes into the layer before it (in float64). Weights are rounded to multiples of 2^-a in
    layers that read the input (multiples of 2^-input_bits, at most `largest_input` in magnitude), of 2^-b in
    all others, and biases to 2^-(a + input_bits) and 2^-b; so currents are multiples of one of these two.

    Checked for every synapse and all that is added up in front of a neuron: the positive and the negative
    terms, each with its largest |input|, come to at most 2^24 multiples. Then every partial sum is a float32
    number, and float32 addition is exact. Checked for every neuron: leak and gain are fractions over powers
    of two, and the membrane, whose fraction grows with every step, keeps to 24 bits for `steps` time steps
    (default: the module's own).

    a and b are the largest that pass, at most `bits`. Refused: what does not pass with 4 bits, time constants
    that are no powers of two, and layers whose sums are not known (known are linear layers, convolutions, LIF
    and what moves spikes; a module's own forward may add, reshape, and multiply spikes by spikes).
    """
    steps = int(getattr(module, "steps", 1)) if steps is None else steps
    folded = fold_batch_norms(module)
    refuse_unknown(folded)
    reach = first_layers(folded, example)
    bounds = largest_sums(folded, example, reach, largest_input)
    grids = Grids(bits + input_bits, bits, input_bits, reach)
    while True:
        worst = worst_margin(folded, bounds, grids, steps)
        if worst.needed <= SIGNIFICAND:
            rounded = round_weights(folded, grids)
            # Rounding moves the sums a little, and it is the rounded network that has to pass.
            worst = worst_margin(rounded, largest_sums(rounded, example, reach, largest_input), grids, steps)
            if worst.needed <= SIGNIFICAND:
                return rounded
        grids = grids.coarser(worst)


@dataclass(frozen=True, slots=True)
class Grids:
    """Which power of two everything is a multiple of: currents that come from the input, and all others."""

    first: int
    others: int
    input_bits: int
    reach: frozenset[str]  # layers that read the input, neurons that their currents reach

    def weight(self, name: str) -> int:
        return self.first - self.input_bits if name in self.reach else self.others

    def current(self, name: str) -> int:
        return self.first if name in self.reach else self.others

    def arriving(self, neuron: str) -> int:
        """Return the fraction of a neuron's current, to which both kinds may add."""
        return max(self.first, self.others) if neuron in self.reach else self.others

    def coarser(self, worst: Margin) -> Grids:
        """Return grids with a bit less where the sums are too long; refuse to go below 4 bits of a weight."""
        if worst.name.removesuffix(".v") in self.reach and self.first >= self.others:
            result = replace(self, first=self.first - 1)
        else:
            result = replace(self, others=self.others - 1)
        if min(result.first - self.input_bits, result.others) < LEAST_BITS:
            raise OptionError(
                f"{worst.name!r} can reach {worst.largest:.4g} in multiples of 2^-{worst.bits}: "
                f"{worst.needed} bits, and a float32 has {SIGNIFICAND}",
                help="train with a weight decay, or give fewer steps or a coarser input",
            )
        return result


def fold_batch_norms(module: Module) -> Module:
    """Return a copy in evaluation mode in which every batch norm is part of the layer before it.

    In an nn.Sequential: W' = W γ/√(σ² + ε), b' = (b - μ) γ/√(σ² + ε) + β, in float64, rounded once.
    """
    reset_state(module)
    result = copy.deepcopy(module).eval()
    for sequence in [part for part in result.modules() if isinstance(part, nn.Sequential)]:
        layers = list(sequence)
        for place, (layer, norm) in enumerate(pairwise(layers)):
            if isinstance(layer, SYNAPSES) and isinstance(norm, NORMS):
                fold(layer, norm)
                sequence[place + 1] = nn.Identity()
    return result


def fold(layer: nn.Linear | nn.Conv1d | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Let a layer compute what it and the batch norm after it computed."""
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedOpError("a batch norm without running statistics cannot be folded")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.affine:
        scale, shift = scale * norm.weight.detach().double(), norm.bias.detach().double()
    weight = layer.weight.detach().double()
    bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.detach().double()
    bias = (bias - norm.running_mean.double()) * scale + shift
    scaled = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    layer.weight = nn.Parameter(scaled.to(layer.weight.dtype))
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype))


def refuse_unknown(module: nn.Module) -> None:
    """Raise `UnsupportedOpError` for layers whose sums are not known."""
    known = (*SYNAPSES, LIF, *PASSING)
    found = [
        f"{name} ({type(part).__name__})"
        for name, part in module.named_modules()
        if not isinstance(part, known) and (not list(part.children()) or isinstance(part, NORMS))
    ]
    for name, part in module.named_modules():
        if not isinstance(part, known):
            found += [
                f"{name}.{own} (a parameter)".lstrip(".") for own, _ in part.named_parameters(recurse=False)
            ]
    if found:
        raise UnsupportedOpError(
            "no bound is known for the sums of " + ", ".join(found),
            help="a batch norm has to follow its linear layer or convolution in an nn.Sequential",
        )
    for name, part in neurons(module).items():
        for constant in ("leak", "gain", "threshold", "rest"):
            if fraction_bits(getattr(part, constant)) > MOST_BITS:
                raise OptionError(
                    f"{constant} {getattr(part, constant)} of {name!r} is no multiple of 2^-{MOST_BITS}",
                    help="give a time constant that is a power of two, and a threshold such as 1 or 0.5",
                )


def fraction_bits(value: float) -> int:
    """Return the smallest n for which value is a multiple of 2^-n."""
    return Fraction(value).denominator.bit_length() - 1


def first_layers(module: nn.Module, example: Tensor) -> frozenset[str]:
    """Return the synapses that read the input and the neurons their currents reach without another between.

    Found by trying: all spikes are 0, and all weights but those of layers that read something.
    """
    probe = copy.deepcopy(module)
    reached: set[str] = set()

    def watch(name: str, part: nn.Module) -> None:
        def hook(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
            if bool(given[0].abs().max() > 0):
                reached.add(name)
                return torch.zeros_like(result) if isinstance(part, LIF) else torch.ones_like(result)
            return torch.zeros_like(result)

        part.register_forward_hook(hook)

    for name, part in probe.named_modules():
        if isinstance(part, (LIF, *SYNAPSES)):
            watch(name, part)
    with torch.no_grad():
        probe(torch.ones_like(example))
    return frozenset(reached)


def round_weights(module: Module, grids: Grids) -> Module:
    """Return a copy with weights and biases on their grids, each rounded to the nearest."""
    result = copy.deepcopy(module)
    with torch.no_grad():
        for name, part in result.named_modules():
            if isinstance(part, SYNAPSES):
                to_grid(part.weight, grids.weight(name))
                if part.bias is not None:
                    to_grid(part.bias, grids.current(name))
    return result


def to_grid(values: Tensor, bits: int) -> None:
    values.copy_((values.double() * 2.0**bits).round() / 2.0**bits)


def worst_margin(module: nn.Module, bounds: dict[str, float], grids: Grids, steps: int) -> Margin:
    return max(margins(module, bounds, grids, steps), key=lambda one: one.needed)


def margins(module: nn.Module, bounds: dict[str, float], grids: Grids, steps: int) -> Iterator[Margin]:
    """Yield how far every synapse's sums, every neuron's current and membrane, and the output can go."""
    for name, part in module.named_modules():
        if name in bounds and isinstance(part, LIF):
            yield Margin(name, bounds[name], grids.arriving(name))
            yield membrane(name, part, bounds[name], grids.arriving(name), steps)
        elif name in bounds and isinstance(part, SYNAPSES):
            yield Margin(name, bounds[name], grids.current(name))
    yield Margin("the output", bounds[""] * steps, grids.others)


def largest_sums(
    module: nn.Module, example: Tensor, reach: frozenset[str], largest_input: float
) -> dict[str, float]:
    """Return the largest magnitude of any partial sum, by synapse, neuron, and "" for the output."""
    one, other = (sums_of_sign(module, example, reach, largest_input, sign) for sign in (1, -1))
    return {name: max(one[name], other[name]) for name in one}


def sums_of_sign(
    module: nn.Module, example: Tensor, reach: frozenset[str], largest_input: float, sign: int
) -> dict[str, float]:
    """Return the largest sums of the terms of one sign.

    With the weights of that sign alone, as magnitudes, every spike 1 and the largest input, a network of
    sums computes for every place a bound of all partial sums there. The input may have either sign.
    """
    largest: dict[str, float] = {}
    probe = copy.deepcopy(module).double()

    def watch(name: str, part: nn.Module) -> None:
        def hook(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
            reached = given[0] if isinstance(part, LIF) else result
            largest[name] = max(largest.get(name, 0.0), float(reached.abs().max()))
            return torch.ones_like(result) if isinstance(part, LIF) else result

        part.register_forward_hook(hook)

    with torch.no_grad():
        for name, part in probe.named_modules():
            if isinstance(part, (LIF, *SYNAPSES)):
                watch(name, part)
            if isinstance(part, SYNAPSES):
                for values in part.parameters():
                    values.copy_(values.abs() if name in reach else (sign * values).clamp(min=0))
        result = probe(torch.full_like(example, largest_input, dtype=torch.float64))
    return largest | {"": float(result.abs().max())}


def membrane(name: str, neuron: LIF, reached: float, bits: int, steps: int) -> Margin:
    """Return how far a membrane goes with currents x up to `reached`: |m| <= gain x Σ leak^k, k < steps."""
    leak, gain = fraction_bits(neuron.leak), fraction_bits(neuron.gain)
    far = neuron.gain * reached * sum(neuron.leak**k for k in range(steps)) + abs(neuron.rest)
    fraction = max(bits + gain, fraction_bits(neuron.threshold), fraction_bits(neuron.rest))
    return Margin(f"{name}.v", max(far, neuron.threshold), fraction + leak * (steps - 1))
