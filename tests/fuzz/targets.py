"""The text files that are fuzzed: how each is damaged, what reads it, and what may be accepted."""

import json
from dataclasses import asdict

import contracts
from damages import damage_jsonl, damage_yaml
from oracles import (
    Target,
    each_row,
    judge_grid,
    judge_kept,
    judge_labels,
    judge_questions,
    reads_as,
    rows_of,
)
from readers import (
    answered_item,
    plain_config,
    prediction_item,
    swift_item,
    view_build,
    view_config,
    view_grid,
    view_labels,
    view_predicted,
    view_reasoned,
    view_references,
    view_submitted,
)
from whole_files import (
    clip_fault,
    clip_rows,
    video_fault,
    videos,
    write_2025,
    write_config,
    write_evidence,
    write_grid,
    write_kept,
    write_long_rows,
    write_predictions,
    write_records,
    write_rows,
    write_submission,
    write_swift,
)

from megc.answers.predictions import _read as read_kept_predictions
from megc.baselines.evidence import read_evidence
from megc.clips import clip_to_row, read_clips, read_videos, write_videos
from megc.files import write_jsonl
from megc.vqa.instructions import read_records
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
    *(
        Target(
            f"rows of {year} to build",
            "rows.jsonl",
            write,
            damage_jsonl,
            view_build,
            each_row(lambda row: row, contracts.ROW),
            rows=True,
            weight=2,
        )
        for year, write in ((2026, write_rows), (2025, write_2025), ("ME-LVQA", write_long_rows))
    ),
    Target(
        "videos",
        "videos.jsonl",
        lambda root: write_videos(root / "videos.jsonl", videos()) and None,
        damage_jsonl,
        lambda root, problems: [json.loads(json.dumps(asdict(video))) for video in read_videos(root / "videos.jsonl")],
        reads_as(rows_of(contracts.VIDEO, video_fault)),
        rows=True,
        weight=2,
    ),
    Target(
        "references of ME-LVQA",
        "rows.jsonl",
        write_long_rows,
        damage_jsonl,
        view_references("rows.jsonl"),
        each_row(answered_item, contracts.ROW),
        rows=True,
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
    Target("grid", "grid.yaml", write_grid, damage_yaml, view_grid, judge_grid, weight=3),
    Target("settings of train.py", "a.yaml", write_config, damage_yaml, view_config, reads_as(plain_config), weight=2),
]
