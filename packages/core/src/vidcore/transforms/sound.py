"""DecodeAudio."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from vidcore.errors import UserError
from vidcore.records import Audio
from vidcore.sample import Sample

__all__ = ["DecodeAudio"]


@frozen
class DecodeAudio:
    """Read the audio of a sample into ``audio``: for the time that ``clip`` covers; default: the whole sample.

    Several clips are read as one interval, from the first frame of the first clip to the last frame of the last.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``VideoError`` if the file has no audio, ``UserError`` if a clip has no known frame rate."""
        from vidcore.video.audio import open_audio  # PyAV is slow to import

        path = sample.audio_path or sample.path
        if path is None:
            raise UserError("DecodeAudio needs the path of a video or an audio file")
        with open_audio(path) as audio:
            start, stop = 0, len(audio)
            seconds: tuple[float, float] | None = None
            if sample.clip is not None:
                if not sample.fps:
                    raise UserError(f"{path}: the audio of a clip requires the frame rate, which is not known")
                first, last = sample.clip.indices.min(), sample.clip.indices.max() + 1
                frames = np.array([first, last]) - sample.start_index + sample.first_frame
                seconds = (frames[0] / sample.fps, frames[1] / sample.fps)
            elif sample.cut is not None:
                seconds = sample.cut.seconds(path, sample.fps)
            if seconds is not None:
                samples = (np.asarray(seconds) - audio.start) * audio.rate
                start, stop = (int(s) for s in np.clip(np.round(samples), 0, len(audio)))
            sound = audio.read(start, stop)
            return sample.replace(audio=Audio(sound, audio.rate, audio.start + start / audio.rate))
