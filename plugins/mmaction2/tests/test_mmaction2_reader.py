"""Reading of MMAction2 configuration files as data."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from vid_mmaction2.reader import read_config
from vidcore.errors import ConfigError

CONFIGS = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[4] / "shared")) / "parity" / "configs"


def read(folder: Path, text: str, name: str = "c.py") -> dict[str, Any]:
    path = folder / name
    path.write_text(text)
    return read_config(path)


def test_a_simple_configuration_is_read_as_plain_data(tmp_path: Path) -> None:
    got = read(
        tmp_path,
        """
'''docstring'''
import os.path as osp
dataset_type = 'VideoDataset'
file_client_args = dict(io_backend='disk')
train_pipeline = [
    dict(type='DecordInit', **file_client_args),
    dict(type='Resize', scale=(-1, 256)),
]
sizes, clip_len = [8] * 2 + [1], 4 * 8 // 2
label_map = {86: 87}
train_dataloader = dict(batch_size=8, dataset=dict(type=dataset_type, pipeline=train_pipeline))
train_dataloader['batch_size'] = 4
train_pipeline.append(dict(type='PackActionInputs'))
work_dir = f'./runs/{dataset_type}_{clip_len:03d}'
ann = 'list_{}.txt'.format('val')
rate = 0.01 / 8 if clip_len > 8 else -1
none: bool = None
""",
    )
    assert got["train_dataloader"] == {
        "batch_size": 4,
        "dataset": {
            "type": "VideoDataset",
            "pipeline": [
                {"type": "DecordInit", "io_backend": "disk"},
                {"type": "Resize", "scale": [-1, 256]},
                {"type": "PackActionInputs"},
            ],
        },
    }
    assert (got["sizes"], got["clip_len"], got["label_map"]) == ([8, 8, 1], 16, {"86": 87})
    assert (got["work_dir"], got["ann"], got["rate"]) == ("./runs/VideoDataset_016", "list_val.txt", 0.00125)
    assert got["none"] is None and "osp" not in got


@pytest.mark.parametrize(
    "imports",
    ["import os", "import os.path", "from os import path\njoin = None", "import os.path as p", "import sys, os"],
)
def test_paths_are_joined(tmp_path: Path, imports: str) -> None:
    join = {"import os.path as p": "p.join", "from os import path\njoin = None": "path.join"}.get(
        imports, "os.path.join"
    )
    assert read(tmp_path, f"{imports}\nx = {join}('data', 'k400', f'{{1:02d}}.txt')")["x"] == "data/k400/01.txt"


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffx = 1\r\n")["x"] == 1
    assert read(tmp_path, '\ufeff{"x": 1}', "c.json") == {"x": 1}


def test_dictionaries_are_merged(tmp_path: Path) -> None:
    assert read(tmp_path, "x = dict(a=1, b=2)\ny = x | {'b': 3}")["y"] == {"a": 1, "b": 3}


def test_inheritance_merges_dictionaries_and_replaces_the_rest(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.py").write_text(
        "model = dict(type='R', backbone=dict(depth=50, pretrained='x'), head=dict(a=1, b=2))\nsteps = [1, 2]\nnum = 7"
    )
    (tmp_path / "base" / "run.py").write_text("hooks = dict(checkpoint=dict(interval=1))")
    mid = "_base_ = ['base/model.py', 'base/run.py']\nmodel = dict(backbone=dict(depth=101))"
    (tmp_path / "mid.py").write_text(mid)
    got = read(
        tmp_path,
        """
_base_ = 'mid.py'
model = dict(head=dict(_delete_=True, c={{_base_.num}}))
steps = _base_.steps + [3]
name = '{{ fileBasenameNoExtension }}-{{_base_.num}}'
depth = '{{_base_.model.backbone.depth}}'
""",
    )
    assert got["model"] == {"type": "R", "backbone": {"depth": 101, "pretrained": "x"}, "head": {"c": 7}}
    assert (got["steps"], got["name"], got["depth"]) == ([1, 2, 3], "c-7", 101)
    assert got["hooks"] == {"checkpoint": {"interval": 1}}


def test_the_newer_style_with_imports(tmp_path: Path) -> None:
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "tsn.py").write_text("model = dict(type='R', backbone=dict(depth=50, style='x'))\nlr = 1")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.py").write_text(
        """
from mmengine.config import read_base
import torch
from mmengine.dataset import pseudo_collate
from mmaction.models import TSNHead
head = TSNHead
optimizer = dict(type=torch.optim.SGD)
collate_fn = dict(type=pseudo_collate)
with read_base():
    from .._base_.tsn import *
model.merge(dict(backbone=dict(depth=101), cls_head=dict(type=TSNHead)))
model.update(type='S')
"""
    )
    got = read_config(tmp_path / "sub" / "c.py")
    assert got["model"] == {"type": "S", "backbone": {"depth": 101, "style": "x"}, "cls_head": {"type": "TSNHead"}}
    assert (got["head"], got["optimizer"], got["collate_fn"]) == (
        "TSNHead",
        {"type": "SGD"},
        {"type": "pseudo_collate"},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = __import__('os').system('true')", r"c\.py:2: code is not executed"),
        ("def f():\n    pass", r"c\.py:1: code is not executed"),
        ("\nfor i in [1]:\n    x = i", r"c\.py:2: code is not executed"),
        ("import os\nx = os.environ", r"c\.py:2: 'os' has no known value"),
        ("x = open('/etc/passwd')", r"c\.py:1: code is not executed"),
        ("import os\nx = os.path.exists('a')", r"c\.py:2: 'os' has no known value"),
        ("import os\nx = os.path.join('a', 1)", r"c\.py:2: os\.path\.join\('a', 1\): join\(\) argument must be str"),
        ("from math import pi\nx = 2 * pi", r"c\.py:2: 'pi' has no known value"),
        ("x = " + "-" * 3000 + "1", r"c\.py: nested too deeply|c\.py:1: not Python"),
        ("x = ().__class__", r"c\.py:1: code is not executed"),
        ("dict = {}\nx = dict(a=1)", r"c\.py:2: code is not executed"),
        ("x = 10 ** 10", r"c\.py:1: code is not executed"),
        ("x = [0] * 10_000_000", r"c\.py:1: \[0\] \* 10_000_000: a repetition may have at most"),
        ("x = undefined + 1", r"c\.py:1: 'undefined' has no known value"),
        ("x = dict(a=1)\nx['b']['c'] = 1", r"c\.py:2: x\['b'\] does not exist"),
        ("x = (", r"c\.py:1: not Python"),
        ("x = 1 / 0", r"c\.py:1: 1 / 0: division by zero"),
        ("x = '{{ nothing }}'", r"c\.py:1: \{\{nothing\}\} is not known"),
        ("a = [1]\ndel a[3]", r"c\.py:2: cannot delete a\[3\]: IndexError"),
        ("del a", r"c\.py:1: 'a' has no known value"),
        ("a = [1]\na += 3", r"c\.py:2: a \+= 3: 'int' object is not iterable"),
        ("try:\n    a = 1\nexcept ImportError:\n    a = 2", r"c\.py:1: code is not executed"),
        ("_base_ = 'mmdet::x.py'", r"_base_ must be paths relative to this file"),
        ("_base_ = 'gone.py'", r"gone\.py: cannot be read: No such file or directory \(named by .*c\.py\)"),
        ("with read_base():\n    from .gone import *", r"gone\.py: cannot be read: No such .* \(named by .*c\.py\)"),
        ("_base_ = 1", r"c\.py: _base_ must be paths relative to this file, found int"),
        ("_base_ = 'a\\0.py'", r"a\\x00\.py: cannot be read: embedded null byte \(named by .*c\.py\)"),
        ("_base_ = '\\ud800.py'", r"c\.py:1: '\\ud800\.py': 'utf-8' codec"),
        ("with read_base():\n    from " + "." * 200 + "x import *", r"c\.py:2: 200 dots lead above the root folder"),
        ("a = '{0.nope}'.format(1)", r"c\.py:1: .*reads an attribute"),
        ("a = []\na.append(a)", r"c\.py:2: a\.append\(a\): more than 50 levels"),
        ("a = 1" + "\na = [a]" * 5000, r"c\.py:5\d: \[a\]: more than 50 levels"),
        ("a = int(float('inf'))", r"c\.py:1: int\(float\('inf'\)\): cannot convert"),
        ("a = {[1]: 2}", r"c\.py:1: \{\[1\]: 2\}: unhashable"),
        ("a = {**1}", r"c\.py:1: "),
        ("a = dict(**1)", r"c\.py:1: "),
        ("a = dict(b=1)\na.merge(1)", r"c\.py:2: a\.merge\(1\): merge takes one dictionary"),
        ("a = [1, 2, 3]\na[::2] = [1]", r"c\.py:2: cannot assign to a\[::2\]"),
        ("a = [*1]", r"c\.py:1: \[\*1\]: "),
        ("a = " + "-" * 50_000 + "1", r"c\.py: nested too deeply|c\.py:1: not Python"),
        ("a = " + "[" * 5_000, r"c\.py: nested too deeply|c\.py:1: not Python"),
        ("a = '\\ud800'", r"c\.py:1: .*surrogates not allowed"),
        ("if gone:\n    x = 1", r"c\.py:1: 'gone' has no known value"),
        ("_base_ = 'c.py'", r"inherit in a cycle"),
        ("_base_ = 'a.py'\nx = dict(y=1)", r"c\.py: x is a dictionary here and int in _base_"),
        ("_base_ = ['a.py', 'b.py']", r"more than one file of _base_ defines x"),
    ],
)
def test_code_is_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.py").write_text("x = 2")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


NESTED = "a = [a, a]\n" * 60


@pytest.mark.parametrize(
    "text",
    [
        "a = 123456789\n" + "a = a * a\n" * 40,
        "a = 'abcdefgh'\n" + "a = a + a\n" * 40,
        "a = 'abcdefgh'\n" + "a += a\n" * 40,
        "a = [1, 2]\n" + "a.extend(a)\n" * 40,
        "a = [1]\n" + NESTED,
        "a = [1]\n" + NESTED + "b = str(a)",
        "a = (1,)\n" + "a = (a, a)\n" * 60 + "b = {a: 1}",
        "a = dict(b=1)\n" + "a = dict(x=a, y=a)\n" * 60,
        "a = dict(b=1)\n" + "a.update(x=[a], y=[a])\n",
        "a = []\nb = [a] * 100_000\n" + "a.extend([0] * 100_000)\n" + "c = b == b",
        "a = '%3000000000d' % 1",
        "a = '%*d' % (3000000000, 1)",
        "a = '%.3000000000f' % 1",
        "a = '%(a(b))3000000000d' % {'a(b)': 1}",
        "a = '{:3000000000}'.format(1)",
        "a = '{:{}}'.format(1, 3000000000)",
        "a = f'{1:3000000000}'",
        "b = 3000000000\na = f'{1:{b}}'",
        "b = 'x' * 100_000\na = ('{0}' * 10_000).format(b)",
        "b = 'x' * 100_000\na = ('%(b)s' * 10_000) % dict(b=b)",
        "b = 'x' * 100_000\na = b.join(['y'] * 100_000)",
        "b = 'x' * 100_000\na = b.replace('x', b)",
        "a = round(5, -10_000_000_000)",
        "a = range(10 * 100_000_000)",
        "a = sum([[0] * 300] * 600, [])\nb = [a] * 300",
        "r = range(100_000)\na = [0 for i in r for j in r for k in r if False]",
        "r = range(100_000)\na = [0 for i in r for j in r for k in []]",
        "a = {i: {j: 0 for j in range(1000)} for i in range(1000)}",
        "a = '{{" + " " * 200_000 + "'\nb = [a] * 100",
        "a = '{{_base_.x}}'\n" * 20_000,
        "print()\n" * 60_000 + "a = [0] * 1_000_000",
        "a = [[0] * 100_000]\n" + "a += a\n" * 40,
        "import copy\na = [0] * 100_000\n" + "a = [copy.deepcopy(a), a]\n" * 4,
    ],
)
def test_values_above_a_limit_are_refused_at_once(tmp_path: Path, text: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ConfigError, match=r"c\.py(:\d+)?: "):
        read(tmp_path, text)
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_too_many_inherited_files_are_refused_at_once(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"b{i}.py").write_text(f"_base_ = ['b{i + 1}.py', 'b{i + 1}.py']")
    (tmp_path / "b40.py").write_text("")
    with pytest.raises(ConfigError, match=r"b\d+\.py: cannot be read: the configuration has too many files"):
        read_config(tmp_path / "b0.py")


@pytest.mark.parametrize("text", ['{"_base_": null}', "[" * 100_000, '{"a":' * 100_000, '{"a": %s}' % ("9" * 5000)])
def test_json_that_is_not_a_configuration_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"c\.json: "):
        read(tmp_path, text, "c.json")


def test_endless_and_large_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.py")
    with pytest.raises(ConfigError, match="cannot be read: it is not a file"):
        read_config(tmp_path / "c.py")
    (tmp_path / "big.py").write_text("#" * 500_001)
    with pytest.raises(ConfigError, match="at most 500000 bytes"):
        read_config(tmp_path / "big.py")


def test_comprehensions_conditions_and_paths(tmp_path: Path) -> None:
    got = read(
        tmp_path,
        """
import os
import resource
import time
from pathlib import Path
root = Path('data') / 'k400'
i = 7
files = [str(root / f'{name}.txt') for name in ('a', 'b')]
pairs = [(i, j) for i in range(2) for j in range(3) if i != j]
table = {k: v for k, v in dict(a=1, b=2).items() if k in ('b',)}
total = sum(x * x for x in [1, 2])
folder, name = root.parent, root.with_suffix('.txt').name
here = os.path.basename(os.path.dirname(__file__)) == Path(__file__).parent.name
if i > 3 and root is not None:
    lr = 0.1
else:
    lr = undefined
if __name__ == '__main__':
    run()
""",
    )
    assert got.pop("here") is True
    assert got == {
        "root": "data/k400",
        "i": 7,
        "files": ["data/k400/a.txt", "data/k400/b.txt"],
        "pairs": [[0, 1], [0, 2], [1, 0], [1, 2]],
        "table": {"b": 2},
        "total": 5,
        "folder": "data",
        "name": "k400.txt",
        "lr": 0.1,
    }


def test_statements_that_cannot_change_a_value_are_skipped_and_reported(tmp_path: Path) -> None:
    text = """
import os, sys, torch, warnings
from os import makedirs
from pathlib import Path
work = dict(a=1)
os.environ['CUDA_VISIBLE_DEVICES'] = '0'
os.environ.setdefault('A', 'b')
torch.backends.cudnn.benchmark = True
sys.path.insert(0, '.')
warnings.filterwarnings('ignore')
makedirs('runs')
root = Path('runs')
root.mkdir(exist_ok=True)
print(work)
assert work['a'] == 1
del os.environ['A']
"""
    (tmp_path / "c.py").write_text(text)
    skipped: list[str] = []
    assert read_config(tmp_path / "c.py", skipped) == {"work": {"a": 1}, "root": "runs"}
    assert [line.split(": ")[0].rpartition(":")[2] for line in skipped] == [
        *map(str, (6, 7, 8, 9, 10, 11, 13, 14, 15, 16))
    ]
    assert skipped[0].endswith("c.py:6: os.environ['CUDA_VISIBLE_DEVICES'] = '0'")
    with pytest.raises(ConfigError, match=r"c\.py:3: 'mine' has no known value"):
        read(tmp_path, "import mine\nwork = dict(a=1)\nmine.change(work)")


def test_other_things_that_configurations_do(tmp_path: Path) -> None:
    base = "steps = [dict(type='A'), dict(type='B')]\nmodel = dict(head=dict(n=1), neck=dict(m=2))"
    (tmp_path / "base.py").write_text(base)
    got = read(
        tmp_path,
        """
import copy
import math
import os.path as osp
from pathlib import Path
try:
    import decord
except ImportError:
    decord = None
_base_: list = ['base.py']
root = Path(__file__).resolve().parents[0]
data = osp.join('data', f'{"k400"!s}', f'{3!r}')
test_steps = copy.deepcopy({{_base_.steps}})
test_steps[0]['type'] = 'C'
del test_steps[1]
train_steps = [s for s in _base_.steps if s['type'] != 'B']
shared = train_steps
shared += [dict(type='D')]
common = dict(a=1, **dict(b=2))
merged = {**common, 'c': 3, **{'b': 4}}
merged['a'] += 1
steps_per_epoch = math.ceil(10 / 3)
small = 0 < steps_per_epoch <= 4 and root is not None
model = dict(head=dict(_delete_=True, k=2), neck=_base_.model.neck)
unused: int
del math
""",
    )
    assert got == {
        "steps": [{"type": "A"}, {"type": "B"}],
        "root": str(tmp_path),
        "data": "data/k400/3",
        "test_steps": [{"type": "C"}],
        "train_steps": [{"type": "A"}, {"type": "D"}],
        "shared": [{"type": "A"}, {"type": "D"}],
        "common": {"a": 1, "b": 2},
        "merged": {"a": 2, "b": 4, "c": 3},
        "steps_per_epoch": 4,
        "small": True,
        "model": {"head": {"k": 2}, "neck": {"m": 2}},
    }


def test_json_and_files_that_are_refused(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps({"a": [1, {"b": None}]}), "c.json") == {"a": [1, {"b": None}]}
    with pytest.raises(ConfigError, match=r"c\.json: not JSON"):
        read(tmp_path, "{", "c.json")
    with pytest.raises(ConfigError, match=r"found '\.yaml'"):
        read(tmp_path, "a: 1", "c.yaml")
    (tmp_path / "w.safetensors").write_bytes(b"\xf0\x00")
    with pytest.raises(ConfigError, match=r"found '\.safetensors'"):
        read_config(tmp_path / "w.safetensors")


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="needs the published configurations")
def test_every_published_configuration_reads_the_same_as_python(tmp_path: Path) -> None:
    paths = sorted(CONFIGS.rglob("*.json"))
    assert len(paths) > 200
    for path in paths:
        wanted = json.loads(path.read_text())
        text = "".join(f"{key} = {value!r}\n" for key, value in wanted.items())
        assert read(tmp_path, text) == read_config(path), path
