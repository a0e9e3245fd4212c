"""Numbers from bits, the most significant first."""

from __future__ import annotations

__all__ = ["Bits"]


class Bits:
    """Reads numbers one after the other; raises ``ValueError`` at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return a number of ``count`` bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("too few bits")
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return an unsigned number in exponential Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
