"""Sending batches between processes through anonymous memory.

The content is written to an anonymous file in memory, whose descriptor is sent. So nothing is left behind no
matter which process dies, a message is received whole or not at all even if its sender has died since, and
the size of ``/dev/shm`` does not matter.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import IO, Any

import torch

__all__ = ["receive", "send", "send_small"]

ALIGNMENT = 64


class _Pickler(pickle.Pickler):
    """Keeps the data of tensors out of the stream, but not of arrays: a sample must not keep a batch in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, 5, buffer_callback=self._stays)
        self.left_out: list[pickle.PickleBuffer] = []
        self._tensors: list[Any] = []

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not torch.Tensor:
            return NotImplemented
        try:
            numbers = value.detach().numpy()
        except (TypeError, RuntimeError):  # a dtype or layout that NumPy lacks
            return NotImplemented
        self._tensors.append(numbers)
        return _tensor, (numbers,)

    def _stays(self, buffer: pickle.PickleBuffer) -> bool:
        owner = memoryview(buffer).obj
        if any(owner is numbers for numbers in self._tensors):
            self.left_out.append(buffer)
            return False
        return True


def _tensor(numbers: Any) -> torch.Tensor:
    return torch.from_numpy(numbers)


def send(connection: Connection, value: Any) -> None:
    """Send any value that can be pickled; tensors are copied once. Raises ``OSError`` if memory runs out."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(value)
    parts = [stream.getbuffer(), *(buffer.raw() for buffer in pickler.left_out)]
    with _anonymous_file() as file:
        places = []
        for part in parts:
            file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
            places.append((file.tell(), part.nbytes))
            file.write(part)
        file.flush()
        connection.send(places)
        reduction.send_handle(connection, file.fileno(), None)


def send_small(connection: Connection, value: Any) -> None:
    """Send a value that is not a list, without a file: there may be no memory left for one."""
    connection.send(value)


def receive(connection: Connection) -> Any:
    """Receive a value. Its tensors are views of one shared memory file, which is closed with the last of them.

    Raises ``EOFError`` if the other process ended, ``OSError`` if memory or file descriptors run out.
    """
    places = connection.recv()
    if not isinstance(places, list):
        return places
    try:
        handle = reduction.recv_handle(connection)
    except RuntimeError as error:  # "received 0 items of ancdata": no file descriptor was free
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
    try:
        memory = memoryview(mmap.mmap(handle, 0))
    finally:
        os.close(handle)
    parts = [memory[start : start + size] for start, size in places]
    return pickle.loads(parts[0], buffers=parts[1:])


def _anonymous_file() -> IO[bytes]:
    create: Callable[[str], int] | None = getattr(os, "memfd_create", None)  # Linux
    return open(create("vidcore-batch"), "wb") if create else tempfile.TemporaryFile()
