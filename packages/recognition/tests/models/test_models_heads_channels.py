"""A head that does not match its backbone names the argument."""

from __future__ import annotations

import pytest
import torch

from vid_recognition.models.heads import I3DHead, SlowFastHead, TSNHead
from vidcore.errors import UserError


@pytest.mark.parametrize("head", [TSNHead, I3DHead])
def test_channels_that_differ_from_the_backbone(head: type) -> None:
    features = torch.zeros(2, 8, 2, 2)
    with pytest.raises(UserError, match=r"cls_head.in_channels is 4, but the backbone returns 8 channels"):
        head(num_classes=3, in_channels=4)(features, 2)


def test_channels_of_both_pathways_are_summed() -> None:
    features = (torch.zeros(2, 8, 1, 1, 1), torch.zeros(2, 2, 1, 1, 1))
    with pytest.raises(UserError, match=r"in_channels is 8, but the backbone returns 10"):
        SlowFastHead(num_classes=3, in_channels=8)(features, 2)
