"""Batches depend only on seed, epoch and sample index."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from attrs import frozen

from vidcore.data.options import LoaderOptions
from vidcore.data.policy import BadSamples, Failure
from vidcore.data.pool.loader import Loader
from vidcore.data.sampler import Batches
from vidcore.errors import ConfigError, DataError, VideoError
from vidcore.protocols import Dataset
from vidcore.sample import Sample


@frozen
class Numbers(Dataset):
    """Samples named by their number; reading one leaves a file in the folder ``touched``."""

    size: int = 23
    touched: Path | None = None
    class_names = None
    num_classes = None

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        if self.touched:
            (self.touched / str(index)).touch()
        return Sample(index=index, path=f"videos/{index}.mp4", label=index)


@frozen
class Draw:
    """Index and a random number; ``bad`` ones raise ``error``."""

    bad: tuple[int, ...] = ()
    error: type[Exception] | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.index in self.bad:
            raise self.error("boom") if self.error else VideoError(sample.path, "is not a video")
        return sample.with_inputs(x=np.array([sample.index, rng.random()]))


def loader(dataset: Any = None, step: Any = None, training: bool = True, **options: Any) -> Loader:
    place = {k: options.pop(k) for k in ("seed", "rank", "world", "bad_list", "collate") if k in options}
    options = {"batch_size": 4, "bad_budget": 0.5, **options}
    return Loader(
        Numbers() if dataset is None else dataset,
        [step or Draw()],
        LoaderOptions(**options),
        training=training,
        **place,
    )


def content(batches: Any) -> list[list[list[float]]]:
    return [b.inputs.tolist() for b in batches]


def indices(batches: Any) -> list[int]:
    return [s.index for b in batches for s in b.samples]


@pytest.mark.parametrize("step", [Draw(), Draw(bad=(3, 17))])
def test_workers_change_nothing(step: Draw) -> None:
    alone, helped = loader(step=step), loader(step=step, workers=2)
    assert content(alone.batches_between(0, 12)) == content(helped.batches_between(0, 12))
    assert content(alone) == content(helped)  # and again from the start, with the same workers
    assert alone.bad.failures == helped.bad.failures
    helped.close()


def test_any_batch_can_be_the_first(tmp_path: Path) -> None:
    straight = content(loader().batches_between(0, 15))
    for workers in (0, 2):
        late = loader(Numbers(touched=tmp_path), workers=workers)
        assert content(late.batches_between(10, 15)) == straight[10:15]
        left = indices(loader().batches_between(10, 15))
        assert {int(p.name) for p in tmp_path.iterdir()} == set(left), "what was skipped was loaded"
        late.close()


@pytest.mark.parametrize("prefetch", [1, 3])
def test_workers_prefetch_up_to_the_limit(prefetch: int, tmp_path: Path) -> None:
    one = loader(Numbers(touched=tmp_path), workers=1, prefetch=prefetch)
    next(batches := one.batches_between(0, 6))
    end = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 4 * prefetch and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == 4 * prefetch
    assert len(list(batches)) == 5
    one.close()


def test_leaving_an_iteration_early_does_not_disturb_the_next() -> None:
    one = loader(workers=2)
    next(one.batches_between(0, 6))
    assert content(one.batches_between(4, 6)) == content(loader().batches_between(4, 6))
    one.close()


def test_every_epoch_has_every_sample_once_in_a_new_order() -> None:
    one = loader()
    assert len(one) == 6
    epochs = [indices(one.batches_between(6 * e, 6 * e + 6)) for e in range(3)]
    assert [sorted(e) for e in epochs] == [list(range(23))] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    draws = {b[1] for e in content(one.batches_between(0, 18)) for b in e}
    assert len(draws) == 3 * 23, "random numbers repeat over samples or epochs"
    assert indices(loader(seed=1)) != epochs[0]
    assert indices(loader(shuffle=False)) == list(range(23))
    assert indices(loader(training=False)) == list(range(23))


def test_drop_last_is_for_training_only() -> None:
    assert [len(b) for b in loader(drop_last=True)] == [4] * 5
    assert [len(b) for b in loader(drop_last=True, training=False)] == [4] * 5 + [3]
    with pytest.raises(DataError, match="23 samples do not fill one batch of 24"):
        loader(drop_last=True, batch_size=24)


def test_processes_together_make_the_larger_batch() -> None:
    whole = [sorted(indices([b])) for b in loader(Numbers(24), batch_size=8)]
    parts = [loader(Numbers(24), batch_size=4, rank=r, world=2) for r in range(2)]
    assert [sorted(indices(pair)) for pair in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_uneven_data(world: int) -> None:
    train = [loader(rank=r, world=world) for r in range(world)]
    assert len({len(part) for part in train}) == 1, "processes would wait for each other forever"
    seen = [i for part in train for i in indices(part)]
    assert set(seen) == set(range(23))
    assert len(seen) == -(-23 // world) * world
    test = [i for r in range(world) for i in indices(loader(training=False, rank=r, world=world))]
    assert sorted(test) == list(range(23)), "each sample exactly once"


def test_more_processes_than_samples() -> None:
    parts = [loader(Numbers(2), training=False, rank=r, world=4) for r in range(4)]
    assert [indices(part) for part in parts] == [[0], [1], [], []]
    assert [len(indices(loader(Numbers(2), rank=r, world=4))) for r in range(4)] == [1] * 4


def test_policy_raise_names_the_file() -> None:
    for workers in (0, 2):
        one = loader(step=Draw(bad=(5,)), on_error="raise", workers=workers, training=False)
        with pytest.raises(DataError) as caught:
            indices(one)
        assert str(caught.value) == "sample 5, step Draw: videos/5.mp4: is not a video"
        one.close()


def test_policy_skip_leaves_out_and_lists(tmp_path: Path) -> None:
    listed = tmp_path / "bad.jsonl"
    one = loader(step=Draw(bad=(0, 1, 2, 3, 9)), training=False, bad_list=listed)
    assert indices(one) == [i for i in range(23) if i not in (0, 1, 2, 3, 9)]
    assert [len(b) for b in one] == [4, 3, 4, 4, 3], "the first batch is empty and left out"
    assert one.skipped == 5, "counted twice over two rounds"
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3, 9]
    first = {
        "index": 0,
        "epoch": 0,
        "path": "videos/0.mp4",
        "reason": "videos/0.mp4: is not a video",
        "step": "step Draw",
    }
    assert lines[0] == first


def test_policy_resample_replaces_bad_samples() -> None:
    one = loader(step=Draw(bad=(5, 6)))
    batches = list(one.batches_between(0, 12))
    assert [len(b) for b in batches] == [4, 4, 4, 4, 4, 3] * 2
    assert not {5, 6} & set(indices(batches))
    assert sorted(one.bad.failures) == [5, 6]
    assert content(batches) == content(loader(step=Draw(bad=(5, 6))).batches_between(0, 12))
    first, second = indices(batches[:6]), indices(batches[6:])
    assert sorted(first) != sorted(second), "the replacement is always the same sample"


def test_too_many_bad_samples_end_the_run(tmp_path: Path) -> None:
    listed = tmp_path / "bad.jsonl"
    one = loader(Numbers(400), Draw(bad=tuple(range(0, 400, 25))), training=False, bad_list=listed, bad_budget=0.03)
    with pytest.raises(DataError, match=r"13 of 400 samples are bad, 12 are allowed; \S*bad.jsonl lists them"):
        indices(one)


def test_an_evaluation_allows_a_tenth_and_says_what_scores_cover() -> None:
    one = loader(Numbers(50), Draw(bad=(7, 8)), training=False, bad_budget=None)
    assert len(indices(one)) == 48
    assert one.bad.notes() == ["2 of 50 samples are bad; scores cover the other 48"]
    few = loader(Numbers(5), Draw(bad=(3,)), training=False, bad_budget=None)
    assert len(indices(few)) == 4, "one may always be bad"
    with pytest.raises(DataError, match=r"6 of 50 samples are bad, 5 are allowed; the first is sample 7.* bad_budget$"):
        indices(loader(Numbers(50), Draw(bad=tuple(range(7, 13))), training=False, bad_budget=None))


def test_training_allows_a_hundredth() -> None:
    ready = loader(Numbers(200), Draw(bad=(7, 8)), bad_budget=None)
    assert len(indices(ready)) == 200
    with pytest.raises(DataError, match=r"3 of 200 samples are bad, 2 are allowed"):
        indices(loader(Numbers(200), Draw(bad=(7, 8, 9)), bad_budget=None))


def test_an_evaluation_does_not_replace_samples() -> None:
    with pytest.raises(DataError, match=r'on_error: "resample" would score another sample .*; use "skip"'):
        loader(Numbers(5), Draw(), training=False, on_error="resample")


class Classes(Numbers):
    """Sample i has the class i % 3; those of class 2 are few."""

    class_names = ("left", "right", "up")
    labels = np.array([0, 1] * 5 + [2])

    def __len__(self) -> int:
        return 11


@pytest.mark.parametrize("policy", ["skip", "resample"])
def test_training_never_loses_a_class(tmp_path: Path, policy: str) -> None:
    listed = tmp_path / "bad.jsonl"
    one = loader(Classes(), Draw(bad=(10,)), on_error=policy, bad_list=listed)
    with pytest.raises(DataError, match=r"^the only sample of class 'up' is bad; \S*bad.jsonl lists them; the last is"):
        indices(one)
    with pytest.raises(DataError, match=r"^all 5 samples of class 'left' are bad"):
        indices(loader(Classes(), Draw(bad=(0, 2, 4, 6, 8)), on_error=policy))
    assert len(indices(loader(Classes(), Draw(bad=(10,)), training=False))) == 10, "an evaluation reports it"


def test_what_bad_samples_cost_is_said(tmp_path: Path) -> None:
    listed = tmp_path / "bad.jsonl"
    one = loader(Classes(), Draw(bad=(0, 2, 3)), bad_list=listed)
    assert one.bad.notes() == []
    indices(one)
    said = [f"3 of 11 samples are bad (class 'left' loses 2 of 5, 'right' loses 1 of 5); {listed} lists them"]
    assert one.bad.notes() == said
    other = BadSamples(Classes(), 0.5, listed, training=True)  # of another process, or after resuming
    assert other.notes() == said
    one.bad.record(Failure(4, 0, None, "broken"))
    one.bad.record(Failure(6, 0, None, "broken"))
    with pytest.raises(DataError, match="all 5 samples of class 'left' are bad"):
        other.record(Failure(8, 0, None, "broken"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_batch_of_bad_samples_has_a_replacement(workers: int) -> None:
    def load(**options: Any) -> list[int]:
        one = loader(step=Draw(bad=(3, 5, 9)), on_error="skip", bad_budget=0.2, workers=workers, **options)
        found = indices(one.batches_between(0, 2 * len(one)))
        assert sorted(one.bad.failures) == [3, 5, 9]
        one.close()
        return found

    found = load(batch_size=1)
    assert len(found) == 2 * 23, "every process takes the same number of steps"
    assert not {3, 5, 9} & set(found)
    assert len(load(batch_size=4)) == 2 * 20, "what is left of a batch is enough"


def test_one_bad_video_among_a_thousand_does_not_end_the_run() -> None:
    for training in (True, False):
        one = loader(Numbers(1000), Draw(bad=(500,)), training=training, batch_size=50)
        assert len(indices(one)) == (1000 if training else 999)


def test_a_dataset_of_bad_samples_only() -> None:
    every = Draw(bad=tuple(range(23)))
    for policy in ("resample", "skip"):
        with pytest.raises(DataError, match="it and 10 replacements are all bad"):
            indices(loader(step=every, on_error=policy, bad_budget=1.0))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("policy", ["skip", "resample", "raise"])
def test_no_policy_forgives_bugs_and_wrong_tasks(workers: int, policy: str) -> None:
    one = loader(step=Draw(bad=(4,), error=ZeroDivisionError), workers=workers, on_error=policy)
    with pytest.raises(RuntimeError, match=r"sample 4 \(videos/4.mp4\), step Draw: ZeroDivisionError: boom") as caught:
        indices(one)
    assert "raise self.error" in caught.value.__notes__[0], "the traceback of the worker is lost"
    assert "raise self.error" not in str(caught.value)
    one = loader(step=Draw(bad=(4,), error=ConfigError), workers=workers, on_error=policy)
    with pytest.raises(DataError, match=r"^sample 4 \(videos/4.mp4\), step Draw: boom$"):
        indices(one)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_step_that_failed_is_named_as_in_the_task(workers: int) -> None:
    class Broken(Numbers):
        def __getitem__(self, index: int) -> Sample:
            raise ZeroDivisionError("boom")

    def failing(dataset: Any, step: Any) -> str:
        steps, options = {"first": Draw(), "crop": step}, LoaderOptions(workers=workers)
        with pytest.raises(RuntimeError) as caught:
            indices(Loader(dataset, steps, options, name="data.train"))
        message, _, place = str(caught.value).partition(" (at ")
        assert re.fullmatch(r".*test_loader\.py:\d+\)", place)
        return message

    bad = Draw(bad=(0,), error=ZeroDivisionError)
    assert failing(Numbers(), bad) == "sample 0 (videos/0.mp4), data.train.pipeline.crop: ZeroDivisionError: boom"
    assert failing(Broken(), Draw()) == "sample 0, data.train.dataset: ZeroDivisionError: boom"


def test_samples_that_cannot_be_collated_are_named() -> None:
    class Shapes:
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            return sample.with_inputs(x="no array")

    with pytest.raises(RuntimeError, match=r"sample \d+ \(videos/\d+.mp4\), step collate: "):
        indices(loader(step=Shapes()))


def test_an_open_video_is_closed_when_its_sample_fails() -> None:
    class Reader:
        closed = False

        def close(self) -> None:
            self.closed = True

    reader = Reader()

    class Fail:
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            raise VideoError(sample.path, "is not a video")

    class Open:
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            return sample.replace(video=reader)

    one = Loader(Numbers(1), [Open(), Fail()], LoaderOptions(), training=False)
    assert list(one) == []
    assert reader.closed


def test_workers_use_one_thread_each() -> None:
    class Threads:
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            return sample.with_inputs(x=np.array([cv2.getNumThreads(), torch.get_num_threads()]))

    one = loader(Numbers(4), Threads(), workers=1)
    (batch,) = one
    assert batch.inputs.tolist() == [[1, 1]] * 4
    one.close()


def test_the_global_generator_is_not_used() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = loader(workers=1)
    list(one)
    assert torch.equal(before, torch.get_rng_state())
    one.close()


def test_an_empty_dataset_is_refused() -> None:
    with pytest.raises(DataError, match="Numbers is empty"):
        loader(Numbers(0))


def test_the_list_of_bad_samples_survives_being_killed(tmp_path: Path) -> None:
    listed = tmp_path / "bad.jsonl"
    bad = BadSamples(Numbers(100), 0.1, listed)
    for index in range(3):
        bad.record(Failure(index, 0, None, "broken"))
    listed.write_text(listed.read_text()[:-10])  # truncates the last line
    again = BadSamples(Numbers(100), 0.1, listed)
    assert sorted(again.failures) == [0, 1]


def test_a_list_with_the_old_name_of_quarantined_is_read(tmp_path: Path) -> None:
    listed = tmp_path / "bad.jsonl"
    listed.write_text('{"index": 3, "epoch": 0, "path": null, "reason": "hung", "step": "", "avoid": true}\n')
    assert BadSamples(Numbers(100), 0.1, listed).failures == {3: Failure(3, 0, None, "hung", quarantined=True)}


def test_batches_are_numbered_over_all_epochs() -> None:
    batches = Batches(size=5, batch_size=2)
    assert list(batches.batches_between(2, 5)) == [[(0, 4, 0)], [(1, 0, 0), (1, 1, 0)], [(1, 2, 0), (1, 3, 0)]]
    assert list(batches.batches_between(3, 3)) == []
