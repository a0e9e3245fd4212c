"""Components of vid-persons."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "person_detectors": offer("vid_persons.detectors"),
        "pose_estimators": offer("vid_persons.estimators"),
        "trackers": offer("vid_persons"),
    }
