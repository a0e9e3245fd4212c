"""Models of video and language."""
