"""The `.sir` file: exact, reproducible, whole or absent, mapped; nothing in a file is trusted."""

from __future__ import annotations

import contextlib
import io
import json
import math
import mmap
import os
import resource
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_graphs import graphs, small_network, structure

from snnc.ir import archive, archive_reader
from snnc.ir.archive import load, save, save_text
from snnc.ir.errors import ArchiveError, OutputError, ParseError, SnncError, VerifyError
from snnc.ir.graph import Graph
from snnc.ir.text import print_graph
from snnc.ir.types import DTYPES, TensorType
from snnc.ir.weights import write_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.ir.kernel_types import Array

# A temporary folder shared by the examples of one property is what the tests below want: one file, rewritten.
settings.register_profile("archive", deadline=None, suppress_health_check=list(HealthCheck))
ARCHIVE = settings.get_profile("archive")


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def forge(path: Path, contents: dict[str, bytes], **header: Any) -> Path:
    """Write a zip with these members; `header` sets fields of every member."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            for field, value in header.items():
                setattr(info, field, value)
            file.writestr(info, content)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.sir"
    save(small_network(), path, {"method": "multi-spike"})
    return path


def refusal(path: Path, **options: bool) -> SnncError:
    with pytest.raises(SnncError) as caught:
        load(path, **options)
    return caught.value


# What is written.


def test_members(saved: Path) -> None:
    contents = members(saved)
    assert list(contents) == ["graph.sir", "meta.json", "weights.safetensors"]
    assert contents["graph.sir"].decode() == print_graph(small_network(), inline_limit=0)
    meta = json.loads(contents["meta.json"])
    assert meta.pop("snnc")
    assert meta == {"format": 1, "method": "multi-spike"}
    weights = safetensors.numpy.load(contents["weights.safetensors"])
    assert {name: array.tolist() for name, array in weights.items()} == {
        name: array.tolist() for name, array in small_network().tensors.items()
    }


def test_the_same_network_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    other = small_network()
    other.tensors = dict(reversed(other.tensors.items()))
    again = tmp_path / "again.sir"
    save(other, again, {"method": "multi-spike"})
    assert again.read_bytes() == saved.read_bytes()
    with zipfile.ZipFile(saved) as file:
        for info in file.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert (info.create_system, info.external_attr >> 16) == (3, 0o644)


def test_weights_are_aligned(saved: Path) -> None:
    begin = saved.read_bytes().index(members(saved)["weights.safetensors"])
    assert begin % archive.ALIGNMENT == 0


@given(graph=graphs())
@settings(ARCHIVE, max_examples=50)
def test_a_graph_comes_back_as_it_was(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.sir"
    save(graph, path)
    assert structure(load(path).graph) == structure(graph)
    first = path.read_bytes()
    save(load(path).graph, path)
    assert path.read_bytes() == first
    save_text(graph, path)
    assert structure(load(path).graph) == structure(graph)


def test_arrays_need_not_be_contiguous(tmp_path: Path) -> None:
    graph = Graph("g")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    repeated: Array = np.broadcast_to(np.int8(3), (2, 3))
    arrays: dict[str, Array] = {"t": base.T, "s": base[::2, ::-3], "b": repeated, "z": np.array(5.0)}
    for name, array in arrays.items():
        graph.constant_value(array, name)
    save(graph, tmp_path / "net.sir")
    loaded = load(tmp_path / "net.sir").graph.tensors
    assert all(np.array_equal(loaded[name], array) for name, array in arrays.items())
    assert loaded["z"].shape == ()


def test_meta_comes_back_and_versions_are_ours(saved: Path, tmp_path: Path) -> None:
    network = load(saved)
    assert network.meta["method"] == "multi-spike"
    save(network.graph, tmp_path / "b.sir", {**network.meta, "format": 99})
    assert (tmp_path / "b.sir").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("value", [float("nan"), np.float32(1), {1, 2}])
def test_meta_must_be_json(tmp_path: Path, value: object) -> None:
    with pytest.raises(OutputError, match="its meta data are not JSON"):
        save(small_network(), tmp_path / "net.sir", {"bad": value})
    assert not list(tmp_path.iterdir())


def test_a_graph_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    graph = small_network()
    graph.add_output(graph.outputs[0].value, "probabilities")
    with pytest.raises(VerifyError, match="2 outputs are named"):
        save(graph, tmp_path / "net.sir")
    assert not list(tmp_path.iterdir())


# Whole or not at all.


@contextlib.contextmanager
def limited_disk() -> Iterator[None]:
    """Let no file grow beyond 1,000 bytes; not for longer, as pytest may be writing its report into one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [save, save_text])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "net.sir"
    path.write_text("old")
    message = r"(?s)^(?!.*cannot be written.*cannot be written).*net\.sir cannot be written: .*too large"
    with pytest.raises(OutputError, match=message), limited_disk():
        write(large_network(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.sir"]
    assert path.read_text() == "old"


def large_network(count: int = 2000) -> Graph:
    graph = Graph("large")
    x = graph.add_input("x", TensorType("f32", (count,)))
    weight = graph.add_tensor("w", np.zeros((1, count), np.float32))
    graph.add_output(graph.append("linear", [x], {"weight": weight}), "y")
    return graph


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupt(*arguments: object) -> None:
        (scratch,) = (file.name for file in tmp_path.iterdir())
        assert scratch.startswith(".snnc-")
        assert scratch.endswith(".tmp")
        raise error

    monkeypatch.setattr(archive, "write_tensors", interrupt)
    with pytest.raises(error):
        save(small_network(), tmp_path / "net.sir")
    assert not list(tmp_path.iterdir())


def test_a_network_may_replace_the_file_it_is_mapped_from(saved: Path) -> None:
    graph = load(saved).graph
    head = graph.tensors["head"].copy()
    save(graph, saved)
    assert np.array_equal(graph.tensors["head"], head)
    assert structure(load(saved).graph) == structure(graph)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    graph = small_network()
    with pytest.raises(OutputError, match=r"the folder .*missing does not exist"):
        save(graph, tmp_path / "missing" / "net.sir")
    with pytest.raises(OutputError, match="it is a folder"):
        save(graph, tmp_path)
    with pytest.raises(OutputError, match="it is not a regular file"):
        save_text(graph, "/dev/null")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        save(small_network(), tmp_path / "net.sir")


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.sir").symlink_to(tmp_path / "real" / "net.sir")
    save(small_network(), tmp_path / "link.sir")
    assert (tmp_path / "link.sir").is_symlink()
    assert [file.name for file in (tmp_path / "real").iterdir()] == ["net.sir"]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.tuples(st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    )
)
@settings(ARCHIVE, max_examples=60)
def test_weights_are_written_as_the_library_writes_them(given: dict[str, tuple[str, list[int]]]) -> None:
    tensors: dict[str, Array] = {
        name: np.arange(math.prod(shape)).reshape(shape).astype(DTYPES[dtype])
        for name, (dtype, shape) in given.items()
    }
    written = io.BytesIO()
    write_tensors(written, tensors)
    assert written.getvalue() == safetensors.numpy.save({name: tensors[name] for name in sorted(tensors)})


def test_saving_takes_no_memory_for_a_tensor(tmp_path: Path) -> None:
    graph = large_network(2**22)
    tracemalloc.start()
    save(graph, tmp_path / "net.sir")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < graph.tensors["w"].nbytes / 8


# What is mapped.


def test_weights_of_a_large_file_are_mapped_read_only_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_reader, "MAPPED", 2**20)
    path = tmp_path / "net.sir"
    save(large_network(2**22), path)
    tracemalloc.start()
    array = load(path).graph.tensors["w"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes / 4
    assert not array.flags.writeable
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner.obj, mmap.mmap)


def test_weights_are_checked_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "net.sir"
    graph = large_network()
    graph.tensors["w"] = np.full((1, 2000), np.nan, np.float32)
    save(graph, path)
    assert np.isnan(load(path).graph.tensors["w"]).all()
    assert "weight @w holds numbers that are not finite" in str(refusal(path, check_weights=True))
    save(large_network(), path)
    load(path, check_weights=True)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(8000)) + 100] = 1
    path.write_bytes(content)
    load(path)
    assert "weights.safetensors is damaged: its checksum" in str(refusal(path, check_weights=True))


# What is refused.


def test_files_of_other_kinds(tmp_path: Path) -> None:
    def refused(content: bytes, name: str = "net.sir") -> str:
        (tmp_path / name).write_bytes(content)
        error = refusal(tmp_path / name)
        assert isinstance(error, ArchiveError)
        assert error.where == str(tmp_path / name)
        return str(error)

    assert "the file is empty" in refused(b"")
    assert "this is an ONNX model" in refused(b"\x08\x0a\x12\x07pytorch")
    assert "snnc compile" in refused(b"anything", "model.onnx")
    assert "neither an archive nor text: byte 2 is not UTF-8" in refused(
        b"\x89\x50\xff\xfe".replace(b"\x89", b"a")
    )
    assert "truncated" in refused(b"PK")
    assert "this is a folder" in str(refusal(tmp_path))
    assert "there is no such file" in str(refusal(tmp_path / "missing.sir"))
    assert "not a regular file" in str(refusal(Path("/dev/null")))


def test_text_errors_name_the_file_and_the_member(saved: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.sir"
    text.write_text("sir 1\ngraph @g(\n")
    error = refusal(text)
    assert isinstance(error, ParseError)
    assert error.where == f"{text}:3:1"
    forge(saved, {**members(saved), "graph.sir": b"sir 1\n"})
    assert refusal(saved).where == f"{saved}/graph.sir:2:1"


def test_too_long_a_text(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_text(small_network(), tmp_path / "text.sir")
    monkeypatch.setattr(archive_reader, "MAX_TEXT", 100)
    assert "graph.sir has" in str(refusal(saved))
    assert "the text is longer than 100 bytes" in str(refusal(tmp_path / "text.sir"))
    monkeypatch.setattr(archive, "MAX_TEXT", 100)
    with pytest.raises(OutputError, match=r"graph\.sir has .* bytes, its limit is 100"):
        save(small_network(), saved)


def test_every_truncation_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(0, len(content), 7):
        saved.write_bytes(content[:length])
        assert isinstance(refusal(saved), ArchiveError)
    saved.write_bytes(content + b"\0")
    assert "truncated, or something is appended" in str(refusal(saved))


def test_the_member_list_is_exact(saved: Path) -> None:
    contents = members(saved)
    for name in contents:
        forge(saved, {key: value for key, value in contents.items() if key != name})
        assert f"the archive has no member {name}" in str(refusal(saved))
    for name in ("../evil", "/etc/passwd", "graph.sir/", "GRAPH.SIR", "graph.sir\0"):
        with_extra = {**contents, "xxxxxxxxxxxx"[: len(name)]: b""}
        forge(saved, with_extra)
        saved.write_bytes(saved.read_bytes().replace(b"xxxxxxxxxxxx"[: len(name)], name.encode()))
        assert "the archive has the unexpected member" in str(refusal(saved))


def test_duplicate_members(saved: Path) -> None:
    forge(saved, {**members(saved), "atem.json": b"{}"})
    saved.write_bytes(saved.read_bytes().replace(b"atem.json", b"meta.json"))
    assert "the archive has 2 members named meta.json" in str(refusal(saved))


def test_compressed_and_encrypted_members(saved: Path) -> None:
    contents = members(saved)
    forge(saved, contents, compress_type=zipfile.ZIP_DEFLATED)
    assert "the member graph.sir is compressed; it must be stored" in str(refusal(saved))
    forge(saved, contents)
    content = bytearray(saved.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    saved.write_bytes(content)
    assert "the member graph.sir is encrypted" in str(refusal(saved))


def test_an_endless_directory(saved: Path) -> None:
    forge(saved, {**members(saved), **{f"{number:080}": b"" for number in range(40)}})
    assert "the archive's directory claims" in str(refusal(saved))


def test_members_stand_where_the_directory_says(saved: Path) -> None:
    content = saved.read_bytes()
    directory = content.index(b"PK\x01\x02")

    def refused(offset: int, value: bytes) -> str:
        saved.write_bytes(content[:offset] + value + content[offset + len(value) :])
        return str(refusal(saved))

    assert "does not agree with the archive's directory" in refused(30, b"hpar")
    assert "does not agree with the archive's directory" in refused(directory + 42, b"\x01")
    assert "lies outside the archive" in refused(directory + 42, b"\xff\xff\xff\x0f")
    huge = struct.pack("<II", 2**30, 2**30)
    assert "claims 1073741824 bytes, the archive ends before" in refused(directory + 20, huge)
    size = struct.unpack_from("<I", content, directory + 20)[0] + 60
    assert "members of the archive overlap" in refused(directory + 20, struct.pack("<II", size, size))


def test_damaged_text_and_meta(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content.replace(b"@small", b"@smell", 1))
    assert "graph.sir is damaged: its checksum does not fit" in str(refusal(saved))
    saved.write_bytes(content.replace(b"multi-spike", b"multi-spoke", 1))
    assert "meta.json is damaged: its checksum does not fit" in str(refusal(saved))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (b"{", "meta.json is not JSON"),
        (b"\xff", "meta.json is not JSON"),
        (b"[" * 100_000, "meta.json is not JSON"),
        (b"[]", "meta.json does not state the format"),
        (b'{"format": true}', "meta.json does not state the format"),
        (b'{"format": 2, "snnc": "9.0"}', "in format 2, written by snnc 9.0; this snnc reads format 1"),
    ],
)  # fmt: skip
def test_meta(saved: Path, meta: bytes, message: str) -> None:
    forge(saved, {**members(saved), "meta.json": meta})
    assert message in str(refusal(saved))


# What the header of the weights may say.


def weights(header: object, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (2,), begin: int = 0, end: int = 8) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header claims 0 bytes, the member has 0"),
        (b"\0\0\0", "header claims 0 bytes, the member has 3"),
        ((2**63).to_bytes(8, "little"), "header claims 9223372036854775808 bytes"),
        (weights(b"{"), "header is not JSON"),
        (weights(b"[" * 100_000), "header is not JSON"),
        (weights(b"[]"), "header is not an object"),
        (weights({"t": 3}), "does not describe 't' by dtype, shape and data_offsets"),
        (weights({"t": {**entry(), "more": 1}}), "does not describe 't'"),
        (weights({"t": {**entry(), "data_offsets": [0]}}), "'t' has no two offsets"),
        (weights({"t": entry(begin=-4)}), "'t' has no two offsets"),
        (weights(b'{"t": %b, "t": %b}' % ((json.dumps(entry()).encode(),) * 2)), "names a tensor twice"),
        (weights({"t": entry("F16")}), "unknown element type 'F16'"),
        (weights({"t": entry([])}), "unknown element type '[]'"),
        (weights({"t": entry(shape="2")}), "'t' has no possible shape"),
        (weights({"t": entry(shape=[-2])}), "'t' has no possible shape"),
        (weights({"t": entry(shape=[True])}), "'t' has no possible shape"),
        (weights({"t": entry(shape=[2**40, 2**40])}), "'t' has no possible shape"),
        (weights({"t": entry(shape=[3])}), "'t' lies at 0..8; 12 bytes were expected at 0, 8 are there"),
        (weights({"t": entry(shape=[3], end=12)}), "'t' lies at 0..12; 12 bytes were expected at 0, 8"),
        (weights({"t": entry(shape=[1], begin=4)}), "'t' lies at 4..8; 4 bytes were expected at 0"),
        (weights({"s": entry(), "t": entry()}), "'t' lies at 0..8; 8 bytes were expected at 8"),
        (weights({"t": entry()}, bytes(9)), "9 bytes of elements, the header tells of 8"),
        (weights({"t": entry("BOOL", [8])}, bytes([2] * 8)), "bytes that are neither true nor false"),
        (weights({"s": entry()}), "tensor @t has no elements here"),
        (weights({"t": entry("I32")}), "declared as tensor<f32, 2> and given as i32, 2"),
        (weights({"t": entry(shape=[1, 2])}), "declared as tensor<f32, 2> and given as f32, 1 x 2"),
        (weights({"s": entry(), "t": entry(begin=8, end=16)}, bytes(16)), "'s' is in only one of"),
    ],
)  # fmt: skip
def test_weights(saved: Path, content: bytes, message: str) -> None:
    text = b"sir 1\ngraph @g() { return }\ntensor @t : tensor<f32, 2>\n"
    forge(saved, {**members(saved), "graph.sir": text, "weights.safetensors": content})
    assert message in str(refusal(saved))


def test_elements_in_the_text_of_an_archive(saved: Path) -> None:
    text = b"sir 1\ngraph @g() { return }\ntensor @t : tensor<f32, 2> = [1, 2]\n"
    forge(saved, {**members(saved), "graph.sir": text, "weights.safetensors": weights({}, b"")})
    assert "the tensor 't' is in only one of graph.sir and weights.safetensors" in str(refusal(saved))


def test_a_loaded_graph_verifies(saved: Path) -> None:
    text = b"sir 1\ngraph @g() { return }\ntensor @__metadata__ : tensor<f32, 2>\n"
    header = {"__metadata__": entry()}
    forge(saved, {**members(saved), "graph.sir": text, "weights.safetensors": weights(header)})
    error = refusal(saved)
    assert isinstance(error, VerifyError)
    assert error.where == str(saved)


@given(data=st.data())
@settings(ARCHIVE, max_examples=200)
def test_a_damaged_file_is_refused_or_harmless(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "net.sir"
    save(small_network(), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        network = load(path)
    except SnncError as error:
        place = error.where or ""
    else:
        place = str(path)
        assert print_graph(network.graph, inline_limit=0) == print_graph(small_network(), inline_limit=0)
    assert place.startswith(str(path))


def test_the_library_reads_what_we_map(saved: Path) -> None:
    library: dict[str, Array] = safetensors.numpy.load(members(saved)["weights.safetensors"])
    for name, array in load(saved).graph.tensors.items():
        assert (array.dtype, array.shape, array.tobytes()) == (
            library[name].dtype,
            library[name].shape,
            library[name].tobytes(),
        )
