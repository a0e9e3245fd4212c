"""Names in annotation files cannot lead out of the output folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vid_localization.names import safe_path
from vid_localization.prepare.proposals import GenerateProposals
from vidcore.errors import DataError

TABLE = "action,start,end,tmin,tmax\n" + "".join(f"0.5,{i % 2},{i % 2},{i / 8},{(i + 1) / 8}\n" for i in range(8))


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/up", "sub/a", ".", ".."])
def test_names_must_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    if name.strip("."):
        with pytest.raises(DataError, match="cannot be the name of a file"):
            safe_path(tmp_path, name, ".csv")
    else:
        assert safe_path(tmp_path, name, ".csv").parent == tmp_path


def test_names_may_have_dots_and_spaces(tmp_path: Path) -> None:
    assert safe_path(tmp_path, "..a b.c", ".npy") == tmp_path / "..a b.c.npy"


def test_proposals_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "tem").mkdir()
    (tmp_path / "up.csv").write_text(TABLE)
    entry = {"duration_second": 8.0, "duration_frame": 8, "annotations": [{"segment": [1, 3], "label": "x"}]}
    (tmp_path / "list.json").write_text(json.dumps({"../up": entry}))
    step = GenerateProposals(boundaries=tmp_path / "tem", ann_file=tmp_path / "list.json")
    with pytest.raises(DataError, match=r"the video name '\.\./up'"):
        step(tmp_path / "made")
    assert not [p for p in tmp_path.rglob("up*") if p.name != "up.csv"]
