"""From `.sir` text to a syntax tree that says where every piece stands; ops and tensors are not looked up."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args
from lark.lexer import PatternStr

from snnc.ir.codebooks import Payload
from snnc.ir.coding import CODINGS
from snnc.ir.errors import ParseError, TypeInferenceError, did_you_mean
from snnc.ir.limits import shape_problem
from snnc.ir.op import TensorRef
from snnc.ir.shapes import Batch
from snnc.ir.text.codebooks import make_codebook
from snnc.ir.types import SpikeType, TensorType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.coding import Coding
    from snnc.ir.shapes import Dim, Shape
    from snnc.ir.types import Type

VERSION = 1
MAX_DIGITS = 19  # of a 64-bit integer

_VERSION_LINE = re.compile(r"(?:\s|#[^\n]*(?:\n|$))*(sir[ \t]+([0-9]+)(?!\S))?")
_WORD = re.compile(r"\w+|.", re.DOTALL)
_DESCRIPTIONS = {
    "ARGUMENT": "an argument",
    "BATCH": "a multiple of N",
    "BOOL": "true or false",
    "ELEMENTS": "a list of elements",
    "FLOAT": "a real number",
    "INT": "an integer",
    "NAME": "a name",
    "OP": "an op",
    "STRING": "a string",
    "SYMBOL": "a name such as @weight",
    "VALUE": "a value such as %x",
    "$END": "the end of the text",
}


class TypeText(NamedTuple):
    type: Type
    token: Token


class InputText(NamedTuple):
    target: Token
    type: TypeText


class AttributeText(NamedTuple):
    name: Token
    value: Any
    token: Token


class NodeText(NamedTuple):
    target: Token
    op: Token
    operands: Sequence[Token]
    attributes: Sequence[AttributeText]
    type: TypeText | None
    origin: tuple[str, ...]
    name: str | None


class OutputText(NamedTuple):
    value: Token
    name: str | None
    decode: Token | None


class GraphText(NamedTuple):
    name: str
    coding: Coding
    inputs: Sequence[InputText]
    nodes: Sequence[NodeText]
    outputs: Sequence[OutputText]


class TensorText(NamedTuple):
    name: str
    token: Token
    type: TypeText
    elements: Token | None


class Document(NamedTuple):
    graph: GraphText
    tensors: Sequence[TensorText]


def fault(token: Token, message: str, help: str | None = None) -> NoReturn:
    """Refuse the text at a token; `parse_graph` adds the name of the text."""
    raise ParseError(message, where=f"{token.line}:{token.column}", help=help)


def read_document(text: str) -> Document:
    """Return the syntax tree; `ParseError` with `where` = line:column if the text has none."""
    _check_version(text)
    lark = _lark()
    try:
        return lark.parse(text)  # type: ignore[return-value]  # the transformer makes the tree a Document
    except UnexpectedCharacters as error:
        raise _unexpected(text, error.pos_in_stream or 0, _expected(lark, error.allowed)) from None
    except UnexpectedToken as error:
        ended = error.token.type == "$END"
        offset = len(text) if ended else error.token.start_pos or 0
        assert offset is not None, "the lexer knows where its tokens begin"
        raise _unexpected(text, offset, _expected(lark, error.expected)) from None


def _unexpected(text: str, offset: int, expected: str) -> ParseError:
    found = _WORD.match(text, offset)
    tail = f"found {found[0][:40]!r}" if found else "the text ends"
    return ParseError(f"expected {expected}, {tail}", where=place(text, offset))


def place(text: str, offset: int) -> str:
    """Return `line:column` of an offset in the text, both from 1."""
    return f"{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


def _check_version(text: str) -> None:
    """Refuse other versions first: their grammar is unknown, a syntax error would mislead."""
    match = _VERSION_LINE.match(text)
    assert match is not None, "every part of the pattern is optional"
    if match[1] is None:
        raise ParseError(
            f"this is no .sir text: it does not begin with 'sir {VERSION}'", where=place(text, match.end())
        )
    if match[2] != str(VERSION):
        raise ParseError(
            f"the text is in version {match[2][:MAX_DIGITS]}, this snnc reads version {VERSION}",
            where=place(text, match.start(2)),
            help="use the snnc that wrote it, or a newer one",
        )


@cache
def _lark() -> Lark:
    grammar = resources.files("snnc.ir.text").joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=_Reader())


def _expected(lark: Lark, names: set[str] | None) -> str:
    """Return the terminals the parser could go on with, as a person would name them."""
    shown = sorted({_describe(lark, name) for name in names or ()})
    if not shown:
        return "something else"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _describe(lark: Lark, name: str) -> str:
    if name in _DESCRIPTIONS:
        return _DESCRIPTIONS[name]
    pattern = lark.get_terminal(name).pattern
    return repr(pattern.value) if isinstance(pattern, PatternStr) else name.lower()


def unquote(token: Token, prefix: int = 0) -> str:
    """Return the text of a string, or of a name after its one-character prefix, quoted or bare."""
    text = str(token)[prefix:]
    if not text.startswith('"'):
        return text
    try:
        result: str = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"the string is not JSON: {error.msg}"
        raise ParseError(message, where=f"{token.line}:{(token.column or 1) + prefix + error.pos}") from None
    return result


def integer(token: Token) -> int:
    """Return an integer of at most 64 bits."""
    text = str(token)
    if len(text.lstrip("-")) > MAX_DIGITS or not -(2**63) <= int(text) < 2**63:
        fault(token, f"{text[:40]} is not a 64-bit integer")
    return int(text)


def real(token: Token) -> float:
    """Return a number; one that overflows is refused, infinity must be written `inf`."""
    value = float(token)
    if math.isinf(value) and not token.endswith("inf"):
        fault(token, f"{str(token)[:40]} is too large for a number of 64 bits")
    return value


def _scalar(token: Token) -> Any:
    match token.type:
        case "INT":
            return integer(token)
        case "FLOAT":
            return real(token)
        case "BOOL":
            return token == "true"
        case "STRING":
            return unquote(token)
        case "SYMBOL":
            return TensorRef(unquote(token, 1))
        case _:
            return str(token)


@v_args(inline=True)
class _Reader(Transformer[Token, Any]):
    """Builds the syntax tree while the parser reduces, one method per rule. Holds no state."""

    def start(self, version: Token, graph: GraphText, *tensors: TensorText) -> Document:
        return Document(graph, tensors)

    def graph(self, name: Token, inputs: Any, coding: Token | None, nodes: Any, outputs: Any) -> GraphText:
        return GraphText(unquote(name, 1), _coding(coding), inputs, nodes, outputs)

    def inputs(self, *inputs: InputText) -> Sequence[InputText]:
        return inputs

    def input(self, target: Token, type_: TypeText) -> InputText:
        return InputText(target, type_)

    def nodes(self, *nodes: NodeText) -> Sequence[NodeText]:
        return nodes

    def node(self, target: Token, op: Token, operands: Any, *optional: Any) -> NodeText:
        attributes, type_, origin, name = optional
        return NodeText(target, op, operands, attributes or (), type_, origin or (), name)

    def operands(self, *operands: Token) -> Sequence[Token]:
        return operands

    def origin(self, *names: Token) -> tuple[str, ...]:
        return tuple(unquote(name) for name in names)

    def alias(self, name: Token) -> str:
        return unquote(name)

    def outputs(self, *outputs: OutputText) -> Sequence[OutputText]:
        return outputs

    def output(self, value: Token, name: str | None, decode: Token | None) -> OutputText:
        return OutputText(value, name, decode)

    def decode(self, how: Token) -> Token:
        return how

    def attributes(self, *attributes: AttributeText) -> Sequence[AttributeText]:
        return attributes

    def attribute(self, name: Token, value: tuple[Any, Token]) -> AttributeText:
        return AttributeText(name, *value)

    def scalar(self, token: Token) -> tuple[Any, Token]:
        return _scalar(token), token

    def list(self, bracket: Token, *items: Dim) -> tuple[Any, Token]:
        return items, bracket

    def item(self, token: Token) -> Dim:
        return _dim(token)

    def codebook(self, name: Token, *arguments: Token) -> tuple[Any, Token]:
        try:
            return make_codebook(str(name), [_scalar(argument) for argument in arguments]), name
        except ParseError as error:
            if error.where is None:
                fault(name, error.message, error.help)
            raise

    def argument(self, token: Token) -> Token:
        return token

    def tensor_type(self, token: Token, dtype: Token, shape: Shape) -> TypeText:
        try:
            type_ = TensorType(str(dtype), shape)
        except TypeInferenceError as error:
            fault(dtype, error.message)
        return _checked(type_, token)

    def spike_type(
        self, token: Token, low: Token, high: Token, flags: Sequence[str], shape: Shape
    ) -> TypeText:
        try:
            payload = Payload(integer(low), integer(high), "pow2" in flags)
        except ValueError as error:
            if isinstance(error, ParseError):
                raise
            fault(low, str(error))
        return _checked(SpikeType(payload, shape, "scaled" in flags), token)

    def flags(self, *flags: Token) -> Sequence[str]:
        for flag in flags:
            if flag not in ("pow2", "scaled"):
                fault(flag, f"spikes have no property {str(flag)!r}", "known: pow2, scaled")
        return flags

    def scalar_shape(self) -> Shape:
        return ()

    def shape(self, *dims: Dim) -> Shape:
        return dims

    def dim(self, token: Token) -> Dim:
        return _dim(token)

    def tensor(self, name: Token, type_: TypeText, elements: Token | None) -> TensorText:
        return TensorText(unquote(name, 1), name, type_, elements)


def _coding(token: Token | None) -> Coding:
    """Return the coding of a graph's head; rate where it names none."""
    known = {str(coding): coding for coding in CODINGS}
    if token is None:
        return "rate"
    if token not in known:
        fault(token, f"there is no coding {str(token)!r}", did_you_mean(token, known))
    return known[token]


def _dim(token: Token) -> Dim:
    if token.type == "INT":
        return integer(token)
    digits = token.update(value=token[:-1])
    return Batch({"": 1, "-": -1}[str(digits)] if digits in ("", "-") else integer(digits))


def _checked(type_: Type, token: Token) -> TypeText:
    problem = shape_problem(type_.shape)
    if problem:
        fault(token, problem)
    return TypeText(type_, token)
