"""A set of synthetic flow pictures with questions on their action units, to pretrain on before real clips.

The action units are drawn without regard to any dataset's statistics, and no question asks for an emotion: what is
learnt is where each action unit moves the skin, and nothing about the people or labels that a model is tested on.

A field is what a flow method would see of an expression on a crop from brows to chin: the action units' fields
(`unit_fields.unit_field`), what is left of head motion, blinks, and noise that is smooth like a flow method's. No
frame is drawn, so a clip costs a few milliseconds.
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
_LIDS = 43  # its field, as a blink that has nothing to do with the expression
DRAWN_UNITS = tuple(unit for unit in ME_VQA_UNITS if unit in ANCHORS)


def draw_units(rng: np.random.Generator) -> tuple[ActionUnit, ...]:
    """One to four different action units in random order, each as likely as any other; some on one side only."""
    counts, shares = zip(*_NUMBERS, strict=True)
    numbers = rng.choice(DRAWN_UNITS, rng.choice(counts, p=shares), replace=False)
    side = rng.choice(["left", "right"]) if rng.random() < _ONE_SIDED else None
    return tuple(ActionUnit(int(n), str(side) if side and n in _SIDED_UNITS else None) for n in numbers)


def sample_field(units: Sequence[ActionUnit], size: int, rng: np.random.Generator) -> np.ndarray:
    """A field (size, size, 2) of an expression with these units on a new face, in arbitrary units (peak about 1).

    The crop reaches from the brows to the lower lip with random margins. Raises KeyError for a unit without a field.
    """
    points = face_shape(rng)
    low, high = points[17:60].min(0), points[17:60].max(0)
    margin = rng.uniform((-0.02, 0.0), (0.06, 0.09), (2, 2))
    low, high = low - margin[0], high + margin[1]
    axes = [np.linspace(low[axis], high[axis], size) for axis in (0, 1)]
    grid = np.stack(np.meshgrid(*axes), -1).astype(np.float32)
    identity = int(rng.integers(2**31))
    reach = float(rng.uniform(1.0, 1.6))  # flow methods spread a motion over the smooth skin around it
    field = np.zeros_like(grid)
    for unit in units:
        strength = rng.uniform(0.45, 1.0)
        field += np.float32(strength) * unit_field(points, reach, unit.number, unit.side, grid, identity, 1.3)
    if rng.random() < 0.2:
        field += np.float32(rng.uniform(-0.6, 0.6)) * unit_field(points, 1.0, _LIDS, None, grid, identity)
    affine = rng.normal(0, 0.15, (2, 2)) * rng.random()
    field += (grid - grid.mean((0, 1))) @ affine.T.astype(np.float32)
    field += rng.normal(0, 0.3, 2).astype(np.float32)
    return field + _noise(size, rng)


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of two grains, each of 1.5 to 8 per cent of a full unit's peak."""
    total = np.zeros((size, size, 2), np.float32)
    for grain in (0.04, 0.12):
        noise = cv2.GaussianBlur(rng.standard_normal((size, size, 2)).astype(np.float32), (0, 0), grain * size)
        total += noise / noise.std() * np.float32(np.exp(rng.uniform(np.log(0.015), np.log(0.08))))
    return total


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
        picture = draw_flow(sample_field(units, settings.size, rng), settings.encoding)
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
