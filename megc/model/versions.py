"""Releases of libraries that compute something wrong, or lack what is needed: refused before anything runs."""

from importlib.metadata import version

import cv2
from packaging.version import Version

from megc.problems import DataError

TAKE = "5.23.0"  # the release of transformers that requirements.txt pins
# First and last bad release, and what is wrong with them.
BAD_TRANSFORMERS = (
    (
        "4.54.0",
        "4.56.2",
        "generates with wrong position ids for Qwen2.5-VL (huggingface/transformers#40154; right from 4.57.0 on)",
    ),
    (
        "5.3.0",
        "5.5.3",
        "gives pictures the time axis of a video in Qwen2.5-VL's position ids "
        "(huggingface/transformers#45325; right from 5.5.4 on)",
    ),
)


def check_transformers(found: str | None = None) -> None:
    """Raise DataError when the installed transformers (or release `found`) is one of BAD_TRANSFORMERS."""
    found = found or version("transformers")
    for first, last, what in BAD_TRANSFORMERS:
        if Version(first) <= Version(found) <= Version(last):
            raise DataError(f"transformers {found}", None, what, f"pip install transformers=={TAKE}")


def picture_positions() -> tuple[int, int]:
    """Temporal position ids that the installed transformers gives two pictures of 2 × 2 tokens.

    The text is four tokens, picture, two tokens, picture. M-RoPE counts a picture as long as its longer side: the
    first is at 4, the second at 4 + 2 + 2 = 8.
    """
    import torch  # here, so that scripts without a model do not wait for it
    from transformers import Qwen2_5_VLConfig

    from megc.model.packing import PositionIds

    config = Qwen2_5_VLConfig(image_token_id=1, video_token_id=2, vision_start_token_id=3, vision_end_token_id=4)
    ids = torch.tensor([9, 9, 9, 3, 1, 1, 1, 1, 4, 3, 1, 1, 1, 1, 4])
    positions = PositionIds(config)(ids, torch.tensor([[1, 4, 4], [1, 4, 4]]))
    times = positions[0, ids == 1]
    return int(times[0]), int(times[4])


def check_positions() -> None:
    """Raise DataError when the installed transformers computes other position ids than M-RoPE defines."""
    found = picture_positions()
    if found != (4, 8):
        what = f"pictures of Qwen2.5-VL get positions {found[0]} and {found[1]} rather than 4 and 8"
        raise DataError(f"transformers {version('transformers')}", None, what, f"pip install transformers=={TAKE}")


def check_versions() -> None:
    """Raise DataError when the installed libraries would train or answer wrongly, with the release to take."""
    check_transformers()
    check_positions()


def check_optflow() -> None:
    """Raise DataError when OpenCV comes without its contributed modules, which TV-L1 and DeepFlow are part of."""
    if not hasattr(cv2, "optflow"):
        fix = (
            "pip uninstall opencv-python opencv-python-headless, then pip install opencv-contrib-python-headless; "
            "or take --method dis, which needs none"
        )
        raise DataError(f"cv2 {cv2.__version__}", None, "has no cv2.optflow (TV-L1, DeepFlow)", fix)
