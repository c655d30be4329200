"""Runs networks with PyTorch, on a processor or a GPU: the reference simulator's equations, batched.

`simulator` is the entry; `program` steps a graph; `state` and `differential` hold the ops that remember,
`codebook` the quantisers, `kernels` every other op. PyTorch is the extra `torch` and is imported by these
modules alone.
"""
