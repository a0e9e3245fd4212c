"""What vid-recognition offers."""

from __future__ import annotations

from vidcore.hookspecs import hookimpl


@hookimpl
def vidcore_models() -> dict[str, str]:
    return {}


@hookimpl
def vidcore_datasets() -> dict[str, str]:
    return {
        "FolderDataset": "vid_recognition.datasets.folder:FolderDataset",
        "RawframeDataset": "vid_recognition.datasets.rawframe:RawframeDataset",
        "VideoDataset": "vid_recognition.datasets.video:VideoDataset",
    }


@hookimpl
def vidcore_metrics() -> dict[str, str]:
    return {
        "AccMetric": "vid_recognition.metrics.accuracy:AccMetric",
        "ClassReport": "vid_recognition.metrics.report:ClassReport",
        "ConfusionMatrix": "vid_recognition.metrics.confusion:ConfusionMatrix",
    }
