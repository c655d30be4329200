"""What would make a network expressible, for every op that NIR has no primitive for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.ops import FAMILIES

if TYPE_CHECKING:
    from snnc.ir.op import Op

ONNX = "--backend onnx writes it"
REAL = "emit the network before it is lowered to integers"
STREAMS = f"NIR multiplies streams by numbers only; {ONNX}"

UPSAMPLES = "NIR has no layer that upsamples"
FUNCTIONS = f"NIR computes no functions of real numbers: train with ReLU, which becomes neurons; {ONNX}"
AVERAGE = "train with average pooling, which is NIR's AvgPool2d"

BY_OP = {
    "relu": "NIR has no activation but spikes: compile the network first",
    "batch_norm": "compile it, which folds batch norm into weights",
    "softmax": f"NIR has no attention; {ONNX}",
    "conv_transpose": f"{UPSAMPLES}; a linear layer of flattened maps says the same; {ONNX}",
    "concat": f"give each part a layer of its own and add what these send, which is the same sum; {ONNX}",
    "sub": "multiply what is subtracted by -1, which is NIR's Scale, and add it",
    "neg": "multiply by -1, which is NIR's Scale",
    "div": "multiply by the reciprocal numbers, which is NIR's Scale",
    "matmul": STREAMS,
    "pad": "let the convolution behind it pad, the same on both sides",
    "resize": f"{UPSAMPLES}; {ONNX}",
    "fake_quantise": "compile the network, which makes neurons of quantisers",
    "quantise": REAL,
    "dequantise": REAL,
}
BY_FAMILY = {
    "elementwise": FUNCTIONS,
    "arithmetic": FUNCTIONS,
    "logic": f"NIR compares nothing; {ONNX}",
    "normalisation": f"train with batch norm, which is folded into weights; {ONNX}",
    "pooling": AVERAGE,
    "reduction": f"{AVERAGE}, over all positions; {ONNX}",
    "movement": f"flattening is all NIR has; a linear layer reads a vector in any order; {ONNX}",
}


def remedy(op: Op) -> str:
    """Return what to do about an op that NIR has no primitive for."""
    family = next((name for name, module in FAMILIES.items() if op in module.OPS), "")
    return BY_OP.get(op.name) or BY_FAMILY.get(family) or ONNX
