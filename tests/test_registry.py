"""The same checks for every component of every installed plugin, and of the example.

New components are found by themselves. What cannot be built from its defaults has a line in ARGUMENTS.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import pickle
import sys
import wave
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import torch.distributed as dist

from vid_detection.records import TrueBoxes
from vid_localization.records import PartBounds
from vid_recognition.records import TagCategories
from vid_retrieval.records import Answers, Embeddings, Texts
from vid_skeleton.files import Track, skeleton_writer
from vid_skeleton.records import Detections
from vidcore.batch import collate
from vidcore.config.bind import build_component
from vidcore.engine import shard
from vidcore.errors import UserError
from vidcore.geometry import Geometry
from vidcore.plugins.catalog import Catalog, Component, load_plugins
from vidcore.records import Boxes, Clip, Joints, Segments, Text
from vidcore.sample import Sample
from vidcore.testing import check_component

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "plugins" / "example" / "src"))

CLASSES = 3
WORD_PIECES = str(ROOT / "packages" / "retrieval" / "tests" / "vocab.txt")
MERGES = str(ROOT / "packages" / "retrieval" / "tests" / "merges.txt")
ARGUMENTS: dict[str, dict[str, Any]] = {
    # transforms
    "Albumentations": {"op": "Blur"},
    "BertTokenize": {"vocabulary": WORD_PIECES},
    "Branches": {"branches": {}},
    "BuildPseudoClip": {"clip_len": 4},
    "CLIPTokenize": {"vocabulary": MERGES, "context_length": 9},
    "CenterCrop": {"crop_size": 16},
    "ConvertJoints": {"source": "coco", "target": "openpose"},
    "DenseSampleFrames": {"clip_len": 4},
    "FormatAudioShape": {"input_format": "NCTF"},
    "FormatShape": {"input_format": "NCTHW"},
    "LoadProposalSegments": {"file": "results.json"},
    "LoadVideoClasses": {"file": "classes.jsonl"},
    "LoadProposals": {"top_k": 3, "pgm_proposals_dir": ".", "pgm_features_dir": ".", "feature_ext": ".csv"},
    "MultiGroupCrop": {"crop_size": 16, "groups": 2},
    "MultiScaleCrop": {"input_size": 32},
    "Pad": {"axis": 0},
    "PadTo": {"length": 12},
    "PerDataset": {"pipelines": [{}]},
    "RandomCrop": {"size": 32},
    "RandomRescale": {"scale_range": [32, 48]},
    "RandomScale": {"scales": [[64, 48], [32, 24]]},
    "Resize": {"scale": [32, 24]},
    "SampleAVAFrames": {"clip_len": 4},
    "SampleFrames": {"clip_len": 4},
    "TenCrop": {"crop_size": 32},
    "ThreeCrop": {"crop_size": 48},
    "TorchVision": {"op": "RandomErasing"},
    "Transpose": {"keys": ["imgs"], "order": [0, 2, 1, 3, 4]},
    "UniformSample": {"clip_len": 4},
    "MMUniformSampleFrames": {"clip_len": {"RGB": 2, "Pose": 4}},
    "UniformSampleFrames": {"clip_len": 4},
    # metrics, schedules, groupings, jobs
    "RetrievalRecall": {"topk": [1, 2]},
    "CosineRestartLR": {"periods": [3, 4]},
    "ExponentialLR": {"gamma": 0.9},
    "ExtractFeatures": {"task": "task.toml", "checkpoint": "best.pt", "videos": ["."]},
    "FuseStreams": {"streams": {"joint": "."}},
    "GenerateProposals": {"boundaries": "."},
    "MakeFeatureBank": {"task": "task.toml", "checkpoint": "best.pt"},
    "LayerDecayGroups": {"decay_rate": 0.7, "num_layers": 2},
    "MultiStepLR": {"milestones": [3, 4]},
    "ReduceOnPlateauLR": {"monitor": "acc/top1"},
    "TorchLR": {"scheduler": "StepLR", "arguments": {"step_size": 3}},
    "OneCycleLR": {"eta_max": 0.1},
    "StepLR": {"step_size": 3},
    "SwinGroups": {"custom_keys": {"head": {"lr_mult": 2.0}}},
}
"""Tables, without ``type``, of components that require arguments, and of models that are large by default."""


NOT_INSTALLED = {"Albumentations", "TimmBackbone", "TorchVision", "WandB"}
"""Components of libraries that tests do not have; their own tests use stand-ins."""
NEED_WEIGHTS = {"BlazeDetector", "BlazePose", "OnnxDetector", "RTMO", "RTMPose", "TransformersDetector", "ViTPose"}
"""Components that read files of weights when they are built; their own tests make some."""


@cache
def catalog() -> Catalog:
    example = importlib.metadata.EntryPoint("example", "vid_example.plugin", "vidcore")
    installed = [e for e in importlib.metadata.entry_points(group="vidcore") if e.name != example.name]
    return load_plugins([*installed, example])


def all_of(*kinds: str, without: Collection[str] = ()) -> pytest.MarkDecorator:
    everything = [c for name, c in sorted(catalog().components.items()) if name not in without]
    return pytest.mark.parametrize(
        "component", [pytest.param(c, id=c.name) for c in everything if not kinds or c.kind in kinds]
    )


def build(component: Component) -> Any:
    return build_component({"type": component.name, **ARGUMENTS.get(component.name, {})}, component.kind, catalog())


# Every component


@all_of()
@pytest.mark.usefixtures("annotations")
def test_the_checks_that_plugin_authors_use(component: Component) -> None:
    build = component.name not in NOT_INSTALLED | NEED_WEIGHTS
    weights = {"weights": "weights"} if component.name in NEED_WEIGHTS else {}
    check_component(component, catalog(), ARGUMENTS.get(component.name, weights), build=build)


# Transforms


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import cv2

    path = tmp_path_factory.mktemp("media") / "noise.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(24):
        writer.write(cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48)))
    writer.release()
    rows = ["tmin,tmax,tmin_score,tmax_score", *(f"0.{i},0.{i + 2},0.5,0.25" for i in range(5))]
    path.with_suffix(".csv").write_text("\n".join(rows))  # features, or proposals
    with wave.open(str(path.with_suffix(".wav")), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(rng.integers(0, 256, 16000, np.uint8).tobytes())
    (path.parent / "classes.jsonl").write_text('{"video": "noise.mp4", "classes": [{"class": "left", "score": 0.7}]}')
    (path.parent / "results.json").write_text('{"results": {"noise": [{"segment": [0, 1], "score": 0.5}]}}')
    return path


PREPARE: list[dict[str, Any]] = [
    {"type": "OpenVideo"},
    {"type": "SampleFrames", "clip_len": 4, "frame_interval": 2, "num_clips": 2, "test_mode": True},
    {"type": "Decode"},
    {"type": "FormatShape", "input_format": "NCTHW"},
]
STAGES = {
    "file": 0,
    "features": 0,
    "sound": 0,
    "loaded": 0,
    "selected": 0,
    "opened": 1,
    "sampled": 2,
    "decoded": 3,
    "boxes": 3,
    "flow": 3,
    "paired": 3,
    "picture": 3,
    "skeleton": 0,
    "skeleton in space": 0,
    "formatted": 4,
}
"""Numbers of these steps to apply to a sample."""


TAGS = {"tags": TagCategories(np.array([CLASSES]), np.array([True]), ("action",))}


def sample_at(stage: str, video: Path) -> Sample:
    """Return a sample at a stage between the file and the input of a model."""
    meta = {"timestamp": 1, "timestamp_start": 0}
    sample = Sample(index=0, path=str(video), label=1, class_names=("left", "right", "none"), meta=meta, extra=TAGS)
    for step in PREPARE[: STAGES[stage]]:
        sample = build_component(step, "transforms", catalog())(sample, np.random.default_rng(1))
    if stage == "features":
        return sample.replace(
            path=str(video.with_suffix(".csv")),
            duration=2.4,
            total_frames=24,
            inputs={"features": np.ones((2, 3))},
            text=Text(("what is it",), np.array([3, 1, 2])),
            segments=Segments(np.array([[0, 0.9]]), np.array([1])),
            proposals=Segments(np.array([[0, 1], [1, 2.4]])),
            extra={**TAGS, "parts": PartBounds(np.array([[0, 1], [2, 9]]))},
        )
    if stage in ("loaded", "selected"):
        shape, clip = ((50, 80), Clip(np.arange(16), 8, 2)) if stage == "loaded" else ((2, 20, 80), None)
        return sample.replace(total_frames=24, clip=clip, inputs={"audios": np.ones(shape, np.float32)})
    if stage == "sound":
        return sample.replace(path=str(video.with_suffix(".wav")))
    if stage == "boxes":
        boxes = Boxes(np.array([[4, 4, 20, 30], [10, 0, 40, 40]], np.float32))
        return sample.replace(boxes=boxes, proposals=boxes)
    if stage == "flow":
        return sample.replace(frames=sample.frames[..., :2], modality="Flow")
    if stage.startswith("skeleton"):
        points = np.random.default_rng(3).uniform(1, 40, (2, 8, *((25, 3) if "space" in stage else (17, 2))))
        joints = Joints(points.astype(np.float32), None if "space" in stage else np.ones((2, 8, 17), np.float32))
        found = Detections(joints.points[0], joints.points[0, ..., 0], np.arange(8))
        clip, geometry = Clip(np.arange(2, 6), 2, 2), Geometry.whole((48, 64))
        return sample.replace(total_frames=8, joints=joints, clip=clip, geometry=geometry).with_extra(detections=found)
    if stage == "paired":
        points = np.random.default_rng(3).uniform(1, 40, (2, 4, 17, 2)).astype(np.float32)
        return sample.replace(joints=Joints(points))
    if stage == "picture":
        picture = np.zeros((1, 48, 64, 3), np.uint8)
        return sample.replace(frames=picture, geometry=None, clip=Clip(np.zeros(1, np.int64), 1))
    return sample


def content(value: Any) -> Any:
    """Return something comparable that changes if the value does."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {k: content(v) for k, v in value.items()}
    if attrs.has(type(value)):
        return {a.name: content(getattr(value, a.name)) for a in attrs.fields(type(value)) if a.name != "video"}
    return value


@all_of("transforms", without=NOT_INSTALLED)
def test_transform(component: Component, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(video.parent)
    made = build(component)
    transform = pickle.loads(pickle.dumps(made))  # as when it is sent to a worker process
    assert content(transform) == content(made)
    worked = 0
    for stage in STAGES:
        sample, twin = sample_at(stage, video), sample_at(stage, video)  # two, since Decode closes the video of one
        before = content(sample)
        try:
            first = made(sample, np.random.default_rng(5))
        except UserError:
            continue  # too early or too late, which is reported
        assert content(sample) == before, "a transform must not change its sample"
        second = transform(twin, np.random.default_rng(5))
        assert isinstance(first, Sample)
        assert content(first) == content(second), "the same rng must give the same result"
        worked += 1
    assert worked, "the transform refused the sample at every stage of a pipeline"


# Metrics


def predictions(multi_label: bool) -> tuple[list[Sample], list[Sample]]:
    rng = np.random.default_rng(2)
    targets, predicted = [], []
    for index in range(12):
        truth = np.eye(CLASSES, dtype=np.float32)[index % CLASSES]
        labelled: dict[str, Any] = {"labels": truth} if multi_label else {"label": index % CLASSES}
        answers = {"answers": Answers(("yes", "no"), np.array([0.75, 0.25]))}
        labelled["extra"] = {"texts": Texts((f"text {index}",), np.array([index]), index), **answers, **TAGS}
        corners = np.array([[0.1, 0.1, 0.4, 0.9], [0.5, 0.2, 0.9, 0.8]])
        labelled["extra"]["truth"] = TrueBoxes(corners, np.stack([truth, truth]) > 0, np.arange(2))
        start = 5.0 * rng.random()
        true = Segments(np.array([[start, start + 2]]), np.array([index % CLASSES]))
        of_frame: dict[str, Any] = {"key": f"{index % 2},{index:04d}", "meta": {"size": (240, 320)}}
        target = Sample(index=index, path=f"{index}.mp4", duration=8.0, segments=true, **labelled, **of_frame)
        scores = rng.random(CLASSES, np.float32) + truth / 2
        targets.append(target)
        near = np.sort(true.spans + rng.normal(0, 0.5, (4, 2)))
        chance = rng.random(4)
        found = Segments(near, rng.integers(0, CLASSES, 4), chance)
        embeddings = {n: Embeddings(rng.random((1, 4))) for n in ("video_embedding", "text_embeddings")}
        boxes = Boxes(corners.astype(np.float32), scores=rng.random((2, CLASSES), np.float32), relative=True)
        answer = target.replace(scores=scores / scores.sum(), segments=found, boxes=boxes)
        predicted.append(answer.with_extra(**embeddings))
    return predicted, targets


@all_of("metrics", without={"MatchRecall"})  # which needs a model at the end
def test_metric(component: Component) -> None:
    whole, halves = build(component), [build(component), build(component)]
    predicted, targets = predictions(multi_label=False)
    try:
        whole.update(predicted, targets)
        scores = whole.compute()
    except UserError:
        whole.reset()
        predicted, targets = predictions(multi_label=True)
        whole.update(predicted, targets)
        scores = whole.compute()
    assert all(isinstance(name, str) and isinstance(score, float) for name, score in scores.items())

    halves[0].update(predicted[:7], targets[:7])
    halves[1].update(predicted[5:], targets[5:])  # two samples are repeated, as by a padded sampler
    halves[0].merge([pickle.loads(pickle.dumps(halves[1]))])
    assert halves[0].compute() == pytest.approx(scores, nan_ok=True)

    whole.reset()
    whole.update(predicted, targets)
    assert whole.compute() == pytest.approx(scores, nan_ok=True)


# Drawers


@all_of("drawers")
@pytest.mark.parametrize("size", [(240, 320), (720, 405)])
def test_drawer(component: Component, size: tuple[int, int]) -> None:
    from vidcore.tools.drawers import Canvas, Drawer

    drawer = component.load()
    assert issubclass(drawer, Drawer)
    assert not drawer.can_draw(Sample(path="a.mp4")), "a sample without predictions"
    predicted, targets = predictions(multi_label=False)
    names = ("left", "right", "a name that is so long that it does not fit into one line of a small picture")
    sample, truth = (one.replace(class_names=names) for one in (predicted[0], targets[0]))
    if not drawer.can_draw(sample):
        return
    canvas = Canvas(size, names, duration=8.0, top=3)
    made = drawer(sample, canvas, truth)
    shapes = set()
    for time in (0.0, 4.0, 7.9, 9.0):
        canvas.begin_frame()
        image = np.full((*size, 3), 90, np.uint8)
        framed = made.draw(image, time)
        assert framed.dtype == np.uint8 and (framed[: size[0], : size[1]] == image).all()
        assert framed.shape != (*size, 3) or (framed != 90).any()
        shapes.add(framed.shape)
    assert len(shapes) == 1, "all frames of a video must have one size"


# Data sets


@pytest.fixture
def annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a", "b"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        (tmp_path / "classes" / name / f"{name}_1.mp4").touch()
        (tmp_path / f"{name}_1.mp4").touch()
    (tmp_path / "videos.txt").write_text("a_1.mp4 0\nb_1.mp4 1\n")
    (tmp_path / "parts.txt").write_text("a_1.mp4 0.5 2 0\nb_1.mp4 1 2.5 1\n")
    (tmp_path / "raw.txt").write_text("a 0 4 1 2\nb 1 3 0\n")
    (tmp_path / "frames.txt").write_text("a 8 0\nb 9 1\n")
    (tmp_path / "segments.csv").write_text("video,start,end,label\na,0,1,x\nb,1,2,y\n")
    (tmp_path / "sentences.txt").write_text("a 0 1##up.\nb 1 2##down.\n")
    (tmp_path / "words.json").write_text('{"up": 1, "down": 2}')
    (tmp_path / "numbers.json").write_text('{"a": 25, "b": 30}')
    (tmp_path / "classes.jsonl").write_text('{"video": "a.mp4", "classes": [{"class": "left", "score": 0.7}]}')
    (tmp_path / "results.json").write_text('{"results": {"a": [{"segment": [0, 1], "score": 0.5}]}}')
    tags = [{"filename": f"{name}_1.mp4", "label": {"action": [i]}} for i, name in enumerate("ab")]
    (tmp_path / "tags.json").write_text(json.dumps(tags))
    texts = {"question": "what is it", "caption": ["a dog", "a cat"]}
    rows = [{"video": f"{name}_1.mp4", "answer": i, **texts} for i, name in enumerate("ab")]
    (tmp_path / "choices.json").write_text(json.dumps(rows))
    (tmp_path / "questions.json").write_text(json.dumps([{**row, "answer": "dog"} for row in rows]))
    (tmp_path / "ava.csv").write_text("a,0902,0.1,0.1,0.5,0.9,1,0\nb,0903,0.1,0.1,0.5,0.9,2,0\n")
    (tmp_path / "boxes.csv").write_text("video,time,x1,y1,x2,y2,action\na,1,0,0,1,1,x\nb,2,0,0,1,1,y\n")
    tube = {name: {0: [np.array([[1, 0, 0, 9, 9]])]} for name in "ab"}
    sizes, splits = dict.fromkeys("ab", (9, 9)), [["a", "b"]]
    tubes = {"labels": ["x", "y"], "gttubes": tube, "nframes": dict.fromkeys("ab", 4), "resolution": sizes}
    (tmp_path / "tubes.pkl").write_bytes(pickle.dumps({**tubes, "train_videos": splits, "test_videos": splits}))
    with skeleton_writer(tmp_path / "skeletons.npz", ["head"]) as writer:
        for label, name in enumerate("ab"):
            writer.add(name, 4, [Track(0, np.ones((4, 1, 2)))], (9, 9), label=label)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ARGUMENTS |= {
    "AVADataset": {"ann_file": "ava.csv"},
    "AVAKineticsDataset": {"ann_file": "ava.csv"},
    "AudioDataset": {"ann_file": "frames.txt"},
    "AudioVisualDataset": {"dataset": {"type": "VideoDataset", "ann_file": "videos.txt"}, "audio_root": "."},
    "ActivityNetDataset": {"ann_file": "segments.csv"},
    "CharadesSTADataset": {
        "ann_file": "sentences.txt",
        "word2id_file": "words.json",
        **dict.fromkeys(("fps_file", "duration_file", "num_frames_file"), "numbers.json"),
        "window_size": 16,
        "ft_overlap": 0.5,
    },
    "ClipDataset": {"ann_file": "parts.txt"},
    "ConcatDataset": {"datasets": [{"type": "VideoDataset", "ann_file": "videos.txt"}]},
    "FolderDataset": {"data_root": "classes"},
    "HVUDataset": {"ann_file": "tags.json"},
    "MSRVTTRetrieval": {"ann_file": "questions.json"},
    "MSRVTTVQA": {"ann_file": "questions.json"},
    "MSRVTTVQAMC": {"ann_file": "choices.json"},
    "NamedVideos": {"folder": "."},
    "PoseDataset": {"ann_file": "skeletons.npz"},
    "RawframeDataset": {"ann_file": "frames.txt"},
    "RawVideoDataset": {"ann_file": "raw.txt"},
    "SSNDataset": {"ann_file": "segments.csv"},
    "RepeatDataset": {"dataset": {"type": "VideoDataset", "ann_file": "videos.txt"}, "times": 1},
    "TubeDataset": {"ann_file": "tubes.pkl"},
    "VideoBoxDataset": {"ann_file": "boxes.csv"},
    "VideoDataset": {"ann_file": "videos.txt"},
    "VideoTextDataset": {"ann_file": "questions.json", "per": "video"},
}


@all_of("datasets")
@pytest.mark.usefixtures("annotations")
def test_dataset(component: Component) -> None:
    data = build(component)
    assert len(data) == 2
    samples = [data[i] for i in range(len(data))]
    assert [s.index for s in samples] == [0, 1]
    if component.name == "HVUDataset":
        assert [s.labels.nonzero()[0].tolist() for s in samples] == [[0], [1]]
    elif all("truth" in s.extra for s in samples):
        assert [s.boxes.labels.shape for s in samples] == [(1, len(data.class_names))] * 2
    elif all(s.label is None and "texts" in s.extra for s in samples):
        assert [len(s.extra["texts"]) for s in samples] == [1 if component.name == "MSRVTTVQA" else 2] * 2
    else:
        assert [s.label for s in samples] == [0, 1] or all(s.segments.spans.shape == (1, 2) for s in samples)
    assert all((s.path or s.joints) and s.frames is None and s.video is None for s in samples), (
        "no pixels before a transform decodes"
    )
    again = pickle.loads(pickle.dumps(data))
    assert [content(again[i]) for i in range(2)] == [content(s) for s in samples]


# Models and their parts

BOX_HEAD = {"type": "AVARoIHead", "bbox_head": {"type": "BBoxHeadAVA", "in_channels": 8, "num_classes": CLASSES}}
GRAPH = {"graph_cfg": {"layout": "coco"}, "base_channels": 12, "num_stages": 2}
RGBPOSE = {
    "type": "RGBPoseConv3D",
    "rgb_pathway": {"base_channels": 8},
    "pose_pathway": {"base_channels": 4, "stage_blocks": [1, 1, 1]},
}
CLIP_TABLE = {
    "image_size": 32,
    "patch_size": 16,
    "embed_dim": 8,
    "image_width": 16,
    "image_layers": 2,
    "image_heads": 2,
    "context_length": 40,
    "vocab_size": 600,
    "text_width": 16,
    "text_layers": 2,
    "text_heads": 2,
}
BEIT = {
    "num_frames": 4,
    "image_size": 32,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_size": 24,
    "drop_path_rate": 0.0,
}
BERT = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_heads": 2,
    "mlp_size": 24,
    "encoder_width": 16,
}
VINDLU = {
    "vision_encoder": {"type": "BeitModel3D", **BEIT},
    "text_encoder": {"type": "XBertModel", "fusion_layer": 1, **BERT},
}
DUAL = {"clip": {"type": "CLIP", **CLIP_TABLE}, "adapter": {"type": "SimpleMeanAdapter"}}
ADAPTER = {"num_segs": 4, "transformer_width": 8, "transformer_heads": 2, "transformer_layers": 2}
ARGUMENTS |= {
    "AAGCN": GRAPH,
    "ACRNHead": {"in_channels": 11, "out_channels": 4},
    "AVARoIHead": {"bbox_head": BOX_HEAD["bbox_head"]},
    "BBoxHeadAVA": {"in_channels": 8, "num_classes": CLASSES},
    "FastRCNN": {
        "backbone": {"type": "ResNet3dSlowOnly", "depth": 18, "base_channels": 1, "spatial_strides": [1, 2, 2, 1]},
        "roi_head": BOX_HEAD,
    },
    "FBOHead": {"lfb_cfg": {"lfb_channels": 6}, "fbo_cfg": {"st_feat_channels": 8, "latent_channels": 4}},
    "ActionClip": {**DUAL, "vocabulary": MERGES, "labels": ["left", "right", "none"]},
    "BeitModel3D": BEIT,
    "BertDecoder": BERT,
    "CLIP": CLIP_TABLE,
    "CLIPSimilarity": DUAL,
    "TransformerAdapter": ADAPTER,
    "VindLURetrieval": VINDLU,
    "VindLURetrievalMC": VINDLU,
    "VindLUVQA": {**VINDLU, "text_decoder": {"type": "BertDecoder", **BERT}},
    "XBertModel": {"fusion_layer": 1, **BERT},
    "CTRGCN": GRAPH,
    "DGSTGCN": GRAPH,
    "GCNHead": {"num_classes": CLASSES, "in_channels": 8},
    "MSG3D": {
        "graph_cfg": {"layout": "coco", "mode": "binary_adj"},
        "base_channels": 6,
        "num_gcn_scales": 2,
        "num_g3d_scales": 2,
    },
    "MMRecognizer3D": {
        "backbone": RGBPOSE,
        "cls_head": {"type": "RGBPoseHead", "num_classes": CLASSES, "in_channels": [256, 64]},
    },
    "RGBPoseConv3D": {name: value for name, value in RGBPOSE.items() if name != "type"},
    "RGBPoseHead": {"num_classes": CLASSES, "in_channels": [8, 4]},
    "RecognizerGCN": {
        "backbone": {"type": "STGCN", **GRAPH},
        "cls_head": {"type": "GCNHead", "num_classes": CLASSES, "in_channels": 12},
    },
    "STGCN": GRAPH,
    "C2D": {"depth": 50},
    "CBFocalLoss": {"samples_per_cls": [5, 2, 1]},
    "CutmixBlending": {"num_classes": CLASSES},
    "DRN": {
        "vocab_size": 9,
        "hidden_dim": 4,
        "embed_dim": 4,
        "first_output_dim": 4,
        "fpn_feature_dim": 8,
        "feature_dim": 6,
    },
    "DenseNet": {"depth": 121},
    "I3DHead": {"num_classes": CLASSES, "in_channels": 8},
    "MixupBlending": {"num_classes": CLASSES},
    "MultiModalDataPreprocessor": {"preprocessors": {}},
    "MobileNetV2TSM": {"num_segments": 4},
    "MobileOneTSM": {"num_segments": 4},
    "MotionNet": {"num_classes": CLASSES},
    "OmniHead": {"image_classes": 2, "video_classes": CLASSES, "in_channels": 8},
    "OmniResNet": {"layers": [1, 1]},
    "RandomBatchAugment": {"augments": [{"type": "MixupBlending", "num_classes": CLASSES}]},
    "Recognizer2D": {
        "backbone": {"type": "ResNet", "depth": 18},
        "cls_head": {"type": "TSNHead", "num_classes": CLASSES, "in_channels": 512},
        "data_preprocessor": {"type": "ActionDataPreprocessor", "mean": [120, 120, 120], "std": [60, 60, 60]},
    },
    "Distillation": {
        role: {
            "type": "Recognizer2D",
            "backbone": {"type": "ResNet", "depth": 18},
            "cls_head": {"type": "TSNHead", "num_classes": CLASSES, "in_channels": 512},
        }
        for role in ("student", "teacher")
    },
    "Recognizer3D": {
        "backbone": {"type": "ResNet3dSlowOnly", "base_channels": 8},
        "cls_head": {"type": "I3DHead", "num_classes": CLASSES, "in_channels": 256},
        "max_testing_views": 1,
    },
    "RecognizerAudio": {
        "backbone": {"type": "ResNetAudio", "depth": 50, "base_channels": 4},
        "cls_head": {"type": "TSNAudioHead", "num_classes": CLASSES, "in_channels": 128},
    },
    "RecognizerOmni": {
        "backbone": {"type": "OmniResNet", "layers": [1, 1]},
        "cls_head": {"type": "OmniHead", "image_classes": 2, "video_classes": CLASSES, "in_channels": 512},
    },
    "ResNet": {"depth": 18},
    "ResNet2Plus1d": {"depth": 18, "base_channels": 8},
    "ResNet3dCSN": {"depth": 50, "base_channels": 8},
    "ResNetAudio": {"depth": 50, "base_channels": 4},
    "ResNetTIN": {"depth": 18, "num_segments": 4},
    "TANet": {"depth": 50, "num_segments": 4},
    "X3D": {"base_channels": 8},
    "TPN": {"in_channels": [32, 64], "out_channels": 32, "spatial_channels": 64, "fused_channels": 64},
    "TPNHead": {"num_classes": CLASSES, "in_channels": 8},
    "TRNHead": {"num_classes": CLASSES, "in_channels": 8, "num_segments": 4, "hidden_dim": 6},
    "SubBatchNorm3D": {"num_features": 8},
    "X3DHead": {"num_classes": CLASSES, "in_channels": 8},
    "C3D": {"out_dim": 2048},
    "ResNet3d": {"base_channels": 8},
    "ResNet3dSlowOnly": {"base_channels": 8},
    "ResNeXt": {"depth": 50},
    "ResNetTSM": {"depth": 18, "num_segments": 4},
    "ActionFormer": {"feat_dim": 8, "num_classes": CLASSES, "hidden_dim": 16, "levels": 3, "window_size": 5},
    "BMN": {
        "temporal_dim": 10,
        "boundary_ratio": 0.5,
        "num_samples": 4,
        "num_samples_per_bin": 2,
        "feat_dim": 8,
        "hidden_dim_1d": 8,
        "hidden_dim_2d": 4,
        "hidden_dim_3d": 8,
        "soft_nms_alpha": 0.4,
        "soft_nms_low_threshold": 0.5,
        "soft_nms_high_threshold": 0.9,
        "post_process_top_k": 5,
    },
    "SSN": {
        "backbone": {"type": "ResNet", "depth": 18},
        "cls_head": {"type": "SSNHead", "in_channels": 512, "num_classes": CLASSES},
    },
    "SSNHead": {"in_channels": 8, "num_classes": CLASSES},
    "PEM": {
        "pem_feat_dim": 10,
        "pem_hidden_dim": 16,
        "pem_u_ratio_m": 1.0,
        "pem_u_ratio_l": 2.0,
        "pem_high_temporal_iou_threshold": 0.6,
        "pem_low_temporal_iou_threshold": 0.2,
        "soft_nms_alpha": 0.4,
        "soft_nms_low_threshold": 0.5,
        "soft_nms_high_threshold": 0.9,
        "post_process_top_k": 5,
    },
    "TCANet": {"feat_dim": 8, "se_sample_num": 4, "action_sample_num": 8, "temporal_dim": 10, "window_size": 3},
    "TEM": {
        "temporal_dim": 10,
        "boundary_ratio": 0.1,
        "tem_feat_dim": 8,
        "tem_hidden_dim": 16,
        "tem_match_threshold": 0.5,
    },
    "MViT": {
        "arch": {"embed_dims": 8, "num_layers": 3, "num_heads": 1, "downscale_indices": [1]},
        "spatial_size": 32,
        "temporal_size": 4,
    },
    "MViTHead": {"num_classes": CLASSES, "in_channels": 8},
    "SlowFastHead": {"num_classes": CLASSES, "in_channels": 8},
    "SwinTransformer": {"embed_dim": 16, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4},
    "SwinTransformer3D": {
        "arch": {"embed_dims": 8, "depths": [2, 1], "num_heads": [1, 2]},
        "window_size": [2, 4, 4],
        "out_indices": [1],
    },
    "TSMHead": {"num_classes": CLASSES, "in_channels": 8, "num_segments": 4},
    "TSNAudioHead": {"num_classes": CLASSES, "in_channels": 8},
    "TSNHead": {"num_classes": CLASSES, "in_channels": 8},
    "UniFormer": {"depth": [1, 1, 1, 1], "embed_dim": [8, 8, 16, 16], "head_dim": 8},
    "TimeSformer": {
        "num_frames": 4,
        "img_size": 32,
        "patch_size": 16,
        "embed_dims": 16,
        "num_heads": 2,
        "num_transformer_layers": 2,
    },
    "TimeSformerHead": {"num_classes": CLASSES, "in_channels": 8},
    "UniFormerHead": {"num_classes": CLASSES, "in_channels": 8},
    "UniFormerV2": {
        "input_resolution": 32,
        "width": 16,
        "layers": 2,
        "heads": 2,
        "t_size": 4,
        "return_list": [0, 1],
        "n_head": 2,
        "mlp_dropout": [0.5, 0.5],
    },
    "VisionTransformer": {"img_size": 32, "num_frames": 4, "embed_dims": 16, "depth": 2, "num_heads": 2},
}

CLIP, FRAMES, SCORES, LABELS = (1, 3, 4, 32, 32), (4, 3, 32, 32), (4, CLASSES), "labels"
SKELETONS = (2, 2, 8, 17, 3)
TAGS_OF_HVU = 3142
BOXES = torch.tensor([[[0.0, 0.0, 40.0, 60.0], [10.5, 3.0, 30.0, 31.0], [5.0, 5.0, 9.0, 8.0]]]).repeat(2, 1, 1)
OWNERS = torch.tensor([0, 0, 1])
TOKENS = torch.tensor([[5, 9, 0, 0], [7, 8, 9, 0]])
FORWARD: dict[str, list[Any]] = {
    "ACRNHead": [(3, 8, 1, 2, 2), (2, 3, 1, 4, 4), OWNERS],
    "AVARoIHead": [(2, 8, 2, 4, 4), BOXES],
    "BBoxHeadAVA": [(4, 8, 1, 2, 2)],
    "FBOHead": [(3, 8, 2, 2, 2), (2, 8, 2, 4, 4), OWNERS, (2, 10, 6)],
    "FastRCNN": [{"imgs": (2, 3, 4, 64, 64), "boxes": BOXES}],
    "SingleRoIExtractor3D": [(2, 8, 2, 4, 4), BOXES],
    # models of video and language embed both; their own tests cover the rest
    "ActionClip": [{"imgs": (2, 4, 3, 32, 32), "text": TOKENS}],
    "BeitModel3D": [(2, 4, 3, 32, 32)],
    "BertDecoder": [TOKENS, (2, 5, 16)],
    "CLIP": [(2, 3, 32, 32), TOKENS],
    "CLIPSimilarity": [{"imgs": (2, 4, 3, 32, 32), "text": TOKENS[:, None]}],
    "SimpleMeanAdapter": [(2, 4, 8)],
    "TransformerAdapter": [(2, 4, 8)],
    "VindLURetrieval": [{"imgs": (2, 4, 3, 32, 32), "text": TOKENS[:, None]}],
    "VindLURetrievalMC": [{"imgs": (2, 4, 3, 32, 32), "text": TOKENS[None].repeat(2, 1, 1)}],
    "VindLUVQA": [{"imgs": (2, 4, 3, 32, 32), "text": TOKENS[:, None], "answers": TOKENS[None].repeat(2, 1, 1)}],
    "XBertModel": [TOKENS, (2, 5, 16)],
    # networks that propose segments have no class scores, which INPUTS requires; their own tests cover the rest
    "ActionFormer": [{"features": (2, 8, 10), "lengths": torch.tensor([10, 7])}],
    "BMN": [(2, 8, 10)],
    "BMNLoss": [(2, 2, 6, 6), (2, 6), (2, 6), (2, 6, 6), (2, 6), (2, 6), (6, 6)],
    "BinaryLogisticRegressionLoss": [SCORES, SCORES],
    "DRN": [
        {
            "features": (2, 8, 6),
            "proposals": (2, 8, 2),
            "query": torch.tensor([[3, 1, 2], [9, 0, 0]]),
            "query_length": torch.tensor([3, 1]),
        }
    ],
    "PEM": [(2, 6, 10)],
    "SSN": [{"imgs": (1, 18, 3, 32, 32), "scales": (1, 2, 2)}],
    "SSNHead": [(2, 9, 8), (2, 2)],
    "SSNLoss": [
        (8, CLASSES + 1),
        (8, CLASSES),
        torch.tensor([0, *[1] * 6, 2]),
        torch.tensor([1, 1, 1, 2, 2, 2, 2, 0]),
        (8, 2),
        (8, CLASSES, 2),
    ],
    "TCANet": [{"features": (2, 8, 10), "proposals": (2, 6, 2)}],
    "TEM": [(2, 8, 10)],
    "AAGCN": [SKELETONS],
    "CTRGCN": [SKELETONS],
    "DGSTGCN": [SKELETONS],
    "GCNHead": [(4, 2, 8, 5, 3), 2],
    "MMRecognizer3D": [{"imgs": (2, 1, 3, 2, 32, 32), "heatmap_imgs": (2, 1, 17, 8, 8, 8)}],
    "MSG3D": [SKELETONS],
    "RGBPoseConv3D": [(2, 3, 2, 32, 32), (2, 17, 8, 8, 8)],
    "RGBPoseHead": [[(4, 8, 1, 2, 2), (4, 4, 4, 2, 2)], 2],
    "STGCN": [SKELETONS],
    "BCELossWithLogits": [SCORES, SCORES],
    "C2D": [CLIP],
    "C3D": [(1, 3, 16, 32, 32)],
    "CBFocalLoss": [SCORES, LABELS],
    "CrossEntropyLoss": [SCORES, LABELS],
    "CutmixBlending": [(4, 1, 3, 2, 8, 8), LABELS],
    "DenseNet": [FRAMES],
    "FeatureHead": [(4, 8, 1, 2, 2), 2],
    "HVULoss": [(2, TAGS_OF_HVU), (2, TAGS_OF_HVU), {}],
    "I3DHead": [(4, 8, 1, 2, 2), 2],
    "MixupBlending": [(4, 1, 3, 2, 8, 8), LABELS],
    "MViT": [CLIP],
    "MViTHead": [[(4, 8, 1, 2, 2), (4, 8)], 2],
    "MobileNetV2": [FRAMES],
    "MobileNetV2TSM": [FRAMES],
    "MobileOne": [FRAMES],
    "MobileOneTSM": [FRAMES],
    "NLLLoss": [SCORES, LABELS],
    "OmniHead": [(4, 8, 1, 2, 2), 2],
    "OmniResNet": [CLIP],
    "RandomBatchAugment": [(4, 1, 3, 2, 8, 8), LABELS],
    "ResNeXt": [FRAMES],
    "ResNet": [FRAMES],
    "ResNet2Plus1d": [(2, 3, 4, 32, 32)],
    "ResNet3d": [CLIP],
    "ResNet3dCSN": [(2, 3, 4, 32, 32)],
    "ResNet3dSlowFast": [(1, 3, 16, 32, 32)],
    "ResNet3dSlowOnly": [CLIP],
    "ResNetAudio": [(2, 1, 32, 16)],
    "ResNetTIN": [FRAMES],
    "ResNetTSM": [FRAMES],
    "SlowFastHead": [[(4, 6, 1, 2, 2), (4, 2, 1, 2, 2)], 2],
    "SubBatchNorm3D": [(4, 8, 2, 3, 3)],
    "SwinTransformer": [FRAMES],
    "SwinTransformer3D": [CLIP],
    "TANet": [FRAMES],
    "TPN": [[(2, 32, 8, 4, 4), (2, 64, 8, 2, 2)]],
    "TPNHead": [(4, 8, 1, 2, 2), 2],
    "TRNHead": [(8, 8, 2, 2), 2],
    "TSMHead": [(8, 8, 2, 2), 2],
    "TSNAudioHead": [(8, 8, 2, 2), 2],
    "TSNHead": [(8, 8, 2, 2), 2],
    "UniFormer": [(2, 3, 4, 32, 32)],
    "TimeSformer": [CLIP],
    "TimeSformerHead": [(4, 8), 2],
    "UniFormerHead": [(4, 8), 2],
    "UniFormerV2": [CLIP],
    "VisionTransformer": [CLIP],
    "X3D": [CLIP],
    "X3DHead": [(4, 8, 1, 2, 2), 2],
}
"""Arguments of ``forward`` of a part: shapes of tensors, tensors, numbers, class indices."""

INPUTS = {
    "Distillation": (2, 3, 32, 32),
    "MotionNet": (2, 3, 4, 32, 32),
    "Recognizer2D": (2, 3, 32, 32),
    "Recognizer3D": (2, 3, 4, 32, 32),
    "RecognizerAudio": (2, 1, 32, 16),
    "RecognizerGCN": (2, 2, 8, 17, 3),
    "RecognizerOmni": (2, 3, 4, 32, 32),
}
"""Shape of the uint8 input of one sample, for whole models."""


UNUSED = {"OmniHead": "fc2d.", "RecognizerOmni": "cls_head.fc2d."}
"""Parameters that these inputs do not use: the classifier of images, if the inputs are clips."""


def tensors(wanted: Any) -> Any:
    if isinstance(wanted, list):
        return [tensors(w) for w in wanted]
    if isinstance(wanted, dict):
        return {key: tensors(w) for key, w in wanted.items()}
    if isinstance(wanted, tuple):
        return torch.rand(wanted, generator=torch.Generator().manual_seed(3))
    return torch.tensor([0, 1, 2, 1]) if isinstance(wanted, str) else wanted


def seeded(call: Callable[..., Any], *arguments: Any) -> Any:
    torch.manual_seed(4)
    np.random.seed(4)
    return call(*arguments)


def flat(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [t for o in (outputs.values() if isinstance(outputs, dict) else outputs) for t in flat(o)]


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flat(one), flat(other), strict=True))


def assert_learns(component: Component, module: torch.nn.Module, outputs: Any) -> None:
    total = sum((o.float().sum() for o in flat(outputs)), torch.zeros(()))
    unused = UNUSED.get(component.name, " ")
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad and not n.startswith(unused)}
    if trained:
        total.backward()
    wrong = [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]
    assert not wrong, "no finite gradient"


PREPROCESSORS = {"ActionDataPreprocessor", "MultiModalDataPreprocessor"}
"""Parts that take batches, and are tested within whole models."""


@all_of("models", without={*INPUTS, *PREPROCESSORS, *NOT_INSTALLED})
def test_model_part(component: Component) -> None:
    assert component.name in FORWARD, "new: add it to FORWARD, or to INPUTS if it is a whole model"
    module, inputs = seeded(build, component), tensors(FORWARD[component.name])
    if isinstance(module, torch.nn.Module):
        again = seeded(build, component)
        assert same(again.state_dict(), module.state_dict()), "the same seed must give the same weights"
        assert_learns(component, module, seeded(module.train(), *inputs))
        module.eval()
    outputs = seeded(module, *inputs)
    assert flat(outputs)
    assert same(seeded(module, *inputs), outputs)
    assert same(seeded(pickle.loads(pickle.dumps(module)), *inputs), outputs)


def clips(component: Component) -> list[Sample]:
    rng, shape = np.random.default_rng(6), INPUTS[component.name]
    return [Sample(index=i, label=i, inputs={"imgs": rng.integers(0, 256, shape, np.uint8)}) for i in range(2)]


@all_of("models", without=set(catalog().of_kind("models")) - set(INPUTS))
def test_whole_model(component: Component) -> None:
    samples = clips(component)
    model = seeded(build, component).train()
    batch = model.preprocess(collate(samples))
    losses = model.loss(model(batch.inputs), batch)
    assert any("loss" in name for name in losses)
    assert_learns(component, model, {name: value for name, value in losses.items() if "loss" in name})

    model.eval()
    with torch.inference_mode():
        predicted = [
            model.predict(model(model.preprocess(collate(samples)).inputs), collate(samples)) for _ in range(2)
        ]
    assert [s.index for s in predicted[0]] == [0, 1]
    for one, other in zip(*predicted, strict=True):
        assert one.scores.shape == (CLASSES,)
        assert one.scores.dtype == np.float32
        assert np.array_equal(one.scores, other.scores)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A group of processes with one member; every block is large."""
    monkeypatch.setattr(shard, "GROUP", 1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    gc.collect()
    dist.destroy_process_group()


@all_of("models", without={*PREPROCESSORS, *NOT_INSTALLED})
@pytest.mark.usefixtures("processes")
def test_models_can_be_sharded(component: Component) -> None:
    module = build(component)
    if not isinstance(module, torch.nn.Module) or next(module.parameters(), None) is None:
        return
    shard.shard(module.train(), None, torch.device("cpu"))
    with torch.no_grad():
        if component.name in INPUTS:
            inputs = [module.preprocess(collate(clips(component))).inputs]
        else:
            inputs = tensors(FORWARD[component.name])
        assert all(t.isfinite().all() for t in flat(module(*inputs)))
    assert all(shard.is_sharded_tensor(p) for p in module.parameters()), "no parameter stays gathered"
