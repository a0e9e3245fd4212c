"""The demo reaches what it promises: it is trained once, in about a minute on two cores."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from vid_retrieval.demo import COLOURS, MOTIONS, SHAPES, combinations, retrieval
from vid_retrieval.search.embedding import Searcher
from vidcore.cli import Context


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_all_parts_of_unseen_combinations_are_trained_on() -> None:
    trained, held = combinations()
    assert len(trained) + len(held) == len(COLOURS) * len(SHAPES) * len(MOTIONS)
    assert len(held) >= 24 and not set(trained) & set(held)
    for position, parts in enumerate((COLOURS, SHAPES, MOTIONS)):
        for scenes in (trained, held):
            assert {scene[position] for scene in scenes} == set(parts)


def test_unseen_combinations_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    retrieval.main([str(folder)], standalone_mode=False, obj=Context())
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(line.get("t2v/R1", 0) for line in lines) > 90
    assert (folder / "found.png").is_file()

    search = Searcher(folder / "index")
    trained = {row["text"] for row in rows(folder / "train.csv")}
    scenes = rows(folder / "films.csv")[:10]
    assert not trained & {scene["text"] for scene in scenes}
    right = 0
    for scene in scenes:
        (best,) = search(scene["text"], top=1).matches
        right += Path(best.video).name == scene["video"] and abs(best.start - float(scene["start"])) < 0.1
    assert right >= 9
