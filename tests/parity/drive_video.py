"""Processing of frames from file to model."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen

from vid_mmaction2.components import Converter
from vid_mmaction2.pipelines import convert_pipeline
from vid_recognition.audio.steps import AudioFeatureSelector, FormatAudioShape, LoadAudioFeature
from vid_recognition.datasets.hvu import HVUDataset
from vid_recognition.models.blending import BatchBlending, MixupBlending, RandomBatchAugment
from vid_recognition.transforms.hvu import LoadHVULabel
from vidcore.batch import collate
from vidcore.config.bind import build_component
from vidcore.geometry import Geometry
from vidcore.plugins.catalog import load_plugins
from vidcore.records import Boxes, Clip, Heatmaps
from vidcore.sample import Sample
from vidcore.transforms.colour import (
    ColorJitter,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    grey,
    jitter,
)
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from vidcore.transforms.erasing import RandomErasing, erase
from vidcore.transforms.flipping import Flip
from vidcore.transforms.formatting import FormatShape, PackActionInputs, Transpose
from vidcore.transforms.geometry import crop, current
from vidcore.transforms.pixels import realize
from vidcore.transforms.resizing import Fuse, RandomRescale, Resize

DATA = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def boxed(rows: np.ndarray | None) -> Boxes | None:
    return None if rows is None else Boxes(rows)


def corners(sample: Sample) -> dict[str, Any]:
    """Return the boxes and proposals of a sample, if any."""
    found = {"gt_bboxes": sample.boxes, "proposals": sample.proposals}
    return {name: None if boxes is None else boxes.xyxy for name, boxes in found.items()}


def framed(row: Any) -> Sample:
    """Return the sample of a row: frames, or only their size, and boxes."""
    boxes = {"boxes": boxed(row.inputs.get("gt_bboxes")), "proposals": boxed(row.inputs.get("proposals"))}
    if "frames_nchw" in row.inputs:
        return Sample(frames=np.ascontiguousarray(row.inputs["frames_nchw"].transpose(0, 2, 3, 1)), **boxes)
    size = row.inputs.get("img_shape")
    return Sample(geometry=Geometry.whole(tuple(size)) if size else None, **boxes)


def pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# ---- geometry


def resize(case: Any, row: Any) -> dict[str, Any]:
    sample, given = framed(row), row.settings
    if "range" in given:
        step, generator = RandomRescale(tuple(given["range"])), rng()
        return {"values": sorted({min(current(step(sample, generator)).size) for _ in range(1000)})}
    scales, keep = (
        (given["scales"], given["keep_ratio"]) if "scales" in given else ([given["scale"]], [given["keep_ratio"]])
    )
    for scale, keep_ratio in zip(scales, keep, strict=True):
        sample = Resize(pair(scale), keep_ratio, given.get("interpolation", "bilinear"))(sample, rng())
    geometry = current(sample)
    out = {"img_shape": list(geometry.size), "scale_factor": np.float32(geometry.scale_factor)}
    if sample.frames is not None:
        frames = realize(sample).frames
        out |= {"imgs": frames[:1], "mean": float(frames.mean())}
    return out


def window_boxes(geometry: Geometry) -> list[list[int]]:
    height, width = geometry.size
    return [[x, y, x + width, y + height] for x, y, _ in geometry.windows]


def drawn_boxes(step: Any, sample: Sample, draws: int) -> list[list[int]]:
    generator = rng()
    return [window_boxes(step(sample, generator).geometry)[0] for _ in range(draws)]


def multi_scale(given: dict[str, Any]) -> MultiScaleCrop:
    return MultiScaleCrop(**{k: pair(v) for k, v in given.items()})


def crops(case: Any, row: Any) -> dict[str, Any]:
    sample = framed(row)
    if row.what.startswith("multi-scale"):
        return {"boxes": sorted(map(list, {tuple(b) for b in drawn_boxes(multi_scale(row.settings), sample, 6000)}))}
    if row.what.startswith("random position"):
        boxes = np.array(drawn_boxes(RandomCrop(row.settings["size"], compat=True), sample, 2000))
        return {"x": sorted(set(boxes[:, 0].tolist())), "y": sorted(set(boxes[:, 1].tolist()))}
    if "crop_quadruple" in row.inputs:
        whole = Geometry.whole(sample.frames.shape[1:3])
        sample = sample.replace(geometry=evolve(whole, crop_quadruple=tuple(row.inputs["crop_quadruple"])))
    kind = {"centre": CenterCrop, "three": ThreeCrop, "ten": TenCrop}[row.what.partition(":")[0].partition(",")[0]]
    cut = kind(pair(row.settings["crop_size"]))(sample, rng())
    boxes = window_boxes(cut.geometry)
    frames = realize(cut).frames
    return {
        "crop_bbox": boxes[0] if len(boxes) == 1 else [b for b in boxes for _ in sample.frames],
        "img_shape": list(cut.geometry.size),
        "num": len(frames),
        "sum": [int(f.sum()) for f in frames],
        "crop_quadruple": [float(np.float32(v)) for v in cut.geometry.crop_quadruple],
    }


def flip(case: Any, row: Any) -> dict[str, Any]:
    direction, ratio = row.settings.get("direction", "horizontal"), row.settings.get("flip_ratio", 1)
    if "label_map" in row.settings:
        step = Flip(1, flip_label_map=row.settings["label_map"])
        size = Geometry.whole((1, 1))
        return {"labels": [step(Sample(label=n, geometry=size), rng()).label for n in row.inputs["labels"]]}
    step = Flip(ratio, direction)
    if "maps" in row.inputs:
        maps = row.inputs["maps"]
        alternating = maps.ndim == 3  # x, y, x, y, ...: two channels of one frame
        frames = np.stack([maps[::2], maps[1::2]], -1) if alternating else maps
        out = realize(step(Sample(frames=frames, modality="Flow"), rng())).frames
        return {"maps": out.transpose(0, 3, 1, 2).reshape(maps.shape) if alternating else out}
    sample = framed(row)
    if sample.frames is None:
        modality = "RGB" if sample.boxes is not None else "Flow"
        flipped = step(sample.replace(modality=modality, geometry=sample.geometry or Geometry.whole((4, 4))), rng())
        return corners(flipped)
    flipped = step(sample, rng())
    return {"imgs": realize(flipped).frames, "flip": current(flipped).pending}


def boxes(case: Any, row: Any) -> dict[str, Any]:
    sample = framed(row)
    for text in row.settings["steps"]:
        words = text.replace(",", " ").split()
        numbers = [int(w) for w in words if w.isdigit()]
        if text.startswith("short side"):
            sample = Resize((-1, numbers[0]))(sample, rng())
        elif text.startswith("to "):
            sample = Resize((numbers[0], numbers[1]), keep_ratio=False)(sample, rng())
        elif text.startswith("centre"):
            sample = CenterCrop(pair(numbers) if len(numbers) == 2 else numbers[0])(sample, rng())
        elif text.startswith("crop"):
            sample = crop(sample, [tuple(numbers)])
        else:
            sample = Flip(1)(sample, rng())
    geometry = current(sample)
    cut = any(text.startswith(("centre", "crop")) for text in row.settings["steps"])
    return {
        **corners(sample),
        "img_shape": list(geometry.size),
        "crop_quadruple": np.float32(geometry.crop_quadruple) if cut else None,
    }


def lazy_chain(case: Any, row: Any) -> dict[str, Any]:
    sample, fuse = framed(row), Fuse()
    if row.fails:  # such a row has no frames and must be refused
        return {"lazy": fuse(sample, rng())}
    box = row.inputs.get("crop")
    cut: Any = (lambda s, _: crop(s, [tuple(box)])) if box is not None else None
    chain = {
        "resize, centre crop": [Resize((-1, 40)), CenterCrop(32)],
        "crop box, resize, flip": [cut, Resize((32, 32), keep_ratio=False), Flip(1)],
        "resize with nearest interpolation, crop, flip vertically": [
            Resize((50, 40), keep_ratio=False, interpolation="nearest"),
            CenterCrop((30, 20)),
            Flip(1, "vertical"),
        ],
        "crop only": [CenterCrop(40)],
    }[row.what]
    direct = lazy = sample
    interpolation = "bilinear"
    for step in chain:
        direct = fuse(step(direct, rng()), rng())
        lazy = step(lazy, rng())
        interpolation = getattr(step, "interpolation", interpolation)
    # a final resize to the same size makes the earlier crops windows of the original frame
    height, width = current(lazy).size
    lazy = Resize((width, height), keep_ratio=False, interpolation=interpolation)(lazy, rng())
    region = np.float32(current(lazy).region)
    return {"lazy_crop_bbox": region, "lazy": fuse(lazy, rng()).frames[:1], "direct": direct.frames[:1]}


# ---- colour


def colour_jitter(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if row.what == "default ranges":
        return {name: list(limits) for name, limits in ColorJitter().ranges.items()}
    frames = framed(row).frames
    if "order" in given:
        values = tuple(given[k] for k in ("brightness", "contrast", "saturation", "hue"))
        return {"imgs": jitter(frames, tuple(given["order"]), values)}
    step = {"contrast": adjust_contrast, "saturation": adjust_saturation, "hue": adjust_hue}.get(row.what)
    frame = frames[0].astype(np.float32)
    return {"y": step(frame, given.get("factor", given.get("offset"))) if step else grey(frame)}


def random_erasing(case: Any, row: Any) -> dict[str, Any]:
    top, left, height, width = box = tuple(row.settings["box_top_left_height_width"])
    erased = erase(framed(row).frames, box, np.array(row.settings["fill_color"], np.uint8))
    inside = erased[:, top : top + height, left : left + width]
    return {
        "crc32": [zlib.crc32(f.tobytes()) for f in erased],
        "sum_inside": [int(f.sum()) for f in inside],
        "sum": [int(f.sum()) for f in erased],
    }


def random_statistics(case: Any, row: Any) -> dict[str, Any]:
    given, generator, draws = row.settings, rng(), 6000
    if row.what.startswith("multi-scale"):
        drawn = [tuple(b) for b in drawn_boxes(multi_scale(given), framed(row), draws)]
        found = sorted(set(drawn))
        return {"boxes": [list(b) for b in found], "share": [drawn.count(b) / draws for b in found]}
    if row.what.startswith("random box"):
        height, width = row.inputs["img_shape"]
        step = RandomResizedCrop(tuple(given["area_range"]), tuple(given["aspect_range"]))
        x0, y0, x1, y1 = np.array(drawn_boxes(step, framed(row), draws)).T
        found = {"area": (x1 - x0) * (y1 - y0) / (height * width), "aspect": (x1 - x0) / (y1 - y0), "x": x0, "y": y0}
        inside = bool((x0 >= 0).all() and (y0 >= 0).all() and (x1 <= width).all() and (y1 <= height).all())
        return {**{k: np.quantile(v, given["quantiles"]) for k, v in found.items()}, "inside": inside}
    if row.what.startswith("erased box:"):
        return erased_boxes(row, draws)
    if row.what.startswith("erased box filled"):
        given = {k: pair(v) for k, v in given.items() if v is not None}
        noise = RandomErasing(1, mode="rand", **given).fill((4, 150, 150, 3), generator).astype(float)
        return {
            "mean": noise.mean(),
            "std": noise.std(),
            "channel_mean": noise.mean((0, 1, 2)),
            "frames_equal": bool((noise[0] == noise[1]).all()),
        }
    if row.what == "share of flips":
        step, sample = Flip(given["flip_ratio"]), Sample(geometry=Geometry.whole((4, 4)))
        return {"share": float(np.mean([step(sample, generator).geometry.pending for _ in range(draws)]))}
    return blending_statistics(row)


def blending_statistics(row: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    given, draws = row.settings, 6000
    pictures, labels = torch.zeros(8, 1, 1), torch.arange(8)
    if "alpha" in given:  # the label of a sample with a different partner keeps the drawn weight
        step = MixupBlending(8, given["alpha"])
        shares = np.array([float(step(pictures, labels)[1].diagonal().min()) for _ in range(draws)])
        return {"mean": shares.mean(), "std": shares.std()}
    chosen: list[str] = []

    @frozen
    class Named(BatchBlending):
        num_classes: int
        name: str

        def __call__(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            chosen.append(self.name)
            return inputs, labels

    choice = RandomBatchAugment([Named(8, "mixup"), Named(8, "cutmix")], given["probabilities"])
    for _ in range(draws):
        choice(pictures, labels)
    return {name: chosen.count(name) / draws for name in ("mixup", "cutmix")}


def erased_boxes(row: Any, draws: int) -> dict[str, Any]:
    given, generator = row.settings, rng()
    height, width = row.inputs["img_shape"]
    blank = Sample(frames=np.zeros((1, height, width, 3), np.uint8))
    low, high = given["area"]
    step = RandomErasing(given["erase_prob"], low, high, tuple(given["aspect"]), fill_color=1, compat=True)
    found = []
    for _ in range(draws):
        rows, columns = step(blank, generator).frames[0, ..., 0].nonzero()
        if rows.size:
            found.append((rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1))
    top, left, tall, wide = np.array(found).T
    reached = top + tall == height
    stated = {"top": top, "left": left, "height": tall, "width": wide, "area": tall * wide / (height * width)}
    return {
        **{k: np.quantile(v, given["quantiles"]) for k, v in stated.items()},
        "skipped": 1 - len(found) / draws,
        "bottom_reached": bool(reached.any()),
        "bottom_reached_by_smaller": bool((reached & (tall < height)).any()),
    }


# ---- to the model


def only(inputs: Any) -> Any:
    (array,) = inputs.values()
    return array


def format_shape(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if "order" in given:
        named = Sample(inputs={"heatmaps": row.inputs["heatmaps"]})
        return {"y": Transpose(["heatmaps"], given["order"])(named, rng()).inputs["heatmaps"]}
    step = FormatShape(given["format"], given["collapse"])
    maps = row.inputs.get("heatmaps")
    sample = Sample(heatmaps=None if maps is None else Heatmaps(maps), modality=given.get("modality", "RGB"))
    if "frames_nchw" in row.inputs:
        frames = framed(row).frames[: row.inputs.get("use_frames"), ..., : row.inputs.get("use_channels")]
        sample = sample.replace(frames=np.ascontiguousarray(frames))
    clip_len = given.get("clip_len")
    clip_len = clip_len["RGB"] if isinstance(clip_len, dict) else clip_len
    if clip_len is not None:
        count = given.get("num_clips", 1)
        sample = sample.replace(clip=Clip(np.arange(clip_len * count), clip_len, count))
    inputs = step(sample, rng()).inputs
    named = dict(inputs) if len(inputs) > 1 else {"imgs": only(inputs)}
    shapes = {k.replace("imgs", "input_shape"): list(v.shape) for k, v in named.items()}
    return {**named, **shapes}


def audio(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if "pad_method" in given:
        loaded = only(LoadAudioFeature(given["pad_method"])(Sample(path="missing.npy"), rng()).inputs)
        return {"shape": list(loaded.shape), "length": len(loaded), "sum": loaded.sum(), "dtype": str(loaded.dtype)}
    step = FormatAudioShape(given.get("format", "NCTF"))
    count, frames = row.inputs["num_clips"], row.inputs["frame_inds"]
    sample = Sample(total_frames=row.inputs["total_frames"], clip=Clip(frames, len(frames) // count, count))
    selected = AudioFeatureSelector(**given)(sample.with_inputs(audios=row.inputs["audio"]), rng())
    audios = only(selected.inputs)
    return {
        "audios": audios,
        "audios_shape": list(audios.shape),
        "input_shape": list(only(step(selected, rng()).inputs).shape),
    }


def pack_inputs(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    names = {"imgs": "imgs", "heatmap_imgs": "heatmap_imgs", "keypoint": "joints", "audios": "audios", "text": "text"}
    published = {here: name for name, here in names.items()}
    formatted = {here: given[name] for name, here in names.items() if name in given}
    label = given.get("label")
    label = label.tolist() if isinstance(label, np.ndarray) and label.dtype.kind == "i" else label
    multi_hot = isinstance(label, np.ndarray)
    sample = Sample(
        inputs=formatted,
        labels=label if multi_hot else None,
        boxes=boxed(given.get("gt_bboxes")),
        proposals=boxed(given.get("proposals")),
        meta={k: v for k, v in given.items() if k not in names},
    )
    packed = PackActionInputs([names[k] for k in row.settings.get("collect_keys") or ()])(sample, rng())
    # class numbers: one per sample
    numbers = [None] if multi_hot or label is None else label if isinstance(label, list) else [label]
    batch = collate([packed.replace(label=n) for n in numbers])
    inputs = {published[k]: v[0].numpy() for k, v in batch.inputs.items()} if isinstance(batch.inputs, dict) else {}
    kept = batch.samples[0]
    wanted = row.settings.get("meta_keys", ["img_shape", "img_key", "video_id", "timestamp"])
    out = {"inputs_keys": sorted(inputs) or None, "meta": {k: kept.meta[k] for k in wanted if k in kept.meta}}
    out |= {f"inputs_{k}": v for k, v in inputs.items()} if inputs else {"inputs": batch.inputs[0].numpy()}
    if batch.labels is not None:
        labels = batch.labels[0] if multi_hot else batch.labels
        out |= {"gt_label": labels.numpy(), "gt_label_dtype": str(labels.dtype)}
    if kept.boxes is not None:
        found = corners(kept)
        out |= {"gt_boxes": found["gt_bboxes"], "proposals": found["proposals"]}
        out |= {"gt_box_labels": kept.meta["gt_labels"]}
    return out


def category_labels(case: Any, row: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tags.json")
        file.write_text(json.dumps([{"filename": "a.mp4", "label": row.inputs["label"]}]))
        dataset = HVUDataset(file, None, row.inputs["categories"], row.inputs["numbers"])
    sample = LoadHVULabel()(dataset[0], rng())
    return {"label": sample.labels, **sample.targets}


def pipelines(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    catalog = load_plugins()
    steps = convert_pipeline(Converter(catalog), row.settings["steps"], "steps")
    if "file" in given:
        sample = Sample(path=str(DATA / given["file"]))
    else:
        flow, frames = row.what.startswith("flow"), np.array(given["frame_inds"])
        length = given.get("clip_len", len(frames))
        sample = Sample(
            path=str(DATA / given["folder"]),
            filename_tmpl="{}_{:05d}.jpg" if flow else "img_{:05d}.jpg",
            start_index=1,
            modality="Flow" if flow else "RGB",
            clip=Clip(frames, length, len(frames) // length),
        )
    pipeline = Pipeline({name: build_component(step, "transforms", catalog) for name, step in steps.items()})
    inputs = only(pipeline(sample, rng()).inputs)
    step = inputs.shape[-1] // row.outputs["grid"].shape[-1]
    return {
        "shape": list(inputs.shape),
        "dtype": str(inputs.dtype),
        "mean": float(inputs.mean()),
        "std": float(inputs.std()),
        "grid": inputs[..., ::step, ::step],
    }


OPS = {
    "video.resize": resize,
    "video.crops": crops,
    "video.flip": flip,
    "video.boxes": boxes,
    "video.lazy_chain": lazy_chain,
    "video.colour_jitter": colour_jitter,
    "video.random_erasing": random_erasing,
    "video.random_statistics": random_statistics,
    "video.format_shape": format_shape,
    "video.audio": audio,
    "video.pack_inputs": pack_inputs,
    "video.category_labels": category_labels,
    "video.pipelines": pipelines,
}
