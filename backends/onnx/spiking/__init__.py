"""The spiking network itself as an ONNX model: all T steps unrolled.

- `streams`: where every stream lies in the model, as one tensor for all steps or as one per step;
- `folding`: which ops may take all steps as one batch of T N samples;
- `neuron`, `codebook`, `expectation`: the ops that remember, one time step after the other;
- `averages`, `merged`: networks in which no step needs the one before, of real and of whole numbers;
- `blocks`: neurons in onnxruntime's layout of images;
- `emit`: walks a graph; `simulator`: runs the model in onnxruntime.
"""

from snnc.backends.onnx.spiking.emit import SpikingModel, emit_spiking
from snnc.backends.onnx.spiking.simulator import OnnxSimulator

__all__ = ["OnnxSimulator", "SpikingModel", "emit_spiking"]
