"""M-RoPE positions of pictures: what the installed transformers computes is what the model was trained with."""

import pytest
import torch
from transformers import Qwen2_5_VLConfig

from megc.model import versions as environment
from megc.model.packing import PositionIds
from megc.problems import DataError


def test_two_pictures_are_at_4_and_8():
    assert environment.picture_positions() == (4, 8)
    environment.check_versions()


def test_the_time_axis_of_a_video_is_refused(monkeypatch):
    """5.3.0 to 5.5.3 scaled the time of still pictures: 8 and 16. A release that does it again is found by this."""
    right = PositionIds.__call__

    def scaled(self, ids, grids):
        positions = right(self, ids, grids).clone()
        positions[0] *= 2
        return positions

    monkeypatch.setattr(PositionIds, "__call__", scaled)
    with pytest.raises(DataError, match="8 and 16 rather than 4 and 8"):
        environment.check_versions()


def test_positions_by_hand():
    """Text counts up; a picture of 4 × 6 patches has one time, rows 0 to 1 and columns 0 to 2; text goes on behind."""
    config = Qwen2_5_VLConfig(image_token_id=1, video_token_id=2, vision_start_token_id=3, vision_end_token_id=4)
    ids = torch.tensor([9, 3, 1, 1, 1, 1, 1, 1, 4])
    positions = PositionIds(config)(ids, torch.tensor([[1, 4, 6]]))
    assert positions.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5],
        [0, 1, 2, 2, 2, 3, 3, 3, 5],
        [0, 1, 2, 3, 4, 2, 3, 4, 5],
    ]
