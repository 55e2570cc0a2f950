"""A motion field as an 8-bit picture, and the words that explain the picture to a reader or a language model.

Directions are those of the picture, not of the person: "right" is towards the right border of the picture.
No legend is a fixed text: its words come from drawing small probe fields with the same renderer.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from megc.motion.settings import DEFAULT_ENCODING, SCALE
from megc.problems import did_you_mean

STRAIN_PER_PIXEL = 0.04  # strain at full colour = this x scale: 0.12 at 3 px
STRAIN_BLUR = 1.5  # sigma in pixels; the strain of a raw field is mostly its noise
CENTRED_SPREADS = 3.0  # root mean squares away from the median motion at full colour
GREY = 128

# Corners and edge middles of the RGB cube, and the duller tones that blending and min-max produce.
COLOUR_NAMES: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "dark grey": (64, 64, 64),
    "grey": (128, 128, 128),
    "light grey": (192, 192, 192),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "dark red": (128, 0, 0),
    "brick red": (191, 64, 64),
    "orange": (255, 128, 0),
    "brown": (128, 64, 0),
    "yellow": (255, 255, 0),
    "olive": (128, 128, 0),
    "chartreuse": (128, 255, 0),
    "moss green": (128, 191, 64),
    "lime": (0, 255, 0),
    "green": (0, 128, 0),
    "spring green": (0, 255, 128),
    "cyan": (0, 255, 255),
    "teal": (64, 191, 191),
    "dark teal": (0, 128, 128),
    "sky blue": (0, 191, 255),
    "azure": (0, 128, 255),
    "blue": (0, 0, 255),
    "navy": (0, 0, 128),
    "violet": (128, 0, 255),
    "purple": (128, 64, 191),
    "lavender": (128, 128, 255),
    "magenta": (255, 0, 255),
    "rose": (255, 0, 128),
    "pink": (255, 128, 192),
}

DIRECTIONS: dict[str, tuple[int, int]] = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}


def strain_magnitude(flow: np.ndarray, blur: float = STRAIN_BLUR) -> np.ndarray:
    """Optical strain magnitude (H, W) of a field (H, W, 2): how much the skin is stretched, squeezed or sheared.

    Root of exx² + eyy² + 2 exy², the Frobenius norm of the strain tensor (Shreve et al. 2011), after a Gaussian of
    `blur` pixels (0: none).
    """
    field = cv2.GaussianBlur(flow, (0, 0), blur) if blur else flow
    u, v = cv2.split(field)
    u_x, u_y, v_x, v_y = _slope(u, 1), _slope(u, 0), _slope(v, 1), _slope(v, 0)
    return np.sqrt(u_x**2 + v_y**2 + 0.5 * (u_y + v_x) ** 2)


def _slope(plane: np.ndarray, axis: int) -> np.ndarray:
    """`np.gradient` of a plane along one axis, in a fraction of its time."""
    out, turned = np.empty_like(plane), plane.swapaxes(0, axis)
    into = out.swapaxes(0, axis)
    np.subtract(turned[2:], turned[:-2], out=into[1:-1])
    into[1:-1] *= 0.5
    np.subtract(turned[1], turned[0], out=into[0])
    np.subtract(turned[-1], turned[-2], out=into[-1])
    return out


def _min_max(channel: np.ndarray) -> np.ndarray:
    low, high = float(channel.min()), float(channel.max())
    return (channel - low) / (high - low) if high > low else np.zeros_like(channel)


def _to_bytes(unit: np.ndarray) -> np.ndarray:
    grey = np.clip(unit, 0, 1)
    grey *= 255
    return np.rint(grey, out=grey).astype(np.uint8)


def _wheel(flow: np.ndarray, value: np.ndarray) -> np.ndarray:
    """RGB in 0…1: hue is the angle from right over down, left and up; `value` is the brightness."""
    angle = cv2.cartToPolar(flow[..., 0], flow[..., 1], angleInDegrees=True)[1] % 360
    hsv = np.stack([angle, np.ones_like(angle), value], axis=-1).astype(np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _colour(flow: np.ndarray, scale: float, onset_image: np.ndarray | None) -> np.ndarray:
    """Hue is direction, brightness is amount up to `scale`; still is black."""
    return _to_bytes(_wheel(flow, np.minimum(np.hypot(flow[..., 0], flow[..., 1]) / scale, 1)))


def _minmax_blend(flow: np.ndarray, scale: float, onset_image: np.ndarray | None) -> np.ndarray:
    """Hue and min-max brightness, half and half with the grey onset frame, as the MEGC 2025 project drew it."""
    if onset_image is None:
        raise ValueError("the encoding minmax-blend is drawn over the onset frame: give onset_image")
    grey = onset_image if onset_image.ndim == 2 else cv2.cvtColor(onset_image, cv2.COLOR_RGB2GRAY)
    picture = _wheel(flow, _min_max(np.hypot(flow[..., 0], flow[..., 1])))
    return _to_bytes(0.5 * picture + 0.5 * grey[..., None].astype(np.float32) / 255)


def _uv_strain(flow: np.ndarray, scale: float, onset_image: np.ndarray | None) -> np.ndarray:
    """Red is horizontal, green vertical motion around grey up to `scale`, blue strain; still is (128, 128, 0)."""
    signed = flow / scale
    np.clip(signed, -1, 1, out=signed)
    signed *= 127
    signed += 128
    picture = np.empty((*flow.shape[:2], 3), np.uint8)
    picture[..., :2] = np.rint(signed, out=signed)
    picture[..., 2] = _to_bytes(strain_magnitude(flow) / (STRAIN_PER_PIXEL * scale))
    return picture


def _uv_strain_minmax(flow: np.ndarray, scale: float, onset_image: np.ndarray | None) -> np.ndarray:
    """The channels of STSTNet's public pictures, each stretched to its own range.

    OpenCV reads those in the order strain, vertical, horizontal.
    """
    channels = (flow[..., 0], flow[..., 1], strain_magnitude(flow, blur=0))
    return np.dstack([_to_bytes(_min_max(channel)) for channel in channels])


def _centred(channel: np.ndarray) -> np.ndarray:
    away = channel - np.median(channel)
    spread = CENTRED_SPREADS * max(float(np.sqrt(np.mean(away**2))), 1e-6)
    return np.rint(128 + 127 * np.clip(away / spread, -1, 1)).astype(np.uint8)


def _uv_strain_centred(flow: np.ndarray, scale: float, onset_image: np.ndarray | None) -> np.ndarray:
    """The channels of `uv-strain-minmax`, motion against the picture's median and in its own spreads."""
    return np.dstack(
        [_centred(flow[..., 0]), _centred(flow[..., 1]), _to_bytes(_min_max(strain_magnitude(flow, blur=0)))]
    )


def centre_picture(picture: np.ndarray) -> np.ndarray:
    """A `uv-strain-minmax` picture (uint8 RGB) as `uv-strain-centred` draws its motion; the strain stays as it is.

    Min-max stretching keeps a field up to an offset and a factor in each channel, and centring undoes both: motion
    of the whole head, which moves every colour of a min-max picture, is gone.
    """
    channels = picture.astype(np.float32)
    return np.dstack([_centred(channels[..., 0]), _centred(channels[..., 1]), picture[..., 2]])


# (field (H, W, 2) float32, scale in pixels, onset frame or None) → uint8 RGB (H, W, 3)
Renderer = Callable[[np.ndarray, float, np.ndarray | None], np.ndarray]

# To add an encoding: write its renderer above; enter it in ENCODINGS, and in ABSOLUTE and SIGNED where it belongs; add
# its name to the choices of megc/motion/settings.py, which imports nothing heavy. tests/motion/test_motion_colour.py
# tries every encoding and names the list that lacks it; prompt, legend and report follow by themselves.
ENCODINGS: dict[str, Renderer] = {
    "colour": _colour,
    "uv-strain": _uv_strain,
    "uv-strain-minmax": _uv_strain_minmax,
    "uv-strain-centred": _uv_strain_centred,
    "minmax-blend": _minmax_blend,
}
ABSOLUTE = ("colour", "uv-strain")  # the same motion gives the same colour in every picture; the others stretch each
SIGNED = ("uv-strain", "uv-strain-centred")  # red and green are motion around grey, so that pictures can be augmented


def draw_flow(
    flow: np.ndarray, encoding: str = DEFAULT_ENCODING, scale: float = SCALE, onset_image: np.ndarray | None = None
) -> np.ndarray:
    """Picture of a motion field.

    `flow` is (H, W, 2) in pixels, x to the right, y down; `encoding` a name of ENCODINGS, whose renderer says what it
    draws; `scale` the motion in pixels that gets full colour (not used by encodings that stretch); `onset_image` the
    grey or RGB frame below `minmax-blend`. Returns uint8 RGB (H, W, 3).
    Raises ValueError for an unknown encoding, a wrong shape, a scale that is not positive, and values not finite.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"unknown encoding {encoding!r}: {did_you_mean(encoding, ENCODINGS)}")
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"a motion field has the shape (H, W, 2), not {flow.shape}")
    if not scale > 0:
        raise ValueError(f"the scale must be positive, not {scale}")
    field = np.ascontiguousarray(flow, dtype=np.float32)
    if not np.isfinite(field).all():
        raise ValueError("the motion field holds values that are not finite")
    return ENCODINGS[encoding](field, float(scale), onset_image)


@lru_cache(maxsize=8)
def _neutral_picture(size: tuple[int, int], encoding: str) -> np.ndarray:
    width, height = size
    grey = np.full((height, width), GREY, np.uint8)
    return draw_flow(np.zeros((height, width, 2), np.float32), encoding, SCALE, grey)


def neutral_picture(size: tuple[int, int], encoding: str = DEFAULT_ENCODING) -> np.ndarray:
    """Picture (uint8 RGB) of no motion at all; `size` is (width, height)."""
    return _neutral_picture(tuple(size), encoding).copy()


def colour_name(rgb: tuple[int, int, int] | np.ndarray) -> str:
    """The entry of COLOUR_NAMES nearest to an RGB colour in CIELAB."""
    table = np.array([*COLOUR_NAMES.values(), tuple(int(c) for c in rgb)], np.float32)[None] / 255
    lab = cv2.cvtColor(table, cv2.COLOR_RGB2LAB)[0]
    return list(COLOUR_NAMES)[int(np.argmin(np.linalg.norm(lab[:-1] - lab[-1], axis=1)))]


PATCH = 48  # side of a probe patch in pixels: far wider than the strain's blur


def _probe(encoding: str, scale: float, length: float) -> dict[str, np.ndarray]:
    """Colours (RGB) that one picture gives to motion of `length` px in each direction and to stillness."""
    names = [*DIRECTIONS, "still"]
    field = np.zeros((PATCH, PATCH * len(names), 2), np.float32)
    for index, name in enumerate(names):
        field[:, index * PATCH : (index + 1) * PATCH] = np.multiply(DIRECTIONS.get(name, (0, 0)), length)
    picture = draw_flow(field, encoding, scale, np.full(field.shape[:2], GREY, np.uint8))
    return {name: picture[PATCH // 2, index * PATCH + PATCH // 2] for index, name in enumerate(names)}


def _stretch_colour(encoding: str, scale: float) -> np.ndarray:
    """What strong stretching without displacement adds to the picture: colour change (int RGB) at its centre."""
    x = np.arange(PATCH, dtype=np.float32) - PATCH // 2
    field = np.zeros((PATCH, PATCH, 2), np.float32)
    field[..., 0] = STRAIN_PER_PIXEL * scale * x * np.exp(-((x / 8) ** 2))  # the stretch is local, so min-max sees it
    picture = draw_flow(field, encoding, scale, np.full(field.shape[:2], GREY, np.uint8)).astype(int)
    return picture[PATCH // 2, PATCH // 2] - picture[0, 0]


@lru_cache(maxsize=64)
def legend_text(encoding: str = DEFAULT_ENCODING, scale: float = SCALE) -> str:
    """What the colours of the picture mean, in at most about 40 words fit for a prompt, read off the renderer."""
    # colours at full scale, beyond it and half-way tell whether the encoding is relative, limited, or neither
    full, more = _probe(encoding, scale, scale), _probe(encoding, scale, 2 * scale)
    half = _probe(encoding, scale, scale / 2)
    still = colour_name(full["still"])
    named = ", ".join(f"{colour_name(full[name])} {name}" for name in DIRECTIONS)
    sentences = [f"Colour shows where the skin moves in the picture: {named}; {still} is still."]
    grows = "Brighter" if still in ("black", "dark grey") else f"Further from {still}"
    if all(np.array_equal(half[name], full[name]) for name in full):
        sentences.append(f"{grows} is more motion, relative to the strongest in this picture.")
    elif all(np.array_equal(more[name], full[name]) for name in full):
        sentences.append(f"{grows} is more motion, up to {scale:g} pixels.")
    else:
        sentences.append(f"{grows} is more motion.")
    added = _stretch_colour(encoding, scale)
    if np.abs(added).max() > 64:  # a quarter of the range: a colour that a reader sees
        sentences.append(f"Added {colour_name(np.clip(added, 0, 255))} is stretched or squeezed skin.")
    return " ".join(sentences)


def legend_image(encoding: str = DEFAULT_ENCODING, scale: float = SCALE, size: int = 200) -> np.ndarray:
    """Colour wheel with the names of the four directions: uint8 RGB (size, size, 3), for reports."""
    wheel = int(size * 0.5)
    axis = np.linspace(-1, 1, 8 * wheel, dtype=np.float32)  # drawn large, so that the wheel itself has little strain
    field = np.dstack(np.meshgrid(axis, axis)).astype(np.float32) * scale
    picture = draw_flow(field, encoding, scale, np.full(field.shape[:2], GREY, np.uint8))
    picture[np.hypot(field[..., 0], field[..., 1]) > scale] = 255
    picture = cv2.resize(picture, (wheel, wheel), interpolation=cv2.INTER_AREA)
    sheet = Image.new("RGB", (size, size), "white")
    start = (size - wheel) // 2
    sheet.paste(Image.fromarray(picture), (start, start))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(8, size // 16))
    colours = _probe(encoding, scale, scale)
    # where each label starts, and Pillow's anchor: r, l, m across, m, s, a down
    labels = {"right": (size - 2, "rm"), "left": (2, "lm"), "up": (start - 3, "ms"), "down": (size - start + 3, "ma")}
    for name, (offset, anchor) in labels.items():
        text = f"{name}:\n{colour_name(colours[name])}" if name in ("left", "right") else f"{name}: "
        if name in ("left", "right"):
            pen.multiline_text((offset, size / 2), text, fill="black", font=font, anchor=anchor)
        else:
            pen.text((size / 2, offset), text + colour_name(colours[name]), fill="black", font=font, anchor=anchor)
    return np.asarray(sheet)
