"""The text files that are fuzzed: how each is damaged, what reads it, and what may be accepted."""

import json

import contracts
from damages import damage_json, damage_jsonl, damage_yaml
from oracles import (
    MISSING,
    Target,
    each_row,
    judge_grid,
    judge_kept,
    judge_labels,
    judge_questions,
    reads_as,
    rows_of,
    value_of,
)
from readers import (
    answered_item,
    if_present,
    plain_config,
    plain_rules,
    plain_stage,
    prediction_item,
    swift_item,
    view_build,
    view_config,
    view_flow_json,
    view_grid,
    view_labels,
    view_predicted,
    view_reasoned,
    view_references,
    view_rules,
    view_stage,
    view_state,
    view_submitted,
    view_vocabulary,
)
from whole_files import (
    clip_fault,
    clip_rows,
    copy_of,
    write_2025,
    write_align,
    write_config,
    write_evidence,
    write_grid,
    write_kept,
    write_megc,
    write_predictions,
    write_prompt,
    write_records,
    write_rows,
    write_run,
    write_shards,
    write_split,
    write_submission,
    write_swift,
)

from megc.answers.predictions import _read as read_kept_predictions
from megc.clips import clip_to_row, read_clips
from megc.commits import answer_commits
from megc.files import write_json, write_jsonl
from megc.model.checkpoint import read_training_info
from megc.model.weights import base_of, weight_files
from megc.motion.keyframes import check_align
from megc.reasoning.rules import RULES
from megc.scoring.runs import read_references, read_runs
from megc.vqa.evidence_prompt import read_evidence
from megc.vqa.instructions import read_prompt, read_records, read_split
from megc.vqa.labels import read_answers

TEXT_TARGETS = [
    Target(
        "clips",
        "clips.jsonl",
        lambda root: write_jsonl(root / "clips.jsonl", clip_rows()) and None,
        damage_jsonl,
        lambda root, problems: [
            json.loads(json.dumps(clip_to_row(clip))) for clip in read_clips(root / "clips.jsonl")
        ],
        reads_as(rows_of(contracts.CLIP, clip_fault)),
        rows=True,
        weight=2,
    ),
    Target(
        "rows of 2026 to build",
        "rows.jsonl",
        write_rows,
        damage_jsonl,
        view_build,
        each_row(lambda row: row, contracts.ROW),
        rows=True,
        weight=2,
    ),
    Target(
        "rows of 2025 to build",
        "rows.jsonl",
        write_2025,
        damage_jsonl,
        view_build,
        each_row(lambda row: row, contracts.ROW),
        rows=True,
        weight=2,
    ),
    Target(
        "answered rows",
        "rows.jsonl",
        write_rows,
        damage_jsonl,
        lambda root, problems: read_answers(root / "rows.jsonl", "give rows"),
        reads_as(rows_of(contracts.PREDICTION)),
        rows=True,
    ),
    Target("labels", "rows.jsonl", write_rows, damage_jsonl, view_labels, judge_labels, rows=True),
    Target(
        "instructions",
        "test.jsonl",
        write_records,
        damage_jsonl,
        lambda root, problems: read_records(root / "test.jsonl"),
        reads_as(rows_of(contracts.RECORD)),
        rows=True,
        weight=2,
    ),
    Target(
        "references",
        "test.jsonl",
        write_records,
        damage_jsonl,
        view_references("test.jsonl"),
        each_row(answered_item, {"row?": contracts.ROW, "messages?": ("list", contracts.MESSAGE, 1)}),
        rows=True,
        weight=2,
    ),
    Target(
        "references of rows",
        "rows.jsonl",
        write_2025,
        damage_jsonl,
        view_references("rows.jsonl"),
        each_row(answered_item, contracts.ROW),
        rows=True,
    ),
    Target(
        "rows of ms-swift",
        "swift.jsonl",
        write_swift,
        damage_jsonl,
        view_references("swift.jsonl"),
        each_row(
            swift_item, {"messages": ("list", {"role": "text", "content": "text"}, 1), "images": ("list", "text", 1)}
        ),
        rows=True,
    ),
    Target(
        "predictions to score",
        "run/predictions.jsonl",
        write_predictions,
        damage_jsonl,
        view_predicted,
        each_row(prediction_item, contracts.PREDICTION),
        rows=True,
        weight=2,
    ),
    Target(
        "predictions to reason over",
        "run/predictions.jsonl",
        write_predictions,
        damage_jsonl,
        view_reasoned,
        reads_as(
            lambda data: [
                {
                    **{key: row[key] for key in row if key not in ("answer", "run", "draws")},
                    "raw": row.get("raw", row.get("answer", "")),
                }
                for row in rows_of(contracts.PREDICTION)(data)
            ]
        ),
        rows=True,
    ),
    Target(
        "predictions of a killed run",
        "predictions.jsonl",
        write_kept,
        damage_jsonl,
        lambda root, problems: read_kept_predictions(root / "predictions.jsonl", repair=False),
        judge_kept,
        rows=True,
    ),
    Target(
        "predictions to submit",
        "predictions.jsonl",
        write_submission,
        damage_jsonl,
        view_submitted,
        each_row(prediction_item, contracts.PREDICTION),
        rows=True,
    ),
    Target(
        "questions to submit",
        "me_vqa_casme3_test_to_answer.jsonl",
        write_submission,
        damage_jsonl,
        view_submitted,
        judge_questions,
        rows=True,
    ),
    Target(
        "evidence",
        "evidence.jsonl",
        write_evidence,
        damage_jsonl,
        lambda root, problems: list(read_evidence(root / "evidence.jsonl", None).values()),
        reads_as(rows_of(contracts.EVIDENCE)),
        rows=True,
        weight=2,
    ),
    Target(
        "prompt.json",
        "prompt.json",
        write_prompt,
        damage_json,
        if_present(lambda root: read_prompt(root / "a.jsonl"), {}),
        reads_as(value_of(contracts.PROMPT)),
    ),
    Target(
        "split",
        "a.split.json",
        write_split,
        damage_json,
        if_present(lambda root: read_split(root / "a.jsonl"), {}),
        reads_as(value_of(contracts.SPLIT, lambda value: value["folds"][value["settings"]["fold"]])),
    ),
    Target(
        "megc.json",
        "megc.json",
        write_megc,
        damage_json,
        if_present(read_training_info, {}),
        reads_as(value_of(contracts.MEGC)),
        weight=2,
    ),
    Target(
        "run.json of a score",
        "run/run.json",
        write_run,
        damage_json,
        lambda root, problems: (
            read_runs(
                [root / "run/predictions.jsonl"], None, read_references(root / "references.jsonl", problems), problems
            )[0].settings
            or MISSING
        ),
        reads_as(value_of(contracts.RUN)),
    ),
    Target(
        "run.json of commits",
        "run/run.json",
        write_run,
        damage_json,
        lambda root, problems: sorted(answer_commits(root / "run/predictions.jsonl")) or MISSING,
        reads_as(
            value_of(contracts.RUN, lambda value: sorted(set(filter(None, value.get("commits", [])))) or MISSING)
        ),
    ),
    Target(
        "rules.json",
        "rules.json",
        lambda root: (root / "rules.json").write_bytes(RULES.read_bytes()) and None,
        damage_json,
        view_rules,
        reads_as(value_of(contracts.RULES, plain_rules)),
    ),
    Target(
        "vocabulary.json",
        "vocabulary.json",
        lambda root: write_json(root / "vocabulary.json", ["a", "b c", "d"]),
        damage_json,
        if_present(view_vocabulary, []),
        reads_as(value_of(("list", "text", 0), lambda value: value or MISSING)),
    ),
    Target(
        "align.json",
        "demo/s1/a/align.json",
        write_align,
        damage_json,
        lambda root, problems: check_align(root / "demo/s1/a", "demo/s1/a"),
        reads_as(value_of(contracts.ALIGN)),
        weight=2,
    ),
    Target(
        "flow.json",
        "flow.json",
        lambda root: write_json(
            root / "flow.json", {"method": "dis", "encoding": "colour", "scale": 2.0, "clips": ["a"]}
        ),
        damage_json,
        lambda root, problems: view_flow_json(root, problems) if (root / "flow.json").exists() else MISSING,
        reads_as(value_of({"encoding": "text", "scale": "number"}, lambda value: [value["encoding"], value["scale"]])),
    ),
    Target(
        "index of shards",
        "model.safetensors.index.json",
        write_shards,
        damage_json,
        lambda root, problems: sorted(path.name for path in weight_files(root)),
        reads_as(value_of(contracts.INDEX, lambda value: sorted(set(value["weight_map"].values())))),
    ),
    Target(
        "adapter_config.json",
        "adapter_config.json",
        lambda root: write_json(root / "adapter_config.json", {"base_model_name_or_path": "checkpoints/base", "r": 8}),
        damage_json,
        if_present(base_of, None),
        reads_as(value_of(contracts.ADAPTER, lambda value: value["base_model_name_or_path"])),
    ),
    Target(
        "trainer_state.json",
        "trainer_state.json",
        lambda root: write_json(root / "trainer_state.json", {"global_step": 5, "log_history": [{"loss": 1.5}]}),
        damage_json,
        view_state,
        reads_as(value_of(contracts.STATE)),
    ),
    Target(
        "DeepSpeed",
        "zero.json",
        copy_of("train/zero3_offload.json", "zero.json"),
        damage_json,
        view_stage,
        reads_as(value_of(("map", "any"), plain_stage)),
    ),
    Target("grid", "grid.yaml", write_grid, damage_yaml, view_grid, judge_grid, weight=3),
    Target("settings of train.py", "a.yaml", write_config, damage_yaml, view_config, reads_as(plain_config), weight=2),
]
