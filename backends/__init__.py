"""Backends: what runs a network or writes it for another runtime.

`reference` is the numpy simulator, which is the specification; `onnx` writes ONNX models and runs them.
`inputs` checks and splits the arrays that any of them is given.
"""
