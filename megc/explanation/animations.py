"""Small pictures of a clip for a page: slow motion, magnified motion, onset and apex in turn, motion over time."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from megc.clips import Clip, frames_folder
from megc.explanation.frame_slider import FrameSlider, clip_slider
from megc.explanation.settings import PictureSettings
from megc.files import png_bytes
from megc.motion.apex import FEWEST_FRAMES
from megc.motion.colour import ABSOLUTE, legend_image
from megc.motion.crop import crop_frame
from megc.motion.flow_files import draw_face, drawn_with, picture_metadata, read_warnings
from megc.motion.frames import open_frames, read_image
from megc.motion.keyframes import check_align, magnify_motion
from megc.motion.preview import draw_trace
from megc.motion.region_motion import motion_fields, sample_numbers, trace_fields
from megc.motion.settings import MOMENTS, FlowSettings
from megc.scoring.answer_cards import data_uri

WIDTH = 220  # pixels of a picture on the page
MOST_FRAMES = 36  # of an animation
_QUALITY = 72  # of WebP and JPEG
_FLIP_SECONDS = 0.6


@dataclass(frozen=True)
class ClipPictures:
    """Pictures of a clip as data URIs, by name, and what stands beside them.

    `pictures`: onset, apex, offset, flow, legend, flip; slow and magnified where the clip has frames for them.
    `slider`: its frames to drag through, where it has more than two. `moments`: the frame number of each key frame,
    as used. `speed` of the animation, where 1 is real time. `legend`: the flow's in words. `notes` and `warnings` of
    cutting and measuring.
    """

    clip: Clip
    pictures: dict[str, str]
    moments: dict[str, int]
    apex_spotted: bool
    speed: float
    magnification: float
    legend: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    slider: FrameSlider | None = None

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return (self.moments["offset"] - self.moments["onset"]) / self.clip.fps if self.clip.fps > 0 else 0.0


def draw_clip(clip: Clip, clips_file: Path, folder: Path, settings: PictureSettings) -> ClipPictures:
    """Pictures of a clip whose key frames lie in `folder/frames` and whose flow picture in `folder/flow`.

    Raises DataError where these are missing or damaged, or a frame cannot be read.
    """
    cut, flow = folder / "frames" / clip.id, folder / "flow" / f"{clip.id}.png"
    align = check_align(cut, clip.id)
    moments = {moment: align["frames"][moment]["used"] for moment in MOMENTS}
    crops = {moment: read_image(cut / f"{moment}.png", clip.id) for moment in MOMENTS}
    metadata, drawn = picture_metadata(flow), drawn_with(flow)
    pictures = {moment: jpeg_uri(crop) for moment, crop in crops.items()}
    pictures["flow"] = png_uri(shrink(read_image(flow, clip.id)))
    pictures["legend"] = png_uri(legend_image(drawn["encoding"], drawn["scale"], size=260))
    pictures["flip"] = webp_uri([crops["onset"], crops["apex"]], _FLIP_SECONDS)
    more, speed, slider = _draw_motion(clip, clips_file, align, moments, settings, drawn)
    return ClipPictures(
        clip,
        pictures | more,
        moments,
        align["apex_spotted"],
        speed,
        settings.magnify,
        metadata["legend"],
        tuple(align["notes"]),
        (*align["warnings"], *read_warnings(metadata)),
        slider,
    )


def _draw_motion(
    clip: Clip, clips_file: Path, align: dict, moments: dict[str, int], settings: PictureSettings, drawn: dict
) -> tuple[dict[str, str], float, FrameSlider | None]:
    """Animations with their speed, and the slider with the curve of motion; nothing for a clip of two frames."""
    frames = open_frames(frames_folder(clip, clips_file), clip.id)
    numbers = [number for number in frames.numbers if moments["onset"] <= number <= moments["offset"]]
    numbers = _thin_out(sample_numbers(numbers, clip.fps), MOST_FRAMES)
    if len(numbers) < 3:
        return {}, 1.0, None
    landmarks, transform = np.array(align["landmarks"], np.float32), np.array(align["transform"])
    crops = [crop_frame(image, transform) for _, image in frames.read_many(numbers)]
    fields = list(motion_fields(crops, landmarks))  # H × W × 2 × 4 bytes: 27 MB for 36 of them
    real = (numbers[-1] - numbers[0]) / clip.fps if clip.fps > 0 else settings.seconds
    loop = max(settings.seconds, real)
    step = loop / len(numbers)
    magnified = [magnify_motion(crops[0], field, settings.magnify) for field in fields]
    pictures = {"slow": webp_uri(crops, step), "magnified": webp_uri(magnified, step)}
    how = FlowSettings(**{name: value for name, value in drawn.items() if name in FlowSettings.__dataclass_fields__})
    sheets = {"the frame": crops, f"motion × {settings.magnify:g}": magnified}
    if how.encoding in ABSOLUTE:  # the others stretch the noise of a face at rest to full colour
        sheets["flow from the onset"] = [draw_face(field, landmarks, crops[0], how) for field in fields]
    axes = None
    if len(numbers) >= FEWEST_FRAMES:
        trace = trace_fields(fields, landmarks, [number - numbers[0] for number in numbers])
        axes = Figure(figsize=(8, 3), dpi=100, layout="constrained").subplots()
        draw_trace(axes, trace, clip.fps, moments, numbers[0])
    return pictures, real / loop, clip_slider(sheets, numbers, clip.fps, moments["apex"], axes)


def _thin_out(numbers: Sequence[int], most: int) -> list[int]:
    """At most `most` of the numbers, evenly spaced, the first and the last among them."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[index] for index in np.linspace(0, len(numbers) - 1, most).round().astype(int)]


def png_uri(picture: np.ndarray) -> str:
    """PNG of uint8 RGB: for drawings, whose colours matter."""
    return data_uri(png_bytes(picture), "png")


def jpeg_uri(picture: np.ndarray) -> str:
    """JPEG of uint8 RGB, WIDTH wide: for faces."""
    out = io.BytesIO()
    Image.fromarray(shrink(picture)).save(out, "JPEG", quality=_QUALITY)
    return data_uri(out.getvalue(), "jpeg")


def webp_uri(pictures: Sequence[np.ndarray], step: float) -> str:
    """Looping animation of uint8 RGB pictures, `step` seconds each."""
    first, *others = [Image.fromarray(shrink(picture)) for picture in pictures]
    out = io.BytesIO()
    options = {"duration": round(1000 * step), "loop": 0, "quality": _QUALITY, "method": 0}
    first.save(out, "WEBP", save_all=True, append_images=others, **options)
    return data_uri(out.getvalue(), "webp")


def shrink(picture: np.ndarray) -> np.ndarray:
    """The picture, WIDTH pixels wide if it is wider."""
    height, width = picture.shape[:2]
    if width <= WIDTH:
        return picture
    return cv2.resize(picture, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA)
