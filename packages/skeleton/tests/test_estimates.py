"""What estimators write is read: who is who, missing joints, units, and damage that is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_skeleton.datasets.pose import PoseDataset
from vid_skeleton.estimates.images import Images
from vid_skeleton.estimates.layouts import BODY_25, HALPE, LAYOUTS
from vid_skeleton.estimates.persons import Estimates, Options
from vid_skeleton.estimates.reading import find_sources, read_estimates
from vid_skeleton.files import read_skeletons
from vid_skeleton.graphs import COCO, OPENPOSE
from vidcore.errors import AnnotationError

rng = np.random.default_rng(0)
BODY = rng.uniform(5, 95, (136, 2)).round(3)


def joints(who: int, frame: int, count: int = 17, score: float = 0.5) -> list[float]:
    """Return x, y, score of a person who moves 3 pixels a frame to the right; joint 4 is missing."""
    points = BODY[:count] + np.array([300 * who + 3 * frame, 0])
    rows = np.insert(points, 2, score, 1)
    rows[4] = 0
    return [float(v) for v in rows.ravel().round(3)]


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(path: Path, options: Options = Options(), form: str | None = None) -> Estimates:  # noqa: B008
    (source,) = find_sources(path)
    (found,) = read_estimates(source, options, form)
    return found


def openpose(folder: Path, frames: dict[int, list[int]], count: int = 25, prefix: str = "") -> Path:
    """Write a folder of OpenPose: the persons of each frame, in this order."""
    for number, persons in frames.items():
        people = [{"person_id": [-1], "pose_keypoints_2d": joints(who, number, count)} for who in persons]
        write(folder / f"{prefix}{number:012d}_keypoints.json", {"version": 1.3, "people": people})
    return folder


def ways(found: Estimates) -> list[list[tuple[int, float]]]:
    """Return frame and x of the first joint for each track."""
    persons = found.persons
    assert persons.tracks is not None and persons.frames is not None and persons.points is not None
    rows = zip(persons.tracks.tolist(), persons.frames.tolist(), persons.points[:, 0, 0].tolist(), strict=True)
    made: dict[int, list[tuple[int, float]]] = {}
    for track, frame, x in sorted(rows):
        made.setdefault(track, []).append((frame, round(x, 2)))
    return list(made.values())


def expected(who: int, frames: list[int]) -> list[tuple[int, float]]:
    return [(t, round(float(BODY[0, 0]) + 300 * who + 3 * t, 2)) for t in frames]


def test_persons_of_openpose_are_linked_in_any_order(tmp_path: Path) -> None:
    order = {t: [[0, 1], [1, 0]][t % 3 == 1] for t in range(9)} | {0: [], 5: [1]}
    found = read(openpose(tmp_path / "clip", order))
    assert found.name == "clip" and found.total == 9 and found.joints is BODY_25 and found.size == (0, 0)
    assert ways(found) == [expected(0, [1, 2, 3, 4, 6, 7, 8]), expected(1, [1, 2, 3, 4, 5, 6, 7, 8])]
    shuffled = read(openpose(tmp_path / "clip2", {t: persons[::-1] for t, persons in order.items()}))
    assert ways(shuffled) == ways(found)


def test_ids_are_names_and_nobody_inherits_one(tmp_path: Path) -> None:
    frames: dict[int, list[int]] = (
        {t: [0] for t in range(5)} | {t: [] for t in range(5, 8)} | {t: [2] for t in range(8, 12)}
    )
    found = read(openpose(tmp_path / "clip", frames))
    assert ways(found) == [expected(0, list(range(5))), expected(2, list(range(8, 12)))]


def test_missing_joints_of_openpose(tmp_path: Path) -> None:
    found = read(openpose(tmp_path / "clip", {7: [0], 9: [0]}))
    points, scores = found.persons.points, found.persons.joint_scores
    assert points is not None and scores is not None
    assert found.total == 3 and found.notes == {"frames without a file, taken as without persons": 1}
    assert np.isnan(points[:, 4]).all() and not scores[:, 4].any() and np.isfinite(points[:, :4]).all()
    assert found.persons.boxes[0, :2].min() > 4  # the missing joint at 0, 0 moves no box


def test_layouts_of_estimators_have_the_published_order() -> None:
    to_coco = [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]
    assert [BODY_25.names[i] for i in to_coco] == list(COCO.names)
    assert [OPENPOSE.names[i] for i in [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]] == list(COCO.names)
    assert HALPE.names[:17] == COCO.names and HALPE.names[17:20] == ("head", "neck", "mid_hip")
    assert [LAYOUTS[name].num_node for name in LAYOUTS] == [17, 18, 25, 26, 136, 133]
    for layout in LAYOUTS.values():
        sides = [(layout.names[a], layout.names[b]) for a, b in zip(layout.left, layout.right, strict=True)]
        assert all(a.replace("left", "right") == b for a, b in sides)


def test_conversion_by_name(tmp_path: Path) -> None:
    found = read(openpose(tmp_path / "clip", {0: [0], 1: []}))
    made = found.converted("coco")
    assert made.joints is COCO and made.persons.points is not None and found.persons.points is not None
    picked = found.persons.points[:, [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]]
    assert np.array_equal(made.persons.points, picked, equal_nan=True)
    assert np.isnan(made.persons.points[0, 10]).all()  # the right wrist
    nobody = read(openpose(tmp_path / "none", {0: [], 1: []})).converted("coco")
    assert nobody.total == 2 and nobody.persons.points is not None and nobody.persons.points.shape == (0, 17, 2)


def alphapose(count: int = 17, **more: Any) -> list[dict[str, Any]]:
    return [
        {"image_id": f"{t}.jpg", "category_id": 1, "keypoints": joints(who, t, count, 1.25), "score": 2.47, **more}
        for t in range(2, 12)
        for who in (0, 1)
    ]


@pytest.mark.parametrize("idx", [None, 0, [0.0], [[0.0], [0.0]]])
def test_alphapose(tmp_path: Path, idx: Any) -> None:
    items = alphapose(box=[1, 2, 30, 40]) if idx is None else alphapose(box=[1, 2, 30, 40], idx=idx)
    found = read(write(tmp_path / "video" / "alphapose-results.json", items))
    assert found.name == "video" and found.total == 12 and found.layout == "coco"
    assert ways(found) == [expected(who, list(range(2, 12))) for who in (0, 1)]
    assert found.persons.boxes[0].tolist() == [1, 2, 31, 42]
    assert found.persons.joint_scores is not None and found.persons.joint_scores.max() == 1


def test_ids_of_alphapose_are_kept_unless_they_cannot_be_right(tmp_path: Path) -> None:
    items = alphapose()
    for i, item in enumerate(items):
        item["idx"] = [[5.0], [3.0]][i % 2] if i < 10 else 7 + i % 2
    file = write(tmp_path / "a.json", items)
    assert [len(way) for way in ways(read(file))] == [5, 5, 5, 5]
    assert [len(way) for way in ways(read(file, Options(relink=True)))] == [10, 10]
    items[3]["idx"] = items[2]["idx"]
    found = read(write(tmp_path / "b.json", items))
    assert [len(way) for way in ways(found)] == [10, 10]
    assert found.notes == {"videos with an id twice in a frame, linked by their joints instead": 1}


@pytest.mark.parametrize(("key", "inner"), [("bodies", "joints"), ("people", "pose_keypoints_2d")])
def test_other_forms_of_alphapose(tmp_path: Path, key: str, inner: str) -> None:
    frames = {t: {"version": "AlphaPose v0.3", key: [{inner: joints(w, t, 18)} for w in (1, 0)]} for t in range(10)}
    one = read(write(tmp_path / "a.json", {f"{t}.jpg": frame for t, frame in frames.items()}))
    for t, frame in frames.items():
        write(tmp_path / "sep-json" / f"{t}.json", frame)
    several = read(tmp_path / "sep-json")
    assert one.layout == several.layout == "openpose" and several.total == 10
    assert ways(one) == ways(several) == [expected(who, list(range(10))) for who in (0, 1)]


@pytest.mark.parametrize(("count", "layout"), [(26, "halpe_26"), (136, "halpe_136"), (133, "coco_wholebody")])
def test_other_layouts_of_alphapose(tmp_path: Path, count: int, layout: str) -> None:
    found = read(write(tmp_path / "a.json", alphapose(count)))
    assert found.layout == layout and found.converted("openpose").joints is OPENPOSE


def test_results_of_coco(tmp_path: Path) -> None:
    items = [{"image_id": t, "category_id": 1, "keypoints": joints(0, t), "score": 0.9} for t in (0, 1, 3)]
    found = read(write(tmp_path / "a.json", items))
    assert found.total == 4 and ways(found) == [expected(0, [0, 1, 3])]
    for item in items:
        item["keypoints"] = joints(0, 0, score=0)  # the format does not use it
    scores = read(write(tmp_path / "b.json", items)).persons.joint_scores
    assert scores is not None and scores.tolist() == [[float(j != 4) for j in range(17)]] * 3


def ground_truth(**more: Any) -> dict[str, Any]:
    images = [
        {"id": 10 * v + t, "file_name": f"vid{v}/img{t}.jpg", "height": 100, "width": 200}
        for v in (1, 2)
        for t in (8, 9, 10)
    ]
    people = [
        {"id": i, "image_id": image["id"], "category_id": 1, "keypoints": joints(0, i, score=1 + i % 2), **more}
        for i, image in enumerate(images)
    ]
    return {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}


def test_annotations_of_coco_hold_several_videos(tmp_path: Path) -> None:
    content = ground_truth(attributes={"track_id": 4}, bbox=[1, 2, 3, 4])
    file = write(tmp_path / "gt.json", content)
    (source,) = find_sources(file)
    first, second = read_estimates(source, Options())
    assert (first.name, second.name, first.total, first.size) == ("vid1", "vid2", 3, (100, 200))
    assert ways(second) == [[(t, round(float(BODY[0, 0]) + 3 * (t + 3), 2)) for t in range(3)]]
    assert first.persons.joint_scores is not None
    assert first.persons.joint_scores[:, 0].tolist() == [0.5, 1, 0.5]  # labelled but hidden; visible
    results = [{k: a[k] for k in ("image_id", "category_id", "keypoints")} for a in content["annotations"]]
    (results_source,) = find_sources(write(tmp_path / "results.json", results))
    again = read_estimates(results_source, Options(images=Images.read(file)))
    assert [ways(v) for v in again] == [ways(first), ways(second)]


def test_numbers_of_frames_and_odd_names_of_images(tmp_path: Path) -> None:
    content = ground_truth()
    content["videos"] = [{"id": 7, "name": "seven"}]
    for i, image in enumerate(content["images"]):
        image |= {"video_id": 7, "frame_id": i + 1}
    (source,) = find_sources(write(tmp_path / "gt.json", content))
    (found,) = read_estimates(source, Options())
    assert (found.name, found.total) == ("seven", 6) and ways(found) == [expected(0, list(range(6)))]
    for image in content["images"]:
        del image["video_id"], image["frame_id"]
    content["images"][0]["file_name"] = "vid1/x².jpg"
    (source,) = find_sources(write(tmp_path / "gt.json", content))
    assert [video.total for video in read_estimates(source, Options())] == [3, 3]


def test_joints_that_a_coco_file_names(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    content = ground_truth()
    content["categories"] = [{"id": 1, "name": "horse", "keypoints": names, "skeleton": [[1, 2], [2, 6]]}]
    for i, item in enumerate(content["annotations"]):
        item["keypoints"] = joints(0, i, 6, 2)
    (source,) = find_sources(write(tmp_path / "gt.json", content))
    found = read_estimates(source, Options())[0]
    assert found.joints.names == tuple(names) and found.joints.inward == ((0, 1), (1, 5))


def kinetics(**more: Any) -> dict[str, Any]:
    pose = (BODY[:18] / 100).ravel().tolist()
    frames = [
        {"frame_index": t, "skeleton": [{"pose": pose, "score": [0.0, *[0.5] * 17]}] if t > 2 else []}
        for t in range(1, 7)
    ]
    return {"data": frames, "label": "abseiling", "label_index": 0} | more


def test_kinetics_skeleton(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.json", kinetics()))
    assert (found.total, found.size, found.fps, found.label) == (6, (256, 340), 30, "abseiling")
    points = found.persons.points
    assert points is not None and found.persons.frames is not None and found.persons.frames[0] == 2
    assert np.isnan(points[0, 0]).all() and np.allclose(points[0, 1], BODY[1] / 100 * [340, 256], atol=1e-3)
    other = read(tmp_path / "a.json", Options(size=(100, 100), fps=15.0))
    assert other.persons.points is not None and np.allclose(other.persons.points[0, 1], BODY[1], atol=1e-3)
    assert other.fps == 15


def test_mmskeleton(tmp_path: Path) -> None:
    people = [
        {
            "frame_index": t,
            "id": 2 * t + who,
            "person_id": None,
            "keypoints": np.reshape(joints(who, t), (17, 3)).tolist(),
        }
        for t in range(1, 5)
        for who in (1, 0)
    ]
    info = {"video_name": "v.mp4", "resolution": [640, 480], "num_frame": 9, "num_keypoints": 17}
    found = read(write(tmp_path / "a.json", {"info": info, "annotations": people, "category_id": 3}))
    assert (found.total, found.size, found.label) == (9, (480, 640), 3)
    with pytest.raises(AnnotationError, match="has frames of 640x480, not those of --size"):
        read(tmp_path / "a.json", Options(size=(640, 480)))
    assert ways(found) == [expected(who, [1, 2, 3, 4]) for who in (0, 1)]


def test_coordinates_without_pixels(tmp_path: Path) -> None:
    items = alphapose()
    for item in items:
        rows = np.reshape(item["keypoints"], (17, 3)) * [1 / 400, 1 / 200, 1]
        item["keypoints"] = rows.ravel().tolist()
    file = write(tmp_path / "a.json", items)
    with pytest.raises(AnnotationError, match=r"has coordinates of 0\.\.1, and no size of the frames: give --size"):
        read(file)
    found = read(file, Options(size=(200, 400)))
    assert ways(found) == [expected(who, list(range(2, 12))) for who in (0, 1)]
    for item in items:
        rows = np.reshape(item["keypoints"], (17, 3))
        rows[:, :2] = np.where(rows[:, 2:] > 0, 2 * rows[:, :2] - 1, 0)
        item["keypoints"] = rows.ravel().tolist()
    again = read(write(tmp_path / "b.json", items), Options(size=(200, 400)))
    assert ways(again) == ways(found) and again.notes == {"videos with coordinates of -1..1": 1}
    with pytest.raises(AnnotationError, match=r"has coordinates up to .*, not of 0\.\.1"):
        read(write(tmp_path / "c.json", alphapose()), Options(size=(9, 9), coordinates="0..1"))


NAN, INF = float("nan"), float("inf")


def damaged(**more: Any) -> list[dict[str, Any]]:
    return [alphapose()[0], alphapose()[2] | more]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is an empty list: it has nobody, and does not say how many frames"),
        ({}, "looks like none of coco, openpose, alphapose"),
        (3, "looks like none of"),
        ({"people": []}, "holds one frame; name the folder"),
        ([{"image_id": "0.jpg", "keypoint": []}], "looks like none of"),
        (damaged(keypoints=joints(0, 1)[:-1]), "a.json: 1: has 50 numbers, but 0 has 51"),
        (
            [alphapose()[0] | {"keypoints": [1.0] * 30}],
            r"0: has 30 numbers, expected x, y, score of joints: 51 \(coco\)",
        ),
        (damaged(keypoints="x" * 51), "a.json: 1: keypoints: expected a list of numbers, found 'xxx"),
        (damaged(keypoints=[None] * 51), "1: keypoints: expected a list of numbers, found a list of 51, first None"),
        (damaged(keypoints=[[1, 2], [3]]), "1: keypoints: expected a list of numbers"),
        (damaged(keypoints=[10**400] * 51), "1: keypoints: expected a list of numbers"),
        (damaged(keypoints=[INF] * 51), "a.json: 1: x of joint 0 is inf"),
        (damaged(keypoints=[1e300] * 51), r"a.json: 1: x of joint 0 is 1e\+300"),
        (damaged(score="good"), "a.json: 1: score: 'good' is not a number"),
        (damaged(box=[1, 2, 3]), "a.json: 1: box: expected 4 numbers, found 3"),
        (damaged(image_id="frame.jpg"), "1: image_id: 'frame.jpg' has no number of a frame"),
        (damaged(image_id="b/2.jpg"), "'2.jpg' and 'b/2.jpg' are both frame 2"),
        (damaged(image_id="99999999.jpg"), "must be a whole number from 0 to 10000000"),
        ([alphapose()[0], alphapose()[0] | {"image_id": "9999999.jpg"}], None),
        ([alphapose()[0]] * 1001, "frame 2 has 1001 persons, at most 1000"),
        ([{"image_id": 139, "keypoints": joints(0, 0)}, {"image_id": 10000010001, "keypoints": []}], "give|--images"),
        (kinetics(data=[{"frame_index": 0, "skeleton": []}]), "data.0.frame_index must be a whole number from 1"),
        (kinetics(data=[{"frame_index": 1}]), "data.0: skeleton must be a list, found None"),
        (
            kinetics(data=[{"frame_index": 1, "skeleton": [{"pose": [0.5] * 34, "score": []}]}]),
            "expected 36 numbers, found 34",
        ),
        (kinetics(data=[]), "a.json: a has no frames"),
        (kinetics(label=7), "label must be the name of a class, found 7"),
        (
            {"info": {"num_frame": 3}, "annotations": [{"frame_index": 3, "keypoints": joints(0, 0)}]},
            "but the video has 3",
        ),
        (ground_truth(image_id=99), "annotations.0: image_id 99 is not among the images"),
        (ground_truth() | {"images": []}, "images is empty"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: Any, message: str | None) -> None:
    (source,) = find_sources(write(tmp_path / "a.json", content))
    if message is None:
        read_estimates(source, Options())
        return
    with pytest.raises(AnnotationError, match=message):
        read_estimates(source, Options())


def test_ids_that_come_back_much_later_do_not_fill_the_memory(tmp_path: Path) -> None:
    items = [alphapose()[0] | {"image_id": f"{t}.jpg", "idx": i} for i in range(2) for t in (i, 9_999_000 + i)]
    with pytest.raises(AnnotationError, match="its 2 tracks take more than 2 GiB"):
        read(write(tmp_path / "a.json", items))


@pytest.mark.parametrize("text", ["[" * 100_000, "\xff", '{"data": [', '{"a": 1, "a": 2}', ""])
def test_what_is_no_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AnnotationError, match=r"a\.json: "):
        read(tmp_path / "a.json")


def test_nan_is_a_missing_joint_and_is_counted(tmp_path: Path) -> None:
    items = alphapose()
    items[0]["keypoints"][:3] = [NAN, 5, 0.5]
    items[1]["keypoints"][2::3] = [0.0] * 17
    found = read(write(tmp_path / "a.json", items))
    assert found.notes == {"joints with NaN, taken as missing": 1, "persons without a joint, left out": 1}
    assert len(found.persons) == 19


def test_a_folder_becomes_a_dataset(vidcore: Callable[..., str], tmp_path: Path) -> None:
    openpose(tmp_path / "op" / "wave" / "one", {t: [0, 1] for t in range(6)})
    openpose(tmp_path / "op" / "wave" / "two", {t: [] for t in range(3)})
    openpose(tmp_path / "op" / "sit", {t: [0] for t in range(4)}, prefix="three_")
    openpose(tmp_path / "op" / "sit", {t: [1] for t in range(5)}, prefix="four_")
    (tmp_path / "op" / "sit" / "bad.json").write_text("[")
    said = vidcore(tmp_path, "data", "convert-skeletons", "op", "-o", "a.npz", "--label-by-folder", "--size", "640x480",
                   "--split", "train", "--fps", "25", code=2)  # fmt: skip
    assert "wrote a.npz: 4 videos, 25 joints (body_25), 2 classes" in said
    assert "left out: op/sit/bad.json: is not JSON" in said and "videos without persons: 1, the first is two" in said
    found = read_skeletons(tmp_path / "a.npz")
    assert list(found.names) == ["four", "three", "one", "two"] and found.class_names == ("sit", "wave")
    assert found.labels is not None and found.labels.tolist() == [0, 0, 1, 1] and found.fps[0] == 25
    sample = PoseDataset(tmp_path / "a.npz", "train")[2]
    assert sample.joints is not None and sample.joints.points.shape == (2, 6, 25, 2)
    assert sample.geometry is not None and sample.geometry.size == (480, 640)
    checked = vidcore(tmp_path, "data", "check-skeletons", "a.npz")
    assert "a.npz: fine" in checked and "25 (body_25), x and y in pixels" in checked and "train 4" in checked
    assert "4, 1 without persons" in checked and "4.0% of the joints" in checked


def test_labels_of_a_table(vidcore: Callable[..., str], tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "in" / f"{name}.json", alphapose())
    (tmp_path / "labels.csv").write_text("name,class,split\na,walk,train\nb,run,val\nz,run,val\n")
    arguments = ("data", "convert-skeletons", "in", "-o", "a.npz", "--labels", "labels.csv")
    said = vidcore(tmp_path, *arguments)
    assert "videos without a class: 1, the first is c" in said and "without a video (z): 1" in said
    found = read_skeletons(tmp_path / "a.npz")
    assert found.class_names == ("run", "walk") and found.labels is not None and found.labels.tolist() == [1, 0, -1]
    assert {name: numbers.tolist() for name, numbers in found.splits.items()} == {"train": [0], "val": [1]}
    (tmp_path / "classes.txt").write_text("walk\nrum\n")
    said = vidcore(tmp_path, *arguments, "--classes", "classes.txt", code=2)
    assert "left out: b: its class 'run' is none of the 2 classes; did you mean 'rum'?" in said
    for text, message in {
        "a,walk\na,run\n": "labels.csv:2: 'a' is listed twice",
        "a\n": "labels.csv:1: expected name,class",
        "": "has no line name,class",
        '"a': "is not a table in CSV",
    }.items():
        (tmp_path / "labels.csv").write_text(text)
        assert message in vidcore(tmp_path, *arguments, code=2)


def test_labels_in_the_files(vidcore: Callable[..., str], tmp_path: Path) -> None:
    for name, label in (("0", None), ("a", "zumba"), ("b", "abseiling")):
        write(tmp_path / "in" / f"{name}.json", kinetics(label=label))
    assert "videos without a class: 1" in vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz")
    found = read_skeletons(tmp_path / "a.npz")
    assert (
        found.class_names == ("abseiling", "zumba") and found.labels is not None and found.labels.tolist() == [-1, 1, 0]
    )


def test_videos_of_one_name_and_of_other_joints(vidcore: Callable[..., str], tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write(tmp_path / "in" / folder / "a.json", alphapose())
    write(tmp_path / "in" / "z.json", alphapose(26))
    said = vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz", code=2)
    assert "left out: z: has 26 joints (halpe_26), but x/a has 17 joints (coco): choose some with --layout" in said
    vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz", "--layout", "coco")
    assert list(read_skeletons(tmp_path / "a.npz").names) == ["x/a", "y/a", "z"]


def test_videos_without_persons_do_not_choose_the_joints(vidcore: Callable[..., str], tmp_path: Path) -> None:
    for name, persons in (("a", []), ("b", [0]), ("c", [])):
        openpose(tmp_path / "in" / name, {0: persons, 1: persons}, count=18)
    said = vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz")
    assert "wrote a.npz: 3 videos, 18 joints (openpose)" in said
    assert list(read_skeletons(tmp_path / "a.npz").names) == ["a", "b", "c"]
    for name in "ac":
        openpose(tmp_path / "nobody" / name, {0: []})
    assert "2 videos, 25 joints" in vidcore(tmp_path, "data", "convert-skeletons", "nobody", "-o", "b.npz")


def test_joints_that_cannot_be_converted_are_left_out(vidcore: Callable[..., str], tmp_path: Path) -> None:
    content = ground_truth()
    content["categories"] = [{"id": 1, "name": "horse", "keypoints": ["a", "b"], "skeleton": []}]
    for item in content["annotations"]:
        item["keypoints"] = [5.0, 6.0, 2] * 2
    write(tmp_path / "in" / "horse.json", content)
    write(tmp_path / "in" / "person.json", alphapose())
    said = vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz", "--layout", "coco", code=2)
    assert "left out: vid1: ConvertJoints: source has no joint nose" in said and "wrote a.npz: 1 video" in said


def test_names_that_are_not_utf8(vidcore: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    name = os.fsdecode(b"caf\xe9")
    write(tmp_path / "in" / f"{name}.json", alphapose())
    vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz")
    assert list(read_skeletons(tmp_path / "a.npz").names) == [name]
    assert "fine" in vidcore(tmp_path, "data", "check-skeletons", "a.npz")


def test_nothing_to_convert(vidcore: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert "in: has no .json file" in vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz", code=2)
    (tmp_path / "in" / "a.json").write_text("{")
    said = vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz", "--label-by-folder", code=2)
    assert "in: has no videos in folders, whose names could be their classes" in said
    said = vidcore(tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz", code=2)
    assert "in: no video can be converted; in/a.json: is not JSON" in said and not (tmp_path / "a.npz").exists()
    assert "'640' is not WIDTHxHEIGHT" in vidcore(
        tmp_path, "data", "convert-skeletons", "in", "-o", "a.npz", "--size", "640", code=2
    )
