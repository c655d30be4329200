"""`snnc report`: everything about a compiled network on one self-contained HTML page.

- `measure`: what the page shows, measured; `histograms`: payloads and membranes of every neuron node;
- `boxes`, `layout`, `drawing`: the graph as boxes, where they lie, and the picture;
- `markup`: escaped text and tables; `charts`: lines, bars and histograms;
- `sections`, `page`: the sections and the page around them, in `page.css`.

No scripts, no fonts, no requests. Every chart has its numbers beside it as text or a table.
"""
