"""What this plugin offers: names and where their code is. Nothing of it is imported until a Task names it."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_models() -> dict[str, str]:
    return {"MotionNet": "vid_example.model:MotionNet"}


@hookimpl
def vidcore_datasets() -> dict[str, str]:
    return {"NamedVideos": "vid_example.data:NamedVideos"}


@hookimpl
def vidcore_transforms() -> dict[str, str]:
    return {"ReverseTime": "vid_example.transform:ReverseTime"}


@hookimpl
def vidcore_metrics() -> dict[str, str]:
    return {"WorstClass": "vid_example.metric:WorstClass"}


@hookimpl
def vidcore_observers() -> dict[str, str]:
    return {"Diary": "vid_example.observer:Diary"}


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {"sliding-square": "vid_example.command:sliding_square"}
