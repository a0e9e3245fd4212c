"""Metrics of proposals, detections and grounded sentences."""
