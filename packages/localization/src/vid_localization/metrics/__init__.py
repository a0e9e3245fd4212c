"""Scores of proposals, detections and grounded queries."""
