"""vidcore: video understanding for people who train, evaluate and ship models."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidcore.predict.predictor import Predictor

__all__ = ["Predictor", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Predictor":  # lazily, since it imports torch
        from vidcore.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
