"""The towers of CLIP, and the models made of them. Parity cases hold whole networks to the references."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vid_retrieval.models.actionclip import ActionClip, prompts
from vid_retrieval.models.adapters import SimpleMeanAdapter, TransformerAdapter
from vid_retrieval.models.clip import CLIP, convert_clip_weights
from vid_retrieval.models.similarity import CLIPSimilarity
from vid_retrieval.records import Embeddings, Texts
from vidcore.batch import Batch, collate
from vidcore.collectives import Collectives
from vidcore.engine.weights import load_state
from vidcore.errors import CheckpointError, DataError, UserError
from vidcore.sample import Sample

MERGES = Path(__file__).parents[1] / "merges.txt"
RNG = np.random.default_rng(0)


def towers(**changes: Any) -> CLIP:
    sizes: dict[str, Any] = {"embed_dim": 8, "image_size": 32, "patch_size": 16, "image_width": 16, "image_layers": 2}
    sizes |= {"image_heads": 2, "context_length": 30, "vocab_size": 600, "text_width": 12, "text_layers": 2}
    return CLIP(**(sizes | {"text_heads": 2} | changes))


def similarity(**changes: Any) -> CLIPSimilarity:
    return CLIPSimilarity(towers(), SimpleMeanAdapter(), **changes)


def samples(*texts: str, videos: tuple[int, ...] = (-1, -1, -1, -1)) -> list[Sample]:
    rng = np.random.default_rng(1)
    ids = {text: np.array([[5, *map(ord, text), 599, *[0] * 6][:8]]) for text in texts}
    return [
        Sample(
            index=i,
            inputs={"imgs": rng.integers(0, 256, (4, 3, 32, 32), np.uint8), "text": ids[text]},
            extra={"texts": Texts((text,), video=video)},
        )
        for i, (text, video) in enumerate(zip(texts, videos, strict=False))
    ]


def batch_of(model: CLIPSimilarity, *made: Sample) -> Batch:
    step = model.sample_step()
    return model.preprocess(collate([step(sample, RNG) for sample in made]))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_towers_are_those_of_transformers(activation: str) -> None:
    transformers = pytest.importorskip("transformers")
    shared = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_act": activation}
    text = {"hidden_size": 12, "intermediate_size": 48, "vocab_size": 600, "max_position_embeddings": 30}
    vision = {"hidden_size": 16, "intermediate_size": 64, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(
        text_config={**text, **shared, "bos_token_id": 598, "eos_token_id": 599},
        vision_config={**vision, **shared},
        projection_dim=8,
    )
    torch.manual_seed(0)
    other = transformers.CLIPModel(config).eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = towers(activation=activation).eval()
    load_state(ours, convert_clip_weights(other.state_dict()))
    images = torch.rand(3, 3, 32, 32)
    ids = torch.tensor([[598, 7, 8, 599, 0, 0], [598, 9, 599, 0, 0, 0], [598, 1, 2, 3, 4, 599]])
    with torch.no_grad():
        wanted = other(input_ids=ids, pixel_values=images)
        found = ours.encode_images(images), ours.encode_texts(ids)
    for mine, theirs in zip(found, (wanted.image_embeds, wanted.text_embeds), strict=True):
        torch.testing.assert_close(torch.nn.functional.normalize(mine, dim=-1), theirs, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(images, ids) / ours.temperature * ours.logit_scale.exp(), wanted.logits_per_image, rtol=1e-5, atol=1e-4
        )


def test_names_of_other_releases_load_strictly() -> None:
    model = towers()
    released = model.state_dict()
    constants = {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(30),
        "attn_mask": torch.ones(2, 2),
    }
    inner = {k if k.startswith(("visual.", "logit")) else f"text.{k}": v for k, v in released.items()}
    for state in (released, {**released, **constants}, inner):
        load_state(towers(), convert_clip_weights(state))
        adapted = similarity().adapt_weights(state)
        assert adapted is not None
        load_state(similarity(), adapted)
    with pytest.raises(CheckpointError, match="surplus"):
        load_state(towers(), convert_clip_weights({**released, "surplus": torch.ones(1)}))
    half = {"text_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(2, 2)}
    with pytest.raises(CheckpointError, match=r"resblocks\.0\.attn\.in_proj_weight: the weights lack k_proj"):
        convert_clip_weights(half)


def test_own_weights_are_not_adapted() -> None:
    assert similarity().adapt_weights(similarity().state_dict()) is None


def test_text_after_its_end_changes_nothing() -> None:
    model = towers()
    ids = torch.tensor([[5, 9, 599, 0, 0], [5, 9, 599, 7, 8]])
    first, second = model.encode_texts(ids)
    assert torch.equal(first, second)
    assert not torch.equal(first, model.encode_texts(torch.tensor([[9, 5, 599]]))[0])


@pytest.mark.parametrize("ids", [torch.zeros(1, 31, dtype=torch.long), torch.tensor([[600]])])
def test_texts_of_another_vocabulary_are_refused(ids: Tensor) -> None:
    with pytest.raises(UserError, match="this CLIP reads 30 ids below 600"):
        towers().encode_texts(ids)


def test_images_of_another_size_are_refused_and_tables_resized() -> None:
    with pytest.raises(UserError, match="takes images of 32 x 32 pixels, and got 48 x 48"):
        towers().encode_images(torch.rand(1, 3, 48, 48))
    large = towers(image_size=48).visual
    assert large.resize_table("positional_embedding", towers().visual.positional_embedding).shape == (10, 16)


def test_the_temperature_is_held_with_a_gradient() -> None:
    model = towers()
    with torch.no_grad():
        model.logit_scale.fill_(7.0)
    held = model.temperature
    held.backward()
    assert held.item() == pytest.approx(100)
    assert model.logit_scale.grad is not None and model.logit_scale.grad.item() == pytest.approx(100)


def test_sizes_of_published_networks() -> None:
    with torch.device("meta"):
        counts = {
            arch: sum(p.numel() for p in CLIP(arch).parameters()) for arch in ("ViT-B/16", "ViT-L/14", "ViT-H/14")
        }
    assert counts == {"ViT-B/16": 149_620_737, "ViT-L/14": 427_616_513, "ViT-H/14": 986_109_441}


def test_layers_are_frozen() -> None:
    model = similarity(frozen_layers=1)
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert "clip.visual.conv1.weight" in fixed and "clip.token_embedding.weight" in fixed
    assert (
        "clip.transformer.resblocks.0.ln_1.weight" in fixed
        and "clip.visual.transformer.resblocks.0.ln_1.weight" in fixed
    )
    assert not any(
        "resblocks.1" in name or name.endswith((".proj", "logit_scale", "text_projection")) for name in fixed
    )
    with pytest.raises(ValueError, match="frozen_layers must be from -1 to 2, got 3"):
        similarity(frozen_layers=3)


def test_adapters_check_their_frames() -> None:
    adapter = TransformerAdapter(3, 8, 2, 1)
    with pytest.raises(UserError, match="takes 3 frames of 8 channels, and got 4 of 8"):
        adapter(torch.rand(2, 4, 8))
    model = CLIPSimilarity(towers(), adapter)
    with pytest.raises(UserError, match="takes 3 frames of a view, and got 4 frames"):
        model.encode_videos(torch.rand(1, 4, 3, 32, 32))
    assert model.encode_videos(torch.rand(1, 6, 3, 32, 32)).shape == (1, 2, 8)


def test_loss_is_the_cross_entropy_of_both_directions() -> None:
    model = similarity(loss_weight=1.0)
    batch = batch_of(model, *samples("ab", "c", "d"))
    outputs = model(batch.inputs)
    found = model.loss(outputs, batch)
    cosines = model.clip_features(batch.inputs) @ model.text_features(batch.inputs["text"][:, 0]).T
    logits = cosines / 0.07
    wanted = [-(torch.log_softmax(x, 1).diagonal()).mean() for x in (logits, logits.T)]
    torch.testing.assert_close(torch.stack(list(found.values())), torch.stack(wanted))


def test_equal_texts_and_equal_videos_are_not_held_apart() -> None:
    model = similarity()
    batch = batch_of(model, *samples("a", "a", "b", "c", videos=(0, 1, 2, 2)))
    videos = torch.nn.functional.normalize(torch.eye(8)[[0, 0, 1, 1]], dim=-1)
    found = model.loss((videos, videos[:, None], model.clip.temperature), batch)
    half = -math.log(math.exp(1 / 0.07) / (2 * math.exp(1 / 0.07) + 2))
    for value in found.values():
        assert value.item() == pytest.approx(0.5 * half, rel=1e-5)


class OfTwo(Collectives):
    """Rank 0 of two: the second process has the rows of ``other``, in the order of the calls."""

    def __init__(self, other: list[Tensor]) -> None:
        self.other = other

    def all_gather(self, rows: Tensor) -> Tensor:
        return torch.cat((rows, self.other.pop(0)))


def test_negatives_come_from_all_processes() -> None:
    model = similarity()
    whole = batch_of(model, *samples("a", "b", "c", "d"))
    videos, texts, heat = model(whole.inputs)
    wanted = model.loss((videos, texts, heat), whole)
    ids = torch.nn.functional.pad(whole.inputs["text"][:, 0], (0, 22))
    numbers = whole.targets["video"]
    assert isinstance(numbers, Tensor)
    first = batch_of(model, *samples("a", "b", "c", "d")[:2])
    first = first.replace(collectives=OfTwo([ids[2:], numbers[2:], videos[2:], texts[2:, 0]]))
    found = model.loss((videos[:2], texts[:2], heat), first)
    assert found == wanted


def test_training_needs_one_text_per_sample() -> None:
    model = similarity()
    plain = model.preprocess(collate([s.replace(inputs={"imgs": s.inputs["imgs"]}) for s in samples("a", "b")]))
    with pytest.raises(DataError, match=r"needs samples with one text each, and sample 0 .* have none"):
        model.loss(model(plain.inputs), plain)
    two = [s.with_inputs(text=np.array([[5, 599], [6, 599]])) for s in samples("a", "b")]
    batch = batch_of(model, *two)
    with pytest.raises(DataError, match="have up to 2"):
        model.loss(model(batch.inputs), batch)


def test_predictions_have_as_many_texts_as_their_samples() -> None:
    model = similarity().eval()
    first, second = samples("a", "b")
    batch = batch_of(model, first.with_inputs(text=np.array([[5, 7, 599, 0, 0, 0, 0, 0]] * 2)), second)
    with torch.inference_mode():
        found = model.predict(model(batch.inputs), batch)
    shapes = []
    for sample in found:
        rows = [sample.extra[name] for name in ("video_embedding", "text_embeddings")]
        shapes.append([row.vectors.shape for row in rows if isinstance(row, Embeddings)])
    assert shapes == [[(1, 8), (2, 8)], [(1, 8), (1, 8)]]
    batch = model.preprocess(collate([Sample(index=0, inputs={"imgs": first.inputs["imgs"]})]))
    with torch.inference_mode():
        assert list(model.predict(model(batch.inputs), batch)[0].extra) == ["video_embedding"]


def test_frames_of_a_wrong_layout_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"got \(1, 1, 3, 4, 32, 32\): see FormatShape, whose input_format must be NCHW"
    ):
        similarity().preprocess(Batch(inputs=torch.zeros(1, 1, 3, 4, 32, 32)))


def recognizer(labels: list[str], **changes: Any) -> ActionClip:
    torch.manual_seed(0)
    return ActionClip(towers(), SimpleMeanAdapter(), MERGES, labels, **changes)


def test_prompts_run_over_templates_then_labels() -> None:
    assert prompts(["open_door", "close"], ["do {}", "{}!"]) == ["do open door", "do close", "open door!", "close!"]
    assert len(prompts(["open"])) == 16
    with pytest.raises(UserError, match=r"templates: 'no place' must contain \{\} once"):
        prompts(["open"], ["no place"])
    with pytest.raises(UserError, match="label 1: the text is empty"):
        prompts(["open", " "])


def test_scores_are_means_over_templates_and_views() -> None:
    model = recognizer(["open", "door"], templates=["the {}", "{}"]).eval()
    videos = torch.randn(1, 2, 8)
    (row,) = model.scores(videos, model.class_features())
    texts = model.text_features(model.prompt_ids).view(2, 2, 8)
    unit = torch.nn.functional.normalize(videos[0], dim=-1)
    wanted = torch.stack([(100 * unit[v] @ texts[p].T).softmax(0) for v in range(2) for p in range(2)]).mean(0)
    torch.testing.assert_close(row, wanted)
    torch.testing.assert_close(model.class_features(), texts.detach())


def test_classes_follow_the_weights() -> None:
    model = recognizer(["open", "door"]).eval()
    before = model.class_features()
    assert model.class_features() is before, "computed once"
    with torch.no_grad():
        model.clip.text_projection.mul_(-1)
    assert not torch.equal(model.class_features(), before)


def test_training_draws_a_sentence_of_the_class() -> None:
    model = recognizer(["open", "door"], templates=["the {}", "{}"])
    step = model.sample_step()
    assert step(Sample(path="a.mp4"), RNG).inputs == {}
    drawn = [step(Sample(label=1), np.random.default_rng(i)).inputs["text"] for i in range(20)]
    possible = {tuple(row) for row in model.prompt_ids[1::2].tolist()}
    assert {tuple(np.asarray(row).tolist()) for row in drawn} == possible
    with pytest.raises(DataError, match=r"sample 4 \(a\.mp4\) has class 2, and the model has 2 labels"):
        step(Sample(index=4, path="a.mp4", label=2), RNG)


def test_recognition_trains_and_predicts() -> None:
    model = recognizer(["open", "door"])
    step = model.sample_step()
    made = [
        step(s.replace(label=i % 2, inputs={"imgs": s.inputs["imgs"]}), RNG) for i, s in enumerate(samples(*"abcd"))
    ]
    batch = model.preprocess(collate(made))
    losses = model.loss(model(batch.inputs), batch)
    sum(losses.values(), torch.zeros(())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.inference_mode():
        found = model.predict(model(batch.inputs), batch)
        logits = model.clip_logits(batch.inputs)
    assert found[0].class_names == ("open", "door")
    assert found[0].scores is not None and found[0].scores.sum() == pytest.approx(1)
    np.testing.assert_allclose(logits.exp().numpy(), [s.scores for s in found], rtol=1e-5)
    with pytest.raises(DataError, match="needs samples with a label"):
        model.loss((torch.rand(2, 1, 8), torch.rand(16, 2, 8), torch.ones(1)), batch)


def test_labels_and_templates_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("open\ndoor\n")
    (tmp_path / "templates.txt").write_text("the {}\n\n{}\n")
    model = ActionClip(
        towers(), SimpleMeanAdapter(), MERGES, tmp_path / "labels.txt", templates=tmp_path / "templates.txt"
    )
    assert model.labels == ("open", "door")
    assert len(model.prompt_ids) == 4
