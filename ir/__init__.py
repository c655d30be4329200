"""The intermediate representation: types, ops, graphs, their text and their archive.

- `errors`: every refusal; `shapes`: dimensions with a symbolic batch; `types`: what travels on an edge;
- `codebooks`: the payloads of neurons; `op`: how an op is declared; `ops/`: the op table;
- `graph`: values, nodes, tensors; `verify`: the rules a graph must keep;
- `text/`: grammar, parser, printer; `archive`: the `.sir` file.

Nothing here imports passes, backends or the compiler.
"""
