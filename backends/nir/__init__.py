"""NIR, the Neuromorphic Intermediate Representation (https://neuroir.org), by its own package `nir`.

- `package`: that package, if it is installed; `timing`: time constants in seconds, factors per step;
- `emit`: a graph as a NIR graph; `layers`, `neurons`: one function per op; `geometry`: kernels as NIR's
  readers expect them.

Reading is `snnc.frontend.nir`. What maps to what, and what each reader makes of it, is in docs/nir.md.
"""

from snnc.backends.nir.timing import DEFAULT_DT, INTEGRATIONS, Timing

__all__ = ["DEFAULT_DT", "INTEGRATIONS", "Timing"]
