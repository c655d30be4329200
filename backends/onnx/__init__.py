"""The ONNX backend: SIR graphs as standard ONNX models.

`builder` collects nodes, constants and weights; `emitters` holds one file per family of ops; `emit` writes
a graph's analog meaning; `session` runs it in onnxruntime, which is how calibration observes every site.
"""

from snnc.backends.onnx.emit import EmittedModel, emit_analog
from snnc.backends.onnx.session import AnalogResult, AnalogSession

__all__ = ["AnalogResult", "AnalogSession", "EmittedModel", "emit_analog"]
