"""ONNX files: the example models and small ones, their protobuf messages damaged field by field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import ModelProto

from tests.fuzz.mutation import ABSURD_INTEGERS, ABSURD_NAMES, ABSURD_REALS, flipped
from tests.fuzz.onnx_graphs import feed_model
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODELS = ("digits/digits_cnn", "digits/digits_vit_dynamo", "pmsm/digits_cnn_4bit", "saformer/digits_saformer")


def feed(data: bytes, folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(data)
    feed_model(path)


def seeds() -> Sequence[bytes]:
    return [(EXAMPLES / f"{name}.onnx").read_bytes() for name in MODELS]


def mutate(data: bytes, rng: Random) -> bytes:
    """Return the model with a few fields of its messages changed; or damaged like bytes."""
    if rng.random() < 0.2:
        return flipped(data, rng)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return flipped(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        change(descend(model, rng), rng)
    return model.SerializeToString()


def descend(message: Message, rng: Random) -> Message:
    """Return a message somewhere inside this one."""
    while True:
        inner = [
            part
            for field, value in message.ListFields()
            if field.message_type is not None
            for part in (value if is_repeated(field) else [value])
        ]
        if not inner or rng.random() < 0.1:
            return message
        message = rng.choice(inner)


def is_repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def change(message: Message, rng: Random) -> None:
    """Change one field of a message, as a rule one that is set."""
    given = [field for field, _ in message.ListFields()]
    fields = given if given and rng.random() < 0.85 else message.DESCRIPTOR.fields
    field = rng.choice(list(fields))
    if is_repeated(field):
        change_list(getattr(message, field.name), field, rng)
    elif field.message_type is not None:
        if rng.random() < 0.5:
            message.ClearField(field.name)
        else:
            getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, absurd(field, getattr(message, field.name), rng))


def change_list(items: Any, field: FieldDescriptor, rng: Random) -> None:
    choice = rng.randrange(5) if items else 4
    if choice == 0:
        del items[rng.randrange(len(items))]
    elif choice == 1 and field.message_type is not None:
        items.add().CopyFrom(rng.choice(items))
    elif choice == 1:
        items.append(rng.choice(items))
    elif choice == 2:
        order = list(items)
        rng.shuffle(order)
        del items[:]
        items.extend(order)
    elif field.message_type is not None:
        items.add()
    elif choice == 3:
        place = rng.randrange(len(items))
        items[place] = absurd(field, items[place], rng)
    else:
        items.append(absurd(field, None, rng))


def absurd(field: FieldDescriptor, value: Any, rng: Random) -> Any:
    """Return another value of a field."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return flipped(value or b"", rng)
        case FieldDescriptor.CPPTYPE_STRING:
            return rng.choice((*ABSURD_NAMES, "Loop", "Conv", "input", "ai.snnc", "com.microsoft"))
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice(ABSURD_REALS)
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice([entry.number for entry in field.enum_type.values])
        case FieldDescriptor.CPPTYPE_INT32:
            return rng.choice([number for number in ABSURD_INTEGERS if -(2**31) <= number < 2**31])
        case FieldDescriptor.CPPTYPE_UINT64:
            return abs(rng.choice(ABSURD_INTEGERS))
        case _:
            return rng.choice(ABSURD_INTEGERS)


TARGET = Target("onnx-files", feed, seeds, mutate)
