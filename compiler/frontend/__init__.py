"""From ONNX to a SIR graph of analog ops.

- `loader`: reading a file without trusting it; `tensors`: its arrays; `weights`: are they finite;
- `signature`: the types of the graph's inputs;
- `importer`: from model to graph; `walk`: every node, in order; `context`: what a handler sees;
  `handlers/`: one handler per operator;
- `metadata`: what the model's properties say; `recurrent_state`: which inputs of a single step are states;
- `batch`: a symbolic batch for models exported with a fixed one; `per_sample`: was that sound;
- `check`: the fate of every node; `evaluate`: the analog meaning of a graph.
"""

from snnc.frontend.importer import import_onnx
from snnc.frontend.loader import load_onnx

__all__ = ["import_onnx", "load_onnx"]
