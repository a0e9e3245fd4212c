"""Files of torch.save are read like torch reads them, and hostile ones cost little time and memory."""

from __future__ import annotations

import io
import pickle
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidcore.engine.checkpoint import load
from vidcore.engine.torch_files import Unknown, read_torch_file
from vidcore.engine.weights import read_weights
from vidcore.errors import CheckpointError, VideoError
from vidcore.features.files import read_features


def content() -> dict[str, Any]:
    shared = torch.arange(12.0).view(3, 4)
    return {
        "state_dict": OrderedDict(a=shared, tied=shared, row=shared[1], columns=shared.T, none=torch.empty(0, 4)),
        "scalar": torch.tensor(3),
        "dtypes": [
            torch.ones(3).to(t) for t in (torch.bool, torch.int8, torch.float16, torch.bfloat16, torch.complex64)
        ],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "one row expanded": torch.ones(1, 3).expand(5, 3),
        ("losses", "loss"): (1.5, 2),
        "plain": {"names": ["ü", b"x"], "set": {1, 2}, "frozen": frozenset({3}), "none": None, "big": 2**70},
        "shape": torch.Size([2, 3]),
        "dtype": torch.float16,
    }


def assert_same(a: Any, b: Any) -> None:
    if isinstance(b, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in b:
            assert_same(a[key], b[key])
    elif isinstance(b, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("zipped", [True, False])
def test_files_are_read_like_torch_does(tmp_path: Path, zipped: bool) -> None:
    wanted = content()
    torch.save(wanted, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_torch_file(tmp_path / "a.pth")
    assert_same(found, wanted)
    assert found["state_dict"]["a"].data_ptr() == found["state_dict"]["tied"].data_ptr(), "tied weights stay tied"
    assert found["state_dict"]["row"].data_ptr() == found["state_dict"]["a"][1].data_ptr()


def test_what_is_not_part_of_weights_is_refused_or_replaced(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "path": Path("a"), "number": np.float64(3)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: is refused: it holds more than weights \(pathlib\."):
        load(tmp_path / "a.pth")
    found = load(tmp_path / "a.pth", keep_unknown=True)
    assert torch.equal(found["w"], torch.ones(2))
    assert isinstance(found["path"], Unknown) and isinstance(found["number"], Unknown)


def archive(path: Path, data: bytes, records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", data)
        for name, record in records.items():
            file.writestr(f"archive/data/{name}", record)


class Storage:
    """A storage that promises some numbers, for ``Pickler``."""

    def __init__(self, numel: int, key: str = "0") -> None:
        self.numel, self.key = numel, key


class Call:
    """A call in a pickle."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return ("storage", torch.FloatStorage, value.key, "cpu", value.numel) if isinstance(value, Storage) else None


def pickled(value: Any) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, 2).dump(value)
    return stream.getvalue()


def tensor(storage: Storage, offset: Any, size: Any, stride: Any) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())


def nested(depth: int) -> Any:
    value: Any = (1,)
    for _ in range(depth):
        value = (value, value)
    return value


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


HOSTILE = {
    "a hash that takes years": None,
    "a set of such": None,
    "endless lists": {"a": [nested(60)]},
    "a list in itself": {"a": cycle()},
    "a storage that promises more than there is": {"a": tensor(Storage(10**12), 0, (10,), (1,))},
    "a storage that promises less": {"a": tensor(Storage(3), 0, (3,), (1,))},
    "a tensor that promises more": {"a": tensor(Storage(4), 0, (10**12,), (1,))},
    "a tensor that repeats a number": {"a": tensor(Storage(4), 0, (10**6, 10**6), (0, 0))},
    "a tensor that begins before its storage": {"a": tensor(Storage(4), -1, (4,), (1,))},
    "strides that leave the storage": {"a": tensor(Storage(4), 0, (2, 2), (3, 1))},
    "negative strides": {"a": tensor(Storage(4), 3, (4,), (-1,))},
    "a shape that is not of numbers": {"a": tensor(Storage(4), 0, (2.5,), (1,))},
    "a sparse tensor": {"a": Call(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, ())},
    "a large storage": {"a": Call(torch.FloatStorage, 10**12)},
    "no storage": {"a": tensor(Storage(4, "9"), 0, (4,), (1,))},
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("keep_unknown", [False, True])
def test_hostile_content(tmp_path: Path, kind: str, keep_unknown: bool) -> None:
    path = tmp_path / "bad.pth"
    value = pickled(HOSTILE[kind]) if HOSTILE[kind] else pickled_nested(60, kind)
    archive(path, value, {"0": np.arange(4, dtype=np.float32).tobytes()})
    tracemalloc.start()
    begin = time.monotonic()
    try:
        if keep_unknown and kind in ("a sparse tensor",):
            assert isinstance(load(path, keep_unknown=True)["a"], Unknown)
        else:
            with pytest.raises(CheckpointError, match=r"bad\.pth: is (truncated|refused)"):
                load(path, keep_unknown)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begin < 5


def pickled_nested(depth: int, kind: str) -> bytes:
    """A dictionary whose key, or a set whose element, is a nested tuple; Python itself would take years to make it."""
    tuples = b"K\x01\x85" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))
    if "hash" in kind:
        return b"\x80\x02}" + tuples + b"K\x01s."
    return b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\nset\n]" + tuples + b"a\x85Rs."


@pytest.mark.parametrize(("method", "size"), [(zipfile.ZIP_DEFLATED, 1 << 27), (zipfile.ZIP_LZMA, 1 << 20)])
def test_an_archive_that_unpacks_to_gigabytes(tmp_path: Path, method: int, size: int) -> None:
    path, numel = tmp_path / "bad.pth", size // 4
    archive(path, pickled({"a": tensor(Storage(numel), 0, (numel,), (1,))}), {"0": bytes(size)}, method)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"bad\.pth: is truncated, damaged"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_an_old_file_that_promises_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f"))  # 1000 numbers become 2^31 - 1
    assert path.read_bytes() != whole
    with pytest.raises(CheckpointError, match=r"bad\.pth: is truncated"):
        load(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"bad\.pth: is truncated"):
        load(path)


@pytest.mark.parametrize("header", [(1 << 40).to_bytes(8, "little"), (90_000_000).to_bytes(8, "little")])
def test_a_safetensors_header_of_absurd_size(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "bad.safetensors").write_bytes(header + b"{}")
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: is truncated"):
        read_weights(tmp_path / "bad.safetensors")


def test_a_feature_file_that_promises_more_than_it_holds(tmp_path: Path) -> None:
    archive(tmp_path / "a.pt", pickled(tensor(Storage(4), 0, (10**12, 4), (0, 1))), {"0": bytes(16)})
    with pytest.raises(VideoError, match="is not a tensor: a tensor promises"):
        read_features(tmp_path / "a.pt")
    torch.save(torch.ones(3, 4), tmp_path / "b.pt")
    assert read_features(tmp_path / "b.pt").shape == (3, 4)


class _Scripted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 4, 2, bias=False)
        self.tower = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
        self.tower.add_module("same", self.tower[0])
        self.scale = torch.nn.Parameter(torch.rand(3))
        self.register_buffer("count", torch.arange(3))
        self.size, self.names, self.sizes, self.rates = 2.0, ["a"], [1, 2], {"a": 0.5}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tower(x) * self.size


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torch_script_is_read_as_its_state_dict(tmp_path: Path, trace: bool) -> None:
    module = _Scripted()
    scripted = torch.jit.trace(module, torch.rand(1, 4)) if trace else torch.jit.script(module.half())
    torch.jit.save(scripted, tmp_path / "ViT.pt")
    found, _ = read_weights(tmp_path / "ViT.pt")
    assert_same(found, dict(module.state_dict()))


def test_torch_script_that_is_hostile(tmp_path: Path) -> None:
    def write(data: bytes) -> Path:
        with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
            archive.writestr("a/data.pkl", data)
            archive.writestr("a/constants.pkl", b"\x80\x02).")
            archive.writestr("a/code/__torch__.py", "raise SystemExit")
        return tmp_path / "a.pt"

    module = b"\x80\x02c__torch__\nNet\n)\x81q\x00}"
    with pytest.raises(CheckpointError, match=r"is refused: it holds more than weights \(os\.system"):
        load(write(module + b"(X\x01\x00\x00\x00ac" + b"os\nsystem\nX\x01\x00\x00\x00a\x85Rub."))
    with pytest.raises(CheckpointError, match="is truncated, damaged, or not a checkpoint"):
        load(write(module + b"X\x01\x00\x00\x00ah\x00sb."))  # holds itself
    assert load(write(module + b"X\x01\x00\x00\x00aK\x01sb.")) == {}
