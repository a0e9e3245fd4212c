"""A checkpoint with missing or wrong values is an error that names the file and the key, or is used as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from vidcore.engine.checkpoint import Checkpoints, load, save
from vidcore.engine.weights import load_weights
from vidcore.errors import CheckpointError, UserError

MISSING = object()
WRONG = (
    MISSING, None, True, -1, 0, 7, 2**80, 0.5, float("nan"), "text", b"bytes", [], [1], (1, "a"), {}, {"a": 1}, {1: 2},
    torch.ones(2, 3), torch.tensor(1), torch.ones(3, dtype=torch.int8),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch with everything that a checkpoint can hold."""
    folder = tmp_path_factory.mktemp("run")
    toy.train(folder, epochs=1, size=8, ema_decay=0.5, validation=False)
    return folder


def places(value: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys of all values in nested dictionaries and lists; the first of several tensors stands for all."""
    if key:
        yield key
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for name, inner in pairs[:2] if key[:1] in (("state_dict",), ("training_weights",)) or len(key) == 2 else pairs:
        yield from places(inner, (*key, name))


def mangled(content: dict[str, Any], key: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(content)
    at: Any = found
    for name in key[:-1]:
        at = at[name]
    if value is MISSING:
        del at[key[-1]]
    else:
        at[key[-1]] = value
    return found


@pytest.mark.parametrize("part", range(2))
def test_every_value_of_a_checkpoint(run: Path, toy: ModuleType, tmp_path: Path, part: int) -> None:
    (newest,) = Checkpoints(run / "checkpoints").paths()
    content = load(newest)
    keys = list(places(content))
    assert {key[0] for key in keys} == content.keys() and len(keys) > 50
    (tmp_path / "checkpoints").mkdir()
    path, wrong, refused = tmp_path / "checkpoints" / newest.name, [], 0
    for number, key in list(enumerate(keys))[part::2]:
        for value in WRONG[number % 9 :: 9]:
            save(path, mangled(content, key, value))
            try:
                toy.train(tmp_path, steps=3, size=8, ema_decay=0.5, validation=False)
            except UserError as error:
                refused += 1
                named = "params" if "params" in key else str(key[-1])
                if newest.name not in str(error) or (key[0] != "state_dict" and named not in str(error)):
                    wrong.append(f"{key} = {value}: {error}")
            except Exception as error:
                wrong.append(f"{key} = {value}: {type(error).__name__}: {error}")
            for found in path.parent.iterdir():
                found.unlink()
    assert not wrong, "\n".join(wrong)
    assert refused > 10


@pytest.mark.parametrize("key", ["state_dict", "state_dict.fc.weight"])
def test_every_value_of_weights(run: Path, toy: ModuleType, tmp_path: Path, key: str) -> None:
    (newest,) = Checkpoints(run / "checkpoints").paths()
    content, place = load(newest), tuple(key.split(".", 1))
    for value in WRONG:
        save(tmp_path / "bad.pt", mangled(content, place, value))
        with pytest.raises(CheckpointError, match=rf"bad\.pt: .*({place[-1]}|weights|backbone|is missing)"):
            load_weights(toy.Net(), tmp_path / "bad.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_not_floating_point(toy: ModuleType, tmp_path: Path, dtype: torch.dtype) -> None:
    state = toy.Net().state_dict()
    save(tmp_path / "bad.pt", {"state_dict": state | {"fc.weight": state["fc.weight"].to(dtype)}})
    with pytest.raises(CheckpointError, match=rf"fc\.weight has numbers of the type {dtype} in the file"):
        load_weights(toy.Net(), tmp_path / "bad.pt")


@pytest.mark.parametrize("number", [0, 3, True, None, "2"])
def test_the_format_of_a_checkpoint(run: Path, toy: ModuleType, tmp_path: Path, number: Any) -> None:
    (newest,) = Checkpoints(run / "checkpoints").paths()
    save(tmp_path / "checkpoints" / newest.name, mangled(load(newest), ("format",), number))
    with pytest.raises(CheckpointError, match=rf"{newest.name}: (has format|format must be)"):
        toy.train(tmp_path, steps=3, size=8, ema_decay=0.5)
