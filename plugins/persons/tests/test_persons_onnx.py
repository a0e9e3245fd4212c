"""Networks in ONNX files, on small files with the same inputs and outputs, made here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_persons.onnx_detector import OnnxDetector
from vid_persons.onnx_models import RTMO, RTMPose
from vidcore.errors import PluginError, UserError
from vidcore.persons import Persons
from vidcore.typing import Array

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
HEIGHT, WIDTH = 64, 48


def save(path: Path, shape: list[Any], nodes: list[Any], outputs: dict[str, list[Any]], **constants: Array) -> Path:
    """Write a network with the input ``image``."""
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [onnx.helper.make_tensor_value_info("image", kind, shape)],
        [onnx.helper.make_tensor_value_info(name, kind, size) for name, size in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    return path


@pytest.fixture
def simcc(tmp_path: Path) -> Path:
    """A top-down network whose 26 joints are all where the input is brightest; two bins for each pixel."""
    node = onnx.helper.make_node
    nodes = []
    for name in ("x", "y"):
        nodes += [
            node("ReduceMax", ["image", f"axes_{name}"], [f"line_{name}"], keepdims=0),
            node("Resize", [f"line_{name}", "", "", f"size_{name}"], [f"fine_{name}"], mode="nearest", axes=[2]),
            node("ReduceMean", [f"fine_{name}", "one"], [f"grey_{name}"], keepdims=1),
            node("Tile", [f"grey_{name}", "times"], [name]),
        ]
    return save(
        tmp_path / "simcc.onnx",
        ["n", 3, HEIGHT, WIDTH],
        nodes,
        {"x": ["n", 26, 2 * WIDTH], "y": ["n", 26, 2 * HEIGHT]},
        axes_x=np.array([2]),
        axes_y=np.array([3]),
        size_x=np.array([2 * WIDTH]),
        size_y=np.array([2 * HEIGHT]),
        one=np.array([1]),
        times=np.array([1, 26, 1]),
    )


def with_dot(x: int, y: int) -> Array:
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[y - 3 : y + 3, x - 3 : x + 3] = 255
    return frame


def test_joints_are_found_where_the_box_shows_them(simcc: Path) -> None:
    estimator = RTMPose(simcc, batch_size=2)
    boxes = np.array([[40, 20, 120, 180], [60, 30, 130, 120], [200, 50, 280, 150]], np.float32)
    first = Persons(boxes[:2], np.array([0.9, 0.8], np.float32))
    second = Persons(boxes[2:], np.array([0.7], np.float32))
    frames = np.stack([with_dot(90, 100), with_dot(0, 3), with_dot(230, 80)])
    made = estimator(frames, [first, Persons.nobody(), second])
    assert [len(found) for found in made] == [2, 0, 1]
    assert made[0].points is not None and made[2].points is not None
    assert made[0].points.shape == (2, 17, 2), "the first 17 of Halpe's joints are COCO's"
    assert np.abs(made[0].points - [90, 100]).max() < 4 and np.abs(made[2].points - [230, 80]).max() < 4
    assert made[0].boxes is first.boxes and made[2].scores.tolist() == second.scores.tolist()


def test_a_frame_with_nobody_needs_no_network(simcc: Path) -> None:
    made = RTMPose(simcc)(np.zeros((2, 20, 20, 3), np.uint8), [Persons.nobody(), Persons.nobody()])
    assert [len(found) for found in made] == [0, 0]


def constant_boxes(path: Path, boxes: Array, joints: Array | None = None, labels: Array | None = None) -> Path:
    """A detector that always finds the same, with the blue of the upper left pixel as the score of the first box."""
    node = onnx.helper.make_node
    nodes = [
        node("Slice", ["image", "begin", "end"], ["pixel"]),
        node("Reshape", ["pixel", "single"], ["score"]),
        node("Mul", ["score", "where"], ["added"]),
        node("Add", ["boxes", "added"], ["dets"]),
    ]
    outputs: dict[str, list[Any]] = {"dets": list(boxes.shape)}
    where = np.zeros(boxes.shape, np.float32)
    where[0, 0, 4] = 1 / 255
    constants = {"boxes": boxes, "where": where, "single": np.array([1]), "begin": np.zeros(4, np.int64)}
    for name, value in (("keypoints", joints), ("labels", labels)):
        if value is not None:
            nodes.append(node("Identity", [f"constant_{name}"], [name]))
            outputs[name] = list(value.shape)
            constants[f"constant_{name}"] = value
    return save(path, [1, 3, 64, 64], nodes, outputs, end=np.ones(4, np.int64), **constants)


def test_one_stage_networks_return_persons_in_pixels_of_the_frame(tmp_path: Path) -> None:
    boxes = np.array([[[8, 4, 24, 30, 0], [0, 0, 9, 9, 0.1]]], np.float32)
    joints = np.full((1, 2, 17, 3), 0.5, np.float32)
    joints[..., :2] = 16, 12
    joints[0, 0, 3, 2] = 0
    estimator = RTMO(constant_boxes(tmp_path / "rtmo.onnx", boxes, joints))
    frames = np.zeros((2, 128, 256, 3), np.uint8)
    frames[0, ..., 2] = 255  # blue
    found, nobody = estimator(frames)
    assert found.points is not None and found.joint_scores is not None
    assert found.scores.tolist() == [1], "pixels are BGR, not normalised"
    assert found.boxes.tolist() == [[32, 16, 96, 120]] and found.points[0, 0].tolist() == [64, 48]
    assert np.isnan(found.points[0, 3]).all() and found.joint_scores[0, 3] == 0
    assert len(nobody) == 0 and nobody.points is not None and nobody.points.shape == (0, 17, 2)


def test_detectors_return_persons_only(tmp_path: Path) -> None:
    boxes = np.array([[[8, 4, 24, 30, 0], [0, 0, 9, 9, 0.9]]], np.float32)
    weights = constant_boxes(tmp_path / "yolox.onnx", boxes, labels=np.array([[0, 56]], np.float32))
    blue = np.zeros((1, 128, 256, 3), np.uint8)
    blue[..., 2] = 255
    (found,) = OnnxDetector(weights, normalize=False)(blue)
    assert found.boxes.tolist() == [[32, 16, 96, 120]] and found.scores.tolist() == [1]
    (chairs,) = OnnxDetector(weights, normalize=False, person=56)(blue)
    assert chairs.scores.tolist() == [pytest.approx(0.9)]
    (dark,) = OnnxDetector(weights)(blue)
    assert len(dark) == 0, "normalised: 255 becomes 2.6"


def fixed(path: Path, size: tuple[int, int], sized: bool = False, **outputs: Array) -> Path:
    """A network that always returns the same; with ``sized``, boxes are for the size that it is given."""
    node = onnx.helper.make_node
    kind, nodes, inputs, made = onnx.TensorProto.FLOAT, [], [], []
    for name, value in outputs.items():
        scaled = sized and name == "boxes"
        nodes.append(node("Mul" if scaled else "Identity", [f"{name}_value", *["sides"] * scaled], [name]))
        made.append(
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        )
    inputs.append(onnx.helper.make_tensor_value_info("images", kind, [1, 3, *size]))
    if sized:
        inputs.append(onnx.helper.make_tensor_value_info("orig_target_sizes", onnx.TensorProto.INT64, [1, 2]))
        nodes.insert(0, node("Cast", ["orig_target_sizes"], ["side"], to=kind))
        nodes.insert(1, node("Concat", ["side", "side"], ["sides"], axis=1))
    values = [onnx.numpy_helper.from_array(value, f"{name}_value") for name, value in outputs.items()]
    graph = onnx.helper.make_graph(nodes, "fixed", inputs, made, values)
    opset = [onnx.helper.make_opsetid("", 18)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    return path


FRAME = np.zeros((1, 128, 256, 3), np.uint8)


def test_transformers_exported_by_their_authors(tmp_path: Path) -> None:
    boxes = np.array([[[0.25, 0.5, 0.5, 1], [0, 0, 1, 1], [0, 0, 0.1, 0.1]]], np.float32)
    scores, labels = np.array([[0.9, 0.8, 0.1]], np.float32), np.array([[0, 7, 0]])
    path = fixed(tmp_path / "dfine.onnx", (64, 96), sized=True, labels=labels, boxes=boxes, scores=scores)
    (found,) = OnnxDetector(path)(FRAME)
    assert found.boxes.tolist() == [[64, 64, 128, 128]] and found.scores.tolist() == [pytest.approx(0.9)]


@pytest.mark.parametrize(("names", "classes"), [(("dets", "labels"), 91), (("pred_boxes", "logits"), 80)])
def test_queries_are_read_as_relative_boxes_and_logits(tmp_path: Path, names: tuple[str, str], classes: int) -> None:
    logits = np.full((1, 2, classes), -9, np.float32)
    logits[0, 0, int(classes == 91)] = 2
    logits[0, 1, 5] = 9
    boxes = np.array([[[0.5, 0.5, 0.25, 0.5], [0.5, 0.5, 1, 1]]], np.float32)
    path = fixed(tmp_path / "detr.onnx", (56, 56), **dict(zip(names, (boxes, logits), strict=True)))
    detector = OnnxDetector(path)
    (found,) = detector(FRAME)
    assert found.boxes.tolist() == [[96, 32, 160, 96]]
    assert found.scores.tolist() == [pytest.approx(1 / (1 + np.exp(-2)))]
    assert detector.normalize == (classes == 91)
    (other,) = OnnxDetector(path, person=5)(FRAME)
    assert other.boxes.tolist() == [[0, 0, 256, 128]]
    with pytest.raises(UserError, match=rf"has {classes} classes, person is 99"):
        OnnxDetector(path, person=99)(FRAME)


def test_grids_of_yolox_are_decoded_and_overlaps_removed(tmp_path: Path) -> None:
    rows = np.zeros((1, 8 * 8 + 4 * 4 + 2 * 2, 5 + 2), np.float32)
    rows[0, 64 + 4 + 1] = [0.5, 0.25, np.log(2), np.log(1), 0.9, 0.8, 0]  # cell (1, 1) of stride 16
    rows[0, 64 + 4 + 2] = [-0.5, 0.25, np.log(2), np.log(1), 0.9, 0.7, 0]  # the same box
    rows[0, 3] = [0, 0, 0, 0, 0.9, 0, 0.9]  # another class
    (found,) = OnnxDetector(fixed(tmp_path / "yolox.onnx", (64, 64), output=rows))(FRAME)  # scaled by a quarter
    np.testing.assert_allclose(found.boxes, [[4 * 8, 4 * 12, 4 * 40, 4 * 28]], atol=1e-4)
    assert found.scores.tolist() == [pytest.approx(0.72)]
    with pytest.raises(UserError, match=r"has 80 boxes; grids of strides 8, 16, 32 have 84"):
        OnnxDetector(fixed(tmp_path / "short.onnx", (64, 64), output=rows[:, :80]))(FRAME)


def test_files_that_do_not_fit_are_refused(tmp_path: Path, simcc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"RTMPose: weights .*none\.onnx do not exist; download the ONNX file from"):
        RTMPose(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"RTMO: weights .*text\.onnx cannot be read"):
        RTMO(tmp_path / "text.onnx")
    with pytest.raises(UserError, match=r"simcc\.onnx has outputs of no known form: x \(1, 26, 96\), y"):
        OnnxDetector(simcc)(np.zeros((1, 20, 20, 3), np.uint8))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PluginError, match=r"RTMPose needs ONNX Runtime: pip install 'vid-persons\[onnx\]'"):
        RTMPose(simcc)
