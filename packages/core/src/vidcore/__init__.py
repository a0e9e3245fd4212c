"""vidcore: video understanding for people who train, evaluate and ship models."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidcore.predict.predictor import Predictor
    from vidcore.training import test, train

__all__ = ["Predictor", "__version__", "test", "train"]

__version__ = "0.1.0"

# Threads of torch that spin while they wait slow each other down a hundredfold on shared cores. OpenMP reads this
# when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """Import what imports torch when it is used."""
    if name == "Predictor":
        from vidcore.predict.predictor import Predictor

        return Predictor
    if name in ("test", "train"):
        from vidcore.training import test, train

        return train if name == "train" else test
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
