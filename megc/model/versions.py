"""Releases of transformers that compute Qwen2.5-VL wrongly, refused before a run begins."""

from importlib.metadata import version

import torch
from packaging.version import Version
from transformers import Qwen2_5_VLConfig

from megc.model.packing import PositionIds
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


def check_transformers(release: str | None = None) -> None:
    """Raise DataError when the installed transformers (or `release`) is one of BAD_TRANSFORMERS."""
    release = release or version("transformers")
    for first, last, what in BAD_TRANSFORMERS:
        if Version(first) <= Version(release) <= Version(last):
            raise DataError(f"transformers {release}", None, what, f"pip install transformers=={TAKE}")


def picture_positions() -> tuple[int, int]:
    """Temporal position ids that the installed transformers gives two pictures of 2 × 2 tokens.

    The text is four tokens, picture, two tokens, picture. M-RoPE counts a picture as long as its longer side: the
    first is at 4, the second at 4 + 2 + 2 = 8.
    """
    # 9 is text, 1 a token of a picture; 3 and 4 stand around each picture
    config = Qwen2_5_VLConfig(image_token_id=1, video_token_id=2, vision_start_token_id=3, vision_end_token_id=4)
    ids = torch.tensor([9, 9, 9, 3, 1, 1, 1, 1, 4, 3, 1, 1, 1, 1, 4])
    positions = PositionIds(config)(ids, torch.tensor([[1, 4, 4], [1, 4, 4]]))
    times = positions[0, ids == 1]
    return int(times[0]), int(times[4])


def video_times() -> list[int]:
    """Temporal position ids that the installed transformers gives a video of five times two by two tokens, behind four
    tokens of text: with the nominal rate of frames each time is two further than the one before."""
    tokens = {"image_token_id": 1, "video_token_id": 2, "vision_start_token_id": 3, "vision_end_token_id": 4}
    config = Qwen2_5_VLConfig(vision_config={"tokens_per_second": 2}, **tokens)  # as all released checkpoints have it
    ids = torch.tensor([9, 9, 9, 3, *[2] * 20, 4])
    return PositionIds(config)(ids, torch.tensor([[5, 4, 4]]))[0, 4:24:4].tolist()


def check_positions() -> None:
    """Raise DataError when the installed transformers computes other position ids than M-RoPE defines."""
    first, second = picture_positions()
    if (first, second) != (4, 8):
        what = f"pictures of Qwen2.5-VL get positions {first} and {second} rather than 4 and 8"
        raise DataError(f"transformers {version('transformers')}", None, what, f"pip install transformers=={TAKE}")
    if (times := video_times()) != [4, 6, 8, 10, 12]:
        what = f"a video of Qwen2.5-VL gets times {', '.join(map(str, times))} rather than 4, 6, 8, 10, 12"
        raise DataError(f"transformers {version('transformers')}", None, what, f"pip install transformers=={TAKE}")


def check_versions() -> None:
    """Raise DataError when the installed libraries would train or answer wrongly, with the release to take."""
    check_transformers()
    check_positions()
