"""From a NIR graph to a SIR graph.

- `reader`: reading a file without trusting it; `flatten`: subgraphs and resets written as feedback;
- `importer`: from NIR graph to graph, every node exact or rejected; `layers`, `neurons`: one function per
  primitive; `context`: what these see.
"""

from snnc.frontend.nir.importer import import_nir, is_nir_file

__all__ = ["import_nir", "is_nir_file"]
