"""The reference simulator: numpy, the executable semantics of SIR. When a backend disagrees, it is wrong.

`state` holds the equations of the ops that remember (neuron, expectation node, delay); `simulator` steps a
graph; `observe` collects spikes and membranes.
"""

from snnc.backends.reference.simulator import Run, Simulator

__all__ = ["Run", "Simulator"]
