"""Q(u) of every codebook in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary, bursts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from snnc.ir.codebooks import Codebook


def binary(u: Tensor, codebook: Binary) -> Tensor:
    return (u >= 1).to(u.dtype)


def ternary(u: Tensor, codebook: Ternary) -> Tensor:
    return torch.trunc(u).clamp(-1, 1)


def multi(u: Tensor, codebook: MultiSpike) -> Tensor:
    if codebook.rounding == "burst":
        return burst(u, codebook)
    rounded = torch.round(u) if codebook.rounding == "nearest" else torch.floor(u)
    return rounded.clamp(codebook.lo, codebook.hi)


def burst(u: Tensor, codebook: MultiSpike) -> Tensor:
    """Look the burst of every quarter of a quantum up, by the magnitude; the sign is the membrane's."""
    clipped = u.clamp(codebook.lo, codebook.hi)
    table = torch.from_numpy(bursts(max(-codebook.lo, codebook.hi)).copy()).to(u)
    index = (clipped.abs() * 4).nan_to_num(0).to(torch.int64)
    sent = table[index]
    return torch.copysign(sent, clipped) if codebook.lo else sent


def power_of_two(u: Tensor, codebook: PowerOfTwo) -> Tensor:
    """A float without its mantissa is the largest power of two below it."""
    size = u.abs()
    fires = (size if codebook.signed else u) >= codebook.dead_zone
    integer, mantissa = (torch.int32, 23) if u.dtype == torch.float32 else (torch.int64, 52)
    if codebook.firing == "below":
        bits = (size + 0.5).view(integer)
    else:
        bits = size.view(integer) + (1 << (mantissa - 1))  # from 3/2 of a power on, up to the next
    level = ((bits >> mantissa) << mantissa).view(u.dtype)
    payload = level.clamp(1, 2 ** (codebook.levels - 1)) * fires
    return torch.copysign(payload, u)


QUANTISERS: dict[type, Callable[[Tensor, Any], Tensor]] = {
    Binary: binary,
    Ternary: ternary,
    MultiSpike: multi,
    PowerOfTwo: power_of_two,
}


def quantise(u: Tensor, codebook: Codebook) -> Tensor:
    return QUANTISERS[type(codebook)](u, codebook)


def to_lines(payload: Tensor, codebook: PowerOfTwo, axis: int) -> Tensor:
    """Return 1 on the line of each payload and 0 on the others; lines of one channel are neighbours."""
    members = torch.tensor(codebook.members, dtype=payload.dtype, device=payload.device)
    lines = payload.unsqueeze(axis + 1) == members.reshape(-1, *[1] * (payload.ndim - axis - 1))
    return lines.to(payload.dtype).flatten(axis, axis + 1)
