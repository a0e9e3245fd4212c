"""Read files of ``torch.save`` and the tensors of ``torch.jit.save``, without running code from them and with no more
memory than their size promises.

``torch.load(weights_only=True)`` runs no code either, but believes what the file promises: nested tuples take years to
hash, a tensor claims more numbers than are stored, a few kilobytes unpack to gigabytes.
"""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import define, frozen

from vidcore.files import check_archive
from vidcore.pickles import Function, PlainUnpickler, Unknown, UnsafeError, as_set, check_size, ordered, to_bytes

__all__ = ["Unknown", "UnsafeError", "read_torch_file"]

EXPANDED = 1 << 20
"""Bytes of a tensor that repeats its numbers, like a row that is expanded to a table."""
CHUNK = 1 << 20
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
"""First values of a file of PyTorch before 1.6."""


def read_torch_file(path: Path, keep_unknown: bool = False) -> Any:
    """Return the content of a file of ``torch.save``: tensors on the CPU, numbers, strings and containers of them.

    Of a file of ``torch.jit.save`` (TorchScript), return the tensors of the module, like its state dict.

    Args:
        path: in the format of any version of PyTorch.
        keep_unknown: return ``Unknown`` in place of everything else.

    Raises:
        UnsafeError: the file holds something else, and ``keep_unknown`` is false.
        Exception: of any type: the file is damaged, or not of ``torch.save``.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            content = _read_old(data, keep_unknown)
    else:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, max(4 * path.stat().st_size, 1 << 26))
            content = _read_archive(archive, keep_unknown)
    check_size(content)
    return dict(_tensors(content)) if isinstance(content, _Module) else content


class _Module(dict[str, Any]):
    """The attributes of a module of TorchScript; its code is not read."""


def _tensors(module: _Module, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a module and of those in it, with their names in a state dict."""
    for name, value in module.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")


@define(eq=False)
class _Storage:
    """Numbers of one or several tensors."""

    data: torch.Tensor
    """(bytes,) uint8."""
    dtype: torch.dtype | None
    """None if each tensor has its own."""


def _read_archive(archive: zipfile.ZipFile, keep_unknown: bool) -> Any:
    (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl") and n.count("/") == 1)
    folder = name.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("its numbers have their bytes in the order of a different machine")

    def find(kind: torch.dtype | None, key: str, numel: int) -> torch.Tensor:
        return _record(archive, f"{folder}data/{key}")

    return _Unpickler(BytesIO(archive.read(name)), find, keep_unknown).load()


def _record(archive: zipfile.ZipFile, name: str) -> torch.Tensor:
    """Return the bytes of a file in the archive, which must match their checksum."""
    data = bytearray(archive.getinfo(name).file_size)
    place = 0
    with archive.open(name) as file:
        while chunk := file.read(CHUNK):
            data[place : place + len(chunk)] = chunk
            place += len(chunk)
    if place != len(data):
        raise ValueError(f"{name} is cut off")
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _read_old(file: mmap.mmap, keep_unknown: bool) -> Any:
    """Read a file of PyTorch before 1.6: several pickles, then the numbers."""
    storages: dict[str, tuple[torch.Tensor, int]] = {}
    left = file.size()

    def find(dtype: torch.dtype | None, key: str, numel: int) -> torch.Tensor:
        nonlocal left
        width = dtype.itemsize if dtype else 1
        left -= numel * width
        if left < 0:
            raise ValueError("it promises more numbers than it holds")
        storages[key] = torch.zeros(numel * width, dtype=torch.uint8), width
        return storages[key][0]

    def refuse(*_: Any) -> torch.Tensor:
        raise ValueError("numbers in a place where there are none")

    if _Unpickler(file, refuse, False).load() != MAGIC or _Unpickler(file, refuse, False).load() != VERSION:
        raise ValueError("is not a file of torch.save")
    _Unpickler(file, refuse, keep_unknown).load()  # the machine it was written on
    content = _Unpickler(file, find, keep_unknown).load()
    for key in _Unpickler(file, refuse, False).load():
        data, width = storages[key]
        if int.from_bytes(file.read(8), "little") * width != len(data) or file.tell() + len(data) > file.size():
            raise ValueError("it is cut off")
        data.numpy()[:] = np.frombuffer(file.read(len(data)), np.uint8)
    return content


Find = Callable[[torch.dtype | None, str, int], torch.Tensor]
"""Returns the (bytes,) uint8 of a storage: from its dtype, its key and its number of elements."""

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": None,
}


@frozen(eq=False)
class _Kind:
    """The class of a storage."""

    dtype: torch.dtype | None


def _rebuild(function: Function, kind: Any, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    tensor: torch.Tensor = function.call(*arguments)
    return tensor


def _tensor(storage: _Storage, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    return _view(storage.data, storage.dtype, offset, size, stride)


def _tensor_of(
    storage: _Storage, offset: int, size: Any, stride: Any, grad: bool, hooks: Any, dtype: torch.dtype, *_: Any
) -> torch.Tensor:
    return _view(storage.data, dtype, offset, size, stride)


def _view(data: torch.Tensor, dtype: torch.dtype | None, offset: int, size: Any, stride: Any) -> torch.Tensor:
    """Return a tensor over the bytes of a storage, if it lies within."""
    if not isinstance(dtype, torch.dtype):
        raise TypeError("a tensor without a dtype")
    size, stride, count, needed = tuple(size), tuple(stride), 1, offset
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in (offset, *size, *stride)):
        raise ValueError(f"a tensor of shape {size[:9]}")
    for length, step in zip(size, stride, strict=True):
        count *= length
        needed += (length - 1) * step
    held = len(data) // dtype.itemsize
    if (count and needed >= held) or (count > held and count * dtype.itemsize > EXPANDED):
        raise ValueError(f"a tensor promises {size[:9]} numbers and holds {held}")
    return data[: held * dtype.itemsize].view(dtype).as_strided(size, stride, offset if count else 0)


LISTS = ("bool", "double", "int", "tensor")
_MODULE = Function(lambda *_: _Module())
_PARAMETER = Function(lambda tensor, *_: tensor)
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Function(ordered),
    **{(module, kind): Function(as_set) for module in ("builtins", "__builtin__") for kind in ("set", "frozenset")},
    ("_codecs", "encode"): Function(to_bytes),
    ("torch", "Size"): Function(lambda items: tuple(items)),
    ("torch", "device"): Function(lambda *parts: ":".join(map(str, parts))),
    ("torch._utils", "_rebuild_tensor"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Function(_tensor_of),
    ("torch._utils", "_rebuild_parameter"): _PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): _PARAMETER,
    ("torch._tensor", "_rebuild_from_type_v2"): Function(_rebuild),
    ("torch.jit._pickle", "restore_type_tag"): Function(lambda value, tag: value),
    **{("torch.jit._pickle", f"build_{kind}list"): Function(lambda items: items) for kind in LISTS},
    ("torch.storage", "UntypedStorage"): _Kind(None),
    **{("torch", name): _Kind(dtype) for name, dtype in DTYPES.items()},
    **{("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
    ("torch", "Tensor"): Unknown("torch.Tensor"),  # only given to ``_rebuild``
    ("torch._tensor", "Tensor"): Unknown("torch.Tensor"),
    ("torch.nn.parameter", "Parameter"): Unknown("torch.nn.Parameter"),
}


class _Unpickler(PlainUnpickler):
    """Makes plain values and tensors only."""

    known = _KNOWN

    def __init__(self, file: Any, find: Find, keep_unknown: bool) -> None:
        super().__init__(file, keep_unknown)
        self._find = find
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":  # a class in the code of the file
            return _MODULE
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        what, kind, key, _, numel, *view = pid
        if what != "storage" or not isinstance(kind, _Kind) or type(numel) is not int or numel < 0 or any(view):
            raise ValueError(f"a storage of the kind {what!r}")
        known = self._storages.get(key)
        if known is None:
            known = self._storages[key] = _Storage(self._find(kind.dtype, str(key), numel), kind.dtype)
        if len(known.data) != numel * (kind.dtype.itemsize if kind.dtype else 1):
            raise ValueError(f"a storage promises {numel} numbers and holds {len(known.data)} bytes")
        return _Storage(known.data, kind.dtype)

    def build(self, target: Any, state: Any) -> None:
        if isinstance(target, _Module) and isinstance(
            state, dict
        ):  # those of a state dictionary are versions of modules
            self.fill(target, state.items())
