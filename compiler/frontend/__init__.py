"""From ONNX to a SIR graph of analog ops.

- `loader`: reading a file safely; `signature`: the types of the graph's inputs;
- `importer`: the walk over the nodes; `context`: what a handler sees; `handlers/`: one handler per operator;
- `batch`: a symbolic batch for models exported with a fixed one; `check`: the fate of every node.
"""

from snnc.frontend.importer import import_onnx
from snnc.frontend.loader import load_onnx

__all__ = ["import_onnx", "load_onnx"]
