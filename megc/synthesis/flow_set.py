"""A set of synthetic flow pictures with questions on their action units, to pretrain on before real clips.

Action units are drawn without regard to any dataset's labels, and no question asks for an emotion: what is learnt is
where each action unit moves the skin, and nothing about the people or labels that a model is tested on.

A field is what a flow method would see of an expression on a crop from above the brows to below the chin: the action
units' fields (`unit_fields.unit_field`), what is left of head motion, blinks, and noise that is smooth like a flow
method's. No frame is drawn, so a clip costs a few milliseconds. Crop, grain of the noise and spread of the strain are
those of public pictures of 16 people (SMIC); `benchmarks/synthetic_pictures.py` compares the two.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from megc.clips import Clip
from megc.facs import ME_VQA_UNITS, ActionUnit
from megc.files import lock_folder, png_bytes, write_bytes, write_json, write_jsonl
from megc.motion.colour import draw_flow
from megc.motion.motion_words import describe_picture
from megc.problems import Problems
from megc.synthesis.settings import FlowSetSettings
from megc.synthesis.subjects import face_shape
from megc.synthesis.unit_fields import ANCHORS, unit_field
from megc.vqa.clip_pictures import clip_picture
from megc.vqa.instructions import PictureSource, build_records, row_id, write_records
from megc.vqa.prompts import PromptSettings, challenge_texts, prompt_record
from megc.vqa.questions import question_rows

KINDS = ("units", "side", "shown")  # of questions: all that action units alone can answer
_NUMBERS = ((1, 0.45), (2, 0.35), (3, 0.15), (4, 0.05))  # action units a clip, and their shares
_ONE_SIDED = 0.3  # share of clips with a one-sided unit
_SIDED_UNITS = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 20)
_LIDS, _BLINKS = 43, 0.35  # field of a blink that has nothing to do with the expression, and the share with one
_EYES, _EYES_TO_MOUTH = 0.27, 0.38  # of the crop's height: where the eyes are, and how far below them the mouth is
_GRAINS = ((0.02, 0.6), (0.04, 1.0), (0.12, 1.0))  # of the noise: size in shares of the picture, and strength
_GATHERING = (1.3, 1.9)  # exponents of the strain
DRAWN_UNITS = tuple(unit for unit in ME_VQA_UNITS if unit in ANCHORS)
_UPPER = {1, 2, 4, 5, 6, 7, 9}  # at brows, eyes and nose
# the upper half of the face moves as often as the lower one, which has more units
_UNITS_OF_HALF = np.array(
    [sum((unit in _UPPER) == (other in _UPPER) for other in DRAWN_UNITS) for unit in DRAWN_UNITS]
)


def draw_units(rng: np.random.Generator) -> tuple[ActionUnit, ...]:
    """One to four different action units in random order, in both halves of the face alike and in each half all alike;
    some on one side only."""
    counts, shares = zip(*_NUMBERS, strict=True)
    numbers = rng.choice(DRAWN_UNITS, rng.choice(counts, p=shares), replace=False, p=0.5 / _UNITS_OF_HALF)
    side = rng.choice(["left", "right"]) if rng.random() < _ONE_SIDED else None
    return tuple(ActionUnit(int(n), str(side) if side and n in _SIDED_UNITS else None) for n in numbers)


def sample_field(units: Sequence[ActionUnit], size: int, rng: np.random.Generator) -> np.ndarray:
    """A field (size, size, 2) of an expression with these units on a new face, in arbitrary units (peak about 1).

    The crop reaches from brow to brow and from above the brows to below the chin, with random margins. Raises
    KeyError for a unit without a field.
    """
    points = face_shape(rng)
    brows, eyes, mouth = points[17:27, 0], points[36:48, 1].mean(), points[[48, 54], 1].mean()
    height = (mouth - eyes) / rng.normal(_EYES_TO_MOUTH, 0.02)
    top = eyes - height * rng.normal(_EYES, 0.025)
    left, right = (brows.min(), brows.max()) + rng.uniform(-0.02, 0.06, 2) * (-1, 1)
    axes = [np.linspace(left, right, size), np.linspace(top, top + height, size)]
    grid = np.stack(np.meshgrid(*axes), -1).astype(np.float32)
    identity = int(rng.integers(2**31))
    reach = float(rng.uniform(1.0, 1.6))  # flow methods spread a motion over the smooth skin around it
    field = np.zeros_like(grid)
    for unit in units:
        strength = rng.uniform(0.45, 1.0)
        field += np.float32(strength) * unit_field(points, reach, unit.number, unit.side, grid, identity, 1.3)
    if rng.random() < _BLINKS:
        field += np.float32(rng.uniform(-0.6, 0.6)) * unit_field(points, 1.0, _LIDS, None, grid, identity)
    affine = rng.normal(0, 0.15, (2, 2)) * rng.random()
    field += (grid - grid.mean((0, 1))) @ affine.T.astype(np.float32)
    field += rng.normal(0, 0.3, 2).astype(np.float32)
    return field + _noise(size, rng)


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of several grains, each of 1.5 to 7 per cent of a full unit's peak, times its strength."""
    total = np.zeros((size, size, 2), np.float32)
    for grain, strength in _GRAINS:
        noise = cv2.GaussianBlur(rng.standard_normal((size, size, 2)).astype(np.float32), (0, 0), grain * size)
        total += noise / noise.std() * np.float32(strength * np.exp(rng.uniform(np.log(0.015), np.log(0.07))))
    return total


def draw_field(field: np.ndarray, encoding: str, rng: np.random.Generator) -> np.ndarray:
    """Picture (uint8 RGB) of a field (H, W, 2). Strain that is stretched picture by picture gathers at few places, as
    in flow with sharp edges (total variation), which the public pictures are of."""
    picture = draw_flow(field, encoding)
    if encoding.startswith("uv-strain-"):
        strain = picture[..., 2] / np.float32(255)
        picture[..., 2] = np.rint(255 * strain ** rng.uniform(*_GATHERING))
    return picture


def write_flow_set(out: Path, settings: FlowSetSettings) -> str:
    """Write `flow/`, `rows.jsonl`, `instructions.jsonl`, `prompt.json`, `vocabulary.json` to `out`; returns a summary.

    The vocabulary holds the texts of all clip questions, so that a tokenizer made here serves real clips later.
    Clip n depends on the seed and n alone. Raises ValueError for no clip, for an encoding that `colour.draw_flow`
    does not know, and for motion in words of one whose pictures cannot be put into words.
    """
    if settings.clips < 1:
        raise ValueError(f"{settings.clips} pictures are no set: ask for one at least")
    style = {"structured": not settings.bare, "motion_words": settings.motion_words}
    prompt = PromptSettings(images=("flow",), encoding=settings.encoding, **style)
    find = clip_picture(out / "frames", out / "flow")
    rows, motion = [], {}
    for number in tqdm(range(settings.clips), desc="fields", unit="clip", disable=None):
        rng = np.random.default_rng([settings.seed, number])  # of the clip alone: a longer set begins with a shorter
        units = draw_units(rng)
        name = f"S{number:06d}"
        clip = Clip(f"synthetic/flow/{name}", "synthetic", "flow", name, 0.0, "", 0, 0, 0, action_units=units)
        questions = question_rows(clip, settings.seed, KINDS, settings.pairs)
        picture = draw_field(sample_field(units, settings.size, rng), settings.encoding, rng)
        write_bytes(find(questions[0], "flow"), png_bytes(picture))
        if prompt.motion_words:
            motion[clip.name] = describe_picture(picture, prompt.encoding, prompt.scale)
        rows += questions
    numbered = [(row_id(row), row) for row in rows]
    source = PictureSource(find, lambda row: motion[row["filename"]])
    records = build_records(numbered, out, source, out, prompt, Problems())
    write_records(out / "instructions.jsonl", records)
    write_jsonl(out / "rows.jsonl", (record["row"] for record in records))
    write_json(out / "prompt.json", prompt_record(prompt))
    write_json(out / "vocabulary.json", challenge_texts(prompt))
    return f"{out / 'instructions.jsonl'}: {len(records)} questions on {settings.clips} synthetic flow pictures"


def make_flow_set(settings: FlowSetSettings, _problems: Problems) -> str:
    """`write_flow_set` into the settings' folder, while no other run writes there; returns a summary."""
    with lock_folder(settings.out, "flow_set"):
        return write_flow_set(settings.out, settings)
