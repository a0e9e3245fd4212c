"""Samples that hang or kill their worker, limits of the system, threads, and processes left after others die."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vidcore.batch import Batch
from vidcore.batch import collate as real_collate
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.ledger import Ledger
from vidcore.data.pool.loader import Loader
from vidcore.data.pool.transport import receive, send
from vidcore.errors import DataError
from vidcore.protocols import Dataset, Transform
from vidcore.records import Boxes
from vidcore.sample import Sample
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, OpenVideo
from vidcore.transforms.resizing import Resize
from vidcore.transforms.sampling import SampleFrames


class Numbers(Dataset):
    class_names = None
    num_classes = None

    def __init__(self, size: int = 16) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        return Sample(path=f"{index}.mp4", label=index)


class At:
    """Calls a function for some samples, in a worker."""

    def __init__(self, bad: dict[int, Callable[[], object]]) -> None:
        self.bad = bad

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.index in self.bad:
            self.bad[sample.index]()
        return sample.with_inputs(x=np.array([sample.index, rng.random()]))


class ManyHot:
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(label=None, labels=np.eye(16, dtype=np.float32)[sample.index])


def loader(bad: dict[int, Callable[[], object]] | None = None, **options: Any) -> Loader:
    listed, training = options.pop("bad_list", None), options.pop("training", False)
    steps: dict[str, Transform] = {"cut": At(bad or {})}
    if options.pop("labelled", False):
        steps["many"] = ManyHot()
    options = {"batch_size": 2, "workers": 2, "time_limit": 0.4, "bad_budget": 0.2, **options}
    return Loader(Numbers(), steps, LoaderOptions(**options), training=training, bad_list=listed)


def indices(batches: Any) -> list[int]:
    return [s.index for b in batches for s in b.samples]


def in_python() -> None:
    while True:
        time.sleep(0.01)


def in_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def in_c_with_the_interpreter_locked() -> None:
    ctypes.PyDLL(None).sleep(10_000)


def deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    in_python()


def segfault() -> None:
    faulthandler.disable()  # the test runner's would print a page
    os.kill(os.getpid(), signal.SIGSEGV)


def abort() -> None:
    faulthandler.disable()
    os.abort()


@pytest.mark.parametrize("hang", [in_python, in_a_lock, in_c_with_the_interpreter_locked, deaf])
def test_a_sample_that_hangs_is_a_bad_sample(hang: Callable[[], None], tmp_path: Path) -> None:
    listed = tmp_path / "bad.jsonl"
    one = loader({5: hang}, bad_list=listed)
    assert indices(one) == [i for i in range(16) if i != 5]
    (line,) = [json.loads(line) for line in listed.read_text().splitlines()]
    reason = "did not end within 0.4 seconds (time_limit)"
    assert line == {"index": 5, "epoch": 0, "path": "5.mp4", "reason": reason, "step": "step cut", "quarantined": True}
    start = time.monotonic()
    again = loader({5: hang}, bad_list=listed, time_limit=1000.0)
    assert indices(again) == [i for i in range(16) if i != 5], "a sample that hung is not loaded again in a resumed run"
    assert time.monotonic() - start < 100
    one.close()
    again.close()


def test_a_dataset_that_hangs_does_so_only_in_a_worker() -> None:
    class Hangs(Numbers):
        def __getitem__(self, index: int) -> Sample:
            if index == 5:
                in_python()
            return super().__getitem__(index)

    one = Loader(Hangs(), [At({})], LoaderOptions(workers=1, time_limit=0.4))
    assert indices(one) == [i for i in range(16) if i != 5]
    assert str(one.bad.failures[5]) == "sample 5, step annotation: did not end within 0.4 seconds (time_limit)"
    one.close()


def test_a_sample_that_hangs_is_replaced_in_training() -> None:
    one, other = loader({5: in_python}, training=True), loader({5: in_python}, training=True, workers=1)
    found = [indices(x.batches_between(0, 16)) for x in (one, other)]
    assert len(found[0]) == 32 and 5 not in found[0]
    assert found[0] == found[1]
    assert list(one.bad.failures) == [5]
    one.close()
    other.close()


def test_slow_samples_are_not_reported_as_hanging() -> None:
    one = loader(
        {i: lambda: time.sleep(0.25) for i in range(6)}, workers=1
    )  # two in a batch take longer than the limit
    assert indices(one) == list(range(16))
    one.close()


def test_policy_raise_ends_the_run_with_the_sample_that_hangs() -> None:
    one = loader({5: in_python}, on_error="raise")
    with pytest.raises(
        DataError, match=r"^sample 5 \(5.mp4\), step cut: did not end within 0.4 seconds \(time_limit\)$"
    ):
        indices(one)


@pytest.mark.parametrize(
    ("die", "how"), [(segfault, "killed by SIGSEGV"), (lambda: os._exit(3), "exit code 3"), (abort, "SIGABRT")]
)
def test_a_sample_that_kills_its_worker_is_a_bad_sample(die: Callable[[], None], how: str) -> None:
    one = loader({5: die, 12: die})
    assert indices(one) == [i for i in range(16) if i not in (5, 12)]
    assert indices(one) == [i for i in range(16) if i not in (5, 12)], "and is not loaded again"
    assert sorted(one.bad.failures) == [5, 12]
    assert (one.bad.failures[5].step, one.bad.failures[5].reason[:24]) == ("step cut", "ended the worker process")
    assert how in one.bad.failures[12].reason
    one.close()


def test_a_worker_killed_by_the_system_is_not_blamed_on_the_sample() -> None:
    one = loader({5: lambda: os.kill(os.getpid(), signal.SIGKILL)})
    with pytest.raises(
        DataError, match=r"sample 5 \(5.mp4\), step cut: .*SIGKILL\); .*memory runs out: use fewer data.\*.workers"
    ):
        indices(one)


@pytest.mark.parametrize(
    ("happens", "how"),
    [(lambda: os._exit(7), r"ended the worker process \(exit code 7\)"), (in_python, "did not end within 0.4 seconds")],
)
def test_no_sample_is_blamed_for_its_batch(happens: Callable[[], None], how: str) -> None:
    def collate(samples: Any) -> Batch:
        if samples[0].index == 4:
            happens()
        return real_collate(samples)

    options = LoaderOptions(batch_size=2, workers=1, time_limit=0.4)
    one = Loader(Numbers(), [At({})], options, collate=collate)
    with pytest.raises(DataError, match=rf"^the batch from sample 4 \(4.mp4\), step collate: {how}"):
        list(one)


def test_a_worker_that_ends_between_samples_ends_the_run() -> None:
    class Ends(np.ndarray[Any, Any]):
        def __reduce_ex__(self, protocol: Any) -> Any:
            os._exit(7)

    def collate(samples: Any) -> Batch:
        return real_collate(samples).replace(inputs=np.zeros(1).view(Ends))

    one = Loader(Numbers(), [At({})], LoaderOptions(workers=1), collate=collate)
    with pytest.raises(DataError, match=r"loader ended \(exit code 7\) while it was not loading a sample"):
        list(one)


@pytest.mark.parametrize("training", [False, True])
def test_a_worker_that_is_stopped_between_samples_is_replaced(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcore.data.pool.workers.LEAST_IDLE", 0.4)
    one = loader(workers=2, training=training)
    whole = indices(one.batches_between(0, 24))
    batches = one.batches_between(0, 24)
    found = [s.index for s in next(batches).samples]
    time.sleep(0.3)  # all have loaded what they may, and wait
    assert one._workers is not None
    os.kill(one._workers._team[0].process.pid or 0, signal.SIGSTOP)
    with pytest.warns(UserWarning, match=r"a worker of the loader did nothing for 0\.\d+ seconds and was replaced"):
        found += indices(batches)
    assert found == whole
    assert not one.bad.failures, "no sample is blamed"
    one.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a file that nobody writes to")
def test_an_image_that_never_opens(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "b.png")

    class Two(Numbers):
        def __getitem__(self, index: int) -> Sample:
            return Sample(path=str(tmp_path / "b.png") if index == 1 else "fine", label=index)

    class Open:
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            if sample.path != "fine":
                cv2.imread(str(sample.path))
            return sample.with_inputs(x=np.zeros(1))

    one = Loader(Two(3), {"open": Open()}, LoaderOptions(workers=1, time_limit=0.5), name="data.val")
    assert indices(one) == [0, 2]
    assert str(one.bad.failures[1]).startswith(
        f"sample 1 ({tmp_path}/b.png), data.val.pipeline.open: did not end within"
    )
    one.close()


def limited(files: int) -> Callable[[], None]:
    def limit() -> None:
        os.close(free := os.dup(0))  # the lowest free number, which is what the limit is about
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    return limit


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files of Linux")
def test_too_many_open_files_are_not_blamed_on_the_sample(tmp_path: Path) -> None:
    def leak() -> None:
        limited(3)()
        keep = [open(os.devnull) for _ in range(9)]  # noqa: SIM115
        assert keep

    advice = (
        r"too many open files \(the limit is \d+\): raise the limit \(ulimit -n 65536\), or use fewer data.\*.workers"
    )
    with pytest.raises(DataError, match=rf"sample 5 \(5.mp4\), step cut: {advice}"):
        indices(loader({5: leak}, on_error="skip"))

    def sent() -> None:  # reading works, sending the batch does not
        limited(0)()

    with pytest.raises(DataError, match=advice):
        indices(loader({5: sent}, on_error="skip"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files of Linux")
def test_too_many_open_files_in_the_main_process() -> None:
    code = f"""
        import os, resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_workers
        one = test_workers.loader()
        batches = iter(one)
        kept = [next(batches)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 1,) * 2)
        try:
            kept += batches
        except test_workers.DataError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("too many open files (the limit is "), done.stdout + done.stderr


def test_no_memory_for_batches() -> None:
    def full() -> None:  # the largest file this process may write: simulates lack of memory
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, -1))

    with pytest.raises(DataError, match=r"no memory left for batches: use fewer data.\*.workers"):
        indices(loader({5: full}))


def test_batches_survive_being_sent() -> None:
    import multiprocessing

    ours, theirs = multiprocessing.Pipe()
    value = Batch(
        inputs={
            "rgb": torch.arange(24, dtype=torch.uint8).view(2, 3, 4),
            "half": torch.ones(3, dtype=torch.bfloat16),
            "strided": torch.arange(6.0).view(2, 3).T,
            "empty": torch.empty(0, 4),
        },
        labels=torch.tensor([1, 2]),
        samples=(Sample(index=3, boxes=Boxes(np.ones((2, 4), np.float32)), meta={"names": ["ü"]}),),
    )
    send(theirs, value)
    theirs.close()  # the sender may be gone
    got = receive(ours)
    for name, tensor in value.inputs.items():
        assert torch.equal(got.inputs[name], tensor) and got.inputs[name].dtype == tensor.dtype
    assert torch.equal(got.labels, value.labels)
    assert got.samples[0].meta == {"names": ["ü"]}
    got.inputs["rgb"].add_(1)  # belongs to the receiver
    got.samples[0].boxes.xyxy[0] = 2
    with pytest.raises(EOFError):
        receive(ours)
    ours.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files of Linux")
def test_nothing_is_left_open() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    list(loader(workers=0))
    before = open_files()
    for _ in range(3):
        one = loader({3: segfault})
        indices(one)
        indices(one)
        one.close()
    assert open_files() == before
    kept = [batch.samples for batch in loader(labelled=True)]  # as a metric does
    assert sum(s.labels.sum() for samples in kept for s in samples) == 16
    assert open_files() == before, "a sample keeps its batch"
    dropped = loader()
    next(iter(dropped))
    del dropped
    assert open_files() == before, "workers of a loader that no longer exists"


@pytest.mark.parametrize("busy", ["nothing", "in_python", "in_c_with_the_interpreter_locked"])
def test_workers_end_with_the_main_process(busy: str, tmp_path: Path) -> None:
    code = f"""
        import os, signal, sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_workers
        busy = dict.fromkeys(range(8, 16), getattr(test_workers, {busy!r}, None))
        one = test_workers.loader(busy if busy[8] else None, workers=3, time_limit=1000.0)
        batches = iter(one)
        next(batches)
        time.sleep(0.5)
        print(*(w.process.pid for w in one._workers._team), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with (tmp_path / "said").open("w+") as said:  # not a pipe, which surviving workers would hold open
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], stdout=said, stderr=said, check=False)
        said.seek(0)
        pids = said.read().split()
    assert len(pids) == 3, pids
    for _ in range(200):
        if not any(alive(pid) for pid in pids):
            return
        time.sleep(0.1)
    for pid in pids:
        if alive(pid):
            os.kill(int(pid), signal.SIGKILL)
    pytest.fail("workers outlived their main process")


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads of Linux")
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_workers_do_not_multiply_threads(decoder: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for level in range(12):
        writer.write(np.full((240, 320, 3), level * 20, np.uint8))
    writer.release()

    class One(Numbers):
        def __getitem__(self, index: int) -> Sample:
            return Sample(path=str(path), label=index)

    most = max
    threads: list[int] = []

    class Count:
        """Sets the largest number of threads of the worker so far as the input."""

        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            until = time.monotonic() + 3  # that of the video before may still be on its way out
            while (now := len(os.listdir("/proc/self/task"))) > 3 and time.monotonic() < until:
                time.sleep(0.02)
            threads.append(now)
            for array in sample.inputs.values():
                assert torch.as_tensor(array).float().exp().sum() >= 0
            return sample.replace(inputs={"most": np.array([most(threads)])}) if sample.inputs else sample

    count = Count()
    steps: list[Transform] = [OpenVideo(decoder=decoder), count, SampleFrames(clip_len=8), Decode(), count]
    steps += [Resize(scale=(224, 224), keep_ratio=False), FormatShape(input_format="NCTHW"), count]
    one = Loader(One(4), steps, LoaderOptions(workers=2, batch_size=2))
    assert max(int(b.inputs.max()) for b in one) <= 3, "a worker, and at most one helper of its decoder"
    one.close()


def test_the_ledger_measures_each_phase() -> None:
    slow: dict[int, Callable[[], object]] = {i: lambda: time.sleep(0.02) for i in range(16)}
    for workers in (0, 2):
        one = loader(slow, workers=workers)
        assert one.ledger.milliseconds() == {}
        indices(one)
        spent = one.ledger.milliseconds()
        assert list(spent) == ["annotation", "cut", "collate"]
        assert spent["cut"] >= 20
        assert all(0 < ms < 20 for name, ms in spent.items() if name != "cut")
        one.close()


def test_the_ledger_shows_what_a_worker_is_doing() -> None:
    ledger = Ledger(2, ["read", "decode"])
    row = ledger.row(1)
    assert ledger.in_flight(1) is None
    row.begin_sample(3, 7)
    row.enter_phase(1)
    in_flight = ledger.in_flight(1)
    assert in_flight is not None and (in_flight.epoch, in_flight.index, in_flight.phase, row.phase) == (3, 7, 1, 1)
    row.finish(1)
    assert ledger.in_flight(1) is None and ledger.in_flight(0) is None
