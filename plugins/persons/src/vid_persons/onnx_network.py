"""A network in an ONNX file, which ``onnxruntime`` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from vid_persons.weights import opening, requires
from vidcore.errors import UserError
from vidcore.persons import existing_weights
from vidcore.typing import Array

__all__ = ["GREY", "MEAN", "STD", "Network"]

WEIGHTS = (
    "download the ONNX file from the model zoo of MMPose (projects/rtmpose or projects/rtmo on GitHub), and unpack it"
)
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
"""Of ImageNet, RGB."""
GREY = 114
"""Brightness beside a frame that is letterboxed."""


@frozen
class Network:
    """A network in an ONNX file."""

    path: Path
    run: Callable[..., list[Array]]
    """Returns the outputs; arguments: images, and arrays for further inputs by name."""
    shape: list[Any]
    """Of the input of images: (n, 3, height, width); names or None where any size is allowed."""
    inputs: tuple[str, ...]
    """Names of the further inputs."""
    outputs: dict[str, int]
    """Names of the outputs, and how many dimensions they have."""

    @classmethod
    def open(
        cls, component: str, weights: Path, threads: int, providers: Sequence[str], inputs: Sequence[str] = ()
    ) -> Network:
        """Open a file.

        Args:
            component: that needs it, for messages.
            weights: file.
            threads: of the network.
            providers: of ONNX Runtime.
            inputs: names of further inputs that are allowed beside the images.

        Raises ``UserError`` if the file cannot be read, or has other inputs.
        """
        existing_weights(component, weights, WEIGHTS)
        with requires(component, "ONNX Runtime", "onnx"):
            import onnxruntime
        with opening(component, weights):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(str(weights), options, providers=list(providers))
        entrance, *others = session.get_inputs()
        if len(entrance.shape) != 4:
            raise UserError(f"{component}: {weights} must have an input (n, 3, height, width), got {entrance.shape}")
        unknown = [other.name for other in others if other.name not in inputs]
        if unknown:
            raise UserError(f"{component}: {weights} has an input {unknown[0]}, which is not known")

        def run(batch: Array, **further: Array) -> list[Array]:
            return [np.asarray(output) for output in session.run(None, {entrance.name: batch, **further})]

        outputs = {one.name: len(one.shape) for one in session.get_outputs()}
        return cls(weights, run, list(entrance.shape), tuple(other.name for other in others), outputs)

    @property
    def takes_batches(self) -> bool:
        return not isinstance(self.shape[0], int) or self.shape[0] < 1

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the input; the arguments are for those that are not fixed."""
        found = [side if isinstance(side, int) and side > 0 else None for side in self.shape[2:]]
        return found[0] or height, found[1] or width
