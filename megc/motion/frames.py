"""One door to frames: a folder of images or a video file, any size and depth, colour or grey."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageOps

from megc.clips import VIDEO_SUFFIXES, list_frames, nearest_frame
from megc.files import open_picture
from megc.problems import DataError

UNCOUNTED = (".mkv",)  # Matroska holds no number of frames; OpenCV makes one from the duration, about right
RATE_TOLERANCE = 0.05  # between a video's own frame rate and the annotated one, which average differently
SMALLEST, LARGEST = 16, 32766  # pixels a side: below there is no face, and OpenCV warps no larger picture


def white_level(image: np.ndarray) -> int:
    """Value of white of a 16-bit image: full scale of 8, 10, 12, 14 or 16 bits, the smallest that holds it."""
    highest = int(image.max())
    return next(level for level in (255, 1023, 4095, 16383, 65535) if highest <= level)


def to_rgb(image: np.ndarray, white: int = 255) -> np.ndarray:
    """uint8 RGB (H, W, 3) of a grey, RGB or RGBA array of 8 or more bits; `white` is the value of white."""
    if white != 255:
        # the scale is one of few levels, never the image's own maximum: brightness must not flicker over a clip
        image = np.clip(image.astype(np.float32) * (255 / white), 0, 255)
    image = image.astype(np.uint8)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image[..., :3])


def _decode(path: Path, row: str | int | None) -> np.ndarray:
    """Pixels of an image file, upright, 8 bit RGB or 16 bit grey. Raises DataError for what cannot be read."""
    fix = "copy the frame again from the dataset, or leave the clip out with --skip-bad"
    with open_picture(path, path, row, fix, "the frame") as stored:
        stored.load()
        upright = ImageOps.exif_transpose(stored)
    if upright.mode.startswith("I") or upright.mode == "F":  # 16-bit PNG and TIFF; 32-bit values are cut at 65535
        return np.clip(np.asarray(upright, dtype=np.float64), 0, 65535).astype(np.uint16)
    return np.asarray(upright if upright.mode in ("L", "RGB") else upright.convert("RGB"))


def read_image(path: Path | str, row: str | int | None = None, white: int | None = None) -> np.ndarray:
    """uint8 RGB (H, W, 3) of an image file: grey, palette, 16 bit and RGBA (alpha is dropped) accepted.

    `white` is the value of white of 16-bit files; None judges it by this image alone, which may flicker over a clip.
    Raises DataError for a missing, empty, truncated or foreign file; `row` names the clip in it.
    """
    pixels = _decode(Path(path), row)
    return to_rgb(pixels, white or white_level(pixels))


class Frames(ABC):
    """Frames of a clip by number. `numbers` rise; gaps are allowed. No frame is read before `read` or `read_many`.

    `repair` says how to get missing frames, `faults` what is wrong with the source though it can be read.
    """

    repair = "unpack the clip again"

    def __init__(
        self, source: Path, numbers: tuple[int, ...], row: str | int | None, faults: tuple[str, ...] = ()
    ) -> None:
        self.source, self.numbers, self.row, self.faults = source, numbers, row, faults

    def extent(self) -> str:
        """Which frames there are, for messages about others."""
        count, ends = len(self.numbers), f"{self.numbers[0]} to {self.numbers[-1]}"
        return "; ".join(self.faults) or f"{self.source.name} has {count} frame(s), {ends}"

    def nearest(self, number: int) -> int:
        """The existing frame number nearest to `number`."""
        return nearest_frame(dict.fromkeys(self.numbers), number)

    def read(self, number: int) -> np.ndarray:
        """uint8 RGB of one frame. Raises DataError when it cannot be read, KeyError when there is none."""
        return next(image for _, image in self.read_many([number]))

    def seconds(self, fps: float) -> np.ndarray:
        """Times (frames,) of all frames in seconds from the first; missing frames are gaps. `fps` of the video."""
        numbers = np.asarray(self.numbers, np.float64)
        return (numbers - numbers[0]) / fps

    @abstractmethod
    def read_many(self, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, uint8 RGB) of the given frames, in rising order, each once."""

    @abstractmethod
    def name(self, number: int) -> str:
        """Name of the frame, for notes."""

    @abstractmethod
    def file(self, number: int) -> Path:
        """File that holds the frame."""


class FolderFrames(Frames):
    """A folder of images; the number is the last integer of the name."""

    def __init__(self, folder: Path, row: str | int | None) -> None:
        self.paths = list_frames(folder)
        super().__init__(folder, tuple(self.paths), row)
        self.white: int | None = None  # judged by the first frame that is read, then kept for the clip

    def read_many(self, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in sorted(set(numbers)):
            pixels = _decode(self.paths[number], self.row)
            if pixels.dtype == np.uint16 and self.white is None:
                self.white = white_level(pixels)
            yield number, to_rgb(pixels, self.white or 255)

    def name(self, number: int) -> str:
        return self.paths[number].name

    def file(self, number: int) -> Path:
        return self.paths[number]


class VideoFrames(Frames):
    """A video file; its frames are numbered from 1, as the frame folders cut from such videos are.

    `faults` says where a file ends before the number of frames in its header. Raises DataError for a file that
    cannot be opened and for one without a frame.
    """

    repair = "copy or convert the video again"

    def __init__(self, path: Path, row: str | int | None) -> None:
        # the header's number of frames is what the writer meant to write, not what is there: count them
        count, stamps = 0, []
        capture = self._open(path, row)
        promised = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - (path.suffix.lower() in UNCOUNTED)
        self.fps = float(capture.get(cv2.CAP_PROP_FPS))
        while capture.grab():
            count += 1
            stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        capture.release()
        self.stamps = np.array(stamps)
        if not count:
            what = f"none of {promised} frames" if promised > 0 else "no frame of the video"
            raise DataError(path, row, f"{what} could be read", self.repair)
        faults = (f"{count} of {promised} frames could be read",) if count < promised else ()
        super().__init__(path, tuple(range(1, count + 1)), row, faults)

    @classmethod
    def _open(cls, path: Path, row: str | int | None) -> cv2.VideoCapture:
        if not path.stat().st_size:
            raise DataError(path, row, "the video is empty", cls.repair)
        capture = cv2.VideoCapture(str(path))
        if not capture.isOpened():
            raise DataError(path, row, "the video cannot be opened", "copy it again, or convert it to MJPG .avi")
        return capture

    def seconds(self, fps: float) -> np.ndarray:
        """As the file stamps its frames, whose distance may vary; by `fps` where the stamps do not rise.

        High-speed recordings are often stored to play slowly: stamps of another rate are scaled to `fps`.
        """
        if len(self.stamps) < 2 or not (np.diff(self.stamps) > 0).all():
            return super().seconds(fps)
        slow = self.fps / fps if self.fps > 0 and abs(self.fps / fps - 1) > RATE_TOLERANCE else 1.0
        return (self.stamps - self.stamps[0]) * slow

    def read_many(self, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        chosen, present = sorted(set(numbers)), set(self.numbers)
        missing = [number for number in chosen if number not in present]
        if missing:
            raise KeyError(missing[0])
        capture, position = self._open(self.source, self.row), 0
        try:
            for number in chosen:  # read from the start: seeking is not exact in every container
                while position < number:
                    good, position = capture.grab(), position + 1
                    if not good:
                        raise DataError(self.source, self.row, f"frame {number} cannot be read", self.repair)
                good, image = capture.retrieve()
                if not good:
                    raise DataError(self.source, self.row, f"frame {number} cannot be decoded", self.repair)
                yield number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()

    def name(self, number: int) -> str:
        return f"{self.source.name}#{number}"

    def file(self, number: int) -> Path:
        return self.source


def open_frames(source: Path | str, row: str | int | None = None) -> Frames:
    """Frames of a folder of images or of a video file (.avi, .mp4, .mov, .mkv).

    Raises DataError when the source is missing, empty or of another kind; `row` names the clip in it.
    """
    source = Path(source)
    if not source.exists() and source.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(source, row, "the video does not exist", "check the path, and where the dataset was unpacked")
    if source.is_file():
        if source.suffix.lower() not in VIDEO_SUFFIXES:
            kinds = ", ".join(VIDEO_SUFFIXES)
            raise DataError(source, row, "neither a folder of frames nor a video", f"give a folder or one of {kinds}")
        return VideoFrames(source, row)
    try:
        return FolderFrames(source, row)
    except DataError as error:
        raise DataError(error.problem.file, row, error.problem.what, error.problem.fix) from error
