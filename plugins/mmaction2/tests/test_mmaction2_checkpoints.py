"""Published checkpoints, read without executing pickled code."""

from __future__ import annotations

import hashlib
import resource
import sys
import types
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_mmaction2.checkpoints import Published, convert_weights, read_checkpoint, write_checkpoint
from vidcore.engine.weights import read_weights
from vidcore.errors import CheckpointError


class Payload:
    """Creates a file when unpickled by an ordinary reader."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def _foreign(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return objects of a module that no longer exists when the file is read, as in published files."""
    module = types.ModuleType("trainer_of_old")

    class HistoryBuffer:
        def __init__(self) -> None:
            self.log, self.recent, self.table = np.arange(3.0), deque([1, 2]), {"x": np.float64(1)}

    class Config(dict):
        pass

    for cls in (HistoryBuffer, Config):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return [HistoryBuffer(), Config(a=1, b=HistoryBuffer())]


STATE = OrderedDict(
    {
        "module.backbone.conv1.conv.weight": torch.arange(12.0).reshape(2, 6)[:, ::2],
        "module.backbone.conv1.bn.num_batches_tracked": torch.tensor(7),
        "data_preprocessor.mean": torch.zeros(3),
        "cls_head.fc_cls.bias": torch.nn.Parameter(torch.ones(2, dtype=torch.float16)),
    }
)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_and_classes_are_read_and_other_objects_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    marker, path = tmp_path / "executed", tmp_path / "published.pth"
    content = {
        "meta": {"dataset_meta": {"classes": ["run", "jump"]}, "epoch": np.int64(3), "hub": _foreign(monkeypatch)},
        "message_hub": {"bad": Payload(marker), "more": [Payload(marker)]},
        "state_dict": STATE,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}},
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "trainer_of_old")

    got = read_checkpoint(path)

    assert not marker.exists()
    assert "trainer_of_old" not in sys.modules
    assert got.classes == ("run", "jump")
    assert list(got.weights) == [
        "backbone.conv1.conv.weight",
        "backbone.conv1.bn.num_batches_tracked",
        "cls_head.fc_cls.bias",
    ]
    assert torch.equal(got.weights["backbone.conv1.conv.weight"], STATE["module.backbone.conv1.conv.weight"])
    assert got.weights["cls_head.fc_cls.bias"].dtype == torch.float16
    assert got.dropped == ("data_preprocessor.mean",)


def test_a_damaged_file_is_refused_although_torch_would_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "published.pth"
    torch.save({"state_dict": {"w": torch.full((1000,), 7.0)}, "hub": _foreign(monkeypatch)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(np.full(8, 7.0, np.float32).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vidcore_loads_what_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    transposed = torch.arange(6.0).reshape(2, 3).T
    write_checkpoint(path, Published({"fc.weight": transposed}, ("run", "jump"), ()))
    weights, about = read_weights(path)
    assert torch.equal(weights["fc.weight"], transposed)
    assert about == {"class_names": ["run", "jump"]}


@pytest.mark.parametrize("table", ["state_dict", "model_state", "model", "module"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_of_files_and_models_are_removed(tmp_path: Path, table: str, prefix: str) -> None:
    torch.save({table: {f"{prefix}backbone.module.weight": torch.ones(2)}}, tmp_path / "x.pth")
    got = read_checkpoint(tmp_path / "x.pth")
    assert (list(got.weights), got.dropped) == (["backbone.module.weight"], ())


def test_plain_state_dicts_and_older_class_names(tmp_path: Path) -> None:
    torch.save(dict(STATE), tmp_path / "plain.pth")
    assert read_checkpoint(tmp_path / "plain.pth").classes is None
    torch.save({"state_dict": STATE, "meta": {"CLASSES": ("a", "b")}}, tmp_path / "old.pth")
    assert read_checkpoint(tmp_path / "old.pth").classes == ("a", "b")


def test_the_hash_in_the_name_is_verified(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE}, tmp_path / "x.pth")
    digest = hashlib.sha256((tmp_path / "x.pth").read_bytes()).hexdigest()
    good = (tmp_path / "x.pth").rename(tmp_path / f"tsn_20220901-{digest[:8]}.pth")
    assert read_checkpoint(good).weights
    bad = good.rename(tmp_path / "tsn_20220901-00000000.pth")
    with pytest.raises(CheckpointError, match=f"SHA-256 begins with {digest[:8]}, but its name has 00000000"):
        read_checkpoint(bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello", "is truncated, damaged"), (None, "cannot be read: No such file")],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"bad\.pth: {message}"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a list is object 2^31 - 1
        b"\x80\x05\x96" + (1 << 32).to_bytes(8, "little"),  # bytearray
        b"\x80\x04\x8e" + (1 << 36).to_bytes(8, "little"),  # bytes
        b"\x80\x04\x95" + (1 << 36).to_bytes(8, "little"),  # frame
    ],
)
def test_a_short_file_takes_little_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"bad\.pth: is (truncated|refused)"):
        read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"meta": {"epoch": 1}}, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="no weights found"):
        read_checkpoint(tmp_path / "none.pth")


def test_convert_weights_keeps_weights_of_models_only() -> None:
    assert set(convert_weights({"data_preprocessor.std": torch.ones(1), "a": torch.ones(1), "b": 3})) == {"a"}
