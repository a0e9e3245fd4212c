"""Batches on their way from one process to another, through memory that has no name.

The content goes into an anonymous file in memory, whose descriptor is passed on. So nothing is left behind
whoever is killed when, a message is received whole or not at all even if its sender has died since, and the
size of ``/dev/shm`` does not matter.
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
    """Leaves the numbers of tensors and arrays out of the stream."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not torch.Tensor:
            return NotImplemented
        try:
            return _tensor, (value.detach().numpy(),)
        except (TypeError, RuntimeError):  # of a type or layout that NumPy does not have
            return NotImplemented


def _tensor(numbers: Any) -> torch.Tensor:
    return torch.from_numpy(numbers)


def send(connection: Connection, value: Any) -> None:
    """Send any value that can be pickled; tensors and arrays are copied once. Raises ``OSError`` without memory."""
    stream = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(stream, 5, buffer_callback=buffers.append).dump(value)
    parts = [stream.getbuffer(), *(b.raw() for b in buffers)]
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
    """Send what is no list and needs no file: there may be no memory left for one."""
    connection.send(value)


def receive(connection: Connection) -> Any:
    """Receive a value; its arrays and tensors are views of shared memory, freed with them.

    Raises ``EOFError`` where the other process ended, ``OSError`` without memory or file descriptors.
    """
    places = connection.recv()
    if not isinstance(places, list):
        return places
    try:
        handle = reduction.recv_handle(connection)
    except RuntimeError as error:  # "received 0 items of ancdata": there was no descriptor free for it
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
