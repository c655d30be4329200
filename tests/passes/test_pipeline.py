"""Pipelines as text: read, written back, and refused with the place and the remedy."""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnc.ir.errors import OptionError, ParseError, PassError, SnncError
from snnc.methods import METHODS, Settings
from snnc.passes.base import Pass
from snnc.passes.builtin import BUILTIN
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.pipeline import build_pass, option_types, parse_pipeline, show_pass, show_pipeline
from snnc.passes.registry import Registry, default_registry
from snnc.passes.simplify import Simplify

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph
    from snnc.passes.base import PassContext

REGISTRY = default_registry()


@dataclass(frozen=True)
class Every(Pass):
    """A pass with an option of every kind."""

    name: ClassVar[str] = "every"
    needed: int
    fraction: float = 0.5
    text: str = "plain"
    flag: bool = False
    choice: Literal["a", "b"] = "a"
    count: int | None = None
    limit: float | None = 1.5

    def run(self, graph: Graph, context: PassContext) -> bool:
        return False


def values_of(wanted: Any) -> st.SearchStrategy[Any]:
    if get_origin(wanted) is Literal:
        return st.sampled_from(get_args(wanted))
    if isinstance(wanted, types.UnionType):
        (inner,) = [option for option in get_args(wanted) if option is not type(None)]
        return st.none() | values_of(inner)
    strategies: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(1, 12),
        float: st.floats(allow_nan=False),
        str: st.text("abcXYZ019._-/", min_size=1),
    }
    return strategies[wanted]


@st.composite
def passes(draw: st.DrawFn) -> Pass:
    known: list[type[Pass]] = [*BUILTIN, Every]
    pass_class = draw(st.sampled_from(known))
    options = {name: draw(values_of(wanted)) for name, wanted in option_types(pass_class).items()}
    try:
        return pass_class(**options)
    except OptionError:  # the options contradict each other
        return pass_class()


def registry_with_every() -> Registry:
    registry = default_registry()
    registry.add(Every)
    return registry


@given(st.lists(passes(), max_size=5))
def test_a_pipeline_reads_back_as_written(pipeline: list[Pass]) -> None:
    assert parse_pipeline(show_pipeline(pipeline), registry_with_every()) == pipeline


@pytest.mark.parametrize("method", METHODS)
def test_the_pipelines_of_methods_read_back(method: str) -> None:
    for batch_norm in ("weights", "thresholds"):
        pipeline = METHODS[method].pipeline(Settings(batch_norm=batch_norm))
        assert parse_pipeline(show_pipeline(pipeline), REGISTRY) == pipeline


def test_options_at_their_defaults_are_left_out() -> None:
    assert show_pass(Every(needed=3)) == "every{needed=3}"
    assert show_pass(Every(3, flag=True, limit=None)) == "every{needed=3,flag=true,limit=none}"
    assert (
        show_pipeline([Simplify(), FuseBatchNorm(into="thresholds")])
        == "simplify,fuse-batch-norm{into=thresholds}"
    )


def test_blanks_and_dashes_do_not_matter() -> None:
    text = " insert-neurons { levels = 4 , first=neuron } , normalise-thresholds{fold-quanta=false}"
    first, second = parse_pipeline(text, REGISTRY)
    assert first == InsertNeurons(levels=4, first="neuron")
    assert show_pass(second) == "normalise-thresholds{fold_quanta=false}"


def test_an_empty_pipeline_has_no_passes() -> None:
    assert parse_pipeline("", REGISTRY) == []


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("fuse-bn", "there is no pass 'fuse-bn'", "'fuse-batch-norm'"),
        ("dec", "there is no pass 'dec'", "did you mean 'dce'?"),
        (
            "xyzzy",
            "there is no pass 'xyzzy'",
            "known: allocate-levels, choose-thresholds, correct-charges, dce",
        ),
        ("insert-neurons{level=3}", "has no option 'level'", "did you mean 'levels'?"),
        ("dce{depth=3}", "has no option 'depth'", "it has no options"),
        ("insert-neurons{levels=many}", "insert-neurons{levels} cannot be 'many'", "give an integer"),
        ("insert-neurons{levels=3.5}", "insert-neurons{levels} cannot be '3.5'", "give an integer"),
        ("insert-neurons{codebook=quad}", "cannot be 'quad'", "one of: multi, binary, ternary"),
        ("normalise-thresholds{fold_quanta=yes}", "cannot be 'yes'", "one of: true, false"),
        ("choose-thresholds{percentile=high}", "cannot be 'high'", "give a number"),
        ("every", "pass 'every' needs its option 'needed'", "write every{needed=…}"),
        ("every{needed=none}", "every{needed} cannot be 'none'", "give an integer"),
        ("insert-neurons{levels=99}", "2^99 payloads", "give 1 to 15 levels"),
    ],
)
def test_wrong_names_and_options_are_refused(text: str, message: str, help: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_pipeline(text, registry_with_every())
    assert message in caught.value.message
    assert help in str(caught.value.help)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("dce,,dce", "pipeline:1:5"),
        ("dce dce", "pipeline:1:5"),
        ("insert-neurons{levels}", "pipeline:1:22"),
        ("insert-neurons{levels=3", "pipeline:"),
        ("dce;", "pipeline:1:4"),
        ("dce,", "pipeline:"),
        ("a{b=c=d}", "pipeline:1:6"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, place: str) -> None:
    with pytest.raises(ParseError, match="cannot be read here") as caught:
        parse_pipeline(text, REGISTRY)
    assert str(caught.value.where).startswith(place)
    assert text in str(caught.value.where)


@given(st.text(max_size=30))
def test_any_text_is_a_pipeline_or_refused(text: str) -> None:
    helps = "no help needed"
    try:
        parse_pipeline(text, REGISTRY)
    except SnncError as error:
        helps = str(error.help or "")
    assert helps


def test_options_whose_types_cannot_be_found_are_named() -> None:
    @dataclass(frozen=True)
    class Hidden(Pass):
        name: ClassVar[str] = "hidden"
        callback: Callable[[int], int] | None = None  # imported for type checking only

        def run(self, graph: Graph, context: PassContext) -> bool:
            return False

    with pytest.raises(PassError, match="options of pass 'hidden' cannot be read"):
        build_pass(Hidden, {"callback": "f"})


@pytest.mark.parametrize("pass_class", BUILTIN, ids=lambda pass_class: pass_class.name)
def test_passes_are_frozen_and_say_in_one_line_what_they_do(pass_class: type[Pass]) -> None:
    assert pass_class.__dataclass_params__.frozen  # type: ignore[attr-defined]  # every dataclass has it
    assert pass_class.__doc__
    assert not pass_class.__doc__.startswith(f"{pass_class.__name__}(")
    assert pass_class.__doc__.splitlines()[0].endswith((".", ":"))
    assert all(field.default is not dataclasses.MISSING for field in dataclasses.fields(pass_class))
