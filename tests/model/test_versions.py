"""Known-bad libraries are refused, and M-RoPE positions of pictures are those that the model was trained with."""

from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLConfig

from megc.model import versions
from megc.model.packing import PositionIds
from megc.problems import DataError


@pytest.mark.parametrize("release", ["4.54.0", "4.55.0", "4.56.2", "5.3.0", "5.4.1", "5.5.3"])
def test_bad_transformers_are_refused_with_the_release_to_take(monkeypatch, release):
    monkeypatch.setattr(versions, "version", lambda name: release)
    with pytest.raises(DataError, match=f"transformers {release}: .*pip install transformers==5.23.0"):
        versions.check_versions()


@pytest.mark.parametrize("release", ["4.53.3", "4.57.0", "5.2.0", "5.5.4", "5.6.0", "5.23.0"])
def test_others_pass(release):
    versions.check_transformers(release)


def test_the_release_to_take_is_the_one_that_is_pinned():
    lines = (Path(__file__).parents[2] / "requirements.txt").read_text().splitlines()
    (pinned,) = [line.split("#")[0].rstrip() for line in lines if line.startswith("transformers")]
    assert pinned.endswith(f"=={versions.TAKE}")


def test_two_pictures_are_at_4_and_8():
    assert versions.picture_positions() == (4, 8)
    versions.check_versions()


def test_the_time_axis_of_a_video_is_refused(monkeypatch):
    """5.3.0 to 5.5.3 scaled the time of still pictures: 8 and 16. A release that does it again is release by this."""
    right = PositionIds.__call__

    def scaled(self, ids, grids):
        positions = right(self, ids, grids).clone()
        positions[0] *= 2
        return positions

    monkeypatch.setattr(PositionIds, "__call__", scaled)
    with pytest.raises(DataError, match="8 and 16 rather than 4 and 8"):
        versions.check_versions()


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
