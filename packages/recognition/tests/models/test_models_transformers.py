"""Vision transformers: sizes of clips, layers for layer-wise decay, checkpoints, weights of image networks."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vid_recognition.models.heads import UniFormerHead
from vid_recognition.models.layers import Backbone
from vid_recognition.models.recognizers import Recognizer3D
from vid_recognition.models.timesformer import TimeSformer
from vid_recognition.models.uniformerv2 import UniFormerV2
from vid_recognition.models.vit_videomae import VisionTransformer
from vidcore.engine.optim import LayerDecayGroups
from vidcore.engine.options import TrainOptions
from vidcore.engine.weights import load_state
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import DropPath, resize_positions, resize_tables, sinusoids
from vidcore.plugins.catalog import load_plugins
from vidcore.task.initial import load_initial_weights


def videomae(**options: Any) -> VisionTransformer:
    return VisionTransformer(**{"img_size": 32, "embed_dims": 8, "depth": 3, "num_heads": 2, "num_frames": 4} | options)


def timesformer(**options: Any) -> TimeSformer:
    return TimeSformer(4, 32, 16, embed_dims=8, num_heads=2, num_transformer_layers=3, **options)


def uniformer(**options: Any) -> UniFormerV2:
    small: dict[str, Any] = {"layers": 3, "heads": 2, "t_size": 4, "return_list": (1, 2), "n_head": 2}
    return UniFormerV2(options.pop("input_resolution", 32), 16, 8, **small | {"mlp_dropout": (0.0, 0.0)} | options)


def clips(frames: int = 4, size: int = 32) -> Tensor:
    return torch.randn((2, 3, frames, size, size), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("build", "embeddings", "blocks", "rest"),
    [
        (videomae, {"patch_embed", "pos_embed"}, "blocks", {"fc_norm"}),
        (timesformer, {"patch_embed", "cls_token", "pos_embed", "time_embed"}, "transformer_layers.layers", {"norm"}),
        (
            uniformer,
            {"conv1", "class_embedding", "positional_embedding", "ln_pre"},
            "transformer.resblocks",
            {"transformer"},
        ),
    ],
)
def test_layers_for_their_own_rates(
    build: Callable[..., Any], embeddings: set[str], blocks: str, rest: set[str]
) -> None:
    torch.manual_seed(0)
    net = build(use_learnable_pos_emb=True) if build is videomae else build()
    layers = {name: net.layer_of(name) for name, _ in net.named_parameters()}
    assert {name.partition(".")[0] for name, layer in layers.items() if layer == 0} == embeddings
    for i in range(3):
        assert {n for n, layer in layers.items() if layer == i + 1} == {
            n for n in layers if n.startswith(f"{blocks}.{i}.")
        }
    assert {name.partition(".")[0] for name, layer in layers.items() if layer is None} == rest
    model = nn.ModuleDict({"backbone": net, "cls_head": nn.Linear(2, 2)})
    groups = LayerDecayGroups(decay_rate=0.5, num_layers=3)(model, 1.0, 0.1)
    assert sorted({group["lr"] for group in groups}) == [0.0625, 0.125, 0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (videomae, {"drop_path_rate": 0.4}),
        (timesformer, {"drop_path_rate": 0.4}),
        (timesformer, {"drop_path_rate": 0.4, "attention_type": "space_only"}),
        (uniformer, {"backbone_drop_path_rate": 0.4}),
    ],
)
def test_drop_path_grows_from_block_to_block(build: Callable[..., Backbone], options: dict[str, Any]) -> None:
    for block, rate in zip(build(**options).stages, (0, 0.2, 0.4), strict=True):
        assert {m.rate for m in block.modules() if isinstance(m, DropPath)} == {rate}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (videomae, "takes clips of 4 frames of 32 x 32 pixels, 2 x 2 x 2 tubelets, and got 2 x 3 x 3: see num_frames"),
        (
            timesformer,
            r"takes clips of 4 x 32 x 32 frames and pixels, and got 4 x 48 x 48: see num_frames and img_size",
        ),
        (
            uniformer,
            r"takes clips of 4 x 32 x 32 frames and pixels, and got 4 x 48 x 48: see t_size and input_resolution",
        ),
    ],
)
def test_clips_of_another_size_are_refused(build: Callable[..., Backbone], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()(clips(size=48))


def test_videomae_returns_a_map_of_any_size() -> None:
    torch.manual_seed(0)
    net = videomae(use_mean_pooling=False, return_feat_map=True).eval()
    assert net(clips()).shape == (2, 8, 2, 2, 2)
    assert net(clips(size=48)).shape == (2, 8, 2, 3, 3)
    first = videomae(use_mean_pooling=False).eval()
    first.load_state_dict(net.state_dict())
    torch.testing.assert_close(first(clips()), net(clips())[:, :, 0, 0, 0])


def test_videomae_pools_before_it_normalises() -> None:
    torch.manual_seed(0)
    net = videomae().eval()
    tokens = []
    net.norm.register_forward_hook(lambda module, given, out: tokens.append(out))
    out = net(clips())
    torch.testing.assert_close(out, nn.functional.layer_norm(tokens[0].mean(1), (8,), eps=1e-6))


def test_videomae_accepts_its_own_sinusoids_from_a_checkpoint() -> None:
    net = videomae()
    state = net.state_dict()
    assert "pos_embed" not in state
    load_state(net, state)
    load_state(net, state | {"pos_embed": sinusoids(8, 8)[None]})
    with pytest.raises(CheckpointError, match="pos_embed is learned in the file: set use_learnable_pos_emb"):
        load_state(net, state | {"pos_embed": torch.zeros(1, 8, 8)})
    with pytest.raises(CheckpointError, match="pos_embed has 16 positions in the file and 8 in the model"):
        load_state(net, state | {"pos_embed": sinusoids(16, 8)[None]})
    learned = videomae(use_learnable_pos_emb=True)
    load_state(learned, state | {"pos_embed": torch.ones(1, 8, 8)})
    assert (learned.pos_embed == 1).all()


def test_timesformer_sees_the_order_of_frames_through_time_embeddings_only() -> None:
    torch.manual_seed(0)
    video = clips()
    for kind in ("divided_space_time", "joint_space_time", "space_only"):
        net = timesformer(attention_type=kind).eval()
        torch.testing.assert_close(net(video.flip(2)), net(video))
        if net.time_embed is not None:
            nn.init.normal_(net.time_embed)
            assert not torch.allclose(net(video.flip(2)), net(video), atol=1e-3)


def test_timesformer_divided_attention_has_its_own_neighbourhoods() -> None:
    """Over time, a patch sees itself in all frames; over space, all patches of its frame."""
    torch.manual_seed(0)
    attention = timesformer().get_submodule("transformer_layers.layers.0.attentions")
    nn.init.normal_(attention.get_parameter("0.temporal_fc.weight"))
    x = torch.randn(1, 1 + 4 * 4, 8, requires_grad=True)
    for layer, seen in ((attention[0], [5, 6, 7, 8]), (attention[1], [0, 2, 6, 10, 14])):
        (gradient,) = torch.autograd.grad(layer(x)[0, 6].sum(), x)
        assert gradient[0].abs().sum(1).nonzero().flatten().tolist() == seen


def test_new_global_blocks_of_uniformer_add_nothing() -> None:
    """At the start, half of the features is the class token of CLIP, the mean over frames."""
    torch.manual_seed(0)
    net = uniformer().eval()
    tokens = []
    net.transformer.resblocks[-1].register_forward_hook(lambda module, given, out: tokens.append(out[:, 0]))
    out = net(clips())
    mean = tokens[0].unflatten(0, (2, 4)).mean(1)
    torch.testing.assert_close(out, net.transformer.norm(mean / 2))


def test_uniformer_with_local_blocks_starts_as_without() -> None:
    torch.manual_seed(0)
    plain, local = uniformer().eval(), uniformer(no_lmhra=False, double_lmhra=True).eval()
    local.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(local(clips()), plain(clips()))
    for block in local.transformer.resblocks:
        nn.init.normal_(block.lmhra1.pos_embed[3].weight)
    assert not torch.allclose(local(clips()), plain(clips()), atol=1e-3)
    assert not torch.allclose(local(clips().flip(2)), local(clips()), atol=1e-3), "it sees the order of frames"


def test_uniformer_starts_from_the_image_tower_of_clip() -> None:
    torch.manual_seed(0)
    net = uniformer(temporal_downsample=True)
    assert net(clips()).shape == (2, 8)
    own = {k: v.clone() for k, v in net.state_dict().items() if not k.startswith(("transformer.d", "transformer.n"))}
    tower = {k: v for k, v in own.items() if k not in ("transformer.temporal_cls_token", "transformer.balance")}
    tower["conv1.weight"] = torch.rand(8, 3, 16, 16)
    clip = {f"visual.{k}": v for k, v in tower.items()} | {
        "visual.proj": torch.rand(8, 4),
        "logit_scale": torch.ones(()),
    }
    for given in (clip, tower | {"ln_post.weight": torch.ones(8)}):
        found = net.convert_2d_weights(given)
        assert found.keys() == tower.keys()
        torch.testing.assert_close(found["conv1.weight"].sum(2), tower["conv1.weight"])
        assert torch.equal(found["positional_embedding"], tower["positional_embedding"])
    with pytest.raises(CheckpointError, match=r"not weights of an image tower of CLIP .* they lack ln_pre.bias"):
        net.convert_2d_weights({k: v for k, v in clip.items() if k != "visual.ln_pre.bias"})
    with pytest.raises(CheckpointError, match=r"they have head.weight, which it lacks"):
        net.convert_2d_weights(tower | {"head.weight": torch.ones(8)})


@pytest.mark.parametrize("kind", ["divided_space_time", "joint_space_time", "space_only"])
def test_timesformer_starts_from_an_image_transformer(kind: str) -> None:
    torch.manual_seed(0)
    net = timesformer(attention_type=kind).eval()
    image = {"cls_token": torch.rand(1, 1, 8), "pos_embed": torch.rand(1, 5, 8), "head.weight": torch.rand(9, 8)}
    layers = {"norm1": (8,), "attn.qkv": (24, 8), "attn.proj": (8, 8), "norm2": (8,), "mlp.fc1": (32, 8)}
    shapes = {f"blocks.{i}.{k}": v for i in range(3) for k, v in (layers | {"mlp.fc2": (8, 32)}).items()}
    for name, shape in (shapes | {"norm": (8,), "patch_embed.proj": (8, 3, 16, 16)}).items():
        image |= {f"{name}.weight": torch.randn(shape) * 0.3, f"{name}.bias": torch.randn(shape[:1])}
    lines = load_state(net, net.convert_2d_weights(image), ignore=["time_embed", "transformer_layers"])
    assert all("temporal_fc" in line or "time_embed" in line for line in lines)
    own = dict(net.named_parameters())
    first = own["transformer_layers.layers.2.attentions.0.attn.in_proj_weight"]
    assert torch.equal(first, image["blocks.2.attn.qkv.weight"])
    if kind == "divided_space_time":
        assert torch.equal(first, own["transformer_layers.layers.2.attentions.1.attn.in_proj_weight"])
    still = clips()[:, :, :1].expand(-1, -1, 4, -1, -1)
    found = net(still)
    single = TimeSformer(1, 32, 16, 8, 2, 3, attention_type="space_only").eval()
    single.load_state_dict(single.convert_2d_weights(image))
    if kind != "joint_space_time":  # where the class token sees every patch four times
        torch.testing.assert_close(found, single(still[:, :, :1]), msg="a still video is a picture")
    with pytest.raises(CheckpointError, match=r"like this TimeSformer: they lack cls_token"):
        net.convert_2d_weights({k: v for k, v in image.items() if k != "cls_token"})


def test_learned_positions_follow_clips_of_another_size() -> None:
    def table(build: Callable[..., Any], **options: Any) -> dict[str, tuple[int, ...]]:
        large = build(**options)
        return {k: tuple(v.shape) for k, v in resize_tables(build(), large.state_dict()).items() if v.isfinite().all()}

    assert table(
        lambda **k: TimeSformer(
            **{"num_frames": 4, "img_size": 32, "patch_size": 16, "embed_dims": 8} | k,
            num_heads=2,
            num_transformer_layers=1,
        ),
        num_frames=8,
        img_size=64,
    ) == {"pos_embed": (1, 5, 8), "time_embed": (1, 4, 8)}
    assert table(
        lambda size=32: UniFormerV2(size, 16, 8, 1, 2, return_list=(0,), n_head=2, mlp_dropout=(0,)), size=64
    ) == {"positional_embedding": (5, 8)}
    assert table(lambda **k: videomae(use_learnable_pos_emb=True, **k), img_size=64) == {"pos_embed": (1, 8, 8)}


def test_the_classes_of_a_larger_dataset_are_selected(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text("[2, 0]")
    head = UniFormerHead(2, 8, channel_map=file)
    larger = {
        "cls_head.fc_cls.weight": torch.rand(3, 8),
        "cls_head.fc_cls.bias": torch.rand(3),
        "backbone.a": torch.ones(1),
    }
    found = head.select_classes(larger)
    assert found is not None and found.keys() == larger.keys()
    assert torch.equal(found["cls_head.fc_cls.bias"], larger["cls_head.fc_cls.bias"][[2, 0]])
    assert head.select_classes(found) is None, "it has the classes of this head"
    file.write_text("[3, 0]")
    with pytest.raises(CheckpointError, match=r"map.json must list class numbers below 3"):
        head.select_classes(larger)
    file.write_text("[0]")
    with pytest.raises(CheckpointError, match=r"map.json has 1 numbers, and num_classes is 2"):
        head.select_classes(larger)
    with pytest.raises(CheckpointError, match=r"cls_head.channel_map: nowhere.json cannot be read"):
        UniFormerHead(2, 8, channel_map=Path("nowhere.json")).select_classes(larger)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torch_script_of_clip_starts_uniformerv2_for_larger_frames(tmp_path: Path) -> None:
    """As published by OpenAI: float16, the image tower under ``visual.``, sizes as buffers."""
    tower = uniformer().state_dict()
    clip = nn.Module()
    for key, value in {**tower, "input_resolution": torch.tensor(32), "text.weight": torch.ones(2)}.items():
        name = key if key not in tower else f"visual.{key}"
        if re.search(r"transformer\.(dpe|dec|norm|balance|temporal_cls)", name):
            continue
        *parents, leaf = name.split(".")
        place = clip
        for parent in parents:
            if parent not in dict(place.named_children()):
                place.add_module(parent, nn.Module())
            place = place.get_submodule(parent)
        place.register_buffer(leaf, value.half() if value.is_floating_point() else value)
    torch.jit.save(torch.jit.script(clip), tmp_path / "ViT-B-16.pt")
    model = Recognizer3D(uniformer(input_resolution=48), UniFormerHead(2, 8))
    options = TrainOptions(weights=tmp_path / "ViT-B-16.pt")
    with pytest.raises(CheckpointError, match=r"train\.weights_resize = true resizes it"):
        load_initial_weights(model, options, load_plugins())
    notes: list[str] = []
    options = TrainOptions(weights=tmp_path / "ViT-B-16.pt", weights_resize=True)
    left = load_initial_weights(model, options, load_plugins(), notes.append)
    assert notes == ["train.weights: backbone.positional_embedding is resized from (5, 8) to (10, 8)"]
    assert left[-1] == "ViT-B-16.pt also has input_resolution, text.weight"
    assert len(left) == 1 + sum("resblocks" not in key and "transformer." in key for key in tower) + 2
    found = model.state_dict()
    key = "transformer.resblocks.1.attn.in_proj_weight"
    assert torch.equal(found[f"backbone.{key}"], tower[key].half().float())
    wanted = resize_positions(tower["positional_embedding"].half().float(), (2, 2), (3, 3), prefix=1)
    torch.testing.assert_close(found["backbone.positional_embedding"], wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("dataset", "classes"), [("kinetics400", 400), ("kinetics600", 600), ("kinetics700", 700)])
def test_weights_of_kinetics_710_have_the_classes_of_each_kinetics(dataset: Any, classes: int) -> None:
    """Reference: the published index maps. The weights of the first 400 classes are not in the order of any list."""
    larger = {"cls_head.fc_cls.weight": torch.arange(710.0)[:, None].expand(-1, 8)}
    found = UniFormerHead(classes, 8, channel_map=dataset).select_classes(larger)
    assert found is not None
    numbers = [int(row[0]) for row in found["cls_head.fc_cls.weight"]]
    assert len(set(numbers)) == classes
    first = {"kinetics400": [341, 158, 189], "kinetics600": [341, 661, 611], "kinetics700": [341, 661, 611]}
    assert numbers[:3] == first[dataset]
    assert numbers[-3:] == [56, 370, 331]
    crcs = {"kinetics400": 97161414, "kinetics600": 426458105, "kinetics700": 1267548764}
    assert zlib.crc32(np.array(numbers, "<u2").tobytes()) == crcs[dataset]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: videomae(img_size=40), r"img_size must be a multiple of patch_size \(16\), got 40"),
        (lambda: videomae(num_frames=5), r"num_frames must be a multiple of tubelet_size \(2\), got 5"),
        (lambda: TimeSformer(8, 40, 16), r"img_size must be a multiple of patch_size \(16\), got 40"),
        (lambda: UniFormerV2(40), r"input_resolution must be a multiple of patch_size \(16\), got 40"),
        (lambda: uniformer(return_list=(2, 3)), r"return_list must name blocks 0 to 2, got \(2, 3\)"),
        (lambda: uniformer(mlp_dropout=(0.5,)), "mlp_dropout needs 2 entries, one for each of return_list, got 1"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
