"""The flow picture of the MEGC 2025 project that this repository continues, as its own files make it: for comparison.

Its repository is Humphrey-0125/MEGC2025 on GitHub. [test] is `data_process/1add_optical-flow/process-test.py` at
commit 629ec15, [train] is `Final/data_process/1add_optical-flow/process_train_cas.py` at commit a72f7c4; the two have
the same rules. Each rule below names where it stands there.
"""

import cv2
import numpy as np

from megc.motion.faces import face_models
from megc.motion.flow import optical_flow, to_grey
from megc.motion.regions import nose_box

NOSE_TIP = 30  # landmark, of 68: `get_nose_region` in [test] and [train]


def find_nose(grey_onset: np.ndarray) -> tuple[slice, slice]:
    """(rows, columns) of the nose in the grey onset frame (uint8 (H, W)): `get_nose_region` in [test] and [train].

    Detector and predictor are built once a process (top of both files). Detection is on the grey onset frame alone,
    with no upsampling; the first face counts. Without a face the middle of the frame stands for the nose.
    """
    detector, predictor = face_models()
    faces = detector(grey_onset)
    if not faces:
        height, width = grey_onset.shape
        return nose_box((width // 2, height // 2), grey_onset.shape)
    tip = predictor(grey_onset, faces[0]).part(NOSE_TIP)
    return nose_box((tip.x, tip.y), grey_onset.shape)


def original_motion(onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Motion float32 (H, W, 2) between two whole frames (uint8 RGB or grey): `compute_optical_flow` in both files.

    TV-L1 of one scale on the grey frames, less its mean in the box of the nose.
    """
    grey_onset, grey_apex = (to_grey(image) for image in (onset, apex))
    flow = optical_flow(grey_onset, grey_apex, "tvl1-original")
    return flow - flow[find_nose(grey_onset)].mean(axis=(0, 1))


def original_picture(flow: np.ndarray, onset: np.ndarray) -> np.ndarray:
    """uint8 RGB picture of a motion field over its onset frame: `flow_to_color_map` in [test] and [train].

    Hue is half the angle in degrees, the value is the length stretched to the picture's own range, both cut (not
    rounded) to 8 bits; the colours are mixed half and half with the grey onset frame.
    """
    length, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    # OpenCV's hue of 8 bits counts to 180
    value = cv2.normalize(length, None, 0, 255, cv2.NORM_MINMAX)
    hsv = np.dstack([angle * 180 / np.pi / 2, np.full_like(length, 255), value]).astype(np.uint8)
    grey = cv2.cvtColor(to_grey(onset), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 0.5, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), 0.5, 0)


def original_apex(frames: list[np.ndarray]) -> int:
    """Position of the frame (uint8, RGB or grey) least like the first: `find_apex_frame_index` in [test]."""
    first = to_grey(frames[0])
    return int(np.argmax([cv2.absdiff(first, to_grey(frame)).sum() for frame in frames]))
