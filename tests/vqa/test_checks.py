"""Checks of instruction files: each fault with its row."""

from pathlib import Path

from clip_folder import build

from megc.problems import Problems
from megc.vqa.checks import check_records
from megc.vqa.instructions import (
    write_records,
)


def test_each_fault_is_named_with_its_row(data: Path) -> None:
    records, _ = build(data)
    (data / records[0]["images"][3]).write_bytes(b"no picture")
    (data / records[-1]["images"][0]).unlink()
    spoilt = [dict(record, messages=[dict(m) for m in record["messages"]]) for record in records]
    row = {record["row"]["question"]: n for n, record in reversed(list(enumerate(spoilt[10:20], start=10)))}
    spoilt[row["What is the coarse expression class?"]]["messages"][2]["content"] = "sad"
    spoilt.append(spoilt[12])
    write_records(data / "spoilt.jsonl", spoilt)
    problems = Problems()
    check_records(data / "spoilt.jsonl", problems)
    said = " ".join(str(problem) for problem in problems)
    for words in ("is no image", "is gone", "answer 'sad' is not one of", "duplicate row", "disagrees"):
        assert words in said
    assert all(problem.fix for problem in problems)
