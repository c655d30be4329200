"""Einsum and Attention become matrix products with the same result as onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from snnc.frontend import import_onnx
from snnc.ir.errors import UnsupportedOpError
from tests.harness import assert_matches_onnxruntime, onnx_model

ATOL = 1e-5


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def sample(shape: tuple[Any, ...]) -> Any:
    return normal(len(shape), *(3 if dim == "N" else dim for dim in shape))


EQUATIONS = [
    ("bhid,bhjd->bhij", ("N", 2, 3, 4), ("N", 2, 5, 4)),
    ("bhij,bhjd->bihd", ("N", 2, 3, 4), ("N", 2, 4, 5)),
    ("bqhd,bkhd->bhqk", ("N", 3, 2, 4), ("N", 5, 2, 4)),
    ("bij,bjk->bik", ("N", 3, 4), ("N", 4, 5)),
    ("bi,bj->bij", ("N", 3), ("N", 4)),
    ("bi,bi->b", ("N", 4), ("N", 4)),
    ("bsd,dhk->bshk", ("N", 3, 4), (4, 2, 5)),
    ("bshk,hkd->bsd", ("N", 3, 2, 5), (2, 5, 4)),
    ("bchw,c->bhw", ("N", 3, 4, 5), (3,)),
    ("bchw,c->bchw", ("N", 3, 4, 5), (3,)),
    ("ij, bjk -> kbi", (2, 4), ("N", 4, 3)),
]


# Both operands as streams, and each one without a batch as a constant.
CASES = [(*case, "") for case in EQUATIONS]
CASES += [
    (*case, name)
    for case in EQUATIONS
    for name, shape in zip("ab", case[1:], strict=True)
    if "N" not in shape
]


@pytest.mark.parametrize(("equation", "a", "b", "constant"), CASES)
def test_einsum(equation: str, a: tuple[Any, ...], b: tuple[Any, ...], constant: str) -> None:
    shapes = {"a": a, "b": b}
    arrays = {name: sample(shape) for name, shape in shapes.items()}
    fixed = {constant: arrays.pop(constant)} if constant else {}
    node = helper.make_node("Einsum", ["a", "b"], ["y"], equation=equation)
    model = onnx_model([node], {name: shapes[name] for name in arrays}, ["y"], fixed)
    assert_matches_onnxruntime(model, arrays, atol=ATOL)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij->bji", [("N", 3, 4)]),
        ("bij->b", [("N", 3, 4)]),
        ("ba", [("N", 3)]),
        ("bij,jk", [("N", 3, 4), (4, 5)]),
        ("bij,bk->bik", [("N", 3, 4), ("N", 5)]),
        ("...ij,...jk->...ik", [("N", 2, 3, 4), ("N", 2, 4, 5)]),
        ("...j,kj->...k", [("N", 2, 4), (3, 4)]),
        ("bi,bi->bi", [("N", 3), ("N", 3)]),
        ("bi,bi,bi->bi", [("N", 3)] * 3),
        ("bi,ij,bjk->bk", [("N", 3), (3, 4), ("N", 4, 5)]),
        ("bi,bj,bk->b", [("N", 3), ("N", 4), ("N", 5)]),
    ],
)
def test_einsum_of_any_number_of_operands(equation: str, shapes: list[tuple[Any, ...]]) -> None:
    names = [f"x{index}" for index in range(len(shapes))]
    arrays = {name: sample(shape) for name, shape in zip(names, shapes, strict=True)}
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    model = onnx_model([node], dict(zip(names, shapes, strict=True)), ["y"])
    assert_matches_onnxruntime(model, arrays, atol=ATOL)


def test_einsum_by_a_constant_is_linear() -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="bsd,dhk->bshk")
    graph = import_onnx(onnx_model([node], {"x": ("N", 3, 4)}, ["y"], {"w": normal(0, 4, 2, 5)}))
    assert [op.full_name for op in graph] == ["linear", "reshape"]


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bii->bi", [("N", 3, 3)]),
        ("...ij,...jk->...ik", [("N", 3, 4), (4, 5)]),
        ("bij->bii", [("N", 3, 4)]),
        ("bij,bjk->bik", [("N", 3, 4), ("N", 4)]),
    ],
)
def test_einsum_refusals(equation: str, shapes: list[tuple[Any, ...]]) -> None:
    names = [f"x{index}" for index in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], name="product", equation=equation)
    with pytest.raises(UnsupportedOpError, match=r'"product" \(Einsum\)'):
        import_onnx(onnx_model([node], dict(zip(names, shapes, strict=True)), ["y"]))


# Attention.

FORMS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3d": ((5, 24), (7, 24), {"q_num_heads": 4, "kv_num_heads": 4}),
    "3d grouped": ((5, 24), (7, 12), {"q_num_heads": 4, "kv_num_heads": 2}),
    "4d": ((4, 5, 6), (4, 7, 6), {}),
    "4d grouped": ((4, 5, 6), (2, 7, 6), {"scale": 0.3}),
    "4d causal": ((4, 5, 6), (4, 5, 6), {"is_causal": 1}),
}


def masks(length: int, keys: int) -> dict[str, Any]:
    hidden = normal(3, length, keys) > 0
    hidden[:, 0] = True
    return {"none": None, "bool": hidden, "real": normal(4, 1, 1, length, keys)}


@pytest.mark.parametrize("mask", ["none", "bool", "real"])
@pytest.mark.parametrize("form", FORMS)
def test_attention(form: str, mask: str) -> None:
    query, key, given = FORMS[form]
    chosen = masks(query[-2], key[-2])[mask]
    fixed = {} if chosen is None else {"mask": chosen}
    node = helper.make_node("Attention", ["q", "k", "v", *fixed], ["y"], **given)
    shapes: dict[str, Any] = {"q": ("N", *query), "k": ("N", *key), "v": ("N", *key)}
    model = onnx_model([node], shapes, ["y"], fixed, 23)
    arrays = {name: normal(number, 2, *shape[1:]) for number, (name, shape) in enumerate(shapes.items())}
    assert_matches_onnxruntime(model, arrays, rtol=1e-4, atol=ATOL)


@pytest.mark.parametrize(
    ("inputs", "outputs", "given", "reason"),
    [
        (["q", "q", "q"], ["y"], {"softcap": 2.0}, "soft cap"),
        (["q", "q", "q", "", "q", "q"], ["y"], {}, "cache of past keys"),
        (["q", "q", "q"], ["y", "k"], {}, "returns more than the attention"),
    ],
)
def test_attention_refusals(
    inputs: list[str], outputs: list[str], given: dict[str, Any], reason: str
) -> None:
    node = helper.make_node("Attention", inputs, outputs, **given)
    model = onnx_model([node], {"q": ("N", 2, 4, 4)}, ["y"], opset=23)
    with pytest.raises(UnsupportedOpError, match=reason):
        import_onnx(model)
