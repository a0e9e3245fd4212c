"""Worker processes that load batches. One that hangs or dies is replaced, and the sample it was loading is blamed.

Why not PyTorch's DataLoader: there, one dead worker ends all of them, with an exception that may appear anywhere in
the main process and does not name the sample; and a worker that hangs is waited for forever.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from attrs import define, field

from vidcore.batch import Batch
from vidcore.data.limits import with_hint
from vidcore.data.policy import Failure
from vidcore.data.pool.ledger import Ledger, Row
from vidcore.data.pool.transport import receive, send, send_small
from vidcore.data.sampler import SampleKey
from vidcore.errors import DataError
from vidcore.processes import die_with_parent
from vidcore.protocols import Dataset

__all__ = ["LoadedBatch", "Workers"]

OUT_OF_MEMORY = (
    "the system kills processes when memory runs out: use fewer data.*.workers, a smaller prefetch or batch_size"
)

LEAST_IDLE, LEAST_START = 5.0, 60.0
"""Seconds that a worker may be idle, and may take to begin its first sample, if ``time_limit`` is shorter."""

LoadedBatch = tuple[Batch | None, tuple[Failure, ...]]
"""A batch (None if none of its samples could be loaded) and the failures on the way."""


class Fetch(Protocol):
    """The work of a worker: load a batch without quarantined samples, and record progress in the row."""

    @property
    def phase_names(self) -> Sequence[str]:
        """Names of the phases of the ledger in messages; the last is for whole batches."""
        ...

    def __call__(self, keys: list[SampleKey], row: Row, quarantined: dict[int, Failure]) -> LoadedBatch: ...


@define(eq=False)
class _Worker:
    process: BaseProcess
    requests: Connection
    results: Connection
    pending: dict[int, list[SampleKey]] = field(factory=dict)
    """Requests that it has not answered, by number."""
    seen: float = 0.0
    """Start of the sample it was loading at the last check; 0 between samples."""
    waited: float = 0.0
    """Seconds for which it has been seen at that sample, or between samples although it has requests."""
    ready: bool = False
    """Whether it has begun a sample, after imports that may take longer than one."""


class Workers:
    """Worker processes, started immediately and running until ``close``."""

    def __init__(
        self,
        fetch: Fetch,
        ledger: Ledger,
        quarantined: dict[int, Failure],
        dataset: Dataset,
        *,
        count: int,
        prefetch: int,
        time_limit: float,
    ) -> None:
        """
        Args:
            fetch: loads batches; called in the workers.
            ledger: has a row for each worker.
            quarantined: samples not to load, by index; those that make a worker hang or die are added.
            dataset: has the paths of samples, for messages.
            count: number of workers.
            prefetch: batches that each worker may be loading or have ready.
            time_limit: seconds that one sample may take.
        """
        self._fetch, self._ledger, self._quarantined, self._dataset = fetch, ledger, quarantined, dataset
        self._ahead = count * prefetch
        self._limit = time_limit
        self._number = 0
        self._team = [self._start(slot) for slot in range(count)]
        self.close = weakref.finalize(self, _end, self._team, os.getpid())

    def run(self, requests: Iterator[list[SampleKey]]) -> Iterator[LoadedBatch]:
        """Yield the requested batches, in order.

        Raises:
            DataError: memory or file descriptors ran out, or a worker ended while it was not loading a sample.
        """
        wanted: deque[int] = deque()
        done: dict[int, LoadedBatch] = {}
        while True:
            while len(wanted) < self._ahead and (keys := next(requests, None)) is not None:
                self._number += 1
                wanted.append(self._number)
                worker = min(self._team, key=lambda w: len(w.pending))
                self._ask(worker, self._number, keys)
            if not wanted:
                return
            while wanted[0] not in done:
                number, loaded = self._next()
                if number in wanted:  # else it belongs to an iteration that was ended early
                    done[number] = loaded
            yield done.pop(wanted.popleft())

    def _ask(self, worker: _Worker, number: int, keys: list[SampleKey]) -> None:
        worker.pending[number] = keys
        try:
            worker.requests.send((number, keys, self._quarantined))
        except OSError:  # it died: waiting for its result notices that and repeats the request
            return

    def _next(self) -> tuple[int, LoadedBatch]:
        """Wait for the next batch of any worker."""
        poll = min(1.0, self._limit / 4)
        while True:
            busy = {worker.results: worker for worker in self._team if worker.pending}
            begin = time.monotonic()
            ready = wait(list(busy), poll)
            if not ready:
                # time for which this process was stopped does not count
                self._watch(busy.values(), min(time.monotonic() - begin, 2 * poll))
                continue
            worker = busy[ready[0]]  # type: ignore[index]
            try:
                number, loaded = receive(worker.results)
            except (EOFError, ConnectionResetError):
                self._replace(worker)
                continue
            except OSError as error:
                raise with_hint(error) from error
            del worker.pending[number]
            worker.ready, worker.waited = True, 0.0
            return number, loaded

    def _watch(self, workers: Any, seconds: float) -> None:
        """Count how long each worker has been at its sample, or idle; replace those that exceed the limit.

        A worker that is idle although it has requests was stopped (by SIGSTOP, say).
        """
        for worker in workers:
            in_flight = self._ledger.in_flight(self._team.index(worker))
            started = in_flight.started if in_flight else 0.0
            worker.waited = worker.waited + seconds if started == worker.seen else 0.0
            worker.seen = started
            worker.ready = worker.ready or started > 0
            least = 0.0 if started else LEAST_IDLE if worker.ready else LEAST_START
            if worker.waited > max(self._limit, least):
                worker.process.kill()
                self._replace(worker, hung=True)

    def _replace(self, worker: _Worker, hung: bool = False) -> None:
        """Replace a worker that ended or was killed, and repeat its requests."""
        worker.process.join()
        slot = self._team.index(worker)
        in_flight = self._ledger.in_flight(slot)
        how = _how(worker.process.exitcode)
        if in_flight is None:
            if not hung:  # else it finished the sample at the last moment
                raise DataError(f"a worker of the loader ended ({how}) while it was not loading a sample")
            if not worker.seen:
                idle = f"{worker.waited:.3g} seconds"
                warnings.warn(f"a worker of the loader did nothing for {idle} and was replaced", stacklevel=2)
        elif not hung or in_flight.started == worker.seen:
            limit = f"did not end within {self._limit:g} seconds (time_limit)"
            reason = limit if hung else f"ended the worker process ({how})"
            place = self._fetch.phase_names[in_flight.phase]
            # the dataset itself would hang or die here as well
            path = self._dataset[in_flight.index].path if in_flight.phase else None
            blamed = Failure(in_flight.index, in_flight.epoch, path, reason, place, quarantined=True)
            if not hung and worker.process.exitcode == -signal.SIGKILL:
                raise DataError(f"{blamed}; {OUT_OF_MEMORY}")
            if in_flight.phase == len(self._fetch.phase_names) - 1:
                raise DataError(f"the batch from {blamed}")
            self._quarantined[in_flight.index] = blamed
        worker.requests.close()
        worker.results.close()
        self._team[slot] = self._start(slot)
        for number, keys in worker.pending.items():
            self._ask(self._team[slot], number, keys)

    def _start(self, slot: int) -> _Worker:
        self._ledger.forget(slot)
        try:
            their_requests, our_requests = multiprocessing.Pipe(duplex=False)
            our_results, their_results = multiprocessing.Pipe()
            # a child dies with the thread that started it; only the main thread lives as long as the process
            dies = threading.current_thread() is threading.main_thread()
            arguments = (self._fetch, self._ledger, slot, their_requests, their_results, dies)
            process = multiprocessing.Process(target=_work, args=arguments, daemon=True)
            process.start()
        except OSError as error:
            raise with_hint(error) from error
        their_requests.close()
        their_results.close()  # our end reports the death of the worker only if no other process holds this one
        return _Worker(process, our_requests, our_results)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _end(team: list[_Worker], owner: int) -> None:
    if os.getpid() != owner:  # a forked process has a copy, which must not end the workers
        return
    for worker in team:
        worker.process.kill()
    for worker in team:
        worker.process.join()
        worker.requests.close()
        worker.results.close()
    team.clear()


def _work(fetch: Fetch, ledger: Ledger, slot: int, requests: Connection, results: Connection, dies: bool) -> None:
    """Run a worker, until it is killed or finds that the main process has ended."""
    parent = os.getppid()
    if dies:
        die_with_parent()
    _prepare()
    row = ledger.row(slot)
    while True:
        while not requests.poll(5.0):
            if os.getppid() != parent:
                return
        try:
            number, keys, quarantined = requests.recv()
        except EOFError:
            return
        if os.getppid() != parent:  # there may be no EOFError: other workers hold that end of the pipe
            return
        loaded = fetch(keys, row, quarantined)
        try:
            row.start_phase(len(ledger.phases) - 1)
            send(results, (number, loaded))
            row.finish()
        except BrokenPipeError:
            return
        except Exception as error:  # the batch cannot be sent, but the reason can
            epoch, index, _ = keys[0]
            failure = Failure.of(error, index, epoch, None, "sending the batch")
            send_small(results, (number, (None, (failure.as_fatal(),))))


def _prepare() -> None:
    """Use one thread, since parallelism comes from the number of workers, and leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # before the imports, which take a while
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not a handler of the main process
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
