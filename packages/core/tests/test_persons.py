"""The record of persons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcore.errors import UserError
from vidcore.persons import Persons, existing_weights
from vidcore.plugins.catalog import kind_of

BOXES = np.array([[0, 0, 10, 20], [5, 5, 15, 25]], np.float32)
SCORES = np.array([0.9, 0.5], np.float32)


def test_rows_are_selected_joined_and_scaled_together() -> None:
    points = np.full((2, 17, 2), np.nan, np.float32)
    points[1, 0] = 7, 9
    persons = Persons(BOXES, SCORES, points, np.zeros((2, 17), np.float32), np.array([3, 1]))
    both = Persons.join([persons.select([1]), persons.select([0])])
    assert both.tracks is not None and both.points is not None
    assert both.tracks.tolist() == [1, 3] and both.scores.tolist() == [0.5, pytest.approx(0.9)]
    larger = both.resized((2, 3))
    assert larger.points is not None
    assert larger.boxes[0].tolist() == [10, 15, 30, 75] and larger.points[0, 0].tolist() == [14, 27]
    assert np.isnan(larger.points[1]).all(), "missing joints are missing in frames of any size"


def test_nobody_joins_with_somebody() -> None:
    somebody = Persons(BOXES, SCORES, np.zeros((2, 17, 2), np.float32), np.zeros((2, 17), np.float32))
    assert len(Persons.join([Persons.nobody(17), somebody])) == 2
    assert len(Persons.nobody()) == len(Persons.nobody(17)) == 0


def test_each_array_has_a_row_for_each_person() -> None:
    with pytest.raises(ValueError, match="boxes has 2 rows, but scores has 1"):
        Persons(BOXES, SCORES[:1])


def test_missing_weights_are_an_error_that_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^Pose: weights .*pose\.onnx do not exist; download"):
        existing_weights("Pose", tmp_path / "pose.onnx", "download them from the project's page")
    assert existing_weights("Pose", tmp_path, "") == tmp_path


def test_protocols_have_the_names_of_their_kinds() -> None:
    kinds = [kind_of(name) for name in ("PersonDetector", "PoseEstimator", "Tracker")]
    assert kinds == ["person_detectors", "pose_estimators", "trackers"]
