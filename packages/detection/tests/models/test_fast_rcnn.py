"""The detector: what it learns from, what it predicts, clips without persons, heads with context, export."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from vid_detection.banks import FeatureBank
from vid_detection.models.fast_rcnn import FastRCNN
from vidcore.batch import Batch, collate
from vidcore.config.bind import build_component
from vidcore.errors import DataError, UserError
from vidcore.geometry import Geometry
from vidcore.nn import ImageWeights
from vidcore.records import Boxes
from vidcore.sample import Sample
from vidcore.transforms.flipping import Flip
from vidcore.transforms.geometry import current
from vidcore.transforms.resizing import Resize

CLASSES = 3
BACKBONE = {"type": "ResNet3dSlowOnly", "depth": 18, "base_channels": 2, "spatial_strides": [1, 2, 2, 1]}
TRUE_BOXES = np.array([[2, 4, 20, 40], [30, 10, 60, 44]], np.float32)
TRUE_LABELS = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
PROPOSALS = np.array([[40, 5, 50, 20], [2, 4, 20, 40], [31, 10, 60, 44]], np.float32)


def model(shared: dict[str, Any] | None = None, **head: Any) -> FastRCNN:
    torch.manual_seed(0)
    width = {None: 16, "ACRNHead": 6, "FBOHead": 20}[shared and shared["type"]]
    roi_head = {
        "type": "AVARoIHead",
        "bbox_roi_extractor": {"type": "SingleRoIExtractor3D", "output_size": 4},
        "bbox_head": {"type": "BBoxHeadAVA", "in_channels": width, "num_classes": CLASSES, **head},
    }
    if shared:
        roi_head["shared_head"] = shared
    return build_component({"type": "FastRCNN", "backbone": BACKBONE, "roi_head": roi_head}, "models")


ACRN = {"type": "ACRNHead", "in_channels": 32, "out_channels": 6}
BANK = {"lfb_channels": 5, "window_size": 4, "max_num_sampled_feat": 2}
FBO = {"type": "FBOHead", "lfb_cfg": BANK, "fbo_cfg": {"st_feat_channels": 16, "latent_channels": 4}}


def sample(index: int = 0, proposals: np.ndarray | None = PROPOSALS, persons: int = 2, **changes: Any) -> Sample:
    rng = np.random.default_rng(index)
    return Sample(
        index=index,
        path=f"{index}.mp4",
        geometry=Geometry.whole((48, 64)),
        boxes=Boxes(TRUE_BOXES[:persons], TRUE_LABELS[:persons]),
        proposals=None if proposals is None else Boxes(proposals),
        inputs={"imgs": rng.integers(0, 256, (1, 3, 4, 48, 64), np.uint8)},
    ).replace(**changes)


def prepared(net: FastRCNN, *samples: Sample) -> Batch:
    step = pickle.loads(pickle.dumps(net.sample_step()))
    return net.preprocess(collate([step(s, np.random.default_rng(0)) for s in samples]))


def predicted(net: FastRCNN, *samples: Sample) -> list[Sample]:
    batch = prepared(net.eval(), *samples)
    with torch.inference_mode():
        return net.predict(net(batch.inputs), batch)


def test_it_learns_from_true_boxes_and_from_proposals_that_match() -> None:
    net = model().train()
    batch = prepared(net, sample(), sample(1, None))
    assert batch.inputs["count"].tolist() == [5, 2]
    assert batch.inputs["boxes"].shape == (2, 5, 4)
    assert batch.inputs["boxes"][0, 2:].tolist() == PROPOSALS[[1, 2, 0]].tolist(), "positives first"
    labels = batch.targets["labels"]
    assert labels.values.tolist() == [*TRUE_LABELS[[0, 1, 0, 1]].tolist(), [0, 0, 0], *TRUE_LABELS.tolist()]
    outputs = net(batch.inputs)
    assert outputs.shape == (2, 5, 1 + CLASSES)
    assert not outputs[1, 2:].any(), "padding"
    net.loss(outputs, batch)["loss_action_cls"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_it_learns_which_box_does_what() -> None:
    net = model(multilabel=True).train()
    batch = prepared(net, sample(), sample(1))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(40):
        losses = net.loss(net(batch.inputs), batch)
        optimizer.zero_grad()
        losses["loss_action_cls"].backward()
        optimizer.step()
    assert losses["loss_action_cls"] < 0.1
    assert losses["recall@thr=0.5"] == 1
    assert losses["prec@thr=0.5"] == pytest.approx(1)


@pytest.mark.parametrize("shared", [None, ACRN], ids=["plain", "context"])
def test_clips_without_persons_are_data(shared: dict[str, Any] | None) -> None:
    net = model(shared).train()
    empty = PROPOSALS[:0]
    some = prepared(net, sample(0, empty, persons=0), sample(1))
    losses = net.loss(net(some.inputs), some)
    alone = prepared(net, sample(1))
    torch.testing.assert_close(losses, net.loss(net(alone.inputs), alone), atol=0.05, rtol=0.1)  # batch statistics
    nobody = prepared(net, sample(0, empty, persons=0), sample(1, None, persons=0))
    losses = net.loss(net(nobody.inputs), nobody)
    assert all(value == 0 for value in losses.values())
    losses["loss_action_cls"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())
    assert all(b.isfinite().all() for b in net.buffers() if b.is_floating_point())
    first, second = predicted(net, sample(0, empty, persons=0), sample(1))
    assert (len(first.boxes), first.boxes.scores.shape, len(second.boxes)) == (0, (0, CLASSES), 3)


def test_predictions_are_fractions_of_the_decoded_frame() -> None:
    rng = np.random.default_rng(0)
    seen = sample(geometry=Geometry.whole((96, 128)), proposals=PROPOSALS * 2)
    whole = seen.proposals.xyxy / [128, 96, 128, 96]
    for step in (Resize((64, 48), keep_ratio=False), Flip(1.0)):
        seen = step(seen, rng)
    assert not np.allclose(seen.proposals.xyxy, PROPOSALS)
    for geometry in (current(seen), current(seen).done()):
        (found,) = predicted(model(), seen.replace(geometry=geometry))
        assert found.boxes.relative
        np.testing.assert_allclose(found.boxes.xyxy, whole, atol=1e-6)


def test_scores_are_probabilities_of_the_classes_without_the_background() -> None:
    net = model(multilabel=False)
    batch = prepared(net.eval(), sample())
    (found,) = net.predict(net(batch.inputs), batch)
    wanted = net(batch.inputs)[0].softmax(-1)[:, 1:].detach().numpy()
    np.testing.assert_allclose(found.boxes.scores, wanted, rtol=1e-6)
    (plain,) = predicted(model(background_class=False), sample())
    assert plain.boxes.scores.shape == (3, CLASSES)


def test_samples_in_a_batch_do_not_influence_each_other() -> None:
    for shared in (None, ACRN):
        net = model(shared)
        together = predicted(net, sample(), sample(1, PROPOSALS[:1]))
        for one, alone in zip(together, (sample(), sample(1, PROPOSALS[:1])), strict=True):
            np.testing.assert_allclose(one.boxes.scores, predicted(net, alone)[0].boxes.scores, rtol=1e-4)


def test_validation_has_the_loss_of_proposals() -> None:
    net = model().eval()
    batch = prepared(net, sample())
    outputs = net(batch.inputs)
    losses = net.loss(outputs, batch)
    wanted = torch.from_numpy(TRUE_LABELS)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(outputs[0, 1:, 1:], wanted)
    torch.testing.assert_close(losses["loss_action_cls"], entropy)
    assert batch.targets["labels"].values.tolist() == [[0, 0, 0], *TRUE_LABELS.tolist()]


def test_class_numbers_are_labels_too() -> None:
    net = model().train()
    batch = prepared(net, sample(boxes=Boxes(TRUE_BOXES, np.array([2, 0]))))
    assert batch.targets["labels"].values[:2].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_rows_of_a_feature_bank_come_with_the_clip(tmp_path: Any) -> None:
    net = model(FBO).eval()
    bank = FeatureBank.of({("v", second): np.full((1, 5), second, np.float32) for second in (8, 9, 11, 12)})
    window = net.roi_head.shared_head.lfb.window(bank, "v", 10, np.random.default_rng(0))
    assert window[:, 0].tolist() == [8, 0, 9, 0, 0, 0, 11, 0], "two rows of each second from two seconds before"
    one, other = (predicted(net, sample().with_inputs(bank=rows))[0].boxes.scores for rows in (window, window * 0))
    assert np.abs(one - other).max() > 1e-6
    with pytest.raises(UserError, match=r"lfb_cfg\.bank must be the folder of a feature bank"):
        prepared(net, sample())
    with pytest.raises(UserError, match="the feature bank has 4 channels, but lfb_channels is 5"):
        net.roi_head.shared_head.lfb.window(FeatureBank.of({("v", 1): np.zeros((1, 4))}), "v", 1, None)


@pytest.mark.parametrize("shared", [None, ACRN, FBO], ids=["plain", "context", "bank"])
def test_it_exports_with_any_number_of_boxes(shared: dict[str, Any] | None) -> None:
    net = model(shared).eval()
    inputs = {"imgs": torch.randn(2, 3, 4, 48, 64), "boxes": torch.from_numpy(np.stack([PROPOSALS, PROPOSALS + 1]))}
    if shared is FBO:
        inputs["bank"] = torch.randn(2, 8, 5)
    number = torch.export.Dim("number", min=2, max=64)
    shapes = {name: {1: number} if name == "boxes" else None for name in inputs}
    exported = torch.export.export(net, (inputs,), dynamic_shapes=(shapes,)).module()
    inputs["boxes"] = torch.cat((inputs["boxes"], inputs["boxes"] + 2), 1)
    torch.testing.assert_close(exported(inputs), net(inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proposals": Boxes(np.array([[5, 5, 4, 9]], np.float32))}, r"proposals: row 1 is \[5\.0, 5\.0, 4\.0, 9\.0\]"),
        ({"boxes": Boxes(np.array([[5, 5, np.nan, 9]], np.float32), np.array([1]))}, "boxes: row 1 is"),
        ({"boxes": Boxes(TRUE_BOXES, np.array([0, 3]))}, r"0\.mp4\): boxes have labels from 0 to 3, .* has 3 "),
        ({"boxes": Boxes(TRUE_BOXES, np.zeros((2, 5)))}, "boxes have labels of 5 classes, but the model has 3 "),
        ({"boxes": Boxes(TRUE_BOXES / 64, TRUE_LABELS, relative=True)}, "boxes are still fractions of the frame"),
    ],
)
def test_wrong_boxes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(model().train(), sample().replace(**changes))


def test_training_without_truth_and_clips_with_several_views_are_refused() -> None:
    net = model().train()
    with pytest.raises(UserError, match="training needs true boxes with labels"):
        prepared(net, sample(boxes=None))
    with pytest.raises(UserError, match="FastRCNN needs one clip of each sample"):
        prepared(net, sample(inputs={"imgs": np.zeros((2, 3, 4, 48, 64), np.uint8)}))
    with pytest.raises(UserError, match="boxes have several labels: set multilabel"):
        model(multilabel=False).check_labels("multi")


def test_backbones_of_recognizers_and_image_networks_initialise_a_detector() -> None:
    net = model()
    assert isinstance(net.backbone, ImageWeights)
    assert net.adapt_weights(net.state_dict()) is None
    backbone = {f"backbone.{k}": v for k, v in net.backbone.state_dict().items()}
    adapted = net.adapt_weights({**backbone, "cls_head.fc_cls.weight": torch.zeros(400, 16)})
    assert adapted is not None
    assert adapted.keys() == backbone.keys()
    flat = {}
    for key, value in copy.deepcopy(net.backbone.state_dict()).items():
        flat[f"backbone.{key}"] = value[:, :, 0] if value.ndim == 5 else value
    adapted = net.adapt_weights(flat)
    assert adapted is not None
    assert adapted.keys() <= net.state_dict().keys()


def test_rare_classes_may_count_more() -> None:
    counts = torch.tensor([50, 10])  # nobody does the third
    net = model()
    assert net.weight_classes(counts, 100).startswith("an action that is there counts 1 to 9 times")
    assert net.roi_head.bbox_head.pos_weight.tolist() == [1, 9, 1]
    single = model(multilabel=False)
    assert single.weight_classes(counts, 100).startswith("the loss of a class counts 0.6 to 3 times")
    logits, labels = torch.zeros(2, 4), torch.eye(3)[:2]
    head = single.roi_head.bbox_head
    torch.testing.assert_close(head.loss(logits, labels)["loss_action_cls"], torch.tensor(3.0).log() * (0.6 + 3) / 2)
    with pytest.raises(UserError, match="class_weight of the bbox_head sets the weights"):
        model(class_weight=[1, 1, 2]).weight_classes(counts, 100)
