"""A set of synthetic flow pictures with questions on their action units, to pretrain on before real clips.

The action units are drawn without regard to any dataset's statistics, and no question asks for an emotion: what is
learnt is where each action unit moves the skin, and nothing about the people or labels that a model is tested on.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from megc.clips import Clip
from megc.files import lock_folder, png_bytes, write_bytes, write_json, write_jsonl
from megc.motion.colour import draw
from megc.problems import Problems
from megc.synthesis.flows import draw_units, sample_field
from megc.synthesis.settings import FlowSetSettings
from megc.vqa.instructions import build_records, clip_picture, row_id, write_records
from megc.vqa.prompts import PromptSettings, challenge_texts, prompt_record
from megc.vqa.questions import question_rows

KINDS = ("units", "side", "shown")


def write_flow_set(out: Path, settings: FlowSetSettings) -> str:
    """Write `flow/`, `rows.jsonl`, `instructions.jsonl`, `prompt.json`, `vocabulary.json` to `out`; returns a summary.

    The vocabulary holds the texts of all clip questions, so that a tokenizer made here serves real clips later.
    Clip n depends on the seed and n alone. Raises ValueError for no clip, and for an encoding that `colour.draw`
    does not know.
    """
    if settings.clips < 1:
        raise ValueError(f"{settings.clips} pictures asked for: ask for one at least")
    prompt = PromptSettings(images=("flow",), encoding=settings.encoding, structured=not settings.bare)
    find = clip_picture(out / "frames", out / "flow")
    rows = []
    for number in tqdm(range(settings.clips), desc="fields", unit="clip", disable=None):
        rng = np.random.default_rng([settings.seed, number])
        units = draw_units(rng)
        name = f"S{number:06d}"
        clip = Clip(f"synthetic/flow/{name}", "synthetic", "flow", name, 0.0, "", 0, 0, 0, action_units=units)
        own = question_rows(clip, settings.seed, KINDS, settings.pairs)
        picture = draw(sample_field(units, settings.size, rng), settings.encoding)
        write_bytes(find(own[0], "flow"), png_bytes(picture))
        rows += own
    records = build_records([(row_id(row), row) for row in rows], out, find, out, prompt, Problems())
    write_records(out / "instructions.jsonl", records)
    write_jsonl(out / "rows.jsonl", (record["row"] for record in records))
    write_json(out / "prompt.json", prompt_record(prompt))
    write_json(out / "vocabulary.json", challenge_texts(prompt))
    return f"{out / 'instructions.jsonl'}: {len(records)} questions on {settings.clips} synthetic flow pictures"


def make_flow_set(settings: FlowSetSettings, _problems: Problems) -> str:
    """`write_flow_set` into the settings' folder, while no other run writes there; returns a summary."""
    with lock_folder(settings.out, "flow_set"):
        return write_flow_set(settings.out, settings)
