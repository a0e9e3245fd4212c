"""Models that find segments: proposal networks, detectors and grounding of sentences."""
