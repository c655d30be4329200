"""Which inputs of a one-step model are states: by name, by its metadata, and what is refused."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from snnc.frontend.recurrent_state import RecurrentState, recurrent_states
from snnc.ir.errors import ModelError
from tests.harness import Dims, onnx_model


def one_step(
    state: str = "v", successor: str = "v_next", *, size: Dims = ("N", 3), metadata: str | None = None
) -> onnx.ModelProto:
    """y = state + x, which replaces the state."""
    model = onnx_model(
        [
            helper.make_node("Add", [state, "x"], [successor]),
            helper.make_node("Identity", [successor], ["y"]),
        ],
        {"x": ("N", 3), state: size},
        {successor: ("N", 3), "y": ("N", 3)},
    )
    if metadata is not None:
        model.metadata_props.add(key="snnc.state", value=metadata)
    return model


@pytest.mark.parametrize("name", ["v", "lif0.v", "blocks/0/lif.v"])
def test_an_output_named_next_replaces_the_input(name: str) -> None:
    assert recurrent_states(one_step(name, name + "_next")) == (RecurrentState(name, name + "_next"),)


def test_the_metadata_name_states_whatever_they_are_called() -> None:
    found = recurrent_states(one_step("mem_in", "mem_out", metadata='{"mem_in": "mem_out"}'))
    assert found == (RecurrentState("mem_in", "mem_out"),)


def test_states_come_in_the_order_of_the_inputs() -> None:
    model = onnx_model(
        [helper.make_node("Add", ["a", "b"], [name]) for name in ("a_next", "y", "b_next")],
        {"b": ("N", 3), "a": ("N", 3)},
        {"a_next": ("N", 3), "y": ("N", 3), "b_next": ("N", 3)},
    )
    assert [state.input for state in recurrent_states(model)] == ["b", "a"]


def test_a_model_without_such_outputs_has_no_states() -> None:
    assert recurrent_states(one_step("v", "result")) == ()


def test_an_initialiser_is_no_state() -> None:
    model = one_step()
    model.graph.initializer.add(name="v", data_type=TensorProto.FLOAT, dims=[1], float_data=[0])
    assert recurrent_states(model) == ()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ('{"w": "y"}', "names the input 'w', which it does not have"),
        ('{"v": "w"}', "names the output 'w', which it does not have"),
        ('{"v": "v_next", "x": "v_next"}', "two states of the model are replaced by one output 'v_next'"),
        ('{"v": "v_next", "x": "y"}', "every output of the model is a state's next value"),
        ('["v"]', "not a JSON object of names"),
        ('{"v": 1}', "not a JSON object of names"),
        ("{", "not a JSON object of names"),
    ],
)
def test_metadata_that_make_no_sense_are_refused(metadata: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        recurrent_states(one_step(metadata=metadata))


def test_a_successor_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match="state 'v' and its next value 'v_next' differ in type or shape"):
        recurrent_states(one_step(size=(1, 1)))


def test_a_successor_of_another_type_is_refused() -> None:
    model = one_step()
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(ModelError, match="differ in type or shape"):
        recurrent_states(model)
