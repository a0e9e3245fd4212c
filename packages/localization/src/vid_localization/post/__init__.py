"""From scores of positions to segments: NumPy functions, across all proposals of a video at once."""

from vid_localization.post.detections import nms_by_class, suppress_by_class
from vid_localization.post.features import proposal_features
from vid_localization.post.proposals import boundary_candidates, generate_proposals
from vid_localization.post.suppression import post_processing, soft_nms

__all__ = [
    "boundary_candidates",
    "generate_proposals",
    "nms_by_class",
    "post_processing",
    "proposal_features",
    "soft_nms",
    "suppress_by_class",
]
