"""Reading video: ``vidcore.video.open.open_video`` and the readers behind it."""
