"""Where a network would lie on a neuromorphic chip: an estimate from published limits.

- `chips`: the limits, one entry per chip, with their sources;
- `reads`, `layers`: what a layer of neurons reads and stores, axis by axis;
- `grouping`: from a graph to layers, and what stays on the host;
- `tiling`: how one layer is cut into cores; `fit`: all layers; `advice`: what would make them fit;
- `picture`: the placement as SVG.
"""
