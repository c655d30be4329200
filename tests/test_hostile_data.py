"""Data files from anybody: bombs, forged sizes, pickles. One refusal, in little memory."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.cli.options import DataOptions, parse_dim, recorded_normalise, recorded_steps
from snnc.data import load_data, parse_number
from snnc.data_file import FREELY, TIMES
from snnc.ir.errors import ArchiveError, DataError, OptionError

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 16 * 2**20
X = np.arange(24, dtype=np.float32).reshape(6, 4)


def refusal(path: Path, **options: int) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            load_data(path, **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    assert caught.value.where == str(path)
    return caught.value.message


def npy(header: str | bytes, elements: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An array's file with any header."""
    text = header if isinstance(header, bytes) else header.encode()
    width = 2 if version == b"\x01\x00" else 4
    return b"\x93NUMPY" + version + len(text).to_bytes(width, "little") + text + elements


def described(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


HEADERS = pytest.mark.parametrize(
    ("header", "says"),
    [
        (described(f"({2**40},)"), f"array 'x' needs {2**42} bytes, the file has 8"),
        (described(f"({2**62}, {2**62})"), "array 'x' has no possible shape"),
        (described(f"({2**40}, {2**40}, 0)"), "array 'x' has no possible shape|cannot be read"),
        (described("(-1, 4)"), "array 'x' has no possible shape: the dimension -1 is negative"),
        (described(str((1,) * 33)), "33 axes exceed the limit of 32"),
        (described("(1,)", "'|O'"), "array 'x' holds Python objects, which are not read"),
        (described("(1,)", "'<U2'"), "array 'x' holds <U2, which is not numbers"),
        (described("(1,)", "'|V0'"), "which is not numbers"),
        (described("(" * 5000), "cannot be read"),
        ("{" * 9000, "cannot be read"),
        ("'" * 77, "cannot be read"),
        (b"\xff" * 60, "cannot be read"),
        ("__import__('os').system('true')", "cannot be read"),
        ("", "cannot be read"),
    ],
)


@HEADERS
@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00"])
def test_forged_headers(header: str | bytes, says: str, version: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy(header, bytes(8), version))
    assert any(text in refusal(path) for text in says.split("|"))


@HEADERS
def test_forged_headers_in_an_archive(header: str | bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(header, bytes(8)))
    assert any(text in refusal(path) for text in says.split("|"))


def test_an_unknown_version(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(described("(1,)"), version=b"\x09\x00"))
    assert "version (9, 0) of the format, which is not known" in refusal(tmp_path / "x.npy")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "holds Python objects, which are not read" in refusal(tmp_path / "x.npy")
    (tmp_path / "y.npy").write_bytes(pickle.dumps({}))
    assert "cannot be read" in refusal(tmp_path / "y.npy")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "<i8", "|b1", "<f2"])
@pytest.mark.parametrize("shape", [(6, 4), (5,), (2, 3, 4), (0, 4)])
def test_sound_files_are_read_as_numpy_reads_them(
    order: str, dtype: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape).astype(dtype), order=order)
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", x=array)
    for name in ("x.npy", "x.npz"):
        found = load_data(tmp_path / name).arrays["x"]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


# Archives.


def compressed(path: Path, elements: int) -> Path:
    np.savez_compressed(path, x=np.zeros((elements, 1), np.uint8))
    return path


def test_a_zip_bomb(tmp_path: Path) -> None:
    path = compressed(tmp_path / "x.npz", FREELY + 2**10)
    says = refusal(path)
    assert says == (
        f"the file has {path.stat().st_size} bytes and would become {FREELY + 2**10 + 128}, "
        f"more than {TIMES} times as many"
    )
    assert load_data(compressed(tmp_path / "y.npz", 2**20)).arrays["x"].shape == (2**20, 1)


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """The bomb that needs no compression: every entry of the directory points to one member."""
    path = tmp_path / "x.npz"
    np.savez(path, aaaa=X)
    content = path.read_bytes()
    directory, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[directory:end]
    entries = b"".join(entry.replace(b"aaaa", f"{number:04}".encode()) for number in range(1000))
    tail = content[end : end + 8] + (1000).to_bytes(2, "little") * 2 + len(entries).to_bytes(4, "little")
    path.write_bytes(content[:directory] + entries + tail + content[end + 16 :])
    assert refusal(path) in ("the file is damaged: its arrays overlap",) or "would become" in refusal(path)


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path, file = tmp_path / "x.npz", io.BytesIO()
    np.save(file, X)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w") as archive:
        for _ in range(2):
            archive.writestr("x.npy", file.getvalue())
    assert refusal(path) == "the file holds two arrays named 'x'"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_compress_without_bounds(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.writestr("x.npy", npy(described("(1,)"), bytes(4)))
    assert "compressed in a way that numpy does not" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x", "../../x", "x\x1b[31m.txt", "x.npy/"])
def test_members_that_are_no_arrays(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr(name, b"")
    assert "which is no array" in refusal(tmp_path / "x.npz")


def test_a_size_that_is_a_lie(tmp_path: Path) -> None:
    """The directory says how long a member is once unpacked: no more is read."""
    path = compressed(tmp_path / "x.npz", 1000)
    content = path.read_bytes()
    for lie in (0, 60, 600, 1127):
        path.write_bytes(content.replace((1128).to_bytes(4, "little"), lie.to_bytes(4, "little")))
        says = refusal(path)
        assert "needs 1000 bytes" in says or "cannot be read" in says


def test_damaged_compression(tmp_path: Path) -> None:
    path = compressed(tmp_path / "x.npz", 1000)
    content = path.read_bytes()
    packed = zlib.compress(bytes(10))[2:6]
    path.write_bytes(content[:60] + packed + content[64:])
    assert "cannot be read" in refusal(path)


# Events.


def events(path: Path, **arrays: object) -> Path:
    given = {"events": np.zeros((4, 4), np.int64), "size": [8, 8], "counts": [4]}
    np.savez_compressed(path, **{name: np.asarray(array) for name, array in {**given, **arrays}.items()})
    return path


@pytest.mark.parametrize(
    ("arrays", "bins"),
    [
        ({"size": [2**31, 2**31]}, 4),
        ({"size": [2**62, 2]}, 4),
        ({"size": [20_000, 20_000]}, 4),
        ({"counts": [4] + [0] * 1_000_000}, 4),
        ({}, 10**9),
    ],
)
def test_frames_that_would_fill_the_memory(arrays: dict[str, list[int]], bins: int, tmp_path: Path) -> None:
    path = events(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=r"would take [0-9]+ bytes"):
        load_data(path, bins=bins)


@pytest.mark.parametrize(
    "arrays",
    [
        {"size": [np.nan, 8]},
        {"size": [np.inf, 8]},
        {"size": [-1, 8]},
        {"size": [8.5, 8]},
        {"counts": [2**63 - 1, 2**63 - 1, 6]},
        {"counts": [-4, 8]},
        {"events": np.full((4, 4), np.nan)},
        {"events": np.full((4, 4), 1e300)},
        {"events": np.full((4, 4), 2**63 - 1)},
    ],
)
def test_events_that_are_none(arrays: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_data(events(tmp_path / "x.npz", **arrays), bins=2)


# Numbers.


@pytest.mark.parametrize(
    "text", ["1e999999999", "1" * 50, "9" * 5000, "1/" + "0" * 30, "nan", "inf", "1e400", "--1", ""]
)
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match="is not a number"):
        parse_number(text)
    with pytest.raises(OptionError, match=r"--scale .* cannot be read"):
        DataOptions(text, None, None, None, None).normalise()


@pytest.mark.parametrize(
    ("text", "value"), [("1/255", 1 / 255), (" .485 ", 0.485), ("-2e-3", -2e-3), ("+3/4", 0.75)]
)
def test_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


def test_a_dimension_of_many_digits() -> None:
    with pytest.raises(Exception, match="neither N nor a positive integer"):
        parse_dim("9" * 5000, "x=" + "9" * 5000)


# What a network's record claims.


@pytest.mark.parametrize("steps", [0, -1, True, 2.0, "4", None, [], 10**30, 2**16 + 1])
def test_recorded_steps(steps: object) -> None:
    with pytest.raises(ArchiveError, match="time steps, which is not a number from 1 to 65536"):
        recorded_steps({"steps": steps})


@pytest.mark.parametrize(
    "normalise",
    [
        3,
        [],
        {},
        {"scale": 10**400, "mean": [], "std": []},
        {"scale": 1, "mean": 3, "std": []},
        {"scale": 1, "mean": [[]], "std": []},
    ],
)
def test_recorded_normalisation(normalise: object) -> None:
    with pytest.raises(ArchiveError, match="record of its calibration is damaged"):
        recorded_normalise({"calibration": {"normalise": normalise}})
