"""The text of a graph: grammar, canonical printer, parser. Print, parse, print is the identity.

`grammar.lark` and `syntax` give a syntax tree, `parser` builds the graph from it, `tensors` reads arrays,
`codebooks` both reads and writes codebooks, `printer` writes everything else.
"""

from snnc.ir.text.parser import parse_graph
from snnc.ir.text.printer import print_graph

__all__ = ["parse_graph", "print_graph"]
