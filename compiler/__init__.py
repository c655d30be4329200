"""snnc: a compiler from trained networks (ONNX) to spiking networks (`.sir`)."""
