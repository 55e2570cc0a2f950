"""The files that are fuzzed: a whole one of each kind, how it is damaged, what reads it, and what may be accepted."""

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import contracts
import numpy as np
from contracts import Unreadable, holds, same
from damages import Damaged, Draw, damage_json, damage_jsonl, damage_yaml
from flow_set import make_set
from score_files import make_records, make_rows

from megc.ablation.spec import read_grid
from megc.answers.predictions import _read as read_kept_predictions
from megc.clips import clip_to_row, read_clips
from megc.commits import answer_commits
from megc.files import read_checked, read_rows, write_json, write_jsonl
from megc.model.checkpoint import read_training_info
from megc.model.samples import vocabulary_beside
from megc.model.weights import base_of, weight_files
from megc.motion.keyframes import check_align
from megc.planning.fit import stage_of
from megc.problems import DataError, Problems
from megc.reasoning.agreement import reason_file
from megc.reasoning.rules import RULES, read_rules
from megc.scoring.runs import read_references, read_run, read_runs
from megc.splits import make_folds, write_folds
from megc.training.resume import TrainerState, has_state
from megc.training.settings import SftSettings, read_config
from megc.vqa.build import BuildSettings, prompt_settings
from megc.vqa.evidence_prompt import read_evidence
from megc.vqa.instructions import build_records, read_prompt, read_records, read_split
from megc.vqa.labels import read_answers, read_labels
from megc.vqa.prompts import PromptSettings, prompt_record
from megc.vqa.submission import make_submission

ROOT = Path(__file__).parents[2]
QUESTIONS = ("What is the coarse expression class?", "What is the fine-grained expression class?",
             "What are the action units?", "Is the action unit brow lowerer shown on the face?")  # fmt: skip


@dataclass
class Target:
    """A kind of file. `build` writes a whole one and what it needs into a folder; `damage` harms the bytes of `file`
    there; `read` gives what the package makes of it (plain values); `oracle` says, of an accepted file, what was lost
    or altered without a word (empty: nothing), from the damaged bytes and the package's reading, with the problems
    that it told and the reading of the whole file. `rows`: a fault of one row must name it. `fields`: one of
    a key must name it, as what only other libraries read need not. `weight`: share of the
    cases."""

    name: str
    file: str
    build: Callable[[Path], None]
    damage: Callable[[Draw, bytes], Damaged]
    read: Callable[[Path, Problems], object]
    oracle: Callable[["Case"], str]
    rows: bool = False
    fields: bool = True
    weight: float = 1.0
    baseline: object = field(default=None, repr=False)


@dataclass
class Case:
    """One damaged file that was accepted, in whole or in part."""

    target: Target
    damaged: Damaged
    reading: object
    problems: Problems
    whole: bytes


def _equals(expected: Callable[[bytes], object]) -> Callable[[Case], str]:
    """Oracle: what is read is what an independent parser reads, and every field has the type of the contract."""

    def judge(case: Case) -> str:
        if case.damaged.content is None:
            return "" if case.reading == MISSING else "a file that is not there was read"
        try:
            wanted = expected(case.damaged.content)
        except Unreadable as error:
            return f"accepted, though {error}"
        return "" if same(case.reading, wanted) else f"read {_short(case.reading)}, not {_short(wanted)}"

    return judge


MISSING = "no file"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 160 else f"{text[:160]}…"


def _rows(shape: object, more: Callable[[dict], str] = lambda row: "") -> Callable[[bytes], list[dict]]:
    """All rows of a JSONL; each must keep the shape, and `more` finds no fault in it."""

    def expected(data: bytes) -> list[dict]:
        rows = [row for _, row in contracts.jsonl_rows(data)]
        for number, row in enumerate(rows, 1):
            if not holds(row, shape) or more(row):
                raise Unreadable(f"row {number} breaks the contract {more(row) if holds(row, shape) else ''}")
        if not rows:
            raise Unreadable("there is no row")
        return rows

    return expected


def _value(shape: object, view: Callable = lambda value: value) -> Callable[[bytes], object]:
    """`view` of the value of a JSON file that keeps the shape."""

    def expected(data: bytes) -> object:
        value = contracts.parse_json(contracts.decode(data))
        if not holds(value, shape):
            raise Unreadable("the contract is broken")
        return view(value)

    return expected


def _each_row(item: Callable[[dict], object], shape: object) -> Callable[[Case], str]:
    """Oracle of readers that collect problems and go on: every row is read as it stands, or named in a problem.

    `item`: what a row must become, computed without the package; the reading is a list of such items.
    """

    def judge(case: Case) -> str:
        left = list(case.reading)
        told = [(problem.row, f"{problem.row} {problem.what}") for problem in case.problems]
        try:
            text = contracts.decode(case.damaged.content or b"")
        except Unreadable:
            return "accepted, though it is not UTF-8"
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            row = wanted = None
            with contextlib.suppress(Unreadable, KeyError, TypeError, IndexError, AttributeError):
                row = contracts.parse_json(line)
                wanted = item(row) if holds(row, shape) else None
            place = next((n for n, found in enumerate(left) if wanted is not None and same(found, wanted)), None)
            if place is not None:
                del left[place]
            elif not any(where == number or _names(words, row) for where, words in told):
                return f"row {number} is neither read as it stands nor named"
        return f"read what no row holds: {_short(left[0])}" if left else ""

    return judge


def _names(words: str, row: object) -> bool:
    """Whether a problem names a row by its identity."""
    inner = row.get("row", row) if isinstance(row, dict) else {}
    names = [inner.get(key) for key in ("id", "video_id")] if isinstance(inner, dict) else []
    return any(isinstance(name, str) and name and name in words for name in names)


# Whole files. Each builder writes what its target and the target's readers need into an empty folder.


def _clip_rows() -> list[dict]:
    units = [{"number": 4, "side": "left"}, {"number": 7, "side": None}]
    return [
        {"id": f"casme2/sub0{n}/EP{n}", "dataset": "casme2", "subject": f"sub0{n}", "name": f"EP{n}", "fps": 200.0,
         "frames": f"CASME2/sub0{n}/EP{n}", "onset": 1, "apex": 5 + n, "offset": 20, "apex_estimated": False,
         "action_units": units[: 1 + n % 2], "fine": "disgust", "coarse": "negative", "notes": ["note"] * (n % 2)}
        for n in range(1, 5)
    ]  # fmt: skip


def _clip_fault(row: dict) -> str:
    if row["id"] != f"{row['dataset']}/{row['subject']}/{row['name']}":
        return "(the id is not that of its parts)"
    return "" if row["onset"] <= row["apex"] <= row["offset"] else "(frames in no order)"


def _test_rows(answers: bool) -> list[dict]:
    """Rows with the keys of the 2025 test."""
    asked = zip(QUESTIONS, ("negative", "disgust", "brow lowerer, lid tightener", "yes"), strict=True)
    return [
        {"video_id": f"casme3_test_CAS-{clip}_{n}", "video": f"CAS-{clip}", "question": question,
         "answer": answer if answers else ""}
        for clip in (1, 2) for n, (question, answer) in enumerate(asked if clip == 1 else list(_again(answers)), 1)
    ]  # fmt: skip


def _again(answers: bool) -> Iterable[tuple[str, str]]:
    return zip(QUESTIONS, ("positive", "happiness", "lip corner puller, dimpler", "no"), strict=True)


def _write_rows(root: Path) -> None:
    write_jsonl(root / "rows.jsonl", make_rows())


def _write_2025(root: Path) -> None:
    write_jsonl(root / "rows.jsonl", _test_rows(True))


def _write_records(root: Path) -> None:
    records = make_records(root, make_rows()[:12])
    for record in records:
        record["messages"][1]["content"] = f"{'<image>' * len(record['images'])} {record['row']['question']}"
    write_jsonl(root / "test.jsonl", records)


def _write_predictions(root: Path) -> None:
    rows = make_rows()[:12]
    write_jsonl(root / "references.jsonl", rows)
    known = {"votes": ["negative", "positive"], "agreement": 0.5, "margin": 1.25}
    for place, row in enumerate(rows):
        rows[place] = {**row, **known, "raw": row["answer"]}
        if place % 4 == 0:
            rows[place] |= {"choices": {"negative": -0.5, "positive": -2.0, "surprise": -3.5}}
    write_jsonl(root / "run" / "predictions.jsonl", rows)


def _write_kept(root: Path) -> None:
    rows = [{**row, "run": "0123456789abcdef", "input": f"{n:016x}"} for n, row in enumerate(make_rows()[:8])]
    write_jsonl(root / "predictions.jsonl", rows)


def _write_submission(root: Path) -> None:
    write_jsonl(root / "me_vqa_casme3_test_to_answer.jsonl", _test_rows(False))
    write_jsonl(root / "predictions.jsonl", _test_rows(True))


def _write_evidence(root: Path) -> None:
    row = {"coarse": {"negative": 0.7, "positive": 0.3}, "fine": {"disgust": 0.6, "fear": 0.4},
           "units": {"brow lowerer": 0.8, "dimpler": 0.1}, "side": {"left": 0.5, "right": 0.5}}  # fmt: skip
    rows = [{"clip": f"casme2/sub0{n}/a", "part": "test" if n % 2 else "train", **row} for n in range(1, 5)]
    write_jsonl(root / "evidence.jsonl", rows)


def _write_swift(root: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"<image>{QUESTIONS[n % 2]}"},
                      {"role": "assistant", "content": ("negative", "disgust")[n % 2]}],
         "images": [f"data/sub01/EP{n}/flow.png"]}
        for n in range(6)
    ]  # fmt: skip
    write_jsonl(root / "swift.jsonl", rows)


def _write_prompt(root: Path) -> None:
    write_json(root / "prompt.json", prompt_record(PromptSettings(images=("flow", "apex"))))


def _write_split(root: Path) -> None:
    records, _ = make_set(subjects=6)
    write_folds(root / "a.split.json", make_folds(records, "kfold", 3), {"protocol": "kfold", "fold": 1, "folds": 3})


def _write_megc(root: Path) -> None:
    record = {"kind": "trained", "base": "checkpoints/base", "base_hash": None, "prompt_hash": "0" * 16,
              "prompt": prompt_record(PromptSettings(images=("flow",))), "min_pixels": 3136, "max_pixels": 100352,
              "steps": 20, "data": {"file": "a.jsonl", "rows": 7, "rows_hash": "1" * 16, "clips": 1,
                                    "subjects": ["casme2/sub01"], "validation_subjects": [], "split": None},
              "training": {"seed": 0, "packing": "clip"}, "weights_hash": "2" * 16}  # fmt: skip
    write_json(root / "megc.json", record)


def _write_run(root: Path) -> None:
    _write_predictions(root)
    settings = {"votes": 5, "decode": ["sample"]}
    write_json(root / "run" / "run.json", {"hash": "0" * 16, "settings": settings, "commits": ["0123456789ab"]})


def _write_align(root: Path) -> None:
    points = [[100 + n * 1.25, 120 + (n * 7) % 60] for n in range(68)]
    sources = {
        name: {"wanted": n, "used": n, "file": f"img{n}.jpg"} for n, name in enumerate(("onset", "apex", "offset"))
    }
    record = {"clip": "demo/s1/a", "key": "0" * 16, "settings": {}, "size": [280, 336], "frames": sources,
              "apex_spotted": False, "transform": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "landmarks": points,
              "landmarks_from": "dlib", "notes": [], "warnings": ["w"]}  # fmt: skip
    write_json(root / "demo/s1/a/align.json", record)


def _write_shards(root: Path) -> None:
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in names:
        (root / name).write_bytes(b"x")
    tensors = {f"layers.{n}.weight": names[n % 2] for n in range(4)}
    write_json(root / "model.safetensors.index.json", {"metadata": {"total_size": 2}, "weight_map": tensors})


def _write_grid(root: Path) -> None:
    (root / "grid.yaml").write_bytes((ROOT / "ablation/grid.yaml").read_bytes())


def _write_config(root: Path) -> None:
    (root / "a.yaml").write_bytes((ROOT / "train/qwen2_5_vl_7b_lora.yaml").read_bytes())


# What the package makes of a file, as plain values.


def _build(root: Path, problems: Problems) -> list:
    rows = [(number, row) for number, (_, row) in enumerate(read_rows(root / "rows.jsonl", "give rows"), 1)]
    picture = root / "flow.png"
    picture.touch()
    records = build_records(
        rows, root / "rows.jsonl", lambda row, name: picture, root, PromptSettings(images=("flow",)), problems
    )
    return [record["row"] for record in records]


def _references(file: str) -> Callable[[Path, Problems], list]:
    def read(root: Path, problems: Problems) -> list:
        found = read_references(root / file, problems)
        return [[reference.id, reference.question, reference.answer] for reference in found]

    return read


def _predicted(root: Path, problems: Problems) -> list:
    references = read_references(root / "references.jsonl", problems)
    run = read_run(root / "run/predictions.jsonl", "a", references, problems, {})
    return [
        [reference.id, answer] for reference, answer in zip(references, run.answers, strict=True) if answer is not None
    ]


def _reasoned(root: Path, problems: Problems) -> list:
    file = root / "run/predictions.jsonl"
    reason_file(file, root / "out", ["snap", "joint", "compose"])
    rows = [json.loads(line) for line in (root / "out/predictions.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key not in ("answer", "run")} for row in rows]


def _submitted(root: Path, problems: Problems) -> list:
    file = root / "me_vqa_casme3_test_to_answer.jsonl"
    make_submission([root / "predictions.jsonl"], [file], root / "out", problems)
    rows = (root / "out/me_vqa_casme3_test_pred.jsonl").read_text().splitlines()
    return [[row["video_id"], row["answer"]] for row in map(json.loads, rows) if row["answer"]]


def _grid(root: Path, problems: Problems) -> dict:
    grid = read_grid(root / "grid.yaml")
    settings = [grid.protocol, grid.folds, grid.split_seed, grid.inner_folds, list(grid.seeds), grid.full]
    return {"settings": settings, "arms": sorted(grid.arms), "hashes": sorted(arm.hash for arm in grid.arms.values())}


def _rules(root: Path, problems: Problems) -> list:
    rules = read_rules(root / "rules.json")
    found = [[sorted(rule.units), sorted(rule.without), rule.fine] for rule in rules.rules]
    return [sorted(found), rules.strength]


def _plain_rules(record: dict) -> list:
    found = [
        [sorted(set(rule["units"])), sorted(set(rule.get("without", []))), rule["fine"]] for rule in record["rules"]
    ]
    return [sorted(found), float(record["strength"])]


def _flow_json(root: Path, problems: Problems) -> list:
    settings = prompt_settings(BuildSettings(root / "clips.jsonl", root / "out.jsonl"), root)
    return [settings.encoding, settings.scale]


def _optional(read: Callable[[Path], object], nothing: object) -> Callable[[Path, Problems], object]:
    """A reader of a file that may be absent; absence is told as MISSING."""

    def run(root: Path, problems: Problems) -> object:
        found = read(root)
        return MISSING if found == nothing else found

    return run


def _state(root: Path, problems: Problems) -> object:
    """The trainer's state. Whether a run may go on from it must be the same answer."""
    try:
        found = read_checked(TrainerState, root / "trainer_state.json")
    except DataError:
        assert not has_state(root)
        raise
    assert has_state(root)
    return found


def _grid_oracle(case: Case) -> str:
    """Types by hand; settings, names and number of arms as an independent YAML parser has them."""
    if case.damaged.content is None:
        return "a file that is not there was read"
    try:
        value = contracts.parse_yaml(contracts.decode(case.damaged.content))
    except Unreadable as error:
        return f"accepted, though {error}"
    names = {"protocol": "holdout", "folds": 5, "split_seed": 0, "inner_folds": 0, "seeds": [0]}
    wanted = [value.get(name, default) for name, default in names.items()]
    wanted.append(str(value["full"]) if value.get("full") is not None else next(iter(map(str, value["arms"]))))
    if not same(case.reading["settings"], wanted):
        return f"settings {case.reading['settings']}, not {wanted}"
    if case.reading["arms"] != sorted(map(str, value["arms"])):
        return "other arms than the file's"
    shapes = ("or", None, ("map", ("or", None, "text", "number", "flag", ("list", ("or", "text", "number"), 0))))
    flags = [
        arm.get(name) for arm in [value.get("defaults"), *value["arms"].values()] if arm for name in ("data", "answer")
    ]
    if not all(holds(section, shapes) for section in flags) or not holds(value["seeds"], ("list", "whole", 1)):
        return "a setting of another type was accepted"
    damaged = case.damaged.content != case.whole and value != contracts.parse_yaml(contracts.decode(case.whole))
    return "a change of an arm left no trace" if damaged and same(case.reading, case.target.baseline) and not _neutral(
        value, contracts.parse_yaml(contracts.decode(case.whole))) else ""  # fmt: skip


def _neutral(value: dict, whole: dict) -> bool:
    """Whether two grid files say the same but for nulls and `full`, or differ in the baselines alone."""
    bare = [
        {key: _without_nulls(part) for key, part in tree.items() if key not in ("full", "baselines")}
        for tree in (value, whole)
    ]
    return bare[0] == bare[1]


def _without_nulls(tree: object) -> object:
    if isinstance(tree, dict):
        return {
            key.replace("_", "-") if isinstance(key, str) else key: _without_nulls(part)
            for key, part in tree.items()
            if part not in (None, {})
        }
    return tree


CONFIG = {"output_dir": "text", "model": "text", "train_file": "text", "packing": "text", "max_length": "whole", "seed": "whole",
          "max_pixels": ("or", None, "whole"), "shift": "whole", "bf16": "flag", "num_train_epochs": "number", "lora_rank": "whole",
          "per_device_train_batch_size": "whole", "gradient_accumulation_steps": "whole", "learning_rate": "number",
          "weight_decay": "number", "max_grad_norm": "number", "save_total_limit": ("or", None, "whole"),
          "save_only_model": "flag", "logging_steps": "number", "lora_targets": ("list", "text", 0)}  # fmt: skip


def _plain_config(data: bytes) -> dict:
    value = contracts.parse_yaml(contracts.decode(data))
    value = {} if value is None else value
    if not isinstance(value, dict) or not holds(value, {f"{name}?": shape for name, shape in CONFIG.items()}):
        raise Unreadable("the contract is broken")
    return value


def _config(root: Path, problems: Problems) -> dict:
    from dataclasses import fields

    from transformers import TrainingArguments

    return read_config(
        root / "a.yaml", {setting.name for kind in (SftSettings, TrainingArguments) for setting in fields(kind)}
    )


def _swift_item(row: dict) -> list:
    said = {message["role"]: message["content"] for message in row["messages"]}
    question = said["user"].replace("<image>", "").strip()
    return [f"{row['images'][0]} {question}", question, row.get("response", said["assistant"])]


def _answered_item(row: dict) -> list:
    """Identity, question and true answer of a row or of a record."""
    inner = row.get("row", row)
    answer = inner.get("answer")
    if "messages" in row:
        last = row["messages"][-1]
        answer = last["content"] if last["role"] == "assistant" else None
    if not isinstance(answer, str) or not answer.strip():
        raise KeyError("answer")
    return [inner["id"] if "id" in inner else inner["video_id"], inner["question"], answer]


def _prediction_item(row: dict) -> list:
    if not row["answer"].strip():
        raise KeyError("answer")
    return [row["id"] if "id" in row else row["video_id"], row["answer"].strip()]


def _labels_oracle(case: Case) -> str:
    """Of rows that keep the contract, every clip with an answered question has its labels."""
    if case.damaged.content is None:
        return "a file that is not there was read"
    try:
        rows = [row for _, row in contracts.jsonl_rows(case.damaged.content)]
    except Unreadable as error:
        return f"accepted, though {error}"
    if not all(holds(row, contracts.ROW) for row in rows):
        return "a field of another type was accepted"
    clips = {(row["dataset"], str(row["subject"]), str(row["filename"])) for row in rows if row.get("answer")}
    return "" if len(case.reading) == len(clips) else f"{len(case.reading)} clips of {len(clips)}"


def _labels(root: Path, problems: Problems) -> list:
    return [[label.clip, list(label.units), label.fine, label.coarse] for label in read_labels(root / "rows.jsonl")]


def _vocabulary(root: Path) -> object:
    return vocabulary_beside(root / "train.jsonl")


def _stage(root: Path, problems: Problems) -> str:
    return stage_of(str(root / "zero.json"))


def _stage_of(record: dict) -> str:
    zero = record.get("zero_optimization", {})
    offload = (
        holds(zero.get("offload_param", {}), {"device?": "text"})
        and zero.get("offload_param", {}).get("device", "none") != "none"
    )
    if not holds(zero, {"stage?": ("or", 0, 2, 3), "offload_param?": {"device?": ("or", "none", "cpu", "nvme")}}):
        raise Unreadable("the contract is broken")
    return {0: "none", 2: "zero2", 3: "zero3_offload" if offload else "zero3"}[zero.get("stage", 0)]


def _copy(source: str, name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes((ROOT / source).read_bytes()) and None


ONCE = {"": None}
TEXT_TARGETS = [
    Target("clips", "clips.jsonl", lambda root: write_jsonl(root / "clips.jsonl", _clip_rows()) and None, damage_jsonl,
           lambda root, problems: [json.loads(json.dumps(clip_to_row(clip))) for clip in read_clips(root / "clips.jsonl")],
           _equals(_rows(contracts.CLIP, _clip_fault)), rows=True, weight=2),
    Target("rows of 2026 to build", "rows.jsonl", _write_rows, damage_jsonl, _build,
           _each_row(lambda row: row, contracts.ROW), rows=True, weight=2),
    Target("rows of 2025 to build", "rows.jsonl", _write_2025, damage_jsonl, _build,
           _each_row(lambda row: row, contracts.ROW), rows=True, weight=2),
    Target("answered rows", "rows.jsonl", _write_rows, damage_jsonl,
           lambda root, problems: read_answers(root / "rows.jsonl", "give rows"),
           _equals(_rows(contracts.PREDICTION)), rows=True),
    Target("labels", "rows.jsonl", _write_rows, damage_jsonl, _labels, _labels_oracle, rows=True),
    Target("instructions", "test.jsonl", _write_records, damage_jsonl,
           lambda root, problems: read_records(root / "test.jsonl"), _equals(_rows(contracts.RECORD)), rows=True, weight=2),
    Target("references", "test.jsonl", _write_records, damage_jsonl, _references("test.jsonl"),
           _each_row(_answered_item, {"row?": contracts.ROW, "messages?": ("list", contracts.MESSAGE, 1)}), rows=True, weight=2),
    Target("references of rows", "rows.jsonl", _write_2025, damage_jsonl, _references("rows.jsonl"),
           _each_row(_answered_item, contracts.ROW), rows=True),
    Target("rows of ms-swift", "swift.jsonl", _write_swift, damage_jsonl, _references("swift.jsonl"),
           _each_row(_swift_item, {"messages": ("list", {"role": "text", "content": "text"}, 1), "images": ("list", "text", 1)}),
           rows=True),
    Target("predictions to score", "run/predictions.jsonl", _write_predictions, damage_jsonl, _predicted,
           _each_row(_prediction_item, contracts.PREDICTION), rows=True, weight=2),
    Target("predictions to reason over", "run/predictions.jsonl", _write_predictions, damage_jsonl, _reasoned,
           _equals(lambda data: [{**{key: row[key] for key in row if key not in ("answer", "run", "draws")},
                                  "raw": row.get("raw", row.get("answer", ""))}
                                 for row in _rows(contracts.PREDICTION)(data)]), rows=True),
    Target("predictions of a killed run", "predictions.jsonl", _write_kept, damage_jsonl,
           lambda root, problems: read_kept_predictions(root / "predictions.jsonl", repair=False),
           lambda case: _kept_oracle(case), rows=True),
    Target("predictions to submit", "predictions.jsonl", _write_submission, damage_jsonl, _submitted,
           _each_row(_prediction_item, contracts.PREDICTION), rows=True),
    Target("questions to submit", "me_vqa_casme3_test_to_answer.jsonl", _write_submission, damage_jsonl, _submitted,
           lambda case: _asked_oracle(case), rows=True),
    Target("evidence", "evidence.jsonl", _write_evidence, damage_jsonl,
           lambda root, problems: list(read_evidence(root / "evidence.jsonl", None).values()),
           _equals(_rows(contracts.EVIDENCE)), rows=True, weight=2),
    Target("prompt.json", "prompt.json", _write_prompt, damage_json,
           _optional(lambda root: read_prompt(root / "a.jsonl"), {}), _equals(_value(contracts.PROMPT))),
    Target("split", "a.split.json", _write_split, damage_json, _optional(lambda root: read_split(root / "a.jsonl"), {}),
           _equals(_value(contracts.SPLIT, lambda value: value["folds"][value["settings"]["fold"]]))),
    Target("megc.json", "megc.json", _write_megc, damage_json, _optional(read_training_info, {}), _equals(_value(contracts.MEGC)), weight=2),
    Target("run.json of a score", "run/run.json", _write_run, damage_json,
           lambda root, problems: read_runs([root / "run/predictions.jsonl"], None, read_references(root / "references.jsonl", problems), problems)[0].settings or MISSING,
           _equals(_value(contracts.RUN))),
    Target("run.json of commits", "run/run.json", _write_run, damage_json,
           lambda root, problems: sorted(answer_commits(root / "run/predictions.jsonl")) or MISSING,
           _equals(_value(contracts.RUN, lambda value: sorted(set(filter(None, value.get("commits", [])))) or MISSING))),
    Target("rules.json", "rules.json", lambda root: (root / "rules.json").write_bytes(RULES.read_bytes()) and None, damage_json,
           _rules, _equals(_value(contracts.RULES, _plain_rules))),
    Target("vocabulary.json", "vocabulary.json", lambda root: write_json(root / "vocabulary.json", ["a", "b c", "d"]), damage_json,
           _optional(_vocabulary, []), _equals(_value(("list", "text", 0), lambda value: value or MISSING))),
    Target("align.json", "demo/s1/a/align.json", _write_align, damage_json,
           lambda root, problems: check_align(root / "demo/s1/a", "demo/s1/a"), _equals(_value(contracts.ALIGN)), weight=2),
    Target("flow.json", "flow.json", lambda root: write_json(root / "flow.json", {"method": "dis", "encoding": "colour", "scale": 2.0, "clips": ["a"]}),
           damage_json, lambda root, problems: _flow_json(root, problems) if (root / "flow.json").exists() else MISSING,
           _equals(_value({"encoding": "text", "scale": "number"}, lambda value: [value["encoding"], value["scale"]]))),
    Target("index of shards", "model.safetensors.index.json", _write_shards, damage_json,
           lambda root, problems: sorted(path.name for path in weight_files(root)),
           _equals(_value(contracts.INDEX, lambda value: sorted(set(value["weight_map"].values()))))),
    Target("adapter_config.json", "adapter_config.json", lambda root: write_json(root / "adapter_config.json", {"base_model_name_or_path": "checkpoints/base", "r": 8}),
           damage_json, _optional(base_of, None), _equals(_value(contracts.ADAPTER, lambda value: value["base_model_name_or_path"]))),
    Target("trainer_state.json", "trainer_state.json", lambda root: write_json(root / "trainer_state.json", {"global_step": 5, "log_history": [{"loss": 1.5}]}),
           damage_json, _state, _equals(_value(contracts.STATE))),
    Target("DeepSpeed", "zero.json", _copy("train/zero3_offload.json", "zero.json"), damage_json, _stage, _equals(_value(("map", "any"), _stage_of))),
    Target("grid", "grid.yaml", _write_grid, damage_yaml, _grid, _grid_oracle, weight=3),
    Target("settings of train.py", "a.yaml", _write_config, damage_yaml, _config, _equals(_plain_config), weight=2),
]  # fmt: skip


def _kept_oracle(case: Case) -> str:
    """Whole lines come back as they stand. A last line without its end is what a kill leaves, and may go."""
    data = case.damaged.content
    if data is None:
        return "a file that is not there was read"
    wanted = []
    for line in data[: data.rfind(b"\n") + 1].split(b"\n"):
        if line.strip():
            try:
                wanted.append(contracts.parse_json(line.decode()))
            except (Unreadable, UnicodeDecodeError):
                return "accepted, though a line is not JSON"
    return "" if same(case.reading, wanted) else "not the rows of the file"


def _asked_oracle(case: Case) -> str:
    """Every question is answered in the file to hand in, or named in a problem."""
    try:
        rows = contracts.jsonl_rows(case.damaged.content or b"")
    except Unreadable as error:
        return f"accepted, though {error}"
    answered = {identity for identity, _ in case.reading}
    told = " ".join(f"{problem.row} {problem.what}" for problem in case.problems)
    rows_told = {problem.row for problem in case.problems}
    for number, row in rows:
        identity = row.get("video_id", row.get("id"))
        if not holds({**row, "answer": ""}, contracts.ROW):  # the answer is to be filled in
            return f"row {number} of another type was accepted"
        if identity not in answered and number not in rows_told and str(identity) not in told:
            return f"row {number} is neither answered nor named"
    return ""


def flat(array: np.ndarray) -> list:
    """Shape and content of an array, to compare."""
    return [list(array.shape), array.tobytes()]
