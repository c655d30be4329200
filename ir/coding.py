"""How a stream of numbers, one per time step, stands for one value.

`rate`: by its mean, r(t) = (x(1) + … + x(t)) / t. `differential`: by its changes, r(t) = r(t-1) + x(t) / t
with r(0) = 0, so that x(t) = t (r(t) - r(t-1)) (Huang et al., Differential Coding for Training-Free
ANN-to-SNN Conversion, ICML 2025). Both agree at t = 1.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Coding: TypeAlias = Literal["rate", "differential"]
CODINGS: tuple[Coding, ...] = get_args(Coding)
