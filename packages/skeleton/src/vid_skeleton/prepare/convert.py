"""From official annotations to a file of skeletons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import numpy as np

from vid_skeleton.datasets.pose import PoseDataset
from vid_skeleton.files import Track, skeleton_writer
from vid_skeleton.graphs import COCO, LAYOUTS, NTU, Layout
from vid_skeleton.prepare.ntu import Name, parse_ntu, read_missing, splits_of
from vid_skeleton.transforms.decoding import DecompressPose
from vidcore.data.classes import read_classes
from vidcore.errors import AnnotationError, DataError
from vidcore.sample import Sample
from vidcore.tools.progress import progress_bar

__all__ = ["CLASSES", "convert_ntu", "convert_published"]

CLASSES = {
    "diving48-skeleton": "diving48",
    "gym": "gym99",
    "hmdb51-skeleton": "hmdb51",
    "kinetics-skeleton": "kinetics400",
    "ntu60": "ntu60",
    "ntu120": "ntu120",
    "ucf101-skeleton": "ucf101",
}
"""Dataset -> the list of its class names in vid-recognition."""


def _classes(dataset: str) -> tuple[str, ...]:
    names = read_classes(Path(str(files("vid_recognition"))) / "recipes" / "classes" / f"{CLASSES[dataset]}.txt")
    assert names is not None
    return names


def _layout(joints: int) -> Layout:
    found = next((layout for layout in (COCO, NTU, *LAYOUTS.values()) if layout.num_node == joints), None)
    return found or Layout(joints, (), names=tuple(f"joint{i}" for i in range(joints)))


def convert_published(dataset: str, file: Path, output: Path, kp_root: Path | None = None) -> list[str]:
    """Convert a published pickle; return what a person must know.

    Args:
        dataset: key of ``CLASSES``.
        file: the pickle.
        output: file of skeletons to write.
        kp_root: folder of the separate files of joints of Kinetics. Their people are not linked over time: person k of
            a frame becomes row k.

    Raises ``DataError`` if nothing can be converted. A video that cannot be read is named in the result and left out.
    """
    source, classes = PoseDataset(file, kp_root=kp_root), _classes(dataset)
    if (highest := int(source.labels.max())) >= len(classes):
        raise DataError(f"{file}: has the class number {highest}, but {dataset} has {len(classes)} classes")
    joints, axes = _shape(source)
    layout, notes, numbers = _layout(joints), list(source.notes()), {}
    units = "pixels" if axes == 2 else "metres"
    with skeleton_writer(output, layout.names, layout.inward, units, axes, classes) as writer:
        for index in progress_bar(range(len(source)), dataset):
            try:
                sample = _with_joints(source, index)
                size = sample.geometry.size if sample.geometry else (0, 0)
                frames, tracks = sample.total_frames or 0, list(_tracks(sample))
                writer.add(sample.key or str(index), frames, tracks, size, None, sample.label)
                numbers[index] = len(writer) - 1
            except AnnotationError as error:
                notes.append(f"left out: {error}")
        for split, members in source.file.splits.items():
            writer.splits[split] = [numbers[i] for i in members.tolist() if i in numbers]
    return notes


def _shape(source: PoseDataset) -> tuple[int, int]:
    """Return the numbers of joints and of coordinates, of the first video that can be read."""
    for index in range(len(source)):
        with suppress(AnnotationError):  # named when it is converted
            joints = _with_joints(source, index).joints
            assert joints is not None
            return joints.points.shape[2:]
    raise DataError(f"{source.ann_file}: no video has joints that can be read; is --kp-root right?")


def _with_joints(source: PoseDataset, index: int) -> Sample:
    """Return a sample whose joints are laid out for all frames."""
    sample = source[index]
    return sample if sample.joints is not None else DecompressPose(squeeze=False)(sample, np.random.default_rng(0))


def _tracks(sample: Sample) -> Iterator[Track]:
    """Yield the people of a sample, from the first to the last frame in which they are seen."""
    assert sample.joints is not None
    points, scores = sample.joints.points, sample.joints.scores
    for person, joints in enumerate(points):
        found = joints.any(-1)
        seen = np.flatnonzero(found.any(-1))
        if len(seen):
            frames = slice(int(seen[0]), int(seen[-1]) + 1)
            cut = np.where(found[frames, :, None], joints[frames], np.nan)
            yield Track(frames.start, cut, None if scores is None else scores[person, frames])


def convert_ntu(dataset: str, folder: Path, output: Path, missing: Path | None = None) -> list[str]:
    """Convert a folder of raw ``.skeleton`` files of NTU RGB+D; return what a person must know.

    Args:
        dataset: ``ntu60`` (files of the actions 1 to 60) or ``ntu120``.
        folder: is searched with the folders in it.
        output: file of skeletons to write, with the splits ``xsub_train``, ``xsub_val`` and, by dataset,
            ``xview_...`` or ``xset_...``.
        missing: list of videos to leave out beside the 302, or 535, that the authors list.

    Raises ``DataError`` if no file can be used.
    """
    known = [(path, name) for path in sorted(folder.rglob("*.skeleton")) if (name := Name.parse(path.stem))]
    actions = 60 if dataset == "ntu60" else 120
    wanted = [(path, name) for path, name in known if name.action <= actions]
    if not wanted:
        example = "S001C001P001R001A001.skeleton"
        raise DataError(f"{folder}: has no file with a name like {example} of actions 1 to {actions}")
    official = read_missing(Path(str(files("vid_skeleton"))) / "prepare" / "ntu_missing.txt")
    listed = official | (set() if missing is None else read_missing(missing))
    counts: Counter[str] = Counter()
    bad = []
    with skeleton_writer(output, NTU.names, NTU.inward, "metres", 3, _classes(dataset)) as writer:
        for path, name in progress_bar(wanted, dataset):
            if path.stem in listed:
                counts["in the list of missing skeletons"] += 1
                continue
            try:
                parsed = parse_ntu(path)
                if not parsed.tracks:
                    raise AnnotationError(f"{path}: has no body in {parsed.frames} frames")
                writer.add(path.stem, parsed.frames, parsed.tracks, fps=30.0, label=name.action - 1)
            except AnnotationError as error:
                bad.append(f"left out: {error}")
                continue
            counts.update({f"bodies dropped by rule {rule!r}": n for rule, n in parsed.dropped.items() if n})
            for split in splits_of(name, dataset):
                writer.splits.setdefault(split, []).append(len(writer) - 1)
        if not len(writer):
            raise DataError(f"{folder}: no file can be used of {len(wanted)}; {bad[0] if bad else 'all are listed'}")
        kept = len(writer)
    if other := len(known) - len(wanted):
        counts[f"of actions above {actions}"] = other
    said = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
    return [f"{len(known)} files: {kept} kept" + (f"; {said}" if said else ""), *bad]
