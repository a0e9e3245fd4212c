"""A trained model as an ONNX graph, with a description beside it: ``vidcore export``.

The graph takes what the pipeline makes of a video (uint8 frames, float32 joints or heatmaps): normalisation is in it,
and so is the mean over views. Its output ``scores`` is what ``vidcore predict`` shows. The first axis of inputs and
output is the batch, and may have any length; the others are those of the pipeline.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor, nn

from vidcore.batch import Batch, collate
from vidcore.config.load import Table
from vidcore.errors import UserError
from vidcore.files import atomic_write, dump_json, to_jsonable
from vidcore.geometry import Geometry
from vidcore.nn import Model
from vidcore.predict.inputs import FrameNames, as_sample
from vidcore.predict.trained import Trained
from vidcore.randomness import sample_rng
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.task.reference import SIZE, generated_sample, installed_versions
from vidcore.task.release import kept_table
from vidcore.task.report import call_text
from vidcore.task.task import Task
from vidcore.transforms.compose import Pipeline
from vidcore.typing import Array

__all__ = ["Exported", "export"]

OPSET = 18
BATCHES = (1, 2, 5)
"""Lengths of the batches on which the graph is compared with the model."""
TOLERANCE = 1e-4
"""Largest difference of a score, relative to the largest one if that is above 1."""
LARGEST = 2_000_000_000
"""Bytes of an ONNX file, which is a single protocol buffer."""
PEOPLE = ((17, 2), (25, 3), (18, 2))
"""Joints and coordinates of generated people, in this order: those of COCO, NTU RGB+D and OpenPose."""


@frozen
class Exported:
    """What ``export`` has written."""

    path: Path
    description: Path
    about: Mapping[str, Any] = field(repr=False)
    """The content of the description."""


def export(
    task: Task,
    checkpoint: str | Path | None,
    path: Path,
    *,
    views: Literal["one", "test"] = "one",
    example: str | Path | None = None,
    joints: tuple[int, int] | None = None,
) -> Exported:
    """Write the model of a Task as ONNX, and a description as JSON beside it, after comparing their scores.

    Args:
        task: with a model that scores classes, and a pipeline for evaluation.
        checkpoint: weights of a run, or published ones; default: see ``weights_for``.
        path: the ``.onnx`` file; the description has the suffix ``.json``.
        views: ``one`` takes one view of a video, ``test`` all views of the test pipeline.
        example: a file that the pipeline reads; default: a generated clip, with generated people if the pipeline needs
            them. Only shapes follow from it.
        joints: number of joints of a generated person and of their coordinates; default: what the model takes, of
            ``PEOPLE``.

    Raises:
        UserError: the model scores no classes or cannot be exported, or the graph gives other scores.
        ModuleNotFoundError: ONNX Script or ONNX Runtime is not installed.
    """
    import onnxruntime
    import onnxscript  # noqa: F401  torch.onnx needs it, and would say so late

    if path.suffix != ".onnx":
        raise UserError(f"-o {path}: the file of a graph must end in .onnx")
    trained = Trained.load(task, checkpoint, views)
    model = trained.model.eval()
    for part in model.modules():
        if isinstance(part, Model):
            part.max_testing_views = None  # a graph has one number of passes, and batches of any length
    if type(model).class_scores is Model.class_scores:
        raise UserError(f"{task.name}: {type(model).__name__} scores no classes; only models that do can be exported")
    inputs = _example(task, trained, example, joints)
    graph = _Graph(model, list(inputs))
    content = _onnx(graph, inputs, task.name)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    fixed = [one.name for one in session.get_inputs() if not isinstance(one.shape[0], str)]
    if fixed:
        raise UserError(
            f"{task.name}: cannot be exported: PyTorch's exporter fixes the length of the batch ({fixed[0]})"
        )
    worst = max(_difference(graph, session, _batch(inputs, count)) for count in BATCHES)
    if worst > TOLERANCE:
        raise UserError(
            f"{task.name}: cannot be exported: ONNX Runtime gives scores that differ by {worst:.2g} from those of the "
            "model; nothing was written"
        )
    description = path.with_suffix(".json")
    steps: Table = kept_table(task.table, task.prediction_part())["data"]["test"]["pipeline"]
    about = {
        "format": 1,
        "name": task.name,
        "graph": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "inputs": [
            {
                "name": name,
                "dtype": str(value.dtype).removeprefix("torch."),
                "shape": ["batch", *value.shape[1:]],
                "axes": model.layout.split(),
            }
            for name, value in inputs.items()
        ],
        "outputs": [
            {
                "name": "scores",
                "dtype": "float32",
                "shape": ["batch", session.get_outputs()[0].shape[1]],
                "axes": ["batch", "classes"],
            }
        ],
        "normalisation": "in the graph: inputs are what the pipeline makes",
        "scores": "as of 'vidcore predict': after the softmax or sigmoid of the model, if any, and the mean over views",
        "pipeline": [call_text(step) for step in steps.values()],
        "views": {"clips": trained.views[0], "crops": trained.views[1]},
        "class_names": trained.class_names,
        "thresholds": trained.thresholds,
        "largest_difference": worst,
        "versions": installed_versions(task.catalog),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, written in ((path, content), (description, dump_json(to_jsonable(about), indent=2).encode() + b"\n")):
        with atomic_write(file) as out:
            out.write(written)
    return Exported(path, description, about)


class _Graph(nn.Module):
    """Preprocessing, network and mean over views: inputs of the pipeline -> (B, K)."""

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0] if len(inputs) == 1 else dict(zip(self.names, inputs, strict=True))
        batch = self.model.preprocess(Batch(inputs=given))
        return self.model.class_scores(self.model(batch.inputs))


def _example(
    task: Task, trained: Trained, file: str | Path | None, joints: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Return inputs by name that the pipeline makes and the model takes: a batch of one each."""
    pipeline = Pipeline(trained.model.pipeline(trained.steps))

    def taken(sample: Sample) -> dict[str, Tensor]:
        made = pipeline(sample, sample_rng(0, 0, 0))
        inputs = {name: collate([made.replace(inputs={name: value})]).inputs for name, value in made.inputs.items()}
        with torch.inference_mode():
            _Graph(trained.model, list(inputs))(tuple(inputs.values()))
        return inputs

    if file is not None:
        return taken(as_sample(file, 0, FrameNames.of(task)))
    problems = []
    for people in [joints] if joints else [None, *PEOPLE]:
        clip = generated_sample()
        try:
            return taken(_with_people(clip, *people) if people else clip)
        except (ValueError, RuntimeError) as error:  # of a step, or of a network that takes another number of joints
            problems.append(error)
    shown = str(problems[min(1, len(problems) - 1)]).partition("\n")[0]
    raise UserError(
        f"{task.name}: cannot be exported with a generated video: {shown}; name a file that its pipeline reads "
        "(--example), or the joints of a person (--joints)"
    ) from problems[0]


def _with_people(clip: Sample, joints: int, axes: int) -> Sample:
    """Return a sample with two people who move: 2-D joints in its picture with scores, or 3-D joints without."""
    rng, frames = np.random.default_rng(0), clip.total_frames
    assert frames is not None
    stand = rng.uniform(0.3, 0.7, (2, 1, joints, axes))
    moved = 0.1 * np.sin(np.arange(frames)[:, None, None] / 9 + rng.uniform(0, 6, (2, 1, joints, axes)))
    points = ((stand + moved) * (SIZE[::-1] if axes == 2 else 1)).astype(np.float32)
    scores = np.full(points.shape[:3], 0.9, np.float32) if axes == 2 else None
    return clip.replace(joints=Joints(points, scores), geometry=Geometry.whole(SIZE) if axes == 2 else None)


def _onnx(graph: _Graph, inputs: Mapping[str, Tensor], title: str) -> bytes:
    if sum(value.nbytes for value in graph.state_dict().values()) > LARGEST:
        raise UserError(f"{title}: cannot be exported: its weights are larger than an ONNX file may be (2 GB)")
    batch = torch.export.Dim("batch")
    shapes = (tuple({0: batch} for _ in inputs),)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                graph,
                (_batch(inputs, 2),),  # of one would fix the length
                dynamic_shapes=shapes,
                input_names=list(inputs),
                output_names=["scores"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UserError(f"{title}: cannot be exported: PyTorch's exporter refuses the model: {cause}") from error
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what PyTorch's exporter says about itself: deprecated calls in it, libraries that it does without."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _batch(inputs: Mapping[str, Tensor], count: int) -> tuple[Tensor, ...]:
    """Return a batch of different samples, made of one by shifting it along its last axis."""
    return tuple(torch.stack([value[0].roll(i, -1) for i in range(count)]) for value in inputs.values())


def _difference(graph: _Graph, session: Any, batch: tuple[Tensor, ...]) -> float:
    """Return the largest difference of scores, relative to the largest score if that is above 1."""
    with torch.inference_mode():
        expected: Array = graph(batch).numpy()
    feeds = {name: value.numpy() for name, value in zip(graph.names, batch, strict=True)}
    (found,) = session.run(["scores"], feeds)
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
