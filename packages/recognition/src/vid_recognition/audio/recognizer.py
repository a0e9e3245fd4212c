"""RecognizerAudio and TSNAudioHead: classes of clips of sound, whose scores are averaged."""

from __future__ import annotations

from typing import Any

from vid_recognition.models.heads import ClassificationHead
from vid_recognition.models.recognizers import Recognizer

__all__ = ["RecognizerAudio", "TSNAudioHead"]


class RecognizerAudio(Recognizer):
    """For networks on log-mel features. ``forward``: (B, V, 1, T, F) -> (B, V, K); V clips of T rows and F bands."""

    layout = "batch clips channels time frequency"
    averages_clips = True


class TSNAudioHead(ClassificationHead):
    """Scores clips of sound. Takes the arguments of ``ClassificationHead``."""

    def __init__(self, num_classes: int, in_channels: int, dropout_ratio: float = 0.4, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, **kwargs)
