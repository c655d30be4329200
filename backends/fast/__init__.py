"""Runs networks fast on a processor: the reference simulator's equations, without a copy for every time step.

`partition` cuts a graph into stretches without memory and nodes that remember; `stretch` runs the former in
onnxruntime, `events` large linear layers of few spikes without it; `neuron`, `sums` and `expectation` step
the latter with compiled `kernels`; `memory` plans where every stream lies, and `layout` puts it there;
`program` steps it all, `averages` computes all steps at once where none waits for another; `whole` is for
integers and differential coding; `simulator` is the entry. numba, the extra `fast`, is imported by `kernels`
alone.
"""

from snnc.backends.fast.simulator import FastSimulator

__all__ = ["FastSimulator"]
