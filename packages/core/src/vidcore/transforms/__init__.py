"""Steps of a pipeline: ``(sample, rng) -> sample``. See ``vidcore.protocols.Transform``."""
