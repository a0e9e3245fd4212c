"""Collating samples: inputs of one shape, inputs that vary, targets and lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vidcore.batch import Batch, Ragged, collate
from vidcore.errors import DataError, UserError
from vidcore.records import Varying
from vidcore.sample import Sample
from vidcore.transforms.formatting import Pad


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def sample(index: int, *shape: int, **values: Any) -> Sample:
    return Sample(index=index, path=f"{index}.mp4", inputs={"imgs": np.full(shape, index + 1, np.uint8)}, **values)


def test_a_single_input_is_a_tensor_and_several_are_a_mapping() -> None:
    one = collate([sample(0, 2, 3), sample(1, 2, 3)])
    assert one.inputs.dtype == torch.uint8
    assert one.inputs.shape == (2, 2, 3)
    assert one.lengths == one.targets == {}
    both = collate([s.with_inputs(text=np.arange(4)) for s in (sample(0, 2, 3), sample(1, 2, 3))])
    assert {name: tuple(x.shape) for name, x in both.inputs.items()} == {"imgs": (2, 2, 3), "text": (2, 4)}
    assert all(not s.inputs and not s.targets for s in both.samples)


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 1)])
def test_inputs_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError) as error:
        collate([sample(0, 2, 3), sample(1, 2, 3), sample(2, *shape)])
    said = str(error.value)
    assert said.startswith("'imgs' of sample 0 (0.mp4) has shape (2, 3), that of sample 2 (2.mp4) " + str(shape))
    assert "end the pipeline with Pad" in said


def test_targets_of_other_shapes_are_refused() -> None:
    samples = [sample(i, 2, targets={"wanted": np.zeros(3 + i)}) for i in range(2)]
    with pytest.raises(DataError, match=r"'wanted' of sample 0 \(0\.mp4\) has shape \(3,\), that of sample 1"):
        collate(samples)


def test_every_sample_needs_the_inputs_of_the_first() -> None:
    other = Sample(index=7, inputs={"text": np.zeros(2)})
    with pytest.raises(DataError, match=r"sample 7 has no input 'imgs', which sample 0 \(0\.mp4\) has"):
        collate([sample(0, 2), other])
    with pytest.raises(DataError, match="the sample has no inputs: end the pipeline with FormatShape"):
        collate([Sample()])


@pytest.mark.parametrize("axis", [1, -1])
def test_inputs_that_may_vary_are_padded_with_zeros_and_have_lengths(axis: int) -> None:
    pad = Pad(axis)
    batch = collate([pad(sample(0, 2, 3), rng()), pad(sample(1, 2, 5), rng()), pad(sample(2, 2, 1), rng())])
    assert batch.inputs.shape == (3, 2, 5)
    assert batch.inputs.dtype == torch.uint8
    assert batch.lengths["imgs"].tolist() == [3, 5, 1]
    for row, length, value in zip(batch.inputs, batch.lengths["imgs"], (1, 2, 3), strict=True):
        assert (row[:, :length] == value).all()
        assert (row[:, length:] == 0).all()
    with pytest.raises(DataError, match=r"'imgs' of sample 0 .* has shape \(2, 3\), that of sample 3 .* \(4, 3\)"):
        collate([pad(sample(0, 2, 3), rng()), pad(sample(3, 4, 3), rng())])


def test_equal_lengths_are_reported_as_well() -> None:
    batch = collate([Pad(0)(sample(i, 4, 2), rng()) for i in range(2)])
    assert batch.inputs.shape == (2, 4, 2)
    assert batch.lengths["imgs"].tolist() == [4, 4]
    alone = collate([Pad(0)(sample(0, 4, 2), rng())])
    assert alone.lengths["imgs"].tolist() == [4]


def test_several_axes_may_vary() -> None:
    pad = Pad([0, -1])
    batch = collate([pad(sample(0, 2, 3, 4), rng()), pad(sample(1, 1, 3, 6), rng())])
    assert batch.inputs.shape == (2, 2, 3, 6)
    assert batch.lengths["imgs"].tolist() == [[2, 4], [1, 6]]
    assert (batch.inputs[0, :, :, :4] == 1).all()
    assert (batch.inputs[1, :1] == 2).all()
    assert batch.inputs.sum() == 2 * 3 * 4 + 2 * 3 * 6


def test_varying_in_the_first_sample_is_enough() -> None:
    batch = collate([Pad(0)(sample(0, 2, 3), rng()), sample(1, 4, 3)])
    assert batch.lengths["imgs"].tolist() == [2, 4]
    with pytest.raises(DataError, match=r"\(2, 3\), that of sample 1 \(1\.mp4\) \(4,\)"):
        collate([Pad(0)(sample(0, 2, 3), rng()), sample(1, 4)])


def test_pad_names_missing_inputs_and_axes() -> None:
    with pytest.raises(UserError, match="Pad: the sample has no input 'text'; it has imgs"):
        Pad(0, "text")(sample(0, 2), rng())
    for axis in (2, -3, (0, 2)):
        with pytest.raises(UserError, match="Pad: 'imgs' has 2 axes; there is no axis"):
            Pad(axis)(sample(0, 2, 3), rng())


def test_targets_with_different_numbers_of_rows_are_concatenated() -> None:
    rows = [np.arange(2.0 * n).reshape(n, 2) + 10 * n for n in (2, 0, 3)]
    samples = [sample(i, 2, targets={"rows": Varying(r), "one": np.float32(i)}) for i, r in enumerate(rows)]
    batch = collate(samples)
    found = batch.targets["rows"]
    assert isinstance(found, Ragged)
    np.testing.assert_array_equal(found.values, np.concatenate(rows))
    assert found.lengths.tolist() == [2, 0, 3]
    assert found.owners.tolist() == [0, 0, 2, 2, 2]
    assert found.places.tolist() == [0, 1, 0, 1, 2]
    for part, row in zip(found.split(), rows, strict=True):
        np.testing.assert_array_equal(part, row)
    one = batch.targets["one"]
    assert isinstance(one, torch.Tensor)
    assert one.tolist() == [0, 1, 2]
    mixed = collate([samples[0], samples[2].with_targets(rows=rows[2])]).targets["rows"]
    assert isinstance(mixed, Ragged)
    assert mixed.lengths.tolist() == [2, 3], "no sample is forgotten"


def test_targets_that_a_sample_lacks_are_left_out() -> None:
    batch = collate(
        [sample(0, 2, targets={"a": np.zeros(1), "b": np.zeros(1)}), sample(1, 2, targets={"b": np.ones(1)})]
    )
    assert list(batch.targets) == ["b"]


def test_everything_moves_to_the_device() -> None:
    samples = [
        Sample(label=i, targets={"rows": Varying(np.zeros((i, 2)))}).with_inputs(
            imgs=Varying(np.zeros((2, 3 + i), np.float32), -1), text=np.arange(3)
        )
        for i in range(2)
    ]
    batch = collate(samples)
    outer = batch.replace(extra={"other": batch})
    assert outer.to("cpu") is not batch
    moved = outer.to("meta")
    for one in (moved, moved.extra["other"]):
        assert isinstance(one, Batch)
        rows = one.targets["rows"]
        assert isinstance(rows, Ragged)
        tensors = [*one.inputs.values(), *one.lengths.values(), one.labels, rows.values, rows.lengths]
        assert all(t is not None and t.is_meta for t in tensors)
    assert batch.to("cpu") is batch, "nothing to do"
