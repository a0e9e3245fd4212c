"""Exact frames of damaged, truncated and unusual files, with PyAV.

Code outside of this folder imports from here, not from the files in it.
"""

from vidcore.video.exact.motion import read_motion_vectors
from vidcore.video.exact.pyav import PyAVReader

__all__ = ["PyAVReader", "read_motion_vectors"]
