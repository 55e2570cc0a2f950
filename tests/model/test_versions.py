"""Known-bad libraries are refused with the release to take."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from megc.model import versions as environment
from megc.motion import flow
from megc.problems import DataError


@pytest.mark.parametrize("found", ["4.54.0", "4.55.0", "4.56.2", "5.3.0", "5.4.1", "5.5.3"])
def test_bad_transformers_are_refused_with_the_release_to_take(monkeypatch, found):
    monkeypatch.setattr(environment, "version", lambda name: found)
    with pytest.raises(DataError, match=f"transformers {found}: .*pip install transformers==5.23.0"):
        environment.check_versions()


@pytest.mark.parametrize("found", ["4.53.3", "4.57.0", "5.2.0", "5.5.4", "5.6.0", "5.23.0"])
def test_others_pass(found):
    environment.check_transformers(found)


def test_the_release_to_take_is_the_one_that_is_pinned():
    lines = (Path(__file__).parents[2] / "requirements.txt").read_text().splitlines()
    (pinned,) = [line.split("#")[0].rstrip() for line in lines if line.startswith("transformers")]
    assert pinned.endswith(f"=={environment.TAKE}")


def test_opencv_without_contributed_modules_is_named_where_they_are_needed(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    for made in (flow._tvl1, flow._tvl1_original):
        made.cache_clear()
    picture = np.zeros((32, 32), np.uint8)
    for method in ("tvl1", "tvl1-original"):
        with pytest.raises(DataError, match="opencv-contrib-python-headless"):
            flow.optical_flow(picture, picture, method)
    assert flow.optical_flow(picture, picture, "dis").shape == (32, 32, 2)
