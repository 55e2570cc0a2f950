"""What the package makes of a file, as plain values to compare, and the same by hand from its parsed content."""

import json
from collections.abc import Callable
from pathlib import Path

import contracts
from contracts import Unreadable, holds
from oracles import MISSING

from megc.ablation.spec import read_grid
from megc.files import read_checked, read_rows
from megc.model.samples import vocabulary_beside
from megc.planning.fit import stage_of
from megc.problems import DataError, Problems
from megc.reasoning.agreement import reason_file
from megc.scoring.runs import read_references, read_run
from megc.training.resume import TrainerState, has_state
from megc.training.settings import SftSettings, read_config
from megc.vqa.build import BuildSettings, prompt_settings
from megc.vqa.instructions import PictureSource, build_records
from megc.vqa.labels import read_labels
from megc.vqa.prompts import PromptSettings
from megc.vqa.submission import make_submission


def view_build(root: Path, problems: Problems) -> list:
    rows = [(number, row) for number, (_, row) in enumerate(read_rows(root / "rows.jsonl", "give rows"), 1)]
    picture = root / "flow.png"
    picture.touch()
    source, prompt = PictureSource(lambda row, name: picture), PromptSettings(images=("flow",))
    records = build_records(rows, root / "rows.jsonl", source, root, prompt, problems)
    return [record["row"] for record in records]


def view_references(file: str) -> Callable[[Path, Problems], list]:
    def read(root: Path, problems: Problems) -> list:
        found = read_references(root / file, problems)
        return [[reference.id, reference.question, reference.answer] for reference in found]

    return read


def view_predicted(root: Path, problems: Problems) -> list:
    references = read_references(root / "references.jsonl", problems)
    run = read_run(root / "run/predictions.jsonl", "a", references, problems, {})
    return [
        [reference.id, answer] for reference, answer in zip(references, run.answers, strict=True) if answer is not None
    ]


def view_reasoned(root: Path, problems: Problems) -> list:
    file = root / "run/predictions.jsonl"
    reason_file(file, root / "out", ["snap", "joint", "compose"])
    rows = [json.loads(line) for line in (root / "out/predictions.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key not in ("answer", "run")} for row in rows]


def view_submitted(root: Path, problems: Problems) -> list:
    file = root / "me_vqa_casme3_test_to_answer.jsonl"
    make_submission([root / "predictions.jsonl"], [file], root / "out", problems)
    rows = (root / "out/me_vqa_casme3_test_pred.jsonl").read_text().splitlines()
    return [[row["video_id"], row["answer"]] for row in map(json.loads, rows) if row["answer"]]


def view_grid(root: Path, problems: Problems) -> dict:
    grid = read_grid(root / "grid.yaml")
    settings = [grid.protocol, grid.folds, grid.split_seed, grid.share, grid.inner_folds, list(grid.seeds), grid.full]
    return {"settings": settings, "arms": sorted(grid.arms), "hashes": sorted(arm.hash for arm in grid.arms.values())}


def view_flow_json(root: Path, problems: Problems) -> list:
    settings = prompt_settings(BuildSettings(root / "clips.jsonl", root / "out.jsonl"), root)
    return [settings.encoding, settings.scale]


def if_present(read: Callable[[Path], object], nothing: object) -> Callable[[Path, Problems], object]:
    """A reader of a file that may be absent; absence is told as MISSING."""

    def run(root: Path, problems: Problems) -> object:
        found = read(root)
        return MISSING if found == nothing else found

    return run


def view_state(root: Path, problems: Problems) -> object:
    """The trainer's state. Whether a run may go on from it must be the same answer."""
    try:
        found = read_checked(TrainerState, root / "trainer_state.json")
    except DataError:
        assert not has_state(root)
        raise
    assert has_state(root)
    return found


CONFIG = {
    "output_dir": "text",
    "model": "text",
    "train_file": "text",
    "packing": "text",
    "max_length": "whole",
    "seed": "whole",
    "max_pixels": ("or", None, "whole"),
    "shift": "whole",
    "bf16": "flag",
    "num_train_epochs": "number",
    "lora_rank": "whole",
    "per_device_train_batch_size": "whole",
    "gradient_accumulation_steps": "whole",
    "learning_rate": "number",
    "weight_decay": "number",
    "max_grad_norm": "number",
    "save_total_limit": ("or", None, "whole"),
    "save_only_model": "flag",
    "logging_steps": "number",
    "lora_targets": ("list", "text", 0),
}


def plain_config(data: bytes) -> dict:
    value = contracts.parse_yaml(contracts.decode(data))
    value = {} if value is None else value
    if not isinstance(value, dict) or not holds(value, {f"{name}?": shape for name, shape in CONFIG.items()}):
        raise Unreadable("the contract is broken")
    return value


def view_config(root: Path, problems: Problems) -> dict:
    from dataclasses import fields

    from transformers import TrainingArguments

    return read_config(
        root / "a.yaml", {setting.name for kind in (SftSettings, TrainingArguments) for setting in fields(kind)}
    )


def swift_item(row: dict) -> list:
    said = {message["role"]: message["content"] for message in row["messages"]}
    question = said["user"].replace("<image>", "").strip()
    return [f"{row['images'][0]} {question}", question, row.get("response", said["assistant"])]


def answered_item(row: dict) -> list:
    """Identity, question and true answer of a row or of a record."""
    inner = row.get("row", row)
    answer = inner.get("answer")
    if "messages" in row:
        last = row["messages"][-1]
        answer = last["content"] if last["role"] == "assistant" else None
    if not isinstance(answer, str) or not answer.strip():
        raise KeyError("answer")
    return [inner["id"] if "id" in inner else inner["video_id"], inner["question"], answer]


def prediction_item(row: dict) -> list:
    if not row["answer"].strip():
        raise KeyError("answer")
    return [row["id"] if "id" in row else row["video_id"], row["answer"].strip()]


def view_labels(root: Path, problems: Problems) -> list:
    return [[label.clip, list(label.units), label.fine, label.coarse] for label in read_labels(root / "rows.jsonl")]


def view_vocabulary(root: Path) -> object:
    return vocabulary_beside(root / "train.jsonl")


def view_stage(root: Path, problems: Problems) -> str:
    return stage_of(str(root / "zero.json"))


def plain_stage(record: dict) -> str:
    zero = record.get("zero_optimization", {})
    offload = (
        holds(zero.get("offload_param", {}), {"device?": "text"})
        and zero.get("offload_param", {}).get("device", "none") != "none"
    )
    if not holds(zero, {"stage?": ("or", 0, 2, 3), "offload_param?": {"device?": ("or", "none", "cpu", "nvme")}}):
        raise Unreadable("the contract is broken")
    return {0: "none", 2: "zero2", 3: "zero3_offload" if offload else "zero3"}[zero.get("stage", 0)]
