"""Components of vid-persons."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "person_detectors": offer(
            "vid_persons",
            blazepose=["BlazeDetector"],
            detr=["TransformersDetector"],
            motion=["MovingRegions"],
            onnx_detector=["OnnxDetector"],
        ),
        "pose_estimators": offer(
            "vid_persons", blazepose=["BlazePose"], onnx_models=["RTMO", "RTMPose"], vitpose=["ViTPose"]
        ),
        "trackers": offer("vid_persons", tracking=["IoUTracker"]),
    }
