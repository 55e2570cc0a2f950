"""Fields of the wrong type, in every JSONL that is read: an error that names file and line, never a traceback."""

import json

import pytest

from megc.baselines.evidence import read_evidence
from megc.clips import read_clips
from megc.files import read_rows
from megc.problems import DataError, Problems
from megc.reasoning.agreement import reason_file
from megc.scoring.runs import read_references, read_run
from megc.vqa.instructions import PictureSource, build_records, read_records
from megc.vqa.labels import read_answers, read_labels
from megc.vqa.prompts import PromptSettings

WRONG = (None, 5, True, 1.5, "x", [], ["x"], {}, {"a": 1})
ROW = {
    "id": "casme2_sub01_EP02_01f_1",
    "dataset": "casme2",
    "image_id": "sub01_EP02_01f",
    "subject": "sub01",
    "filename": "EP02_01f",
    "question": "What is the coarse expression class?",
    "answer": "negative",
}
RECORD = {
    "id": ROW["id"],
    "clip": "casme2/sub01/EP02_01f",
    "dataset": "casme2",
    "subject": "sub01",
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "<image>"},
                 {"role": "assistant", "content": "negative"}],
    "images": ["flow/a.png"],
    "prompt": "0" * 16,
    "row": ROW,
}  # fmt: skip
CLIP = {
    "id": "casme2/sub01/a", "dataset": "casme2", "subject": "sub01", "name": "a", "fps": 200.0, "frames": "a",
    "onset": 1, "apex": 5, "offset": 9, "apex_estimated": False, "action_units": [{"number": 4, "side": None}],
    "fine": "disgust", "coarse": "negative", "notes": ["n"],
}  # fmt: skip
EVIDENCE = {"clip": "casme2/sub01/a", "dataset": "casme2", "subject": "sub01", "part": "test"}
EVIDENCE |= {"coarse": {"negative": 0.5}, "fine": {}, "units": {}, "side": {}}


def _places(value, place=()):
    if place:
        yield place
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _places(value[key], (*place, key))


def _changed(row, place, new):
    row = target = json.loads(json.dumps(row))
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = new
    return row


def _build(path):
    problems = Problems()
    rows = [(1, json.loads(path.read_text()))]
    build_records(
        rows, path, PictureSource(lambda row, name: path), path.parent, PromptSettings(images=("flow",)), problems
    )
    for problem in problems:
        raise DataError(problem.file, problem.row, problem.what, problem.fix)


def _collected(read):
    def check(path):
        problems = Problems()
        try:
            read(path, problems)
        except DataError as error:
            assert len(problems) or error.problem.file == str(path)
        for problem in problems:
            raise DataError(problem.file, problem.row, problem.what, problem.fix)

    return check


READERS = {
    "questions to build": (ROW, _build),
    "question files": (ROW, lambda path: read_rows(path, "")),
    "answers": (ROW, lambda path: read_answers(path, "")),
    "answers to reason over": (ROW, lambda path: reason_file(path, path.parent / "out", ["snap"])),
    "labels of rows": (ROW, read_labels),
    "labels of records": (RECORD, read_labels),
    "references": (ROW, _collected(read_references)),
    "references of records": (RECORD, _collected(read_references)),
    "predictions": (ROW, _collected(lambda path, problems: read_run(path, "a", [], problems, {}))),
    "instructions": (RECORD, read_records),
    "clips": (CLIP, read_clips),
    "evidence": (EVIDENCE, read_evidence),
}


@pytest.mark.parametrize("reader", READERS)
def test_fields_of_another_type_are_refused_or_read_but_never_a_traceback(reader, tmp_path):
    row, read = READERS[reader]
    path, refused = tmp_path / "rows.jsonl", set()
    for place in _places(row):
        for new in WRONG:
            path.write_text(json.dumps(_changed(row, place, new)) + "\n")
            try:
                read(path)
            except DataError as error:
                assert error.problem.file == str(path), error
                refused.add(place[0])
    if reader != "predictions":  # the only row has no reference there
        assert refused >= {"id", "dataset"} & row.keys() or "messages" in refused or "coarse" in refused
