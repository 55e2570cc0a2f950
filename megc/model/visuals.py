"""What the tags of a prompt stand for, as the model takes it: pictures, and videos of several frames.

A video is a list of frames of one size, taken two by two: a token sees the same square of two frames, and one position
in time. Its frames come at a nominal rate, whatever the camera's is: the sequence of an expression matters, and at 30
to 200 frames a second all of them would have one position.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from transformers import PretrainedConfig, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

# Frames a second that position ids are computed with. Releases of transformers before 4.57 and from 5.7 on space other
# rates well too, those between put all frames of more than two a second at one time.
NOMINAL_FPS = 2.0
TEXT, PICTURE, VIDEO = 0, 1, 2  # kinds of tokens, as transformers numbers them (`mm_token_type_ids`)

Item = TypeVar("Item")


def group_frames(items: Sequence[Item], lengths: Sequence[int]) -> list[Item | list[Item]]:
    """Items of a prompt's files by tag: of a picture its item, of a video the list of those of its frames.

    `lengths`: of each tag 0 for a picture, for a video the number of its frames. Raises ValueError where items are
    left.
    """
    groups: list[Item | list[Item]] = []
    start = 0
    for length in lengths:
        groups.append(list(items[start : start + length]) if length else items[start])
        start += length or 1
    if start != len(items):
        raise ValueError(f"{len(items)} files for tags of {start}")
    return groups


def token_kinds(ids: torch.Tensor, tokens: PretrainedConfig | ProcessorMixin) -> torch.Tensor:
    """TEXT, PICTURE or VIDEO of token ids (int32, of the same shape); `tokens` names those of pictures and videos."""
    return (ids == tokens.image_token_id).int() * PICTURE + (ids == tokens.video_token_id).int() * VIDEO


def visual_grid(image_processor: BaseImageProcessor, shape: Sequence[int]) -> tuple[int, int, int]:
    """Patches in time, height and width of a picture (H, W, 3) or of a video (frames, H, W, 3) of such a shape."""
    patch, step = image_processor.patch_size, image_processor.temporal_patch_size
    times = -(-shape[0] // step) if len(shape) == 4 else 1
    return times, shape[-3] // patch, shape[-2] // patch


def _video_patches(image_processor: BaseImageProcessor, video: np.ndarray) -> torch.Tensor:
    """Patches (times · rows · columns, values) of a video (frames, H, W, 3), those of a time row by row of tokens.

    As transformers' video processor cuts them, without torchvision, which that needs: the image processor repeats its
    picture in time, and here each repetition is another frame. A last frame without a partner is its own.
    """
    step, patch = image_processor.temporal_patch_size, image_processor.patch_size
    times, rows, columns = visual_grid(image_processor, video.shape)
    frames = [*video, *[video[-1]] * (times * step - len(video))]
    values = image_processor(images=frames, do_resize=False, return_tensors="pt")["pixel_values"]
    # (times, frames of a time, patches, channels, repetitions, pixels)
    parts = values.reshape(times, step, rows * columns, -1, step, patch**2)
    chosen = torch.stack([parts[:, number, :, :, number] for number in range(step)], dim=3)
    return chosen.reshape(times * rows * columns, -1)


def patch_inputs(image_processor: BaseImageProcessor, visuals: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """The model's inputs of pictures (uint8, H × W × 3) and videos (frames × H × W × 3), already resized.

    `pixel_values` (patches, values) and `image_grid_thw` (n, 3) of the pictures in their order, and
    `pixel_values_videos`, `video_grid_thw` of the videos; none of a kind that is not there.
    """
    inputs: dict[str, torch.Tensor] = {}
    pictures = [visual for visual in visuals if visual.ndim == 3]
    videos = [visual for visual in visuals if visual.ndim == 4]
    if pictures:
        patches = image_processor(images=pictures, do_resize=False, return_tensors="pt")
        inputs |= {name: patches[name] for name in ("pixel_values", "image_grid_thw")}
    if videos:
        inputs["pixel_values_videos"] = torch.cat([_video_patches(image_processor, video) for video in videos])
        inputs["video_grid_thw"] = torch.tensor([visual_grid(image_processor, video.shape) for video in videos])
    return inputs
