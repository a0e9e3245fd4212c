"""Notes about the data of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcore.data.index import Ragged
from vidcore.data.wrappers import ConcatDataset, RepeatDataset
from vidcore.protocols import Dataset
from vidcore.sample import Sample
from vidcore.task.notes import Notes, data_notes
from vidcore.task.sides import sided_classes


class Listed(Dataset):
    def __init__(self, paths: Sequence[str] = (), labels: Any = None, names: tuple[str, ...] | None = None) -> None:
        self.paths, self.class_names = list(paths), names
        self.labels = labels if labels is None or isinstance(labels, Ragged) else np.array(labels)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, path=self.paths[index])

    def sample_paths(self) -> Sequence[str]:
        return self.paths


def test_videos_of_training_and_evaluation(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "same").symlink_to("videos")
    train = Listed([f"{tmp_path}/videos/{name}.mp4" for name in "abc"], [0, 1, 1], ("x", "y"))
    val = Listed([f"{tmp_path}/same/b.mp4", f"{tmp_path}/videos/../videos/c.mp4", "d.mp4"], [1, 0, 0], ("x", "y"))
    assert data_notes({"train": train, "val": val}) == [
        "data.val: 2 of its 3 videos are in data.train as well, 1 of them with a different class, for example "
        f"{tmp_path}/same/b.mp4"
    ]
    assert data_notes({"train": train, "train_extra.more": train}) == []
    assert len(data_notes({"train": Listed(), "train_extra.more": train, "test": val})) == 1


def test_joined_lists_that_contradict_each_other() -> None:
    one, two = Listed(["a.mp4", "b.mp4"], [0, 1]), Listed(["c.mp4", "./b.mp4", "a.mp4"], [1, 0, 0])
    (note,) = data_notes({"train": ConcatDataset([one, two])})
    assert note.startswith(
        "data.train: 1 of 5 samples have a different class than an earlier one of the same video, for"
    )
    assert note.endswith("./b.mp4")
    assert data_notes({"train": RepeatDataset(one, 3)}) == []


def test_classes_without_samples() -> None:
    names = ("left", "right", "up")
    train = Listed("abc", Ragged.from_rows([[0], [0, 2], []], np.int32), names)
    assert data_notes({"train": train}) == ["data.train: 1 of 3 classes has no sample: 'right'"]
    val = Listed("de", [1, 1])
    val.num_classes = 400
    note = "data.val: 399 of 400 classes have no sample: 0, 2, 3, 4, 5 and 394 more"
    assert data_notes({"val": val}) == [note]
    assert data_notes({"train": Listed("ab", [-1, -1], names), "val": Listed("c", None, names)}) == []


def test_names_that_differ_by_case_only() -> None:
    named = Listed("a", [0], ("Run", "run", "turn_left", "Turn  Left", "stop"))
    _, run, turn = data_notes({"train": named, "val": Listed("b", None, named.class_names)})
    assert run == "data.train: classes 'Run' and 'run' differ by case only: are they one class?"
    assert "classes 'turn_left' and 'Turn  Left' differ by case, spaces or punctuation only" in turn
    (note,) = data_notes({"train": Listed(["v/a.mp4", "v/b.mp4", "v/a.mp4"]), "val": Listed(["v/A.MP4", "V/b.mp4"])})
    assert note.startswith("data.val: v/a.mp4 and v/A.MP4 differ by case only, and 1 more do: a file system that")
    assert data_notes({"train": Listed(["a.mp4", "b.mp4"]), "val": Listed()}) == []


@pytest.mark.parametrize(
    ("name", "sided"),
    [
        ("left", True),
        ("Turn Left", True),
        ("turn_left", True),
        ("turnRight", True),
        ("RIGHT-HANDED", True),
        ("leftward", True),
        ("Pushing something from left to right", True),
        ("counterclockwise", True),
        ("upright", False),
        ("cleft", False),
        ("bright light", False),
        ("copyright", False),
        ("leftover", False),
        ("righteous", False),
    ],
)
def test_words_that_name_a_side(name: str, sided: bool) -> None:
    assert sided_classes(["up", name]) == ({1: name} if sided else {})


def test_a_note_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    notes = Notes()
    notes.show("b")
    notes.add("a", "b", "a")
    assert notes.lines == ["a", "b"]
    assert capsys.readouterr().out == "note: b\nnote: a\n"
