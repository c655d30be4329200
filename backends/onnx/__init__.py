"""The ONNX backend: SIR graphs as standard ONNX models.

`builder` collects nodes, constants and weights; `emitters` holds one file per family of ops; `emit` writes
a graph's analog meaning; `session` runs it in onnxruntime, which is how calibration observes every site.
`spiking` writes and runs the spiking network itself, all time steps in one model; `runtime` opens models.
"""

from snnc.backends.onnx.emit import EmittedModel, emit_analog
from snnc.backends.onnx.session import AnalogResult, AnalogSession

__all__ = ["AnalogResult", "AnalogSession", "EmittedModel", "emit_analog"]
