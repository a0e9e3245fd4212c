"""No setting vanishes: each is in the Task, or is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vid_mmaction2.config import Imported, convert_config
from vid_mmaction2.reader import read_config
from vidcore.plugins.catalog import Catalog

CONFIGS = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[4] / "shared")) / "parity" / "configs"
Place = tuple[str | int, ...]
OTHER_VALUES = ("~", None, True, False, 7919, {"~": 1}, [[["~"]]])
"""A setting that is read gives a different result with one of these."""

MORE: dict[str, Any] = {
    "custom_hooks": [
        {"type": "EMAHook", "momentum": 0.001, "priority": "LOW", "update_buffers": True},
        {"type": "EarlyStoppingHook", "monitor": "acc/top1", "patience": 3, "min_delta": 0.01},
        {"type": "PreciseBNHook", "num_iters": 50, "interval": 2},
        {"type": "VisualizationHook", "enable": True, "interval": 9},
    ],
    "env_cfg": {"cudnn_benchmark": False, "mp_cfg": {"mp_start_method": "fork"}, "resource_limit": 4096},
    "log_processor": {"type": "LogProcessor", "by_epoch": False, "num_digits": 3, "custom_cfg": [{"data_src": "x"}]},
    "model_wrapper_cfg": {"type": "MMDistributedDataParallel", "static_graph": False, "broadcast_buffers": True},
    "visualizer": {
        "type": "ActionVisualizer",
        "name": "v",
        "vis_backends": [
            {"type": "LocalVisBackend", "save_dir": "a"},
            {"type": "WandbVisBackend", "init_kwargs": {"project": "p", "entity": "e"}, "commit": True},
        ],
    },
    "val_evaluator": {"type": "Evaluator", "metrics": [{"type": "ConfusionMatrix", "prefix": "p"}]},
    "test_evaluator": [{"type": "AccMetric"}, {"type": "DumpResults", "out_file_path": "x.pkl"}],
    "load_from": "https://example.org/a.pth",
    "resume": True,
    "work_dir": "runs",
    "launcher": "slurm",
    "log_level": "DEBUG",
    "default_scope": "mmaction",
    "tta_model": {"type": "X"},
    "compile": True,
    "find_unused_parameters": True,
}
"""Sections to add to those of the other tests."""


@pytest.fixture(params=["1.x", "0.x"])
def whole(request: pytest.FixtureRequest, published: dict[str, Any], older: dict[str, Any]) -> dict[str, Any]:
    return published | MORE if request.param == "1.x" else older


def values(config: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Everything within a configuration, with its place; lists of plain values are not taken apart."""
    if isinstance(config, dict):
        inner: Any = config.items()
    elif isinstance(config, list) and any(isinstance(item, dict | list) for item in config):
        inner = enumerate(config)
    else:
        inner = ()
    for key, value in inner:
        yield (*at, key), value
        yield from values(value, (*at, key))


def replaced(config: Any, place: Place, value: Any) -> Any:
    """A copy of a configuration with another value at a place."""
    if not place:
        return value
    changed = dict(config) if isinstance(config, dict) else list(config)
    changed[place[0]] = replaced(config[place[0]], place[1:], value)
    return changed


def written(place: Place) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".")


def named(imported: Imported) -> set[str]:
    """The places that the lists name, each as a whole."""
    lines = (*imported.problems, *imported.left_out, *imported.implied)
    return {line.partition(": ")[0].removesuffix(".type") for line in lines} | set(imported.variables)


def is_read(config: dict[str, Any], place: Place, plain: Imported, catalog: Catalog) -> bool:
    if {written(place[: i + 1]) for i in range(len(place))} & named(plain):
        return True
    return any(convert_config(replaced(config, place, value), catalog) != plain for value in OTHER_VALUES)


def test_every_setting_is_read(catalog: Catalog, whole: dict[str, Any]) -> None:
    plain = convert_config(whole, catalog)
    leaves = [place for place, value in values(whole) if not isinstance(value, dict) or not value]
    assert [written(place) for place in leaves if not is_read(whole, place, plain, catalog)] == []


def test_an_unknown_key_is_named_wherever_it_is(catalog: Catalog, whole: dict[str, Any]) -> None:
    tables = [((), whole), *((place, value) for place, value in values(whole) if isinstance(value, dict))]
    silent = []
    for place, table in tables:
        got = convert_config(replaced(whole, place, {**table, "zzz": 5}), catalog)
        lines = " ".join((str(got.task), *got.problems, *got.left_out, *got.implied, *got.variables))
        if "zzz" not in lines and not any(line.startswith(f"{written(place)}: ") for line in got.problems):
            silent.append(written(place))
    assert silent == []


def test_a_setting_with_a_wrong_name_is_noted(catalog: Catalog, published: dict[str, Any]) -> None:
    published["optim_wraper"] = published.pop("optim_wrapper")
    imported = convert_config(published, catalog)
    assert "optim_wraper: is read as a variable; the setting is called optim_wrapper" in imported.notes
    assert imported.variables == ("custom_variable", "optim_wraper")


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="the published configurations are not there")
def test_every_setting_of_the_published_configurations_is_read(catalog: Catalog) -> None:
    seen = set()
    silent = []
    for path in sorted(CONFIGS.rglob("*.json")):
        config = read_config(path)
        plain = convert_config(config, catalog)
        kinds: dict[Place, Any] = {(): None}
        for place, value in values(config):
            if isinstance(value, dict):
                kinds[place] = value.get("type")
                continue
            # a key of a kind of table is treated in the same way in all configurations
            keys = tuple(key for key in place if isinstance(key, str))
            what = (
                keys[0],
                keys[-3:],
                str(next(kinds[place[:i]] for i in range(len(place), -1, -1) if place[:i] in kinds)),
            )
            if what not in seen and not is_read(config, place, plain, catalog):
                silent.append(f"{path.stem}: {written(place)}")
            seen.add(what)
    assert silent == []
