"""Names of components and the location of their code, which is imported when a Task uses it."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "models": offer("vid_example", model=["MotionNet"]),
        "datasets": offer("vid_example", data=["NamedVideos"]),
        "transforms": offer("vid_example", transform=["ReverseTime"]),
        "metrics": offer("vid_example", metric=["WorstClass"]),
        "observers": offer("vid_example", observer=["Diary"]),
    }


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {"sliding-square": "vid_example.command:sliding_square"}
