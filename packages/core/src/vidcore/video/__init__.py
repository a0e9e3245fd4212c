"""Videos (``open.open_video``), their audio (``audio.open_audio``), windows over them (``window.windows``)."""
