"""Motion magnification of key frames: the apex drawn with the expression's motion made larger.

A Lagrangian magnifier (Liu et al. 2005): the onset frame is moved along the measured motion, head motion left out,
times a factor. An input for ablations; the flow itself is never computed on magnified frames.
"""

import cv2
import numpy as np


def magnify(onset: np.ndarray, field: np.ndarray, factor: float) -> np.ndarray:
    """The onset crop (uint8 RGB) after `factor` times the motion `field` (H, W, 2) from onset to apex.

    Factor 1 is the apex without the head's motion, 0 the onset. Raises ValueError for a negative factor.
    """
    if factor < 0:
        raise ValueError(f"the factor must not be negative: {factor}")
    smooth = cv2.GaussianBlur(field.astype(np.float32), (0, 0), 2) * factor
    grid = np.dstack(np.meshgrid(np.arange(field.shape[1]), np.arange(field.shape[0]))).astype(np.float32)
    source = grid - smooth
    for _ in range(6):  # the place that comes to rest here: where it starts plus its motion is here
        source = grid - cv2.remap(smooth, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.remap(onset, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
