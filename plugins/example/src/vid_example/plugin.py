"""What this plugin offers: names and where their code is. Nothing of it is imported until a Task names it."""

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
