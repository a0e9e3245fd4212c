"""Components, recipes and commands of vid-detection."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "drawers": {"PersonDrawer": "vid_detection.drawer:PersonDrawer"},
        "writers": {"ava": "vid_detection.results:write_ava"},
        "models": offer(
            "vid_detection.models",
            acrn=["ACRNHead"],
            bbox_head=["BBoxHeadAVA"],
            fast_rcnn=["FastRCNN"],
            feature_bank=["FBOHead"],
            roi_extractor=["SingleRoIExtractor3D"],
            roi_head=["AVARoIHead"],
        ),
        "datasets": offer(
            "vid_detection.datasets",
            ava=["AVADataset", "AVAKineticsDataset"],
            boxes=["VideoBoxDataset"],
            tubes=["TubeDataset"],
        ),
        "transforms": offer("vid_detection.transforms", sampling=["SampleAVAFrames"]),
        "metrics": offer(
            "vid_detection.metrics", ava=["AVAMetric"], coco=["COCOMetric"], tubes=["ACTMetric", "MultiSportsMetric"]
        ),
        "jobs": offer("vid_detection", bank_making=["MakeFeatureBank"]),
    }


@hookimpl
def vidcore_recipes() -> str:
    return "vid_detection:recipes"


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "data prepare ava": "vid_detection.prepare.command:ava",
        "data prepare ava-kinetics": "vid_detection.prepare.command:ava_kinetics",
        "data prepare jhmdb": "vid_detection.prepare.command:jhmdb",
        "data prepare multisports": "vid_detection.prepare.command:multisports",
        "data prepare ucf101-24": "vid_detection.prepare.command:ucf101_24",
        "demo detection": "vid_detection.demo:detection",
    }
