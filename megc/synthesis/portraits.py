"""The two portraits that synthetic subjects are made from: pixels, 68 landmarks, outline of head and shoulders.

Both are works of US government agencies in the public domain and are installed with libraries the project needs
anyway: scikit-image's `astronaut` (NASA portrait of Eileen Collins) and matplotlib's `grace_hopper.jpg` (US Navy
portrait of Grace Hopper). Landmarks are dlib's 68 points, found once and rounded to tenths of a pixel, so that
making clips needs no detector.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from matplotlib.cbook import get_sample_data
from skimage.data import astronaut

# x,y of the 68 points in pixels of the portrait; the numbering is dlib's (iBUG 300-W), image left to right.
_POINTS = {
    "astronaut": """
        179.8,104 180,115.8 181.2,127 182.2,138.2 185,150 191,160.2 200,168.5 209.5,175.8 220.5,178.5
        232.5,177 243.2,171.2 253.2,163.8 260.5,154 265,143 267.8,131.2 270.2,120 272,108 186.2,94.8
        192.2,88.8 200.8,87.5 209.2,89.2 217,92.8 236.2,93.8 244.2,91.2 252.5,90.8 260.5,92.5 265.8,98.8
        226.2,102.5 226,111 225.8,119 225.5,127.5 214.5,131.2 219.5,132.8 224.5,134.5 230,133.2 234.8,132.2
        195.2,101.5 200.8,98.2 207.5,99 212.8,104.2 206.8,104.5 200.2,104.2 237.8,105.5 243.8,100.8 250,100.8
        255.5,104.5 250.5,106.8 244,106.5 200.2,139 209.2,139.2 218,140 223.5,141.2 230,140.2 238,140.5
        246.2,140.5 238,151 229.5,155 222.5,156 216.2,154.8 207.8,149.8 203,140.2 217.5,143.2 223.2,144.5
        229.8,143.5 243.2,141.8 229.5,150 223,150.8 217,149.8""",
    "hopper": """
        176,207 180,229.5 185.5,251 192,272 199.5,292.5 211,310.5 227,323 246,331 269,332
        290.5,329 310,319 326.5,305 339,286 347.5,265 351.5,242.5 353.5,219 354.5,194.5 186,192
        191,175.5 206,167.5 223.5,166.5 239.5,171 279.5,167.5 295,160.5 313,159 329.5,165.5 339.5,179
        261.5,188.5 262.5,205 263.5,221.5 264,238.5 245,246.5 255,249.5 266,252.5 277,249 286,245
        207.5,198.5 215,192 225,190.5 236,195.5 226.5,198 216.5,200 290,192.5 298.5,185.5 308.5,185
        318,190 309.5,192.5 299.5,193 230.5,280.5 242.5,274 255,271.5 265.5,273.5 275.5,271 288,272
        300.5,276.5 289,284 277.5,288.5 267,290 255.5,289.5 243,287 234.5,280 255.5,278 266,279
        276.5,277.5 295.5,277 276.5,278.5 266.5,280 255.5,279.5""",
}
# Outline of head and shoulders, drawn by hand a little inside the edge, so that no backdrop shines through.
_OUTLINES = {
    "astronaut": """
        20,511 28,400 46,305 64,268 97,232 114,208 126,182 134,171 150,158 172,152 184,152 183,133 172,130 169,122
        161,107 155,88 155,69 158,56 167,45 183,36 192,30 205,23 220,18 234,17 252,20 269,29 283,42 293,55 298,72
        300,87 297,103 290,116 281,124 277,133 269,136 263,152 254,161 252,175 270,187 284,198 295,213 303,234
        330,264 350,287 364,342 290,511""",
    "hopper": """
        2,599 28,455 48,398 72,377 131,357 191,336 203,315 198,301 190,301 173,285 167,262 157,225 154,200 152,182
        150,150 156,112 168,82 186,58 208,40 236,27 265,23 299,31 330,54 348,80 361,114 369,150 369,182 374,196 372,224
        360,262 357,290 343,304 331,315 331,332 345,347 400,367 470,387 489,397 503,440 511,465 511,599""",
}
# The admiral's hat, which subjects wear as a plain cap.
_HAT = """
    146,190 152,176 160,160 172,148 184,143 204,136 236,132 262,135 292,131 326,135 346,144 362,160 372,180 378,190
    390,120 380,60 340,20 265,2 190,16 150,50 134,120"""
# Hinges and upper rims of the admiral's spectacles, painted over with skin: the astronaut's eyes do not hide them all.
_SPECTACLES = """
    174,170 200,169 240,176 264,183 264,193 240,191 212,191 206,199 176,195|
    274,181 300,172 330,168 362,168 362,191 338,199 330,187 300,187 276,192"""


@dataclass(frozen=True)
class Portrait:
    """`image` (H, W, 3) uint8 BGR, `points` (68, 2) pixels, `matte` and `hat` (H, W) uint8, 255 inside head and
    shoulders, and inside the hat."""

    image: np.ndarray
    points: np.ndarray
    matte: np.ndarray
    hat: np.ndarray


def _numbers(text: str) -> np.ndarray:
    return np.array([pair.split(",") for pair in text.split()], dtype=np.float64)


def _filled(outline: str, size: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    if outline:
        cv2.fillPoly(mask, [_numbers(outline).astype(np.int32)], 255, cv2.LINE_AA)
    return mask


def _without_spectacles(image: np.ndarray) -> np.ndarray:
    right, left = (_filled(outline, image.shape[:2]) for outline in _SPECTACLES.split("|"))
    mask = ((right > 0) | (left > 0)).astype(np.uint8)
    filled = cv2.inpaint(image, mask, 4, cv2.INPAINT_TELEA)
    filled[..., 0] = np.minimum(filled[..., 0], filled[..., 1])  # nothing of her is blue but the backdrop at the rim
    return filled


@cache
def load_portrait(name: str) -> Portrait:
    """The portrait `astronaut` or `hopper`. Raises KeyError for another name."""
    points = _numbers(_POINTS[name])
    if name == "astronaut":
        image = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    else:
        image = _without_spectacles(cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))
    matte = cv2.erode(_filled(_OUTLINES[name], image.shape[:2]), np.ones((3, 3), np.uint8))
    return Portrait(image, points, matte, _filled(_HAT if name == "hopper" else "", image.shape[:2]))
