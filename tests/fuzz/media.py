"""Files that are no text of ours: pictures, videos, motion fields, checkpoint folders.

What may be accepted is judged by OpenCV as a second decoder of pictures, by NumPy's
view of the bytes, and, of checkpoints, by the whole folder: weights, settings and vocabulary in memory are the same.
"""

import struct
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from answer_files import write_checkpoint
from contracts import same
from damages import Damaged, Draw, damage_bytes, damage_json
from oracles import Case, Target
from PIL import Image

from megc.files import read_picture
from megc.model.checkpoint import load
from megc.motion.flow_files import read_flow
from megc.motion.frames import open_frames
from megc.problems import Problems


def _picture(name: str, **options: object) -> "partial[None]":
    def build(root: Path) -> None:
        rng = np.random.default_rng(0)
        smooth = cv2.resize(rng.integers(0, 256, (6, 5, 3), np.uint8), (60, 48), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(smooth).save(root / name, **options)

    return build


def _read_pixels(name: str, root: Path, problems: Problems) -> list:
    picture = np.asarray(read_picture(root / name, root / "test.jsonl", "casme2/sub01/a", "make it again"))
    return [list(picture.shape), picture.tobytes()]


def _pixels_oracle(case: Case) -> str:
    """The pixels are those of the whole picture, or those that another decoder sees in the damaged bytes."""
    if same(case.reading, case.target.baseline):
        return ""
    content = case.damaged.content or b""
    if case.damaged.what.startswith("cut"):
        return "a cut picture was taken as whole"
    shape, data = case.reading
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if decoded is None or list(decoded.shape) != shape:
        return f"pixels of the shape {shape}, which OpenCV does not see"
    found = np.frombuffer(data, np.uint8).reshape(shape)
    apart = np.abs(found.astype(int) - cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)).mean()
    return "" if apart < 4 else f"pixels {apart:.0f} grey levels from those that OpenCV sees"


def _video(root: Path) -> None:
    out = cv2.VideoWriter(str(root / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 200.0, (64, 48))
    for n in range(12):
        out.write(np.full((48, 64, 3), 20 * n, np.uint8))
    out.release()


def _read_video(root: Path, problems: Problems) -> list:
    frames = open_frames(root / "a.avi", "unknown/a/a")
    images = [image for _, image in frames.read_many(list(frames.numbers))]
    faults = list(frames.faults)
    return [len(images), faults, [round(float(image.mean())) for image in images], list(images[0].shape)]


def _video_oracle(case: Case) -> str:
    """All frames are there, or it is said how many are not; each has the size of the whole video's."""
    count, faults, means, shape = case.reading
    whole_count, _, whole_means, whole_shape = case.target.baseline
    if shape != whole_shape:
        return "frames of another size"
    if count < whole_count and not faults:
        return f"{count} of {whole_count} frames without a word"
    apart = sum(abs(mean - whole) > 3 for mean, whole in zip(means, whole_means, strict=False))
    return f"{apart} frames of other brightness" if apart > 1 and not faults else ""


def _field(root: Path) -> None:
    np.save(root / "a.npy", np.random.default_rng(0).normal(0, 1, (12, 10, 2)).astype(np.float16))


def _read_field(root: Path, problems: Problems) -> list:
    field = read_flow(root / "a.npy", "casme2/sub01/a")
    return [list(field.shape), field.tobytes()]


def _field_oracle(case: Case) -> str:
    """The values are finite and those of the bytes behind the header; the shape is the whole file's."""
    shape, data = case.reading
    content = case.damaged.content or b""
    found = np.frombuffer(data, np.float32)
    if not np.isfinite(found).all():
        return "NaN or infinity"
    if shape != case.target.baseline[0]:
        return f"the shape {shape}"
    start = 10 + struct.unpack("<H", content[8:10])[0]
    wanted = np.frombuffer(content[start : start + 480], np.float16).astype(np.float32)
    return "" if np.array_equal(wanted, found) else "other values than the file's"


CHECKPOINT_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "megc.json",
    "model.safetensors",
    "generation_config.json",
)


def _damage_part(name: str, draw: Draw, data: bytes) -> Damaged:
    return damage_json(draw, data) if name.endswith(".json") else damage_bytes(draw, data)


def _read_checkpoint(root: Path, problems: Problems) -> list:
    loaded = load(root / "tiny", device="cpu")
    settings = loaded.model.config.to_dict()
    processor = loaded.processor
    weights = [float(tensor.double().sum()) for tensor in loaded.model.state_dict().values()]
    pictures = {
        key: str(value) for key, value in sorted(vars(processor.image_processor).items()) if not key.startswith("_")
    }
    text = processor.apply_chat_template([{"role": "user", "content": "brow lowerer"}], tokenize=False)
    tokens = processor.tokenizer("brow lowerer is shown: yes, no.").input_ids
    return [str(sorted(settings.items(), key=str)), weights, pictures, text, tokens, len(processor.tokenizer)]


def _checkpoint_oracle(name: str, case: Case) -> str:
    """What is in memory is what the whole folder gives; `generation_config.json` is the user's to change."""
    if name in ("generation_config.json", "megc.json"):
        return ""
    if same(case.reading, case.target.baseline):
        return ""
    kinds = ("config", "weights", "pictures", "template", "tokens", "vocabulary")
    changed = [kind for kind, a, b in zip(kinds, case.reading, case.target.baseline, strict=True) if a != b]
    return f"{', '.join(changed)} changed without a word"


def _build_checkpoint(root: Path) -> None:
    write_checkpoint(root / "tiny")


MEDIA_TARGETS = [
    Target("PNG", "a.png", _picture("a.png"), damage_bytes, partial(_read_pixels, "a.png"), _pixels_oracle, weight=2),
    Target(
        "JPEG",
        "a.jpg",
        _picture("a.jpg", quality=90),
        damage_bytes,
        partial(_read_pixels, "a.jpg"),
        _pixels_oracle,
        weight=2,
    ),
    Target("video", "a.avi", _video, damage_bytes, _read_video, _video_oracle, weight=2),
    Target("motion field", "a.npy", _field, damage_bytes, _read_field, _field_oracle, weight=2),
    *[
        Target(
            f"checkpoint's {name}",
            f"tiny/{name}",
            _build_checkpoint,
            partial(_damage_part, name),
            _read_checkpoint,
            partial(_checkpoint_oracle, name),
            fields=False,
            weight=0.1,
        )
        for name in CHECKPOINT_FILES
    ],
]
